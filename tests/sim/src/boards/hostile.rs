//! What adversaries do at each heartbeat. None of them passes anything on.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use protocol::limits::MAX_ENTRY_BYTES;
use rand::{RngExt, seq::IteratorRandom};

use super::{BoardSwarm, Trick};

/// Notes of its own that a flooder writes in all: signing them is what costs a simulation.
const FLOOD: usize = 40;

/// How many of them go in a second.
const AT_ONCE: usize = 6;

impl BoardSwarm {
    pub(super) fn act(&mut self, number: usize) {
        match self.members[number].trick {
            None => {}
            Some(Trick::Forges) => {
                let forged = self.forged();
                self.push(number, forged);
            }
            Some(Trick::Floods) => self.flood(number),
            Some(Trick::Ahead) => {
                let later = self.unix().saturating_add(Duration::from_secs(600));
                if self.chance(0.1) {
                    let ahead = self.note(number, "tomorrow's", later);
                    self.push(number, ahead.bytes);
                }
            }
            Some(Trick::Repeats) => self.repeat(number),
            Some(Trick::Swells) => self.push(number, vec![1; MAX_ENTRY_BYTES + 1].into()),
            Some(Trick::Poisons) => {
                let to = self.members[number].links.iter().copied();
                if let Some(to) = to.choose(&mut self.rng) {
                    self.knock(number, to);
                }
            }
        }
    }

    /// To all of its neighbours.
    fn push(&mut self, number: usize, bytes: Bytes) {
        let message = self.message(number, bytes, None);
        for to in self.members[number].links.clone() {
            self.send(number, to, message, Duration::ZERO);
        }
    }

    fn flood(&mut self, number: usize) {
        let written = self.members[number].kept.len();
        for more in written..(written + AT_ONCE).min(FLOOD) {
            let note = self.note(number, &format!("flood {more}"), self.unix());
            self.members[number].keep(&Rc::new(note.clone()));
            self.push(number, note.bytes);
        }
    }

    /// An honest note, to all neighbours. Gossip has seen it or not; if it is so old that gossip has
    /// forgotten it, it is another message.
    fn repeat(&mut self, number: usize) {
        let sound = self.messages.iter().enumerate();
        let sound = sound.filter(|(_, message)| message.sound.is_some());
        let Some((message, bytes)) = sound
            .map(|(at, m)| (at, m.bytes.clone()))
            .choose(&mut self.rng)
        else {
            return;
        };
        if self.chance(0.1) {
            return self.push(number, bytes);
        }
        for to in self.members[number].links.clone() {
            self.send(number, to, message, Duration::ZERO);
        }
    }

    /// An entry that its author never signed: one bit of an honest note is another.
    pub(super) fn forged(&mut self) -> Bytes {
        let sound = self.messages.iter();
        let sound = sound.filter(|message| message.sound.is_some());
        let mut bytes = match sound.map(|m| m.bytes.to_vec()).choose(&mut self.rng) {
            Some(bytes) => bytes,
            None => self.note(0, "forged", self.unix()).bytes.to_vec(),
        };
        let at = self.rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << self.rng.random_range(0..8_u8);
        bytes.into()
    }
}
