-- What is owed to buyers is added up from the index alone.
CREATE INDEX orders_status ON orders (status, amount, fee);
