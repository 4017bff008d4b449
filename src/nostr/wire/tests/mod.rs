//! Against what a real node sent, and against what must not get in.

mod heard;
mod said;

use serde_json::Value;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_426_573);
const ORDER: &str = "34d272ca-11aa-473b-9425-be3bb6739e3b";
const DISPUTE: &str = "1ca8bde7-51c0-4e4f-846f-969a5ceddd71";
const SELLER: &str = "10c76a58bf49efa78e5b436de14edfaf298914e368612dee8f17e3530704795f";
const SOLVER: &str = "a2aac8d2b678eb6299c8bbaf40d8f76534b9adc6f5c207df665c7727df8798d6";

/// The messages of a real trade whose action is `action`, in order.
fn recorded(action: &str) -> Vec<Value> {
    include_str!("../../../../tests/data/trade.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["message"].take())
        .filter(|message| message.as_object().unwrap().values().next().unwrap()["action"] == action)
        .collect()
}
