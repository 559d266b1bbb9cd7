//! Who serves a model, by the swarm's own DHT: provider records are looked up, and the providers
//! are asked for their adverts. Those who follow a board, the same way. And this node's own provider
//! records.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Instant,
};

use libp2p::{
    kad::{self, GetProvidersOk, QueryId, QueryResult, RecordKey as KadKey},
    request_response::OutboundRequestId,
};
use protocol::{
    ModelName, NodeId,
    advert::{AdvertQuery, Profile},
    board::BoardName,
    record_key::{Bucket, Provided, RecordKey},
};
use rand::seq::IteratorRandom;
use tokio::sync::oneshot;

use super::actor::Actor;
use crate::peer::{node_id, peer_id};

/// Searches at a time: each is a request for a model that nobody here heard of.
const MOST_SEARCHES: usize = 64;

/// Providers that one search asks: more than any router tries.
const MOST_PROVIDERS: usize = 32;

/// Lookups of those who follow boards, at a time; of one each as many are dialed as gossip wants
/// neighbours.
const MOST_SEEKING: usize = 4;
const MOST_DIALED: usize = 4;

/// After how many nodes of the DHT what is provided is told again: until a lookup's end is sure
/// to be near the key, at the price of a few queries.
const TELL_AGAIN_AT: [usize; 3] = [1, 4, 16];

/// One search.
struct Search {
    found: oneshot::Sender<usize>,
    providers: BTreeSet<NodeId>,
    /// Requests for adverts that are under way.
    asked: usize,
    is_looked_up: bool,
}

/// Searches, and what this node provides.
#[derive(Default)]
pub(super) struct Finding {
    searches: HashMap<QueryId, Search>,
    requests: HashMap<OutboundRequestId, QueryId>,
    provided: BTreeSet<RecordKey>,
    /// Lookups of those who follow a board.
    seeking: HashSet<QueryId>,
    /// Nodes that came into the routing table since the start.
    routed: usize,
}

impl Actor {
    /// Looks a model's providers up; `found` is told how many there are once their adverts are
    /// here.
    pub(super) fn find(&mut self, model: &ModelName, found: oneshot::Sender<usize>) {
        if self.finding.searches.len() >= MOST_SEARCHES {
            let _ = found.send(0);
            return;
        }
        let key = self.provider_key(model);
        let kad = &mut self.swarm.behaviour_mut().inside.inner_mut().kad;
        let query = kad.get_providers(kad_key(&key));
        let search = Search {
            found,
            providers: BTreeSet::new(),
            asked: 0,
            is_looked_up: false,
        };
        self.finding.searches.insert(query, search);
    }

    /// Looks up who follows a board, and connects to a few of them.
    pub(super) fn seek(&mut self, board: &BoardName) {
        if self.finding.seeking.len() >= MOST_SEEKING {
            return;
        }
        let key = RecordKey::board(self.telling.swarm_name(), board);
        let kad = &mut self.swarm.behaviour_mut().inside.inner_mut().kad;
        let query = kad.get_providers(kad_key(&key));
        self.finding.seeking.insert(query);
    }

    /// Who follows a board: dialed, by what its record or its advert says.
    fn on_followers(&mut self, nodes: Vec<NodeId>) {
        let now = Instant::now();
        let strangers = nodes.into_iter().filter(|node| {
            let is_there = *node == self.own || self.linking.is_connected(*node);
            !is_there && !self.is_banned(*node)
        });
        for node in strangers.sample(&mut rand::rng(), MOST_DIALED) {
            if self.telling.adverts.known(&node, now).is_some() {
                self.dial_peer(node);
            } else {
                // The question dials it.
                let asking = &mut self.swarm.behaviour_mut().inside.inner_mut().asking;
                asking.send_request(&peer_id(&node), AdvertQuery::of([node]));
            }
        }
    }

    /// One key for a model: it holds twenty providers, more than a router tries.
    fn provider_key(&self, model: &ModelName) -> RecordKey {
        let swarm = self.telling.swarm_name();
        RecordKey::provider(swarm, model, Provided::Deployment, Bucket::default())
    }

