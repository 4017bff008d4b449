//! Routes gRPC methods by their path, behind lnd's two gates: the wallet's state, then the macaroon.

use super::faults::{self, Fault};
use super::macaroons;
use super::node::Node;
use super::wire::Scissors;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic_lnd::invoicesrpc::{
    AddHoldInvoiceRequest, CancelInvoiceMsg, CancelInvoiceResp, LookupInvoiceMsg, SettleInvoiceMsg, SettleInvoiceResp,
    SubscribeSingleInvoiceRequest,
};
use tonic_lnd::lnrpc::Payment;
use tonic_lnd::lnrpc::payment::PaymentStatus;
use tonic_lnd::lnrpc::{GetInfoRequest, ListPaymentsRequest, PayReqString, PaymentHash};
use tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use tonic_lnd::staterpc::{
    GetStateRequest, GetStateResponse, SubscribeStateRequest, SubscribeStateResponse, WalletState,
};
use tonic_lnd::tonic::body::Body;
use tonic_lnd::tonic::codec::{Codec, ProstCodec};
use tonic_lnd::tonic::codegen::{BoxFuture, Service, http};
use tonic_lnd::tonic::server::{Grpc, ServerStreamingService};
use tonic_lnd::tonic::{Request, Response, Status};

/// The services that a real lnd has of those that this file knows.
const SERVICES: [&str; 4] = ["lnrpc.Lightning", "lnrpc.State", "invoicesrpc.Invoices", "routerrpc.Router"];

type HttpRequest = http::Request<Body>;
type HttpResponse = http::Response<Body>;
type Answered = Pin<Box<dyn Future<Output = HttpResponse> + Send>>;
type Replies<T> = BoxStream<'static, Result<T, Status>>;

/// The gRPC server of one node.
#[derive(Clone)]
pub(super) struct Server(pub(super) Arc<Node>);

impl Service<HttpRequest> for Server {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<HttpResponse, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let node = self.0.clone();
        Box::pin(async move { Ok(answer(node, request).await) })
    }
}

async fn answer(node: Arc<Node>, request: HttpRequest) -> HttpResponse {
    let path = request.uri().path().to_owned();
    let fault = node.take_fault(&path);
    let fault = match faults::before_acting(fault, request.extensions().get()).await {
        Ok(fault) => fault,
        Err(status) => return status.into_http(),
    };
    match gates(&node, &path, &request) {
        Ok(caveats) => route(node, &path, Call { request, fault }, caveats).await,
        Err(status) => status.into_http(),
    }
}

/// Refuses what lnd's interceptors refuse; otherwise the macaroon's caveats.
fn gates(node: &Node, path: &str, request: &HttpRequest) -> Result<Vec<String>, Status> {
    if path.starts_with("/lnrpc.State/") {
        return Ok(Vec::new());
    }
    if macaroons::permission(path).is_none() {
        return Err(not_served(path));
    }
    match *node.wallet.borrow() {
        WalletState::WaitingToStart => Err("waiting to start, RPC services not available"),
        WalletState::NonExisting => Err("wallet not created, create one to enable full RPC access"),
        WalletState::Locked => Err("wallet locked, unlock it to enable full RPC access"),
        WalletState::Unlocked => {
            Err("the RPC server is in the process of starting up, but not yet ready to accept calls")
        }
        WalletState::RpcActive | WalletState::ServerActive => Ok(()),
    }
    .map_err(Status::unknown)?;
    let header = request.headers().get_all("macaroon");
    let header: Vec<&str> = header.iter().filter_map(|value| value.to_str().ok()).collect();
    macaroons::authorise(|id| node.root_key(id), &header, path, (node.now)())
}

