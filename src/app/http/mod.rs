//! What the daemon shows of itself to whoever watches it: `/metrics` for Prometheus, `/healthz` and
//! `/readyz`. It only reads, and names neither keys nor invoices; there is no authentication.

mod metrics;
mod panel;
mod ready;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::prometheus_text;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::warn;

use crate::config::HttpSettings;

use super::AppError;
pub(super) use panel::Panel;

/// Listens where the settings say, if they do. A place that is taken, as by a second daemon of the machine, is no reason
/// to leave debts unpaid: the daemon works unwatched, and says so.
pub(super) async fn open(settings: &HttpSettings) -> Option<(TcpListener, SocketAddr)> {
    if !settings.enabled {
        return None;
    }
    let listening = async {
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    };
    match listening.await {
        Ok(listening) => Some(listening),
        Err(reason) => {
            warn!(
                "metrics and health are not served: `http.listen`: can't listen on {}: {reason}; free it, choose \
                 another, or set `http.enabled = false`",
                settings.listen
            );
            None
        }
    }
}

/// Answers until `stop` turns true; who asks at that moment gets no answer.
pub(super) async fn serve(
    listener: TcpListener,
    panel: Arc<Panel>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), AppError> {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(panel);
    tokio::select! {
        served = async { axum::serve(listener, routes).await } => {
            served.map_err(|error| AppError::Part(format!("metrics and health are not served any more: {error}")))
        }
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    }
}

async fn metrics(State(panel): State<Arc<Panel>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], panel.metrics().await)
}

async fn ready(State(panel): State<Arc<Panel>>) -> impl IntoResponse {
    let report = panel.look().await;
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CONTENT_TYPE, "application/json")], report.json())
}
