//! The meeting place of nodes that know nobody: looked up when the join wishes it, and told of
//! this node when its schedule says so.

use std::{future::pending, time::Instant};

use libp2p::{Multiaddr, Swarm, identity::Keypair};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use super::{actor::Actor, behaviour::Behaviour, config};
use crate::{
    address::{Direct, is_circuit},
    core::{
        join::{self, Candidate, SearchId, Way},
        rendezvous::{AnnounceId, Ended, Input, Output, Schedule, announced},
    },
    reach::{self, Reach},
    rendezvous::{Config, Rendezvous},
};

/// Nodes that were found and wait to be taken in; a search waits while there are so many.
const MOST_FOUND: usize = 64;

/// What came of the meeting place.
pub(super) enum Met {
    /// Somebody.
    Found(Candidate),
    /// A search's end.
    Searched(SearchId, Option<join::Cause>),
    /// An announcement's end.
    Announced(AnnounceId, Ended),
}

/// The meeting place, and what is under way there.
pub(super) struct Meeting {
    place: Option<Place>,
}

struct Place {
    rendezvous: Rendezvous,
    reach: Reach,
    schedule: Schedule,
    waiting: Vec<Input>,
    tasks: JoinSet<Met>,
    announcing: Option<(AnnounceId, AbortHandle)>,
    found: mpsc::Sender<Candidate>,
    arrivals: mpsc::Receiver<Candidate>,
}

impl Meeting {
    /// As it is configured.
    pub(super) fn new(config: &config::Config) -> Self {
        let key = Keypair::ed25519_from_bytes(config.key.to_bytes());
        let place = key.ok().and_then(|key| match &config.meeting {
            config::Meeting::Nowhere => None,
            config::Meeting::PublicDht => Some(Config::amino(key)),
            config::Meeting::At(servers) => Some(Config {
                keypair: key,
                servers: servers.clone(),
                reach: Reach::Any,
            }),
        });
        Self {
            place: place.map(Place::new),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.place.as_ref()?.schedule.next_deadline()
    }

    /// Where others can dial this node may have changed: confirmed addresses, relays that agreed,
    /// and listeners.
    pub(super) fn on_addresses(&mut self, swarm: &Swarm<Behaviour>) {
        let Some(place) = &mut self.place else {
            return;
        };
        let (own, within) = (swarm.local_peer_id(), place.reach);
        let is_tellable = |address: &&Multiaddr| reach::address(address, own, within).is_some();
        let relayed = swarm.listeners().filter(|address| is_circuit(address));
        let reached = swarm.external_addresses().chain(relayed);
        let reached = reached.filter(is_tellable).map(ToString::to_string);
        let listening = swarm.listeners().filter(is_tellable);
        let listening = listening.filter_map(|address| {
            let scope = Direct::parse(address)?.scope();
            Some((scope, address.to_string()))
        });
        let addresses = announced(reached.collect(), listening);
        place.waiting.push(Input::Addresses(addresses));
    }

    /// Whatever comes next; never, if there is no meeting place.
    pub(super) async fn next(&mut self) -> Option<Met> {
        let Some(place) = &mut self.place else {
            return pending().await;
        };
        tokio::select! {
            biased;
            Some(found) = place.arrivals.recv() => Some(Met::Found(found)),
            Some(ended) = place.tasks.join_next() => match ended {
                Ok(met) => Some(met),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => None,
            },
        }
    }
}

impl Place {
    fn new(config: Config) -> Self {
        let (found, arrivals) = mpsc::channel(MOST_FOUND);
        Self {
            reach: config.reach,
            rendezvous: Rendezvous::new(config),
            schedule: Schedule::default(),
            waiting: Vec::new(),
            tasks: JoinSet::new(),
            announcing: None,
            found,
            arrivals,
        }
    }

    fn search(&mut self, id: SearchId) {
        let (rendezvous, found) = (self.rendezvous.clone(), self.found.clone());
        self.tasks.spawn(async move {
            let ended = rendezvous.find(found).await;
            Met::Searched(id, ended.err())
        });
    }

    fn announce(&mut self, id: AnnounceId, addresses: Vec<String>) {
        let rendezvous = self.rendezvous.clone();
        let task = self.tasks.spawn(async move {
            let ended = match rendezvous.announce(&addresses).await {
                Ok(1..) => Ended::Taken,
                Ok(0) | Err(_) => Ended::Failed,
            };
            Met::Announced(id, ended)
        });
        self.announcing = Some((id, task));
    }
}

impl Actor {
    pub(super) fn on_meeting(&mut self, met: Met) {
        match met {
            Met::Found(candidate) => {
                let found = self.not_us(vec![candidate]);
                self.joining
                    .push(join::Input::Found(Way::Rendezvous, found));
            }
            Met::Searched(id, cause) => self.joining.push(join::Input::SearchEnded(id, cause)),
            Met::Announced(id, ended) => {
                if let Some(place) = &mut self.meeting.place {
                    place.waiting.push(Input::Ended(id, ended));
                }
            }
        }
    }

    /// Searches and announces what is due.
    pub(super) fn drive_meeting(&mut self, now: Instant) {
        let Some(place) = &mut self.meeting.place else {
            return;
        };
        if let Some(id) = self.joining.wants_meeting.take() {
            place.search(id);
        }
        if place.schedule.next_deadline().is_some_and(|due| due <= now) {
            place.waiting.push(Input::Tick);
        }
        let mut outputs = Vec::new();
        for input in std::mem::take(&mut place.waiting) {
            place
                .schedule
                .handle(input, now, &mut self.rng, &mut outputs);
        }
        for output in outputs {
            match output {
                Output::Announce(id, addresses) => place.announce(id, addresses),
                Output::Abandon(id) => {
                    if let Some((_, task)) = place.announcing.take_if(|(open, _)| *open == id) {
                        task.abort();
                    }
                }
            }
        }
    }
}
