//! What the daemon tells of its work: lines on stderr, and spans for a collector where one is named.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::traces::Traces;

/// How the log looks.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Log {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to log, and to export spans to `collector`. What the lines tell is a matter of `RUST_LOG`, the spans are not.
///
/// # Errors
/// When the collector's address is none.
pub fn start(log: Log, collector: Option<&str>) -> anyhow::Result<Traces> {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,nostr_relay_pool=error,sqlx=warn,h2=warn"));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log {
        Log::Text => lines.with_target(false).boxed(),
        Log::Json => lines.json().boxed(),
    };
    let (traces, spans) = Traces::start(collector)?;
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).init();
    Ok(traces)
}
