//! How things are, as the placement is shown them: the swarm's demand and adverts, the store, the
//! catalog, the loaded models, the owner's settings. It translates and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use dht::demand::{Demand, Estimate};
use dht::view::{Peer, View};
use protocol::advert::{NodeRole, Profile};
use protocol::{ModelName, NodeId};

use super::Parts;
use super::config::PlacementConfig;
use super::silent::Silent;
use crate::core::placement::{Asked, Candidate, Form, Held, Rate, Scene, Served};
use crate::core::ranking::Level;
use crate::models::Models;
use crate::models::core::catalog::{Catalog, Entry};
use crate::residency::{self, Residency};
use crate::serving::Serving;

/// What is looked at.
pub(super) struct Looking {
    network: dht::network::Network,
    residency: Residency,
    models: Models,
    serving: Serving,
    config: PlacementConfig,
    silent: Silent,
    /// Peers that were connected at the last look.
    met: BTreeSet<NodeId>,
}

impl Looking {
    pub(super) fn new(parts: Parts, silent: Silent) -> Self {
        Self {
            network: parts.network,
            residency: parts.residency,
            models: parts.models,
            serving: parts.serving,
            config: parts.config,
            silent,
            met: BTreeSet::new(),
        }
    }

    /// How things are now. What could be held is looked at where it is asked for, or all of it.
    pub(super) async fn look(&mut self, all: bool) -> Scene {
        let view = self.network.view();
        let loaded = self.residency.view().borrow().clone();
        let demand = self.network.demand();
        let now = tokio::time::Instant::now().into_std();
        self.meet(&view, now);
        let mut absent = self.silent.nodes(now);
        absent.insert(self.network.own());
        let asked: BTreeMap<ModelName, Asked> = demand
            .iter()
            .map(|demand| (demand.model.clone(), asked_of(demand)))
            .collect();
        Scene {
            candidates: self.candidates(&view, &asked, all).await,
            asked,
            served: served(&view.peers, &absent, self.network.is_private()),
            held: self.held(&loaded),
            free_bytes: loaded.free_bytes,
            closed: self.closed(),
        }
    }

    /// Whose connection ended may be gone, whatever its advert says; it is asked before anything is done.
    fn meet(&mut self, view: &View, now: Instant) {
        let connected = view.peers.iter().filter(|(_, peer)| peer.path.is_some());
        let connected: BTreeSet<NodeId> = connected.map(|(node, _)| *node).collect();
        for lost in self.met.difference(&connected) {
            self.silent.note(*lost, false, now);
        }
        for come in connected.difference(&self.met) {
            self.silent.note(*come, true, now);
        }
        self.met = connected;
    }

