//! Spans of runs and steps, sent to a collector over OTLP: one that is there, and others that are not.

use std::net::SocketAddr;
use std::time::Duration;

use bondflow::engine::RunId;
use mostro_core::message::Action;
use nostr_sdk::ToBech32;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic_lnd::tonic::transport::Server;
use tonic_lnd::tonic::transport::server::TcpIncoming;
use tonic_lnd::tonic::{Request, Response, Status};

use super::process::Process;
use super::world::{PATIENCE, Setup, World};

/// A collector that keeps what it gets.
struct Collector(watch::Sender<Vec<ResourceSpans>>);

#[async_trait::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send_modify(|got| got.extend(request.into_inner().resource_spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// What a collector has got, and its address.
async fn collector() -> (watch::Receiver<Vec<ResourceSpans>>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, got) = watch::channel(Vec::new());
    let server = Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (got, address)
}

fn spans(got: &[ResourceSpans]) -> impl Iterator<Item = &Span> {
    got.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans)
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn exporting(to: SocketAddr) -> Setup {
    let settings = vec![("telemetry", format!("otlp_endpoint = 'http://{to}'"))];
    Setup { real_time: true, settings, ..Setup::default() }
}

/// The winner is asked, answers and is paid; the hash of the payment.
async fn is_paid(world: &World) -> [u8; 32] {
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice(500);
    world.answer(&world.seller, &bolt11).await;
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    hash
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_a_span_of_each_run_and_step() {
    let (mut got, address) = collector().await;
    let world = World::without_daemon(exporting(address)).await;
    // What the log says is another matter.
    let process = Process::spawn(&world.settings_file(), "bondflowd=info");
    process.tells("bondflowd works").await;
    world.rule(Action::AdminCancel, false, true).await;

    let run = RunId::of("bond_payout", &world.taker_bond());
    let trace = hex::decode(&run.0).unwrap();
    let of_run = |span: &&Span| span.trace_id == trace;
    let asked = |got: &Vec<ResourceSpans>| spans(got).filter(of_run).any(|span| span.name == "request_invoice");
    timeout(PATIENCE, got.wait_for(asked)).await.expect("the daemon sends while it works").unwrap();

    let hash = is_paid(&world).await;
    process.stop(PATIENCE).await;

    let got = got.borrow().clone();
    let of_payout: Vec<&Span> = spans(&got).filter(of_run).collect();
    let taken_up = of_payout.iter().find(|span| span.name == "bond_payout").expect("a span of the run");
    assert_eq!(text(&taken_up.attributes, "run"), Some(run.0.clone()));
    assert_eq!(text(&taken_up.attributes, "key"), Some(world.taker_bond()));
    for step in ["settle", "request_invoice", "await_invoice", "intend", "pay", "finalize"] {
        let span = of_payout.iter().find(|span| span.name == step).unwrap_or_else(|| panic!("no span of {step}"));
        assert_eq!(text(&span.attributes, "step").as_deref(), Some(step));
        let parent = of_payout.iter().find(|parent| parent.span_id == span.parent_span_id);
        assert_eq!(parent.map(|parent| parent.name.as_str()), Some("bond_payout"), "of {step}");
        let outcomes = span.events.iter().filter(|event| event.name == "transition");
        assert!(outcomes.filter_map(|event| text(&event.attributes, "outcome")).next().is_some(), "{span:?}");
    }
    for resource in &got {
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        assert_eq!(text(attributes, "service.name").as_deref(), Some("bondflowd"));
    }
    let workflows = ["bond_payout", "bond_release", "order_resolution"];
    for root in spans(&got).filter(|span| span.parent_span_id.is_empty()) {
        assert!(workflows.contains(&root.name.as_str()), "{root:?}");
    }
    let told = format!("{got:?}");
    let key = world.node.secret_key();
    let mut secrets = vec![key.to_secret_hex(), key.to_bech32().unwrap()];
    secrets.push(hex::encode(world.winner.preimage(hash).unwrap()));
    secrets.extend(world.trade.bonds.iter().map(|bond| hex::encode(bond.preimage)));
    assert!(secrets.iter().all(|secret| !told.contains(secret)), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_refuses_holds_nothing_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let world = World::without_daemon(exporting(address)).await;
    let process = Process::start(&world).await;
    world.rule(Action::AdminCancel, false, true).await;
    process.tells("the collector takes no spans, they are dropped until it does").await;
    is_paid(&world).await;
    process.signal("TERM").await;
    let ended = process.ends(Duration::from_secs(10)).await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.told);
    let warnings = ended.told.iter().filter(|line| line.contains("WARN")).count();
    assert_eq!(warnings, 1, "{:#?}", ended.told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_holds_nothing_up() {
    // Connections come about, and nobody reads them.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::without_daemon(exporting(listener.local_addr().unwrap())).await;
    let process = Process::start(&world).await;
    world.rule(Action::AdminCancel, false, true).await;
    is_paid(&world).await;
    process.stop(Duration::from_secs(10)).await;
}
