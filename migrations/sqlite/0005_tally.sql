-- Runs that nobody works on, by where they stand: counted from the index alone, and found by a nudge. What a
-- query says must be written just so for it to serve.
DROP INDEX runs_waiting;
CREATE INDEX runs_resting ON runs (workflow, step, status, due_at)
WHERE owner IS NULL AND status <> 'completed' AND status <> 'failed' AND status <> 'canceled';

-- What is owed to buyers is added up from the index alone.
CREATE INDEX orders_status ON orders (status, amount, fee);
