//! Adverts: heard by gossip and by asking, checked by the core before they are passed on; and
//! this node's own.

use std::{collections::BTreeMap, time::Instant};

use ed25519_dalek::SigningKey;
use libp2p::{
    PeerId, Swarm,
    gossipsub::{self, IdentTopic, MessageAcceptance},
    request_response::{self, ResponseChannel},
};
use protocol::{
    NodeId, Sequence, Signed,
    advert::{Advert, AdvertQuery, AdvertReply, Profile},
    limits::MAX_ADVERT_QUERY,
    names::{ShardPrefix, SwarmName, Topic},
};
use rand::{RngExt, rngs::StdRng, seq::IteratorRandom};

use super::{actor::Actor, behaviour::Behaviour, config::Config, gossip::score_topic};
use crate::{
    core::{
        adverts::{Adverts, Closeness, MAX_AUTHORS, Moment, Outcome, Publisher, Verdict},
        rate::{PeerLimits, Quota},
        score::{Offence, Scores, Standing},
    },
    peer::node_id,
};

/// Queries of one peer: one at each connection, and one for each provider that it finds.
const QUERIES: Quota = Quota {
    burst: 32,
    per_second: 1.0,
};

/// How an advert came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Gossip,
    Answer,
}

/// What is limited, of each peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Limited {
    Queries,
}

/// The view of the swarm, and what this node says of itself.
pub(super) struct Telling {
    pub(super) adverts: Adverts,
    publisher: Publisher,
    key: SigningKey,
    swarm: SwarmName,
    topic: IdentTopic,
    own: Option<Signed<Advert>>,
    /// Nobody was there to be told the last advert.
    is_unheard: bool,
    sequence: Option<Sequence>,
    /// Adverts that came as answers, and not by gossip yet: gossip passes each on once, although
    /// it is known already.
    answered: BTreeMap<NodeId, Sequence>,
    scores: Scores,
    limits: PeerLimits<Limited>,
    is_stale: bool,
}

impl Telling {
    /// Subscribes to what is told.
    pub(super) fn begin(
        config: &Config,
        own: NodeId,
        swarm: &mut Swarm<Behaviour>,
        rng: &mut StdRng,
        now: Instant,
    ) -> Self {
        let prefix = ShardPrefix::new(0, 0);
        let topic = IdentTopic::new(Topic::Adverts { cell: 0, prefix }.of(&config.swarm));
        let gossip = &mut swarm.behaviour_mut().inside.inner_mut().gossip;
        gossip
            .subscribe(&topic)
            .expect("the filter allows the swarm's own topics");
        score_topic(gossip, &topic);
        Self {
            adverts: Adverts::new(own, config.swarm.clone(), rng.random()),
            publisher: Publisher::new(config.last_sequence),
            key: config.key.clone(),
            swarm: config.swarm.clone(),
            topic,
            own: None,
            is_unheard: false,
            sequence: config.last_sequence,
            answered: BTreeMap::new(),
            scores: Scores::default(),
            limits: PeerLimits::new(QUERIES, &[(Limited::Queries, QUERIES)], now),
            is_stale: true,
        }
    }

    pub(super) fn sequence(&self) -> Option<Sequence> {
        self.sequence
    }

    /// What this node is may have changed.
    pub(super) fn on_change(&mut self) {
        self.is_stale = true;
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let publish = self.publisher.next_deadline();
        publish
            .into_iter()
            .chain(self.adverts.next_deadline())
            .min()
    }

    pub(super) fn swarm_name(&self) -> &SwarmName {
        &self.swarm
    }
}

impl Actor {
    /// Says what is to be said, and forgets what is over.
    pub(super) fn drive_telling(&mut self, at: Moment) {
        if self
            .telling
            .adverts
            .next_deadline()
            .is_some_and(|due| due <= at.now)
        {
            for gone in self.telling.adverts.handle_timeout(at.now) {
                self.telling.answered.remove(&gone);
            }
        }
        let is_due = self
            .telling
            .publisher
            .next_deadline()
            .is_none_or(|due| due <= at.now);
        if !std::mem::take(&mut self.telling.is_stale) && !is_due {
            return;
        }
        let profile = self.own_profile();
        // Nothing is said before there is an address to be found at.
        if profile.addresses.is_empty() {
            return;
        }
        self.telling.publisher.on_profile(&profile);
        if let Some(stamp) = self.telling.publisher.poll(&profile, at, &mut self.rng) {
            let advert = Advert::fitting(&profile);
            let signed = Signed::sign(&self.telling.key, stamp.sequence, stamp.expires, &advert);
            self.telling.sequence = Some(stamp.sequence);
            if let Ok(signed) = signed {
                self.publish(signed);
            }
        }
        self.provide(&profile);
    }

    /// Nobody who listens is no failure: it is said again when somebody does.
    fn publish(&mut self, signed: Signed<Advert>) {
        let topic = self.telling.topic.clone();
        let gossip = &mut self.swarm.behaviour_mut().inside.inner_mut().gossip;
        self.telling.is_unheard = gossip.publish(topic, signed.encode()).is_err();
        self.telling.own = Some(signed);
    }

    fn on_listener(&mut self) {
        if self.telling.is_unheard
            && let Some(signed) = self.telling.own.take()
        {
            self.publish(signed);
        }
    }

    /// What the node is, and what only the network knows of it.
    fn own_profile(&self) -> Profile {
        let mut profile = self.profile.borrow().clone();
        profile.swarm = self.telling.swarm.clone();
        profile.nat = self.listening.nat();
        profile.addresses = self.listening.told(&self.swarm);
        profile
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        let (propagation_source, message_id, message) = match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => (propagation_source, message_id, message),
            gossipsub::Event::Subscribed { .. } => return self.on_listener(),
            _ => return,
        };
        let acceptance = match self.hear(&message.data) {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let gossip = &mut self.swarm.behaviour_mut().inside.inner_mut().gossip;
        gossip.report_message_validation_result(&message_id, &propagation_source, acceptance);
        if acceptance == MessageAcceptance::Reject {
            self.on_offence(&propagation_source, Offence::InvalidMessage);
        }
    }

