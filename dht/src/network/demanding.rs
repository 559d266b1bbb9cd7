//! What the swarm asks for: heard by gossip and checked by the core before it is passed on, what
//! this node's own users ask for, and the picture of both that others look at.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ed25519_dalek::SigningKey;
use libp2p::{
    PeerId, Swarm,
    gossipsub::{IdentTopic, Message, TopicHash},
};
use protocol::{
    ModelName, NodeId, Payload, Signed, UnixMillis,
    demand::{Demand as Said, Record},
    limits::{ADVERT_LIFETIME, MAX_CLOCK_SKEW},
    names::Topic,
};
use tokio::sync::watch;

use super::{
    actor::Actor, behaviour::Behaviour, config::Config, gossip::score_topic, standing::Limited,
};
use crate::{
    core::{
        adverts::{Moment, Stamp, Verdict},
        demand::{Author, Listener, Outcome, Rates},
    },
    demand::{Asked, Demand},
};

/// The least time between two pictures: all that was heard is looked at for each.
const MIN_GAP: Duration = Duration::from_millis(500);

/// The longest time: rates decay, and periods end.
const MAX_GAP: Duration = Duration::from_secs(5);

/// How far ahead a record can expire by the clock of one who is allowed to be off.
const LONGEST: Duration = Said::MAX_LIFETIME.saturating_add(MAX_CLOCK_SKEW);

/// How long after its end nobody passes a record on: a clock that is ahead by less is not noticed
/// ([`crate::core::clock`]), and neither may the neighbour's be.
const LONG_OVER: Duration = ADVERT_LIFETIME.saturating_add(MAX_CLOCK_SKEW.saturating_mul(2));

/// What is shown.
pub(super) type Shown = watch::Receiver<Arc<[Demand]>>;

/// The cores, and what was told last.
pub(super) struct Demanding {
    rates: Rates,
    author: Author,
    pub(super) listener: Listener,
    key: SigningKey,
    topic: IdentTopic,
    /// What nobody was there to hear, and until when it counts.
    unheard: Option<(UnixMillis, Vec<u8>)>,
    shown: watch::Sender<Arc<[Demand]>>,
    shown_at: Instant,
    is_stale: bool,
}

impl Demanding {
    /// Listens; nobody was heard yet.
    pub(super) fn begin(
        config: &Config,
        own: NodeId,
        swarm: &mut Swarm<Behaviour>,
        now: Instant,
    ) -> (Self, Shown) {
        let name = &config.swarm;
        let topic = IdentTopic::new(Topic::Demand.of(name));
        let gossip = &mut swarm.behaviour_mut().inside.inner_mut().gossip;
        gossip
            .subscribe(&topic)
            .expect("the filter allows the swarm's own topics");
        score_topic(gossip, &topic);
        let (shown, receiver) = watch::channel(Arc::from([]));
        let demanding = Self {
            rates: Rates::default(),
            author: Author::new(own, name.clone()),
            listener: Listener::new(own, name.clone(), now),
            key: config.key.clone(),
            topic,
            unheard: None,
            shown,
            shown_at: now,
            is_stale: false,
        };
        (demanding, receiver)
    }

    /// Whether a topic is that of demand.
    pub(super) fn is_topic(&self, topic: &TopicHash) -> bool {
        *topic == self.topic.hash()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let due = [
            self.author.next_deadline(),
            self.listener.next_deadline(),
            self.next_picture(),
        ];
        due.into_iter().flatten().min()
    }

    /// Where nothing is asked for, nothing changes by itself.
    fn next_picture(&self) -> Option<Instant> {
        match (self.is_stale, self.shown.borrow().is_empty()) {
            (true, _) => Some(self.shown_at + MIN_GAP),
            (false, true) => None,
            (false, false) => Some(self.shown_at + MAX_GAP),
        }
    }

    /// Draws the picture, if it is time.
    fn show(&mut self, now: Instant) {
        if self.next_picture().is_some_and(|due| due <= now) {
            let demand = self.listener.demand(&self.rates.asking(now), now);
            (self.is_stale, self.shown_at) = (false, now);
            self.shown.send_replace(Arc::from(demand));
        }
    }

