//! What happens, in its order.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mostro_core::message::{Action, Payload};
use nostr_sdk::Event;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::engine::Store;
use crate::payout::tables::{BONDS, TABLES};
use crate::sandbox::clients::Client;
use crate::sandbox::lnd::{Behaviour, InvoiceSpec, payment_hash};
use crate::sandbox::mostrod::Trade;
use crate::store::sqlite::{OpenMode, SqliteStore};

use super::daemon::{Daemon, Line};
use super::evidence::{Evidence, Latency};
use super::programs::{Programs, shown};
use super::screen::{Screen, Who};
use super::stage::{Stage, buyers_bond, hash_of};

/// What the route to the winner costs, paid by the node.
const FEE_SATS: u64 = 2;

/// How long the daemon may take to stop, and anything that is played afterwards.
const PATIENCE: Duration = Duration::from_secs(10);

/// The demo once it has been shown, with everything still running.
pub struct Told {
    /// Whether all of it came true.
    pub came_true: bool,
    stage: Stage,
    programs: Programs,
    daemon: Daemon,
}

/// Shows it all, from the import to the paid bond, and judges it.
pub async fn tell(stage: Stage, programs: Programs, screen: Screen, deadline: Instant) -> anyhow::Result<Told> {
    import(&programs, &stage, screen).await?;
    let daemon = start(&programs, &stage, screen, deadline).await?;
    let asked = slash(&stage, &daemon, stage.trade(), screen, deadline).await?;
    let (hash, sent) = answer(&stage, &daemon, screen, deadline).await?;

    let pid = daemon.pid();
    screen.step(Who::Demo, format_args!("bondflowd, process {pid}, while the payment is in flight"));
    let status = daemon.kill().await?;
    screen.step(Who::Demo, format_args!("it is dead: {status}"));
    let in_flight_at_kill = stage.lnd.node.ledger().times_paid(hash) == 0;

    let daemon = Daemon::start(&programs, &stage.log(), screen).await?;
    screen.step(Who::Bondflowd, format_args!("starts again, process {}", daemon.pid()));
    daemon.says("the payment in flight", deadline, |line| line.is_transition("bond_payout", "pay", "in-doubt")).await?;
    screen.step(Who::Bondflowd, "has found the payment in flight, and waits for its end");

    ensure!(stage.lnd.node.release(hash), "the winner's wallet holds no payment to claim");
    screen.step(Who::Winner, "the wallet claims the payment");
    daemon.says("the end", deadline, |line| line.is_transition("bond_payout", "slashed", "completed")).await?;
    for (client, who, action) in [
        (&stage.buyer, Who::Slashed, Action::BondSlashed),
        (&stage.seller, Who::Winner, Action::BondInvoiceAccepted),
        (&stage.seller, Who::Winner, Action::BondPayoutCompleted),
    ] {
        let name = serde_json::to_value(&action)?;
        let name = name.as_str().context("an action has a name")?;
        let heard = client.wait_for(PATIENCE, |heard| heard.action() == action);
        daemon.meanwhile(name, deadline, heard).await??;
        screen.step(who, format_args!("has been told {name}"));
    }

    screen.heading(&format!("history  {}", programs.typed(&format!("history {}", buyers_bond(stage.trade()).id))));
    let history = programs.workflowctl(&["history", &buyers_bond(stage.trade()).id.to_string()]).status().await?;
    ensure!(history.success(), "workflowctl history: {history}");

    let evidence = Evidence {
        ledger: stage.lnd.node.ledger(),
        bond_hash: hash_of(&buyers_bond(stage.trade()).preimage),
        escrow_hash: hash_of(&stage.trade().escrow.unwrap_or_default()),
        hash: hash.into(),
        row: bond_row(&stage).await?,
        in_flight_at_kill,
        told: told(&stage, deadline).await?,
    };
    let came_true = evidence.show(&[asked, sent], screen);
    how_to_look(&programs, &stage, screen);
    Ok(Told { came_true, stage, programs, daemon })
}