    /// An advert as bytes, by gossip.
    fn hear(&mut self, bytes: &[u8]) -> Verdict {
        match Signed::<Advert>::decode(bytes) {
            Ok(signed) => self.hear_signed(signed, By::Gossip),
            Err(_) => Verdict::Reject,
        }
    }

    fn hear_signed(&mut self, signed: Signed<Advert>, by: By) -> Verdict {
        let at = Self::moment();
        let expired = signed.claimed_expiry() <= at.unix;
        let Ok(advert) = signed.verify(at.unix) else {
            // It may have expired on its way; a wrong signature never comes from somebody honest.
            return if expired {
                Verdict::Ignore
            } else {
                Verdict::Reject
            };
        };
        let (author, sequence) = (advert.author(), advert.sequence());
        let closeness = self.closeness(&author);
        let outcome = self.telling.adverts.handle(advert, closeness, at);
        if let Outcome::Own(sequence) = outcome {
            self.telling.publisher.on_own(sequence);
        }
        let answered = &mut self.telling.answered;
        match (&outcome, by) {
            (Outcome::New | Outcome::Updated, By::Answer) if answered.len() < MAX_AUTHORS => {
                answered.insert(author, sequence);
            }
            (Outcome::Duplicate, By::Gossip) if answered.get(&author) == Some(&sequence) => {
                answered.remove(&author);
                return Verdict::Accept;
            }
            (Outcome::New | Outcome::Updated, By::Gossip) => {
                answered.remove(&author);
            }
            _ => {}
        }
        outcome.verdict()
    }

    fn closeness(&self, node: &NodeId) -> Closeness {
        match self.linking.estimate(node) {
            Some(estimate) if estimate.rtt <= crate::core::rtt::JOIN_MAX => Closeness::Near,
            _ => Closeness::Stranger,
        }
    }

    /// Asks a new neighbour for its own advert and some of those that it knows, so that the view
    /// is there at once and not after everybody's next heartbeat.
    pub(super) fn ask_for_adverts(&mut self, peer: PeerId) {
        let asking = &mut self.swarm.behaviour_mut().inside.inner_mut().asking;
        asking.send_request(&peer, AdvertQuery::default());
    }

    pub(super) fn on_asking(&mut self, event: request_response::Event<AdvertQuery, AdvertReply>) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                request_response::Message::Request {
                    request, channel, ..
                } => self.on_query(&peer, &request, channel),
                request_response::Message::Response {
                    request_id,
                    response,
                } => {
                    self.on_reply(&peer, &response);
                    self.on_asked(request_id);
                }
            },
            request_response::Event::OutboundFailure { request_id, .. } => {
                self.on_asked(request_id);
            }
            _ => {}
        }
    }

    fn on_query(
        &mut self,
        peer: &PeerId,
        query: &AdvertQuery,
        channel: ResponseChannel<AdvertReply>,
    ) {
        let Some(node) = node_id(peer) else {
            return;
        };
        let now = Instant::now();
        if !self.telling.limits.try_take(node, Limited::Queries, 1, now) {
            self.on_offence(peer, Offence::RateExcess);
            return;
        }
        let Ok(nodes) = query.nodes() else {
            self.on_offence(peer, Offence::ProtocolViolation);
            return;
        };
        let reply = self.reply(&nodes, now);
        let asking = &mut self.swarm.behaviour_mut().inside.inner_mut().asking;
        // Whoever has gone needs no answer.
        let _ = asking.send_response(channel, reply);
    }

    /// The adverts asked for; if none is named, this node's own and a sample of the others.
    fn reply(&mut self, nodes: &[NodeId], now: Instant) -> AdvertReply {
        let (own, adverts) = (self.own, &self.telling.adverts);
        let own_advert = self.telling.own.as_ref();
        if nodes.is_empty() {
            let others = adverts.iter(now).map(|(_, known)| known.advert.signed());
            let sample = others.sample(&mut self.rng, MAX_ADVERT_QUERY - 1);
            return AdvertReply::of(own_advert.into_iter().chain(sample));
        }
        AdvertReply::of(nodes.iter().filter_map(|node| {
            if *node == own {
                return own_advert;
            }
            adverts.known(node, now).map(|known| known.advert.signed())
        }))
    }

    fn on_reply(&mut self, peer: &PeerId, reply: &AdvertReply) {
        let Ok(adverts) = reply.adverts() else {
            self.on_offence(peer, Offence::ProtocolViolation);
            return;
        };
        let verdicts: Vec<Verdict> = adverts
            .into_iter()
            .map(|advert| self.hear_signed(advert, By::Answer))
            .collect();
        if verdicts.contains(&Verdict::Reject) {
            self.on_offence(peer, Offence::InvalidMessage);
        }
    }

    /// Takes an offence of a peer, and does what follows.
    pub(super) fn on_offence(&mut self, peer: &PeerId, offence: Offence) {
        let Some(node) = node_id(peer) else {
            return;
        };
        let standing = self
            .telling
            .scores
            .on_offence(node, offence, Instant::now());
        if matches!(standing, Standing::Disconnect | Standing::Banned(_)) {
            self.disconnect(node);
        }
    }

    pub(super) fn is_banned(&self, node: NodeId) -> bool {
        let standing = self.telling.scores.standing(node, Instant::now());
        matches!(standing, Standing::Banned(_))
    }
}
