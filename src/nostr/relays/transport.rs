//! The websocket under a connection: nostr-sdk's own, but a small message does not wait for the
//! answer to the one before it. With Nagle's algorithm, an event sent just after another waits for
//! as long as the relay's system delays its acknowledgment: 40 ms.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_wsocket::{ConnectionMode, Message, WebSocket};
use futures_util::stream::SplitSink;
use futures_util::{Sink, StreamExt, TryStreamExt};
use nostr_sdk::Url;
use nostr_sdk::pool::transport::error::TransportError;
use nostr_sdk::pool::transport::websocket::{WebSocketSink, WebSocketStream, WebSocketTransport};
use nostr_sdk::util::BoxedFuture;
use tokio_tungstenite::MaybeTlsStream;

/// Websockets that send at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prompt;

impl WebSocketTransport for Prompt {
    fn support_ping(&self) -> bool {
        true
    }

    fn connect<'a>(
        &'a self,
        url: &'a Url,
        mode: &'a ConnectionMode,
        timeout: Duration,
    ) -> BoxedFuture<'a, Result<(WebSocketSink, WebSocketStream), TransportError>> {
        Box::pin(async move {
            let socket = WebSocket::connect(url, mode, timeout).await.map_err(TransportError::backend)?;
            send_at_once(&socket).map_err(TransportError::backend)?;
            let (out, received) = socket.split();
            let received: WebSocketStream = Box::pin(received.map_err(TransportError::backend));
            Ok((Box::new(Out(out)) as WebSocketSink, received))
        })
    }
}

fn send_at_once(socket: &WebSocket) -> std::io::Result<()> {
    let WebSocket::Tokio(socket) = socket;
    match socket.get_ref() {
        MaybeTlsStream::Plain(stream) => stream.set_nodelay(true),
        MaybeTlsStream::Rustls(stream) => stream.get_ref().0.set_nodelay(true),
        // A kind of TLS that this build has not: it sends when it sends.
        _ => Ok(()),
    }
}

/// The sending half, with the pool's kind of error.
struct Out(SplitSink<WebSocket, Message>);

impl Sink<Message> for Out {
    type Error = TransportError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.0).poll_ready(cx).map_err(TransportError::backend)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        Pin::new(&mut self.0).start_send(message).map_err(TransportError::backend)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(TransportError::backend)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.0).poll_close(cx).map_err(TransportError::backend)
    }
}