    /// What is to be told now, signed.
    fn poll(&mut self, peers: u32, at: Moment) -> Option<(UnixMillis, Vec<u8>)> {
        if self.author.next_deadline().is_none_or(|due| at.now < due) {
            return None;
        }
        let crowd = self.listener.crowd_of(peers, at.now);
        let asking = self.rates.asking(at.now);
        let (record, stamp) = self.author.poll(asking, &crowd, at)?;
        self.sign(&record, stamp)
    }

    fn sign(&self, record: &Record, stamp: Stamp) -> Option<(UnixMillis, Vec<u8>)> {
        let said = Said::from(record);
        let signed = Signed::sign(&self.key, stamp.sequence, stamp.expires, &said);
        Some((stamp.expires, signed.ok()?.encode()))
    }
}

impl Actor {
    /// One request of this node's own users.
    pub(super) fn count(&mut self, model: &ModelName, asked: Asked) {
        let now = Instant::now();
        self.demanding.rates.on_asked(model, asked, now);
        self.demanding.author.on_asked(now);
        self.demanding.is_stale = true;
    }

    /// Tells what is to be told, and forgets what is over.
    pub(super) fn drive_demanding(&mut self, at: Moment) {
        let peers = self.sharding.local_size().unwrap_or_default();
        let demanding = &mut self.demanding;
        if demanding
            .listener
            .next_deadline()
            .is_some_and(|due| due <= at.now)
        {
            demanding.listener.handle_timeout(at.now);
            demanding.is_stale = true;
        }
        if let Some(told) = demanding.poll(peers, at) {
            demanding.unheard = Some(told);
            self.tell_demand(at.unix);
        }
        self.demanding.show(at.now);
    }

    /// Tells what nobody was there to hear, if there is somebody now.
    pub(super) fn tell_demand(&mut self, now: UnixMillis) {
        let Some((ends, bytes)) = self.demanding.unheard.take() else {
            return;
        };
        let gossip = &mut self.swarm.behaviour_mut().inside.inner_mut().gossip;
        let topic = self.demanding.topic.clone();
        if now < ends && gossip.publish(topic, bytes.clone()).is_err() {
            self.demanding.unheard = Some((ends, bytes));
        }
    }

    /// A record by gossip: cheap checks first, and the signature before anything is kept.
    pub(super) fn hear_demand(&mut self, from: &PeerId, message: &Message) -> Verdict {
        if !self.is_allowed(from, Limited::Gossip) {
            return Verdict::Ignore;
        }
        let at = Self::moment();
        let Ok(signed) = Signed::<Said>::decode(&message.data) else {
            return Verdict::Reject;
        };
        let Ok(author) = signed.claimed_author() else {
            return Verdict::Reject;
        };
        if let Some(verdict) = self.untimely(signed.claimed_expiry(), at) {
            return verdict;
        }
        if self.is_banned(author) {
            return Verdict::Ignore;
        }
        // A wrong signature never comes from somebody honest.
        let Ok(said) = signed.verify(at.unix) else {
            return Verdict::Reject;
        };
        let outcome = self.demanding.listener.handle(&said, at);
        match outcome {
            Outcome::Own(sequence) => self.demanding.author.on_own(sequence),
            Outcome::Taken | Outcome::Equivocation => self.demanding.is_stale = true,
            _ => {}
        }
        outcome.verdict()
    }

    /// What is done with a record that is over, or from the future. Whoever passes on what ended
    /// long ago, or will not begin for long, is to blame, if this clock agrees with the others'.
    fn untimely(&self, expires: UnixMillis, at: Moment) -> Option<Verdict> {
        let now = at.unix;
        if now < expires && expires <= now.saturating_add(LONGEST) {
            return None;
        }
        let is_far = now.saturating_since(expires) > LONG_OVER
            || expires > now.saturating_add(LONGEST + MAX_CLOCK_SKEW);
        let is_sure = self.telling.clock_gap().is_none()
            && self.telling.adverts.iter(at.now).next().is_some();
        Some(match is_far && is_sure {
            true => Verdict::Reject,
            false => Verdict::Ignore,
        })
    }
}
