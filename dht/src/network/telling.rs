//! Adverts: heard by gossip and by asking, checked by the core before they are passed on; and
//! this node's own.

use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use libp2p::{
    PeerId, gossipsub,
    request_response::{self, ResponseChannel},
};
use protocol::{
    NodeId, Sequence, Signed, UnixMillis,
    advert::{Advert, AdvertQuery, AdvertReply, Profile},
    limits::{ADVERT_LIFETIME, MAX_ADVERT_QUERY, MAX_CLOCK_SKEW},
    names::SwarmName,
};
use rand::{RngExt, rngs::StdRng, seq::IteratorRandom};

use super::{actor::Actor, config::Config, standing::Limited};
use crate::{
    core::{
        adverts::{Adverts, Moment, Outcome, Publisher, Verdict},
        clock::ClockCheck,
        membership::ClockGap,
        score::Offence,
        shards::ShardError,
    },
    peer::peer_id,
};

/// How long an advert can hold by the clock of one who is allowed to be off.
const LONGEST: Duration = ADVERT_LIFETIME.saturating_add(MAX_CLOCK_SKEW);

/// Adverts with which the view is good enough that a new neighbour's need not be there at once: as
/// many as one answer holds.
const ENOUGH_KNOWN: usize = MAX_ADVERT_QUERY;

/// How often somebody is asked for more of them then: they are of other shards, too, and of those
/// whose heartbeat was lost.
const SAMPLE_EVERY: Duration = Duration::from_secs(30);

/// The view of the swarm, and what this node says of itself.
pub(super) struct Telling {
    pub(super) adverts: Adverts,
    publisher: Publisher,
    key: SigningKey,
    swarm: SwarmName,
    own: Option<Signed<Advert>>,
    /// Nobody was there to be told the last advert.
    is_unheard: bool,
    sequence: Option<Sequence>,
    clock: ClockCheck,
    is_stale: bool,
    /// When somebody was asked last for some of all that it knows.
    sampled: Option<Instant>,
}

impl Telling {
    /// Nothing was heard or said yet.
    pub(super) fn new(config: &Config, own: NodeId, rng: &mut StdRng) -> Self {
        Self {
            adverts: Adverts::new(own, config.swarm.clone(), rng.random()),
            publisher: Publisher::new(config.last_sequence),
            key: config.key.clone(),
            swarm: config.swarm.clone(),
            own: None,
            is_unheard: false,
            sequence: config.last_sequence,
            clock: ClockCheck::default(),
            is_stale: true,
            sampled: None,
        }
    }

