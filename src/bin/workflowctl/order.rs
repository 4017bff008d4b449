//! The runs of an order, which are named by the order's id or by its bonds', and those of bonds.

use bondflow::engine::Store;
use bondflow::engine::store::{Page, Row, Table};
use bondflow::payout::tables::{BONDS, ORDERS};
use serde_json::Value;

use crate::failure::Failure;

/// Most rows that a beginning may mean.
const MOST: u32 = 100;

/// The keys of all runs that the orders whose ids begin so may have.
pub async fn keys_of_order(store: &dyn Store, beginning: &str) -> Result<Vec<String>, Failure> {
    let mut keys = begin_so(store, ORDERS, beginning).await?;
    for order in keys.clone() {
        keys.extend(ids(&store.rows(BONDS.name, "order_id", &Value::from(order)).await?));
    }
    Ok(keys)
}

/// The bonds whose ids begin so, which are the keys of their runs.
pub async fn bonds(store: &dyn Store, beginning: &str) -> Result<Vec<String>, Failure> {
    begin_so(store, BONDS, beginning).await
}

async fn begin_so(store: &dyn Store, table: Table, beginning: &str) -> Result<Vec<String>, Failure> {
    let page = Page { prefix: beginning.to_owned(), limit: MOST, ..Page::default() };
    let rows = store.page(table.name, &page).await?;
    if rows.len() == MOST as usize {
        let what = table.name;
        return Err(Failure::Error(format!("{MOST} {what} or more begin with `{beginning}`: write more of the id")));
    }
    Ok(ids(&rows))
}

fn ids(rows: &[Row]) -> Vec<String> {
    rows.iter().filter_map(|row| row.get("id")?.as_str().map(str::to_owned)).collect()
}