    pub(super) fn on_kad(&mut self, event: kad::Event) {
        let (id, result, step) = match event {
            kad::Event::OutboundQueryProgressed {
                id, result, step, ..
            } => (id, result, step),
            kad::Event::RoutingUpdated {
                is_new_peer: true, ..
            } => return self.on_routed(),
            _ => return,
        };
        let result = match result {
            QueryResult::GetProviders(result) => result,
            QueryResult::GetClosestPeers(found) if step.last => return self.on_closest(id, &found),
            _ => return,
        };
        if let Ok(GetProvidersOk::FoundProviders { providers, .. }) = result {
            let nodes: Vec<NodeId> = providers.iter().filter_map(node_id).collect();
            match self.finding.seeking.contains(&id) {
                true => self.on_followers(nodes),
                false => self.on_providers(id, nodes),
            }
        }
        if step.last {
            self.finding.seeking.remove(&id);
            if let Some(search) = self.finding.searches.get_mut(&id) {
                search.is_looked_up = true;
            }
            self.end_if_done(id);
        }
    }

    /// The DHT has one more node that we know. What was provided while it had few of them is told
    /// again, to those that are closer.
    fn on_routed(&mut self) {
        self.finding.routed = self.finding.routed.saturating_add(1);
        if !TELL_AGAIN_AT.contains(&self.finding.routed) {
            return;
        }
        let kad = &mut self.swarm.behaviour_mut().inside.inner_mut().kad;
        for key in &self.finding.provided {
            let _ = kad.start_providing(kad_key(key));
        }
    }

    fn on_providers(&mut self, id: QueryId, nodes: Vec<NodeId>) {
        let now = Instant::now();
        for node in nodes {
            let Some(search) = self.finding.searches.get_mut(&id) else {
                return;
            };
            let is_full = search.providers.len() >= MOST_PROVIDERS;
            if node == self.own || is_full || !search.providers.insert(node) {
                continue;
            }
            if self.telling.adverts.known(&node, now).is_some() {
                continue;
            }
            search.asked += 1;
            let asking = &mut self.swarm.behaviour_mut().inside.inner_mut().asking;
            let request = asking.send_request(&peer_id(&node), AdvertQuery::of([node]));
            self.finding.requests.insert(request, id);
        }
    }

    /// A request for adverts has ended, of a search or not.
    pub(super) fn on_asked(&mut self, request: OutboundRequestId) {
        let Some(id) = self.finding.requests.remove(&request) else {
            return;
        };
        if let Some(search) = self.finding.searches.get_mut(&id) {
            search.asked = search.asked.saturating_sub(1);
        }
        self.end_if_done(id);
    }

    fn end_if_done(&mut self, id: QueryId) {
        let is_done = |search: &Search| search.is_looked_up && search.asked == 0;
        if !self.finding.searches.get(&id).is_some_and(is_done) {
            return;
        }
        if let Some(search) = self.finding.searches.remove(&id) {
            let _ = search.found.send(search.providers.len());
        }
    }

    /// Tells the DHT what this node provides now, and takes back what it no longer does. What it is
    /// about to serve counts: whoever would take it on, too, finds it so.
    pub(super) fn provide(&mut self, profile: &Profile) {
        let deployments = profile.deployments.iter().map(|d| &d.model);
        let models = deployments.chain(&profile.coming);
        let wanted: BTreeSet<RecordKey> = models.map(|model| self.provider_key(model)).collect();
        let boards = self.boarding.keys();
        let wanted: BTreeSet<RecordKey> = wanted.into_iter().chain(boards).collect();
        let kad = &mut self.swarm.behaviour_mut().inside.inner_mut().kad;
        for gone in self.finding.provided.difference(&wanted) {
            kad.stop_providing(&kad_key(gone));
        }
        for new in wanted.difference(&self.finding.provided) {
            // The store has room for more than an advert names; a failure is repeated with the
            // next publication anyway.
            let _ = kad.start_providing(kad_key(new));
        }
        self.finding.provided = wanted;
    }
}

fn kad_key(key: &RecordKey) -> KadKey {
    KadKey::new(&key.to_multihash())
}
