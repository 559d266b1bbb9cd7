//! The acceptor's side: what may still come on each channel, and when credit is given back.
//!
//! A channel that is closed here is not closed at the other end before that has heard of it. What
//! it may send until then, its credit, is passed over; more is a violation.

use std::collections::{BTreeMap, VecDeque};

use protocol::{
    ChannelId,
    limits::{MAX_STAGE_CHANNELS, STAGE_WINDOW_BYTES},
};

use super::{ChannelError, ChannelViolation};

/// Closed channels on which frames may still be under way: what closes in the time of a round trip.
/// Of those before them nothing is expected any more.
const MAX_CLOSED: usize = 256;

/// Credit is given back from here on: rarely enough to cost nothing, and early enough that the
/// longest frame never waits for it.
const GRANT_FROM: u32 = STAGE_WINDOW_BYTES / 2;

/// What a frame that came is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// On an open channel, within its credit.
    Expected,
    /// On a channel that was closed here a moment ago: to be passed over.
    Late,
    /// On a channel that was never opened here: somebody must say whether it may be.
    Unknown,
}

/// What may be received.
#[derive(Debug, Default)]
pub struct Receiving {
    channels: BTreeMap<ChannelId, Inlet>,
    /// The oldest first, each with what may still come.
    closed: VecDeque<(ChannelId, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Inlet {
    /// What the other end may still send.
    credit: u32,
    /// Taken here and not yet given back.
    taken: u32,
}

impl Receiving {
    /// Opens a channel with a whole window of credit.
    ///
    /// # Errors
    /// Every [`ChannelError`].
    pub fn open(&mut self, channel: ChannelId) -> Result<(), ChannelError> {
        if self.channels.contains_key(&channel) {
            return Err(ChannelError::Taken);
        }
        if self.channels.len() >= MAX_STAGE_CHANNELS {
            return Err(ChannelError::TooMany);
        }
        let inlet = Inlet {
            credit: STAGE_WINDOW_BYTES,
            taken: 0,
        };
        self.channels.insert(channel, inlet);
        Ok(())
    }

    /// Does not open a channel: what its sender believes to have credit for is passed over.
    pub fn refuse(&mut self, channel: ChannelId) {
        self.remember(channel, STAGE_WINDOW_BYTES);
    }

    /// A frame came.
    ///
    /// # Errors
    /// [`ChannelViolation::OverCredit`].
    pub fn on_frame(&mut self, channel: ChannelId, cost: u32) -> Result<Arrival, ChannelViolation> {
        let (credit, arrival) = match self.channels.get_mut(&channel) {
            Some(inlet) => (&mut inlet.credit, Arrival::Expected),
            None => match self.closed.iter_mut().find(|(id, _)| *id == channel) {
                Some((_, credit)) => (credit, Arrival::Late),
                None => return Ok(Arrival::Unknown),
            },
        };
        let left = credit.checked_sub(cost);
        *credit = left.ok_or(ChannelViolation::OverCredit)?;
        Ok(arrival)
    }

    /// Frames of so much were taken; the credit that is to be given back now.
    pub fn on_taken(&mut self, channel: ChannelId, cost: u32) -> Option<u32> {
        let inlet = self.channels.get_mut(&channel)?;
        let out = STAGE_WINDOW_BYTES - inlet.credit;
        // Never more than came.
        inlet.taken = inlet.taken.saturating_add(cost).min(out);
        if inlet.taken < GRANT_FROM {
            return None;
        }
        let bytes = std::mem::take(&mut inlet.taken);
        inlet.credit += bytes;
        Some(bytes)
    }

    /// Closes a channel; whether it was open.
    pub fn close(&mut self, channel: ChannelId) -> bool {
        let inlet = self.channels.remove(&channel);
        if let Some(inlet) = inlet {
            self.remember(channel, inlet.credit);
        }
        inlet.is_some()
    }

    /// The other end closed a channel: nothing more comes on it. Whether it was open.
    pub fn on_closed(&mut self, channel: ChannelId) -> bool {
        self.closed.retain(|(id, _)| *id != channel);
        self.channels.remove(&channel).is_some()
    }

    /// The channels that are open.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> {
        self.channels.keys().copied()
    }

    fn remember(&mut self, channel: ChannelId, credit: u32) {
        if self.closed.len() >= MAX_CLOSED {
            self.closed.pop_front();
        }
        self.closed.push_back((channel, credit));
    }
}
