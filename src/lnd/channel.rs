//! The channel to lnd: one HTTP/2 connection that makes itself anew, a macaroon on each call, and a deadline around it.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;
use tonic_lnd::invoicesrpc::invoices_client::InvoicesClient;
use tonic_lnd::lnrpc::lightning_client::LightningClient;
use tonic_lnd::routerrpc::router_client::RouterClient;
use tonic_lnd::staterpc::{GetStateRequest, GetStateResponse};
use tonic_lnd::tonic::client::Grpc;
use tonic_lnd::tonic::codec::ProstCodec;
use tonic_lnd::tonic::codegen::http::Uri;
use tonic_lnd::tonic::codegen::http::uri::PathAndQuery;
use tonic_lnd::tonic::metadata::{Ascii, MetadataValue};
use tonic_lnd::tonic::transport::{Channel, Endpoint};
use tonic_lnd::tonic::{Request, Response, Status, Streaming};

use super::connect::{BadAddress, Connector, NotConnected, Target, read};
use super::macaroon::Macaroon;

/// How often a connection with calls under way is pinged; lnd hangs up on pings less than 5 s apart, and on any ping
/// while there is no call.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long lnd may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take up to its answer, or up to a stream's first word. Above the time in which pings find a dead
/// connection, so that the call after the one that hung has a new one.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The largest answer that is read: a payment with hundreds of attempts and their routes outgrows tonic's 4 MB.
const LARGEST_ANSWER: usize = 64 << 20;

/// The one call that needs no macaroon.
pub(super) const GET_STATE: &str = "/lnrpc.State/GetState";

/// A channel to the lnd at `https://HOST:PORT` that holds the certificate of that file. It connects when it is first
/// used, and anew whenever the connection has broken; it brings no macaroon and no deadline. Call it inside a tokio
/// runtime.
///
/// # Errors
/// When the address is of another form.
pub fn open_channel(address: &str, certificate: PathBuf) -> Result<Channel, BadAddress> {
    let target = Target::new(address, certificate)?;
    let origin: Uri = format!("https://{}", target.authority()).parse().map_err(|_| BadAddress)?;
    // The connector does TLS itself, so tonic, which would insist on its own, is told of a plain endpoint.
    let plain = Endpoint::from_shared(format!("http://{}", target.authority())).map_err(|_| BadAddress)?;
    Ok(plain
        .origin(origin)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(false)
        .connect_with_connector_lazy(Connector::new(target)))
}

/// Calls to lnd.
#[derive(Clone)]
pub(super) struct Lnd {
    channel: Channel,
    macaroon: PathBuf,
    deadline: Duration,
}

impl std::fmt::Debug for Lnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lnd").field("macaroon", &self.macaroon).finish_non_exhaustive()
    }
}

impl Lnd {
    /// Calls over a channel that connects when it is first used. Call it inside a tokio runtime.
    pub(super) fn new(
        address: &str,
        certificate: PathBuf,
        macaroon: PathBuf,
        deadline: Duration,
    ) -> Result<Self, BadAddress> {
        Ok(Self { channel: open_channel(address, certificate)?, macaroon, deadline })
    }

    pub(super) fn lightning(&self) -> LightningClient<Channel> {
        LightningClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    pub(super) fn router(&self) -> RouterClient<Channel> {
        RouterClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    pub(super) fn invoices(&self) -> InvoicesClient<Channel> {
        InvoicesClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// `GetState` of the State service, which asks for no macaroon. The generated client calls it by a name that lnd does
    /// not serve: lnd has the service in the package `lnrpc`.
    pub(super) async fn wallet_state(&self) -> Result<GetStateResponse, Status> {
        let path = PathAndQuery::from_static(GET_STATE);
        let codec: ProstCodec<GetStateRequest, GetStateResponse> = ProstCodec::default();
        let mut grpc = Grpc::new(self.channel.clone());
        self.answer(async {
            grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
            grpc.unary(Request::new(GetStateRequest {}), path, codec).await
        })
        .await
    }

    /// A request under the macaroon of the file.
    pub(super) async fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        let macaroon = self.read_macaroon().await?;
        Ok(under(&macaroon, message))
    }

    /// A request under a macaroon that lnd takes only before a time, RFC 3339: it can't have an effect later, however
    /// long it is on its way.
    pub(super) async fn request_before<T>(&self, time: &str, message: T) -> Result<Request<T>, Status> {
        let macaroon = self.read_macaroon().await?.with_caveat(&format!("time-before {time}"));
        Ok(under(&macaroon, message))
    }

    /// Read for each call: the file of a node that was made anew, or of a revoked macaroon, is replaced while the daemon
    /// runs.
    async fn read_macaroon(&self) -> Result<Macaroon, Status> {
        let bytes = read(&self.macaroon).await.map_err(unsent)?;
        Macaroon::from_bytes(&bytes).map_err(|_| unsent(NotConnected::NoMacaroon(self.macaroon.clone())))
    }

    /// Waits for an answer within the deadline.
    pub(super) async fn answer<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        self.within_deadline(call).await.map(Response::into_inner)
    }

    /// Waits for a stream's first item within the deadline, which holds for its headers too. None: it ended without one.
    pub(super) async fn first<T>(
        &self,
        call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<(Option<T>, Streaming<T>), Status> {
        self.within_deadline(async {
            let mut stream = call.await?.into_inner();
            Ok((stream.message().await?, stream))
        })
        .await
    }

    async fn within_deadline<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        match timeout(self.deadline, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} ms", self.deadline.as_millis()))),
        }
    }
}

fn unsent(cause: NotConnected) -> Status {
    Status::from_error(Box::new(cause))
}

fn under<T>(macaroon: &Macaroon, message: T) -> Request<T> {
    let mut header: MetadataValue<Ascii> = macaroon.to_header().parse().expect("hexadecimal digits make a header");
    header.set_sensitive(true);
    let mut request = Request::new(message);
    request.metadata_mut().insert("macaroon", header);
    request
}