fn route(node: Arc<Node>, path: &str, call: Call, caveats: Vec<String>) -> Answered {
    match path {
        "/lnrpc.State/GetState" => {
            call.unary(move |_: GetStateRequest| Ok(GetStateResponse { state: (*node.wallet.borrow()).into() }))
        }
        "/lnrpc.State/SubscribeState" => {
            call.stream(move |_: SubscribeStateRequest| Ok(wallet_states(node.wallet.subscribe())))
        }
        "/lnrpc.Lightning/GetInfo" => call.unary(move |_: GetInfoRequest| Ok(node.info())),
        "/lnrpc.Lightning/DecodePayReq" => {
            call.unary(move |request: PayReqString| node.decode_pay_req(&request.pay_req))
        }
        "/lnrpc.Lightning/ListPayments" => {
            call.unary(move |request: ListPaymentsRequest| Ok(node.list_payments(&request)))
        }
        "/lnrpc.Lightning/LookupInvoice" => call.unary(move |request: PaymentHash| node.lookup_invoice(&request)),
        "/invoicesrpc.Invoices/AddHoldInvoice" => {
            call.unary(move |request: AddHoldInvoiceRequest| node.add_hold_invoice(request))
        }
        "/invoicesrpc.Invoices/SettleInvoice" => call.unary(move |request: SettleInvoiceMsg| {
            node.settle_invoice(&request.preimage).map(|()| SettleInvoiceResp {})
        }),
        "/invoicesrpc.Invoices/CancelInvoice" => call.unary(move |request: CancelInvoiceMsg| {
            node.cancel_invoice(&request.payment_hash).map(|()| CancelInvoiceResp {})
        }),
        "/invoicesrpc.Invoices/LookupInvoiceV2" => {
            call.unary(move |request: LookupInvoiceMsg| node.lookup_invoice_v2(&request))
        }
        "/invoicesrpc.Invoices/SubscribeSingleInvoice" => call
            .stream(move |request: SubscribeSingleInvoiceRequest| node.follow_invoice(&request.r_hash).map(received)),
        "/routerrpc.Router/SendPaymentV2" => call.stream(move |request: SendPaymentRequest| {
            let quiet = request.no_inflight_updates;
            node.send_payment(request, caveats).map(|updates| payments(updates, quiet))
        }),
        "/routerrpc.Router/TrackPaymentV2" => call.stream(move |request: TrackPaymentRequest| {
            let quiet = request.no_inflight_updates;
            node.track_payment(&request.payment_hash).map(|updates| payments(updates, quiet))
        }),
        _ => Box::pin(std::future::ready(not_served(path).into_http())),
    }
}

/// What grpc-go answers for a path without a handler.
fn not_served(path: &str) -> Status {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    if SERVICES.contains(&service) {
        Status::unimplemented(format!("unknown method {method} for service {service}"))
    } else {
        Status::unimplemented(format!("unknown service {service}"))
    }
}

/// The wallet's state now, and whenever it changes.
fn wallet_states(mut wallet: watch::Receiver<WalletState>) -> Replies<SubscribeStateResponse> {
    wallet.mark_changed();
    let next = |mut wallet: watch::Receiver<WalletState>| async {
        wallet.changed().await.ok()?;
        let state = (*wallet.borrow_and_update()).into();
        Some((Ok(SubscribeStateResponse { state }), wallet))
    };
    stream::unfold(wallet, next).boxed()
}

fn received<T: Send + 'static>(updates: UnboundedReceiver<Result<T, Status>>) -> Replies<T> {
    UnboundedReceiverStream::new(updates).boxed()
}

/// With `no_inflight_updates` only the last update is sent.
fn payments(updates: UnboundedReceiver<Result<Payment, Status>>, quiet: bool) -> Replies<Payment> {
    let wanted = move |update: &Result<Payment, Status>| {
        let in_flight = |payment: &Payment| payment.status() == PaymentStatus::InFlight;
        !(quiet && update.as_ref().is_ok_and(in_flight))
    };
    received(updates).filter(move |update| std::future::ready(wanted(update))).boxed()
}

/// One request that has passed the gates, and what goes wrong once lnd has acted.
struct Call {
    request: HttpRequest,
    fault: Option<Fault>,
}

impl Call {
    fn unary<Req, Res>(self, act: impl FnOnce(Req) -> Result<Res, Status> + Send + 'static) -> Answered
    where
        ProstCodec<Res, Req>: Codec<Encode = Res, Decode = Req> + Default,
        Req: Send + 'static,
        Res: Send + 'static,
    {
        self.stream(|request| act(request).map(|reply| stream::iter([Ok(reply)]).boxed()))
    }

    fn stream<Req, Res>(self, act: impl FnOnce(Req) -> Result<Replies<Res>, Status> + Send + 'static) -> Answered
    where
        ProstCodec<Res, Req>: Codec<Encode = Res, Decode = Req> + Default,
        Req: Send + 'static,
        Res: Send + 'static,
    {
        let scissors = self.request.extensions().get().cloned();
        let method = Method { act: Some(act), fault: self.fault, scissors };
        let codec = ProstCodec::<Res, Req>::default();
        Box::pin(async move { Grpc::new(codec).server_streaming(method, self.request).await })
    }
}

/// A gRPC method for a single request.
struct Method<F> {
    act: Option<F>,
    fault: Option<Fault>,
    scissors: Option<Scissors>,
}

impl<F, Req, Res> ServerStreamingService<Req> for Method<F>
where
    F: FnOnce(Req) -> Result<Replies<Res>, Status>,
    Res: Send + 'static,
{
    type Response = Res;
    type ResponseStream = Replies<Res>;
    type Future = BoxFuture<Response<Replies<Res>>, Status>;

    /// As in grpc-go, the headers leave with the first reply and not before.
    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let act = self.act.take().expect("a request is served once");
        let acted = act(request.into_inner());
        let (fault, scissors) = (self.fault.take(), self.scissors.take());
        Box::pin(async move {
            faults::after_acting(fault, scissors.as_ref()).await;
            let mut replies = acted?;
            let first = replies.next().await.transpose()?;
            let first = stream::iter(first.map(Ok));
            Ok(Response::new(first.chain(replies).boxed()))
        })
    }
}