    fn closed(&self) -> Option<&'static str> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let closed = self.config.closed(now.map_or(0, |since| since.as_secs()));
        let serves = self.serving.serves_peers(self.network.is_private());
        closed.or((!serves).then_some("peers are not served here (serve_public = false)"))
    }

    /// Loaded models that peers may use, and those that are being loaded.
    fn held(&self, loaded: &residency::View) -> BTreeMap<ModelName, Held> {
        let offered = loaded.models.iter();
        let offered = offered.filter(|(model, _)| self.serving.offers(model, loaded));
        let held = offered.map(|(model, seen)| {
            let held = Held {
                is_owners: seen.is_owners,
                is_pinned: loaded.pinned.contains(model),
                leases: seen.leases,
            };
            (model.clone(), held)
        });
        held.collect()
    }

    async fn candidates(
        &self,
        view: &View,
        asked: &BTreeMap<ModelName, Asked>,
        all: bool,
    ) -> BTreeMap<ModelName, Candidate> {
        let mut candidates = BTreeMap::new();
        let is_meant = |model: &ModelName| all || asked.contains_key(model);
        for stored in self.models.list() {
            if let Ok(model) = stored.name.parse::<ModelName>()
                && is_meant(&model)
                && self.may_hold(&model)
                && let Ok(examined) = self.residency.examine(&model).await
                && examined.name == model
            {
                let form = match examined.seen_by {
                    Level::Local => Form::Alone,
                    Level::Trusted | Level::Swarm => Form::Chain,
                };
                let candidate = Candidate {
                    form,
                    need_bytes: examined.need_bytes,
                    fetch_bytes: 0,
                    writes: examined.facts.can_generate(),
                    rivals: rivals(view, examined.need_bytes),
                };
                candidates.insert(model, candidate);
            }
        }
        for entry in Catalog::builtin().entries() {
            if let Some((model, candidate)) = self.of_catalog(entry, view)
                && is_meant(&model)
            {
                candidates.entry(model).or_insert(candidate);
            }
        }
        candidates
    }

    /// A model of the catalog that is not here.
    fn of_catalog(&self, entry: &Entry, view: &View) -> Option<(ModelName, Candidate)> {
        let model: ModelName = entry.name.parse().ok()?;
        let is_absent = self.models.full_name(&entry.name).is_err();
        let need_bytes = entry.memory_bytes();
        let candidate = Candidate {
            form: Form::Alone,
            need_bytes,
            fetch_bytes: entry.size_mb.saturating_mul(1_000_000),
            writes: !entry.embeds,
            rivals: rivals(view, need_bytes),
        };
        (is_absent && self.may_hold(&model)).then_some((model, candidate))
    }

    /// Whether the owner lets peers use this model once it is loaded, and it be taken on for them.
    fn may_hold(&self, model: &ModelName) -> bool {
        self.config.allows(model) && self.serving.would_offer(model)
    }
}

fn asked_of(demand: &Demand) -> Asked {
    let rate = |estimate: &Estimate| Rate::new(estimate.per_second, estimate.error);
    Asked {
        arrivals: rate(&demand.arrivals),
        unmet: rate(&demand.unmet),
        waiting: demand.waiting,
        authors: demand.authors,
    }
}

/// What others serve and are about to serve, to those whom they serve; who is absent does neither.
pub(super) fn served(
    peers: &BTreeMap<NodeId, Peer>,
    absent: &BTreeSet<NodeId>,
    is_private: bool,
) -> BTreeMap<ModelName, Served> {
    let mut served: BTreeMap<ModelName, Served> = BTreeMap::new();
    let others = peers.iter().filter(|(node, _)| !absent.contains(*node));
    for (node, said) in others.filter_map(|(node, peer)| Some((node, peer.said.as_ref()?))) {
        if !is_private && !said.limits.serves_strangers {
            continue;
        }
        for deployed in &said.deployments {
            let known = served.entry(deployed.model.clone()).or_default();
            known.servers = known.servers.saturating_add(1);
            known.sequences = known.sequences.saturating_add(deployed.parallel);
            if deployed.queued == 0 {
                let idle = deployed.parallel.saturating_sub(deployed.running);
                known.idle = known.idle.saturating_add(idle);
            }
        }
        for model in &said.coming {
            let known = served.entry(model.clone()).or_default();
            known.coming.insert(*node);
        }
    }
    served
}

/// Peers that could hold a model of this size as well, this node too: those of whom it is heard,
/// and as many more as the swarm is larger.
fn rivals(view: &View, need_bytes: u64) -> u32 {
    let heard: Vec<&Profile> = view
        .peers
        .values()
        .filter_map(|p| p.said.as_deref())
        .collect();
    let able = heard
        .iter()
        .filter(|said| could_hold(said, need_bytes))
        .count();
    let known = heard.len().saturating_add(1);
    let size = view.size.map_or(known, |size| (size as usize).max(known));
    let able = (able as f64) * (size as f64) / (known as f64);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is clamped to a swarm's size"
    )]
    let able = able.clamp(0.0, f64::from(u32::MAX / 2)) as u32;
    able.saturating_add(1)
}

pub(super) fn could_hold(said: &Profile, need_bytes: u64) -> bool {
    let devices = said.devices.iter();
    let free = devices.fold(0u64, |sum, device| {
        sum.saturating_add(device.memory_free_bytes)
    });
    let allowed = said.limits.memory_bytes.unwrap_or(u64::MAX);
    said.role == NodeRole::Server && free.min(allowed) >= need_bytes
}