impl Told {
    /// Stops the daemon; what it has written stays.
    pub async fn close(self, screen: Screen) -> anyhow::Result<()> {
        self.daemon.stop(Instant::now() + PATIENCE).await?;
        screen.line(format_args!("\nAll has stopped; the files stay in {}.", shown(&self.stage.folder)));
        Ok(())
    }

    /// Slashes another bond whose winner does not answer, so that there is an open run to play with.
    pub async fn open_another(self, screen: Screen) -> anyhow::Result<Self> {
        let trade = self.stage.trades.last().context("there is no other trade")?;
        screen.heading("to play with");
        let deadline = Instant::now() + PATIENCE;
        slash(&self.stage, &self.daemon, trade, screen, deadline).await?;
        let order = trade.order.to_string();
        let resolved =
            |line: &Line| line.field("key") == order && line.is_transition("order_resolution", "resolved", "completed");
        self.daemon.says("the end of the order", deadline, resolved).await?;
        let bond = buyers_bond(trade).id;
        screen.line(format_args!(
            "\nAll of it runs until Ctrl-C, and the second bond waits for an invoice that nobody sends. For example:"
        ));
        for arguments in ["list".to_owned(), format!("why {bond}"), format!("pause {bond}"), format!("resume {bond}")] {
            screen.line(format_args!("  {}", self.programs.typed(&arguments)));
        }
        Ok(self)
    }
}

