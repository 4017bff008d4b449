//! The runs of an order, which are named by the order's id or by its bonds'.

use bondflow::engine::Store;
use bondflow::engine::store::Page;
use bondflow::payout::tables::{BONDS, ORDERS};
use serde_json::Value;

use crate::failure::Failure;

/// Most orders that a beginning may mean.
const MOST: u32 = 100;

/// The keys of all runs that the orders whose ids begin so may have.
pub async fn keys_of_order(store: &dyn Store, beginning: &str) -> Result<Vec<String>, Failure> {
    let page = Page { prefix: beginning.to_owned(), limit: MOST, ..Page::default() };
    let orders = store.page(ORDERS.name, &page).await?;
    if orders.len() == MOST as usize {
        return Err(Failure::Error(format!("{MOST} orders or more begin with `{beginning}`: write more of the id")));
    }
    let mut keys = Vec::new();
    for order in orders.iter().filter_map(|row| row.get("id").and_then(Value::as_str)) {
        let bonds = store.rows(BONDS.name, "order_id", &Value::from(order)).await?;
        keys.push(order.to_owned());
        keys.extend(bonds.iter().filter_map(|row| row.get("id").and_then(Value::as_str).map(str::to_owned)));
    }
    Ok(keys)
}
