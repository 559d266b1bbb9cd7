//! Metrics of the engines that requests have used, in the OpenMetrics text format.
//!
//! It holds engines weakly: metrics keep no model loaded. It knows no request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use llama_sys::engine::{Engine, Load};
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use protocol::ModelName;

type Labels = Vec<(&'static str, String)>;

/// The engines by model; those that are gone are dropped at the next look.
#[derive(Default)]
pub(super) struct Engines(Mutex<BTreeMap<ModelName, Weak<dyn Engine>>>);

impl Engines {
    /// Remembers a model's engine.
    pub(super) fn note(&self, model: &ModelName, engine: &Arc<dyn Engine>) {
        let mut engines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = engines
            .get(model)
            .is_some_and(|known| std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(engine)));
        if !known {
            engines.insert(model.clone(), Arc::downgrade(engine));
        }
    }

    /// A model's engine, if a request has used it and it is still there.
    pub(super) fn engine(&self, model: &ModelName) -> Option<Arc<dyn Engine>> {
        let engines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        engines.get(model)?.upgrade()
    }

    fn loads(&self) -> Vec<(ModelName, Load)> {
        let mut engines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        engines.retain(|_, engine| engine.strong_count() > 0);
        engines
            .iter()
            .filter_map(|(model, engine)| Some((model.clone(), engine.upgrade()?.load())))
            .collect()
    }

    /// Appends every engine's metrics, without `# EOF`.
    pub(super) fn write(&self, out: &mut String) {
        let mut registry = Registry::with_prefix("shoal");
        let families = Families::register(&mut registry);
        for (model, load) in self.loads() {
            families.set(&vec![("model", model.to_string())], &load);
        }
        encode_registry(out, &registry).expect("a string takes all text");
    }
}

/// One family for each figure of [`Load`].
#[derive(Default)]
struct Families {
    running: Family<Labels, Gauge>,
    waiting: Family<Labels, Gauge>,
    kv_used: Family<Labels, Gauge>,
    kv_total: Family<Labels, Gauge>,
    memory: Family<Labels, Gauge>,
    prefill: Family<Labels, Counter>,
    cached: Family<Labels, Counter>,
    decode: Family<Labels, Counter>,
    drafted: Family<Labels, Counter>,
    accepted: Family<Labels, Counter>,
    restarts: Family<Labels, Counter>,
}

impl Families {
    fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let mut gauge = |name: &str, help: &str, family: &Family<Labels, Gauge>| {
            registry.register(name, help, family.clone());
        };
        gauge(
            "requests_running",
            "Requests that are computed",
            &all.running,
        );
        gauge(
            "requests_waiting",
            "Requests that wait for a place",
            &all.waiting,
        );
        gauge(
            "kv_cache_used_tokens",
            "Cells of the KV cache in use, kept prefixes included",
            &all.kv_used,
        );
        gauge("kv_cache_tokens", "Cells of the KV cache", &all.kv_total);
        registry.register_with_unit(
            "model_resident_memory",
            "Resident memory of the model's process",
            Unit::Bytes,
            all.memory.clone(),
        );
        let mut counter = |name: &str, help: &str, family: &Family<Labels, Counter>| {
            registry.register(name, help, family.clone());
        };
        counter(
            "prefill_tokens",
            "Tokens of prompts that were computed",
            &all.prefill,
        );
        counter(
            "prefix_cache_hit_tokens",
            "Tokens of prompts that came from the prefix cache",
            &all.cached,
        );
        counter("decode_tokens", "Tokens generated", &all.decode);
        counter(
            "drafted_tokens",
            "Tokens drafted and verified",
            &all.drafted,
        );
        counter(
            "accepted_draft_tokens",
            "Drafted tokens that were the model's own",
            &all.accepted,
        );
        counter(
            "worker_restarts",
            "Times that the model's process was started again",
            &all.restarts,
        );
        all
    }

    fn set(&self, labels: &Labels, load: &Load) {
        let gauge = |family: &Family<Labels, Gauge>, value: u64| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            family.get_or_create(labels).set(value);
        };
        gauge(&self.running, load.running.into());
        gauge(&self.waiting, load.waiting.into());
        gauge(&self.kv_used, load.kv_used.into());
        gauge(&self.kv_total, load.kv_total.into());
        gauge(&self.memory, load.memory_bytes);
        let counter = |family: &Family<Labels, Counter>, value: u64| {
            family.get_or_create(labels).inc_by(value);
        };
        counter(&self.prefill, load.prefill_tokens);
        counter(&self.cached, load.cached_tokens);
        counter(&self.decode, load.decode_tokens);
        counter(&self.drafted, load.drafted_tokens);
        counter(&self.accepted, load.accepted_tokens);
        counter(&self.restarts, load.restarts.into());
    }
}
