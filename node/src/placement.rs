//! What this node hosts for the swarm: a task that owns the decisions of [`crate::core::placement`],
//! shows them how things are, and fetches, loads and lets go. It decides nothing, and knows neither
//! HTTP nor engines.
//!
//! What is asked for comes from the swarm's demand, what is served from its adverts, what could be
//! held from the store and the catalog, what is allowed from the owner's settings.

use std::collections::BTreeSet;
use std::sync::Arc;

use dht::network::Network;
use protocol::ModelName;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use web::manage::{Fetching, PlacementReport};

use crate::models::Models;
use crate::residency::Residency;
use crate::serving::Serving;

mod actor;
mod config;
mod errands;
mod looking;
mod silent;
#[cfg(test)]
mod tests;

use self::actor::Actor;
pub use self::config::PlacementConfig;
use self::errands::Hands;
use self::looking::Looking;
use self::silent::Silent;

/// What is about to be served and what is not any more, for the node's advert.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moving {
    /// Models that are about to be served.
    pub coming: BTreeSet<ModelName>,
    /// Models that are about to be let go: peers are not told of them any more.
    pub leaving: BTreeSet<ModelName>,
}

/// What the placement is made of.
pub struct Parts {
    /// The swarm.
    pub network: Network,
    /// The loaded models.
    pub residency: Residency,
    /// The store.
    pub models: Models,
    /// How peers are served.
    pub serving: Serving,
    /// What the owner set.
    pub config: PlacementConfig,
    /// How long a model that nobody asks for stays.
    pub keep_alive: std::time::Duration,
    /// The node was started without a model: one is chosen.
    pub begins: bool,
    /// Once this is cancelled nothing is taken on or let go.
    pub stop: CancellationToken,
}

/// Where what is done is shown.
pub struct Shown {
    moving: watch::Sender<Moving>,
    report: watch::Sender<PlacementReport>,
}

/// What is done, always the newest.
#[derive(Debug, Clone)]
pub struct Watched {
    /// For the node's advert.
    pub moving: watch::Receiver<Moving>,
    /// For its owner.
    pub report: watch::Receiver<PlacementReport>,
}

/// Both ends of what is shown. Until the task runs, and without it, nothing is taken on, and the
/// report says `why`.
pub fn shown(why: &str) -> (Shown, Watched) {
    let report = PlacementReport {
        closed: Some(why.to_owned()),
        ..PlacementReport::default()
    };
    let (moving, watched_moving) = watch::channel(Moving::default());
    let (report, watched_report) = watch::channel(report);
    let watched = Watched {
        moving: watched_moving,
        report: watched_report,
    };
    (Shown { moving, report }, watched)
}

/// Takes on what the swarm lacks and lets go what it does not need, until the node stops.
pub async fn run(parts: Parts, shown: Shown) {
    let stop = parts.stop.clone();
    let own = parts.network.own();
    let (fetching, fetched) = watch::channel(None::<Fetching>);
    let silent = Silent::default();
    let hands = Hands {
        network: parts.network.clone(),
        residency: parts.residency.clone(),
        models: parts.models.clone(),
        fetching: Arc::new(fetching),
        silent: silent.clone(),
    };
    let policy = crate::core::placement::Policy {
        keep_alive: parts.keep_alive,
        half_life: dht::core::demand::HALF_LIFE,
        ..crate::core::placement::Policy::default()
    };
    let begins = parts.begins;
    let looking = Looking::new(parts, silent);
    let actor = Actor::new(own, policy, hands, shown);
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = actor.run(looking, fetched, begins) => {}
    }
}
