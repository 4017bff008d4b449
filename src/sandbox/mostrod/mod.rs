//! A database as mostrod 0.20.2 leaves it: trades in dispute, their bonds locked.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use uuid::Uuid;

/// mostrod's schema with its list of applied migrations.
const SCHEMA: &str = include_str!("schema.sql");

/// Who posted a bond, and the HTLC that holds it.
#[derive(Debug, Clone)]
pub struct Bond {
    /// Its id.
    pub id: Uuid,
    /// Whether the maker posted it, else the taker.
    pub maker: bool,
    /// The bond, sats.
    pub amount_sats: u64,
    /// The hold invoice's preimage; its hash follows from it.
    pub preimage: [u8; 32],
    /// `locked`, or another state of mostrod's.
    pub state: &'static str,
}

/// A trade in dispute.
#[derive(Debug, Clone)]
pub struct Trade {
    /// The order's id.
    pub order: Uuid,
    /// The dispute's id.
    pub dispute: Uuid,
    /// `sell` or `buy`.
    pub kind: &'static str,
    /// Sats that are traded.
    pub amount_sats: u64,
    /// The node's fee, sats.
    pub fee_sats: u64,
    /// The seller's trade key, hex.
    pub seller: String,
    /// The buyer's trade key, hex.
    pub buyer: String,
    /// The identity key of the solver who took the dispute, if one did.
    pub solver: Option<String>,
    /// The escrow's preimage, if there is an escrow.
    pub escrow: Option<[u8; 32]>,
    /// Where the buyer wants the sats.
    pub buyer_invoice: Option<String>,
    /// The bonds.
    pub bonds: Vec<Bond>,
    /// When all of it began, Unix seconds.
    pub at: i64,
}

/// Makes a database with these trades; `lnd` is the identity key of the node that holds the bonds.
pub async fn create(path: &Path, lnd: &str, trades: &[Trade]) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut db = options.connect().await?;
    sqlx::raw_sql(SCHEMA).execute(&mut db).await?;
    sqlx::query("INSERT INTO daemon_state (key, value, updated_at) VALUES ('ln_node_pubkey', ?, 0)")
        .bind(lnd)
        .execute(&mut db)
        .await?;
    sqlx::query("BEGIN").execute(&mut db).await?;
    for trade in trades {
        insert(&mut db, trade).await?;
    }
    sqlx::query("COMMIT").execute(&mut db).await?;
    db.close().await
}

async fn insert(db: &mut SqliteConnection, trade: &Trade) -> Result<(), sqlx::Error> {
    use sha2::{Digest, Sha256};
    let hash_of = |preimage: &[u8; 32]| hex::encode(Sha256::digest(preimage));
    let (maker, taker) =
        if trade.kind == "sell" { (&trade.seller, &trade.buyer) } else { (&trade.buyer, &trade.seller) };
    sqlx::query(
        "INSERT INTO orders (id, kind, event_id, hash, preimage, creator_pubkey, buyer_pubkey, master_buyer_pubkey,
           seller_pubkey, master_seller_pubkey, status, premium, payment_method, amount, buyer_dispute,
           seller_dispute, fee, fiat_code, fiat_amount, buyer_invoice, invoice_held_at, taken_at, created_at, expires_at)
         VALUES (?, ?, '', ?, ?, ?, ?, ?, ?, ?, 'dispute', 0, 'bank', ?, 0, 1, ?, 'USD', 100, ?, ?, ?, ?, ?)",
    )
    .bind(trade.order.as_bytes().to_vec())
    .bind(trade.kind)
    .bind(trade.escrow.as_ref().map(hash_of))
    .bind(trade.escrow.map(hex::encode))
    .bind(maker)
    .bind(&trade.buyer)
    .bind(&trade.buyer)
    .bind(&trade.seller)
    .bind(&trade.seller)
    .bind(signed(trade.amount_sats))
    .bind(signed(trade.fee_sats))
    .bind(&trade.buyer_invoice)
    .bind(trade.at)
    .bind(trade.at)
    .bind(trade.at)
    .bind(trade.at + 86_400)
    .execute(&mut *db)
    .await?;
    let status = if trade.solver.is_some() { "in-progress" } else { "initiated" };
    sqlx::query(
        "INSERT INTO disputes (id, order_id, status, order_previous_status, solver_pubkey, created_at, taken_at)
         VALUES (?, ?, ?, 'fiat-sent', ?, ?, ?)",
    )
    .bind(trade.dispute.as_bytes().to_vec())
    .bind(trade.order.as_bytes().to_vec())
    .bind(status)
    .bind(&trade.solver)
    .bind(trade.at)
    .bind(trade.at)
    .execute(&mut *db)
    .await?;
    if let Some(solver) = &trade.solver {
        sqlx::query(
            "INSERT INTO users (pubkey, is_solver, category, created_at) VALUES (?, 1, 2, ?) ON CONFLICT DO NOTHING",
        )
        .bind(solver)
        .bind(trade.at)
        .execute(&mut *db)
        .await?;
    }
    for bond in &trade.bonds {
        sqlx::query(
            "INSERT INTO bonds (id, order_id, pubkey, role, amount_sats, state, hash, preimage, locked_at, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(bond.id.as_bytes().to_vec())
        .bind(trade.order.as_bytes().to_vec())
        .bind(if bond.maker { maker } else { taker })
        .bind(if bond.maker { "maker" } else { "taker" })
        .bind(signed(bond.amount_sats))
        .bind(bond.state)
        .bind(hash_of(&bond.preimage))
        .bind(hex::encode(bond.preimage))
        .bind(trade.at)
        .bind(trade.at)
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

fn signed(sats: u64) -> i64 {
    i64::try_from(sats).unwrap_or(i64::MAX)
}
