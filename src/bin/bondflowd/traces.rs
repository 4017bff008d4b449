//! Spans of runs and steps, exported over OTLP to a collector.
//!
//! A thread of its own sends them in batches. A collector that is away costs spans and nothing else: a batch that it does
//! not take is dropped, and so is what finds no room in the queue, or is to be sent less than [`REST`] after a failure.

use std::borrow::Cow;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::{TraceId, TracerProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter as Export,
};
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Subscriber, info, warn};
use tracing_opentelemetry::OtelData;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// How long spans wait for company.
const DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the collector is left alone after it has failed.
const REST: Duration = Duration::from_secs(10);
/// How long the end of the daemon waits for the last batch.
const LAST: Duration = Duration::from_secs(2);

/// The export, if there is one.
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Exports to the collector at `endpoint`, `http://HOST:PORT`. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the endpoint is none.
    pub fn start<S>(endpoint: Option<&str>) -> anyhow::Result<(Self, Option<impl Layer<S>>)>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let Some(endpoint) = endpoint else { return Ok((Self(None), None)) };
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_protocol(Protocol::Grpc)
            .with_timeout(PATIENCE)
            .build()
            .context("`telemetry.otlp_endpoint`")?;
        let exporter = Patient { exporter, again: Mutex::new(None) };
        let batches = BatchConfigBuilder::default().with_scheduled_delay(DELAY).build();
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource::builder()
            .with_service_name("bondflowd")
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .with_resource(resource)
            .build();
        let tracer =
            provider.tracer_with_scope(InstrumentationScope::builder("bondflow").with_version(version).build());
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
        // Not those of the libraries, among them the exporter's own.
        let ours = Targets::new().with_target("bondflow", LevelFilter::INFO);
        Ok((Self(Some(provider)), Some(layer.and_then(OfRuns).with_filter(ours))))
    }

    /// Sends what is left, as far as the collector takes it within a short time.
    pub async fn end(self) {
        let Some(provider) = self.0 else { return };
        let last = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST)).await;
        match last {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("the last spans are not exported: {error}"),
            Err(error) => warn!("the last spans are not exported: {error}"),
        }
    }
}

/// An exporter that leaves a collector alone that has failed, and says once that it has.
#[derive(Debug)]
struct Patient<E> {
    exporter: E,
    /// While the collector is away: when it is tried again.
    again: Mutex<Option<Instant>>,
}

impl<E> Patient<E> {
    /// Sets when it is tried again; the former.
    fn put_off(&self, again: Option<Instant>) -> Option<Instant> {
        std::mem::replace(&mut *self.again.lock().unwrap_or_else(PoisonError::into_inner), again)
    }

    fn rests(&self) -> bool {
        self.again.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|again| Instant::now() < again)
    }
}

impl<E: Export> Export for Patient<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if self.rests() {
            return Ok(());
        }
        let failed = self.exporter.export(batch).await.err();
        let again = failed.is_some().then(|| Instant::now() + REST);
        match (self.put_off(again), failed) {
            (None, Some(error)) => warn!("the collector takes no spans, they are dropped until it does: {error}"),
            (Some(_), None) => info!("the collector takes spans again"),
            _ => {}
        }
        // What is to be said of it has been said.
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Names the spans after workflow and step. All spans of a run are one trace, whichever daemon works on it and when:
/// the trace has the run's id.
struct OfRuns;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for OfRuns {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut seen = Seen::default();
        attributes.record(&mut seen);
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(OtelData { builder, .. }) = extensions.get_mut() else { return };
        builder.trace_id = seen.run.or(builder.trace_id);
        if let Some(name) = seen.name {
            builder.name = Cow::Owned(name);
        }
    }
}

/// What a new span tells of itself.
#[derive(Default)]
struct Seen {
    run: Option<TraceId>,
    name: Option<String>,
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        if ["workflow", "step"].contains(&field.name()) {
            self.name = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "run" {
            self.run = TraceId::from_hex(&format!("{value:?}")).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    /// A collector that fails at first; how often it was called.
    #[derive(Debug, Default, Clone)]
    struct Failing(Arc<AtomicUsize>);

    impl Export for Failing {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Err(OTelSdkError::InternalFailure("away".to_owned())),
                _ => Ok(()),
            }
        }
    }

    #[tokio::test]
    async fn a_collector_that_has_failed_is_left_alone_for_a_while() {
        let collector = Failing::default();
        let patient = Patient { exporter: collector.clone(), again: Mutex::new(None) };
        for _ in 0..4 {
            patient.export(vec![]).await.unwrap();
        }
        assert_eq!(collector.0.load(Ordering::Relaxed), 1, "it rests");
        patient.put_off(Some(Instant::now()));
        patient.export(vec![]).await.unwrap();
        patient.export(vec![]).await.unwrap();
        assert_eq!(collector.0.load(Ordering::Relaxed), 3, "it is back");
    }
}
