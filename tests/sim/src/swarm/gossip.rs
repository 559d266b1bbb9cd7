//! Adverts on their way: the checks of the real shell at each hop, in its order.

use std::{rc::Rc, time::Duration};

use dht::core::{
    adverts::{Outcome, Verdict},
    groups,
    score::{Offence, Standing},
    shards::ShardError,
};
use protocol::{
    Signed, UnixMillis, Verified,
    advert::Advert,
    envelope::VerifyError,
    limits::{ADVERT_LIFETIME, MAX_CLOCK_SKEW},
    names::ShardPrefix,
};
use rand::RngExt;

use super::Swarm;
use crate::{
    mesh::{Content, LAZY, Message},
    peer::Kind,
    schedule::Event,
    traffic::Purpose,
};

/// What gossip and the transport add to a message.
const OVERHEAD_BYTES: usize = 110;

/// Gossip's heartbeat, and over how many of them a message is announced.
const ANNOUNCED: (Duration, u32) = (Duration::from_secs(1), 3);

/// An announcement, with the topic's name and what the transport adds; and a message's name in it.
const ANNOUNCE_BYTES: (usize, usize) = (100, 22);

impl Swarm {
    /// A message of this peer's own.
    pub(super) fn originate(
        &mut self,
        from: usize,
        topic: ShardPrefix,
        content: Content,
        bytes: usize,
    ) {
        let message = Rc::new(Message::new(topic, content, bytes + OVERHEAD_BYTES));
        message.take(from);
        self.forward(from, None, &message);
    }

    /// Sends on to all but whom it came from.
    fn forward(&mut self, from: usize, but: Option<usize>, message: &Rc<Message>) {
        self.announce(from, message.topic);
        for to in self.meshes.links(message.topic, from) {
            if Some(to) != but {
                self.send(from, to, message);
            }
        }
    }

    /// Announces at each heartbeat what is recent. What the others would ask for then is left out.
    fn announce(&mut self, from: usize, topic: ShardPrefix) {
        let (heartbeat, beats) = ANNOUNCED;
        let until = self.now + beats * heartbeat;
        let peer = &mut self.peers[from];
        let before = peer.announces.insert(topic, until).unwrap_or_default();
        // Heartbeats that had nothing else to announce; half of one counts as one.
        let new = until - before.max(self.now) + heartbeat / 2;
        let new = u32::try_from(new.as_secs()).unwrap_or(beats) * LAZY;
        let to = usize::try_from(new).unwrap_or_default();
        let names = usize::try_from(beats * LAZY).unwrap_or_default();
        let (frame, name) = ANNOUNCE_BYTES;
        peer.sent
            .count(Purpose::Announcement, new.into(), to * frame + names * name);
    }

    pub(super) fn send(&mut self, from: usize, to: usize, message: &Rc<Message>) {
        let peer = &mut self.peers[from];
        peer.sent.count(Purpose::Advert, 1, message.bytes);
        if peer.kind == Kind::Flooder && message.is_raw() {
            self.log.flood += 1;
        }
        let (a, b) = self.spots(from, to);
        let way = self.terrain.one_way((&a, &b), self.now, &mut self.rng);
        let Some(way) = way else {
            return;
        };
        let at = self.now + way;
        if message.comes_first(to, at) {
            let message = Rc::clone(message);
            self.schedule.push(at, Event::Gossip { to, from, message });
        }
    }

    pub(super) fn deliver(&mut self, to: usize, from: usize, message: &Rc<Message>) {
        let is_linked = self.meshes.is_linked(message.topic, to, from);
        if !self.peers[to].is_up || !is_linked || !message.take(to) {
            return;
        }
        let now = self.base + self.now;
        let sender = self.peers[from].id;
        let peer = &mut self.peers[to];
        if !peer.limits.try_take(sender, 1, now) {
            self.log.over_rate += 1;
            self.offend(to, from, Offence::RateExcess);
            return;
        }
        // After the rate: who is ignored and goes on is cut off for that.
        if peer.scores.standing(sender, now) != Standing::Good {
            return;
        }
        if self.peers[from].kind == Kind::Flooder && message.is_raw() {
            *self.log.flooded.entry((to, from)).or_default() += 1;
        }
        match self.judge(to, from, message) {
            Verdict::Accept if self.is_passed_on(to) => self.forward(to, Some(from), message),
            Verdict::Accept | Verdict::Ignore => {}
            Verdict::Reject => {
                self.log.rejected += 1;
                self.offend(to, from, Offence::InvalidMessage);
            }
        }
    }

