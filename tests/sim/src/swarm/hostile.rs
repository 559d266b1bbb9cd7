//! What adversaries do beside taking part.

use std::{rc::Rc, time::Duration};

use protocol::{Sequence, Signed, advert::Advert, limits::ADVERT_LIFETIME, names::ShardPrefix};
use rand::{RngExt, seq::IndexedRandom};

use super::Swarm;
use crate::{
    mesh::{Content, Message},
    peer::Kind,
    schedule::Event,
};

/// Forged messages that a flooder sends to each neighbour in a second, beside a sound one.
const FLOOD: u32 = 100;

/// Adverts that a replayer keeps.
const CAPTURED: usize = 400;

impl Swarm {
    pub(super) fn act_hostile(&mut self, number: usize) {
        if !self.peers[number].is_up {
            return;
        }
        let pause = match self.peers[number].kind {
            Kind::Flooder => self.flood(number),
            Kind::Replayer => self.replay(number),
            Kind::Equivocator => self.equivocate(number),
            _ => return,
        };
        self.schedule.push(self.now + pause, Event::Hostile(number));
    }

    fn flood(&mut self, number: usize) -> Duration {
        let every = Duration::from_secs(1);
        let Some(topic) = self.peers[number].shards.current() else {
            return every;
        };
        let links = self.meshes.links(topic, number);
        if links.is_empty() {
            return every;
        }
        let sound = self.own_advert(number).encode();
        self.send_raw(number, topic, &sound, &links);
        for _ in 0..FLOOD {
            let mut bytes = sound.clone();
            let at = self.rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << self.rng.random_range(0..8_u8);
            // A neighbour that was not lost to the one before gets the next.
            let links = self.meshes.links(topic, number);
            self.send_raw(number, topic, &bytes, &links);
        }
        every
    }

    /// An advert of the adversary's own that is newer than any before.
    fn own_advert(&self, number: usize) -> Signed<Advert> {
        let peer = &self.peers[number];
        let unix = peer.moment(self.base, self.now).unix;
        let sequence = Sequence(unix.0);
        let expires = unix.saturating_add(ADVERT_LIFETIME);
        let advert = Advert::fitting(&peer.profile);
        Signed::sign(&peer.key, sequence, expires, &advert)
            .expect("a fitting advert is not too long")
    }

    fn equivocate(&mut self, number: usize) -> Duration {
        let unix = self.peers[number].moment(self.base, self.now).unix;
        for turn in [0, 1] {
            let peer = &self.peers[number];
            let mut profile = peer.profile.clone();
            profile.version = format!("0.{turn}.0");
            let expires = unix.saturating_add(ADVERT_LIFETIME);
            let advert = Advert::fitting(&profile);
            let signed = Signed::sign(&peer.key, Sequence(unix.0), expires, &advert)
                .expect("a fitting advert is not too long");
            for topic in self.published_topics(number) {
                let links = self.meshes.links(topic, number);
                let half: Vec<usize> = links.iter().skip(turn).step_by(2).copied().collect();
                self.send_raw(number, topic, &signed.encode(), &half);
            }
        }
        Duration::from_secs(60)
    }

    /// What was heard before comes again, in its topic; and what others say in theirs comes here.
    fn replay(&mut self, number: usize) -> Duration {
        let now = self.base + self.now;
        let Some(topic) = self.peers[number].shards.current() else {
            return Duration::from_secs(5);
        };
        let view = self.peers[number].adverts.iter(now);
        let heard: Vec<Vec<u8>> = view
            .map(|(_, known)| known.advert.signed().encode())
            .collect();
        if let Some(bytes) = heard.choose(&mut self.rng) {
            self.peers[number].captured.push((topic, bytes.clone()));
        }
        let anybody = self.rng.random_range(0..self.peers.len());
        if let Some(said) = &self.peers[anybody].said {
            let elsewhere = (topic, said.encode());
            self.peers[number].captured.push(elsewhere);
        }
        if self.peers[number].captured.len() > CAPTURED {
            self.peers[number].captured.remove(0);
        }
        let links = self.meshes.links(topic, number);
        let old = self.peers[number].captured.choose(&mut self.rng).cloned();
        if let Some((_, bytes)) = old {
            self.send_raw(number, topic, &bytes, &links);
        }
        Duration::from_secs(2)
    }

    fn send_raw(&mut self, from: usize, topic: ShardPrefix, bytes: &[u8], to: &[usize]) {
        let content = Content::Raw(bytes.to_vec());
        let message = Rc::new(Message::new(topic, content, bytes.len()));
        message.take(from);
        for other in to {
            self.send(from, *other, &message);
        }
    }
}