    /// How far this machine's clock is off the swarm's.
    pub(super) fn clock_gap(&self) -> Option<ClockGap> {
        self.clock.gap()
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

    /// Whether the next new neighbour is asked for some of all that it knows.
    fn wants_sample(&mut self, now: Instant) -> bool {
        let is_due = self.sampled.is_none_or(|at| at + SAMPLE_EVERY <= now);
        let wants = is_due || self.adverts.iter(now).take(ENOUGH_KNOWN).count() < ENOUGH_KNOWN;
        if wants {
            self.sampled = Some(now);
        }
        wants
    }

    pub(super) fn swarm_name(&self) -> &SwarmName {
        &self.swarm
    }
}

impl Actor {
    /// Says what is to be said, and forgets what is over.
    pub(super) fn drive_telling(&mut self, at: Moment) {
        let over = self.telling.adverts.next_deadline();
        if over.is_some_and(|due| due <= at.now) {
            let gone = self.telling.adverts.handle_timeout(at.now);
            if !gone.is_empty() {
                self.viewing.on_change();
                self.on_crowd_changed();
            }
            for gone in gone {
                self.on_silent(gone);
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
        // Nothing is said before there is an address to be found at. Later it is: that there is
        // none any more.
        if self.telling.own.is_none() && profile.addresses.is_empty() {
            return;
        }
        self.telling.publisher.on_profile(&profile);
        if let Some(stamp) = self.telling.publisher.poll(&profile, at, &mut self.rng) {
            let advert = Advert::fitting(&profile);
            let signed = Signed::sign(&self.telling.key, stamp.sequence, stamp.expires, &advert);
            self.telling.sequence = Some(stamp.sequence);
            self.viewing.on_change();
            if let Ok(signed) = signed {
                self.publish(signed);
            }
        }
        self.provide(&profile);
    }

    /// Nobody who listens is no failure: it is said again when somebody does.
    fn publish(&mut self, signed: Signed<Advert>) {
        let gossip = &mut self.swarm.behaviour_mut().inside.inner_mut().gossip;
        let mut is_heard = false;
        for topic in self.sharding.publishes() {
            is_heard |= gossip.publish(topic, signed.encode()).is_ok();
        }
        self.telling.is_unheard = !is_heard;
        self.telling.own = Some(signed);
    }

    /// In another shard it is heard by others.
    pub(super) fn publish_again(&mut self) {
        if let Some(signed) = self.telling.own.take() {
            self.publish(signed);
        }
    }

    pub(super) fn on_listener(&mut self) {
        if self.telling.is_unheard {
            self.publish_again();
        }
    }

    /// What the node is, and what only the network knows of it.
    fn own_profile(&self) -> Profile {
        let mut profile = self.profile.borrow().clone();
        profile.swarm = self.telling.swarm.clone();
        profile.nat = self.listening.nat();
        profile.addresses = self.listening.told(&self.swarm);
        profile.swarm_size = self.sharding.local_size();
        self.grouping
            .describe(&mut profile, self.shard_authors(Instant::now()));
        profile
    }

    /// An advert by gossip: cheap checks first, and the signature before anything is kept.
    pub(super) fn hear(&mut self, from: &PeerId, message: &gossipsub::Message) -> Verdict {
        if !self.is_allowed(from, Limited::Gossip) {
            return Verdict::Ignore;
        }
        let now = Instant::now();
        let Some(topic) = self.sharding.prefix(&message.topic) else {
            return Verdict::Ignore;
        };
        let Ok(signed) = Signed::<Advert>::decode(&message.data) else {
            return Verdict::Reject;
        };
        let Ok(author) = signed.claimed_author() else {
            return Verdict::Reject;
        };
        match self.sharding.shards.check(topic, &author) {
            Err(ShardError::Foreign) => return Verdict::Reject,
            Err(_) => return Verdict::Ignore,
            Ok(()) => {}
        }
        let (sequence, outcome) = match self.hear_signed(author, signed) {
            Ok(heard) => heard,
            Err(verdict) => return verdict,
        };
        let known = self.telling.adverts.known(&author, now);
        let is_newest = known.is_some_and(|known| known.advert.sequence() == sequence);
        let shards = &mut self.sharding.shards;
        if is_newest && shards.on_heard(topic, author, sequence, now) {
            // Known by asking, or from another topic, and news to those who listen to this one.
            return Verdict::Accept;
        }
        outcome.verdict()
    }

    /// An advert from wherever, and who is said to have signed it; what it was to the view, or why
    /// it never came there.
    fn hear_signed(
        &mut self,
        author: NodeId,
        signed: Signed<Advert>,
    ) -> Result<(Sequence, Outcome), Verdict> {
        let at = Self::moment();
        let expires = signed.claimed_expiry();
        if expires <= at.unix || expires > at.unix.saturating_add(LONGEST) {
            self.on_untimely(signed, at.unix);
            return Err(Verdict::Ignore);
        }
        // Most of what a new neighbour answers is known: a look is cheaper than a signature.
        if self.telling.adverts.is_no_news(&author, &signed) {
            return Ok((signed.claimed_sequence(), Outcome::Duplicate));
        }
        // A wrong signature never comes from somebody honest.
        let advert = signed.verify(at.unix).map_err(|_| Verdict::Reject)?;
        let sequence = advert.sequence();
        self.telling.clock.on_advert(author, expires, at.unix);
        let closeness = self.grouping.groups.closeness(&author);
        let outcome = self.telling.adverts.handle(advert, closeness, at);
        match outcome {
            Outcome::Own(sequence) => self.telling.publisher.on_own(sequence),
            Outcome::New | Outcome::Updated => {
                self.viewing.on_change();
                self.on_crowd_changed();
                self.on_said(author);
            }
            _ => {}
        }
        Ok((sequence, outcome))
    }

    /// It may have expired on its way; or it is this clock that is off, which is nobody's fault.
    fn on_untimely(&mut self, signed: Signed<Advert>, now: UnixMillis) {
        let expires = signed.claimed_expiry();
        let then = UnixMillis(expires.0.saturating_sub(1));
        if let Ok(advert) = signed.verify(then) {
            let author = advert.author();
            self.telling.clock.on_advert(author, expires, now);
            self.viewing.on_change();
        }
    }

    /// Asks a new neighbour for its own advert and some of those that it knows, so that the view
    /// is there at once and not after everybody's next heartbeat. Once many are known, most new
    /// neighbours are asked for their own only.
    pub(super) fn ask_for_adverts(&mut self, node: NodeId) {
        let query = match self.telling.wants_sample(Instant::now()) {
            true => AdvertQuery::default(),
            false => AdvertQuery::of([node]),
        };
        let asking = &mut self.swarm.behaviour_mut().inside.inner_mut().asking;
        asking.send_request(&peer_id(&node), query);
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
        if !self.is_allowed(peer, Limited::Queries) {
            return;
        }
        let Ok(nodes) = query.nodes() else {
            self.on_offence(peer, Offence::ProtocolViolation);
            return;
        };
        let reply = self.reply(&nodes, Instant::now());
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
            .map(|advert| match advert.claimed_author() {
                Ok(author) => match self.hear_signed(author, advert) {
                    Ok((_, outcome)) => outcome.verdict(),
                    Err(verdict) => verdict,
                },
                Err(_) => Verdict::Reject,
            })
            .collect();
        if verdicts.contains(&Verdict::Reject) {
            self.on_offence(peer, Offence::InvalidMessage);
        }
    }
}