    fn is_passed_on(&mut self, at: usize) -> bool {
        self.peers[at].kind != Kind::Sybil || self.rng.random_bool(self.config.relayed)
    }

    fn judge(&mut self, to: usize, from: usize, message: &Message) -> Verdict {
        let at = self.peers[to].moment(self.base, self.now);
        let verified = match verify(&message.content, at.unix) {
            Ok(verified) => verified,
            // A clock may be off; whoever passes such a message on did not see it so.
            Err(Refusal::Time) => return Verdict::Ignore,
            Err(Refusal::Forged) => return Verdict::Reject,
        };
        let author = verified.author();
        let peer = &mut self.peers[to];
        match peer.shards.check(message.topic, &author) {
            Ok(()) => {}
            Err(ShardError::Foreign) => return Verdict::Reject,
            Err(_) => return Verdict::Ignore,
        }
        let sequence = verified.sequence();
        let closeness = peer.groups.closeness(&author);
        let outcome = peer.adverts.handle(verified.clone(), closeness, at);
        let is_heard = matches!(
            outcome,
            Outcome::New | Outcome::Updated | Outcome::Duplicate
        );
        let is_first = is_heard
            && peer
                .shards
                .on_heard(message.topic, author, sequence, at.now);
        match outcome {
            Outcome::New | Outcome::Updated => self.on_believed(to, message.topic, &verified),
            Outcome::Equivocation(_) => self.log.equivocations += 1,
            Outcome::TooOften if self.numbers[&author] == from => {
                self.log.over_rate += 1;
                self.offend(to, from, Offence::RateExcess);
            }
            _ => {}
        }
        match outcome {
            Outcome::Duplicate if is_first => Verdict::Accept,
            outcome => outcome.verdict(),
        }
    }

    /// An advert is in the view: whether it should be, and what follows from it.
    fn on_believed(&mut self, at: usize, topic: ShardPrefix, advert: &Verified<Advert>) {
        self.log.believed += 1;
        let author = self.numbers[&advert.author()];
        self.audit(at, author, topic, advert);
        let known = self.peers[at]
            .adverts
            .known(&advert.author(), self.base + self.now);
        let Some(profile) = known.map(|known| &known.profile) else {
            return;
        };
        let place = profile.place.and_then(|place| place.try_into().ok());
        let said = groups::Input::Said {
            peer: advert.author(),
            place,
            is_dialable: self.peers[author].is_dialable,
        };
        self.groups(at, said);
    }

    fn audit(&mut self, at: usize, author: usize, topic: ShardPrefix, advert: &Verified<Advert>) {
        let unix = self.peers[at].moment(self.base, self.now).unix;
        let sequence = advert.sequence();
        let before = self.peers[at].believed.insert(author, sequence);
        let mut wrong = |what: &str| {
            let found = format!("{at} believed {author} at {:?}: {what}", self.now);
            self.log.violations.push(found);
        };
        if before.is_some_and(|before| before >= sequence) {
            wrong("an old advert");
        }
        if advert.expires() <= unix {
            wrong("an expired advert");
        }
        if !topic.contains(ShardPrefix::hash(&advert.author())) {
            wrong("an advert of another shard");
        }
        if self.peers[author].kind == Kind::WrongClock && self.peers[at].is_honest() {
            wrong("an advert of a wrong clock");
        }
    }
}

enum Refusal {
    Time,
    Forged,
}

/// An honest message was verified when it was made; its time is looked at by each receiver.
fn verify(content: &Content, unix: UnixMillis) -> Result<Verified<Advert>, Refusal> {
    match content {
        Content::Sound(verified) => {
            let longest = unix.saturating_add(ADVERT_LIFETIME + MAX_CLOCK_SKEW);
            let holds = unix < verified.expires() && verified.expires() <= longest;
            holds
                .then(|| Verified::clone(verified))
                .ok_or(Refusal::Time)
        }
        Content::Raw(bytes) => {
            let signed = Signed::<Advert>::decode(bytes).map_err(|_| Refusal::Forged)?;
            signed.verify(unix).map_err(|error| match error {
                VerifyError::Expired | VerifyError::TooLongLived => Refusal::Time,
                _ => Refusal::Forged,
            })
        }
    }
}