/// Takes mostrod's debts over.
async fn import(programs: &Programs, stage: &Stage, screen: Screen) -> anyhow::Result<()> {
    let file = stage.folder.join("mostro.db").display().to_string();
    let output = programs.workflowctl(&["import", &file, "-o", "json"]).output().await?;
    if !output.status.success() {
        bail!("workflowctl import: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let said: Value = serde_json::from_slice(&output.stdout).context("what workflowctl import says")?;
    let (bonds, orders) = (&said["report"]["bonds_taken"]["locked"], &said["report"]["orders_in_dispute"]);
    screen.step(
        Who::Workflowctl,
        format_args!(
            "import: {} locked bonds over {} sats, {} order in dispute",
            bonds["count"], bonds["sats"], orders["count"]
        ),
    );
    Ok(())
}

/// Starts the daemon and waits until it serves.
async fn start(programs: &Programs, stage: &Stage, screen: Screen, deadline: Instant) -> anyhow::Result<Daemon> {
    let daemon = Daemon::start(programs, &stage.log(), screen).await?;
    screen.step(Who::Bondflowd, format_args!("starts, process {}", daemon.pid()));
    let announced = |line: &Line| line.field("message") == "published" && line.field("topic") == "info event";
    daemon.says("the node's info event", deadline, announced).await?;
    screen.step(Who::Bondflowd, "is connected to the relay and lnd, and has published its info event");
    Ok(daemon)
}

/// The solver rules, and the winner is asked for an invoice.
async fn slash(
    stage: &Stage,
    daemon: &Daemon,
    trade: &Trade,
    screen: Screen,
    deadline: Instant,
) -> anyhow::Result<Latency> {
    let ruling = stage.solver.ruling(trade.order, Action::AdminCancel, false, true);
    let event = stage.solver.wrap(&ruling)?;
    screen.step(Who::Solver, format_args!("admin-cancel of order {}, the buyer is slashed", trade.order));
    let before = stage.seller.count(&Action::AddBondInvoice);
    let asked = async {
        let asked = |client: &Client| client.count(&Action::AddBondInvoice) > before;
        stage.seller.wait_for(PATIENCE, |_| asked(&stage.seller)).await
    };
    let (_, took) = publish(&stage.solver, &event, daemon, "the request for an invoice", deadline, asked).await?;
    let request = stage.seller.heard().into_iter().rfind(|heard| heard.action() == Action::AddBondInvoice);
    let sats = match request.as_ref().and_then(|heard| heard.payload()) {
        Some(Payload::BondPayoutRequest(request)) => request.order.amount,
        _ => bail!("the request for an invoice carries none"),
    };
    screen.step(Who::Winner, format_args!("is asked for an invoice over {sats} sats (add-bond-invoice)"));
    Ok(Latency { what: "slash command → add-bond-invoice stored by the relay", took })
}

/// The winner answers, and the payment is held on its way.
async fn answer(
    stage: &Stage,
    daemon: &Daemon,
    screen: Screen,
    deadline: Instant,
) -> anyhow::Result<([u8; 32], Latency)> {
    let spec = InvoiceSpec { expiry: 86_400, description: "my share of the bond".to_owned(), ..InvoiceSpec::default() };
    let bolt11 = stage.wallet.invoice(500, spec);
    let hash = payment_hash(&bolt11);
    stage.wallet.next_of(hash, Behaviour::Hold { fee_sat: FEE_SATS }, 1);
    let event = stage.seller.wrap(&stage.seller.bond_invoice(stage.trade().order, &bolt11))?;
    screen.step(Who::Winner, format_args!("answers with an invoice, hash {}…", &hex::encode(hash)[..12]));
    let arrived = stage.lnd.node.wait_for_send(hash);
    let ((), took) = publish(&stage.seller, &event, daemon, "SendPaymentV2", deadline, arrived).await?;
    screen.step(Who::Lnd, "SendPaymentV2 has come");
    daemon.meanwhile("the HTLC", deadline, stage.lnd.node.wait_for_htlc(hash)).await?;
    screen.step(Who::Lnd, "the HTLC is out, and the winner's wallet holds it");
    Ok((hash, Latency { what: "invoice event → SendPaymentV2 received by lnd", took }))
}

/// Publishes an event and waits for what follows from it; the time from the one to the other.
async fn publish<T>(
    from: &Client,
    event: &Event,
    daemon: &Daemon,
    what: &str,
    deadline: Instant,
    follows: impl Future<Output = T>,
) -> anyhow::Result<(T, Duration)> {
    let begun = Instant::now();
    let follows = async { (follows.await, begun.elapsed()) };
    let (published, follows) = tokio::join!(from.publish(event), daemon.meanwhile(what, deadline, follows));
    published?;
    follows
}

/// How often the winner was told what, once all that the relay has for him was heard.
async fn told(stage: &Stage, deadline: Instant) -> anyhow::Result<Vec<Action>> {
    let (node, seller) = (stage.node.public_key(), stage.seller.key());
    let to_seller = |event: &&Event| event.pubkey == node && event.tags.public_keys().any(|key| *key == seller);
    let stored = stage.relay.events().await.iter().filter(to_seller).count();
    let all_heard = stage.seller.wait_for(PATIENCE, |_| stage.seller.heard().len() >= stored);
    timeout_at(deadline, all_heard).await.context("the winner has not heard all that the relay has")??;
    Ok(stage.seller.heard().iter().map(|heard| heard.action()).collect())
}

/// The bond as an operator's script reads it.
async fn bond_row(stage: &Stage) -> anyhow::Result<Value> {
    let store = SqliteStore::open(&stage.database(), TABLES, OpenMode::Tool).await?;
    let row = store.row(BONDS.name, &buyers_bond(stage.trade()).id.to_string()).await?;
    store.close().await;
    Ok(Value::Object(row.context("the bond's row is gone")?))
}

fn how_to_look(programs: &Programs, stage: &Stage, screen: Screen) {
    let trade = stage.trade();
    screen.heading(&format!("look at it  {}", shown(&stage.database())));
    for arguments in ["list --all".to_owned(), format!("show {}", buyers_bond(trade).id), "stats".to_owned()] {
        screen.line(format_args!("  {}", programs.typed(&arguments)));
    }
    screen.line(format_args!("  {}", programs.typed(&format!("graph {}", buyers_bond(trade).id))));
    screen.line(format_args!("  less {}", shown(&stage.log())));
}
