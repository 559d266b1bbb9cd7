//! The opener's side: frames wait in a short queue for each channel and leave in turns.
//!
//! A turn is counted in bytes: of the channels that have a frame and credit for it, the one that
//! has sent least is next (start-time fair queueing: Goyal, Vin and Cheng, 1996). A channel that was
//! silent or without credit begins where the others are, so it saves nothing up.

use std::collections::{BTreeMap, VecDeque};

use protocol::{
    ChannelId,
    limits::{MAX_STAGE_CHANNELS, STAGE_WINDOW_BYTES},
};

use super::{ChannelError, ChannelViolation};

/// Frames of one channel that wait: whoever sends waits for its frame to leave, so each is somebody
/// who sends at the same time; prompts of several sessions and their tokens.
pub const MAX_QUEUED_FRAMES: usize = 64;

/// Why a frame is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The channel is not open, or no longer.
    #[error("the channel is not open")]
    NotOpen,
    /// [`MAX_QUEUED_FRAMES`] wait.
    #[error("too many frames wait on the channel")]
    Full,
}

/// What is to be sent, of some kind of frame.
#[derive(Debug)]
pub struct Sending<T> {
    channels: BTreeMap<ChannelId, Outlet<T>>,
    /// The turn of the frame that left last.
    turn: u64,
    /// Credit that may still come for channels that are closed.
    late_credit: u64,
}

#[derive(Debug)]
struct Outlet<T> {
    credit: u32,
    queue: VecDeque<(u32, T)>,
    turn: u64,
}

impl<T> Outlet<T> {
    fn is_ready(&self) -> bool {
        let head = self.queue.front();
        head.is_some_and(|(cost, _)| *cost <= self.credit)
    }
}

impl<T> Default for Sending<T> {
    fn default() -> Self {
        Self {
            channels: BTreeMap::new(),
            turn: 0,
            late_credit: 0,
        }
    }
}

impl<T> Sending<T> {
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
        let outlet = Outlet {
            credit: STAGE_WINDOW_BYTES,
            queue: VecDeque::new(),
            turn: self.turn,
        };
        self.channels.insert(channel, outlet);
        Ok(())
    }

    /// Whether a frame would leave in its turn without waiting for credit.
    pub fn may_send(&self, channel: ChannelId, cost: u32) -> bool {
        let outlet = self.channels.get(&channel);
        outlet.is_some_and(|outlet| {
            let waiting = outlet.queue.iter().map(|(cost, _)| u64::from(*cost));
            waiting.sum::<u64>() + u64::from(cost) <= u64::from(outlet.credit)
        })
    }

    /// Takes a frame in.
    ///
    /// # Errors
    /// Every [`PushError`], with the frame.
    pub fn push(&mut self, channel: ChannelId, cost: u32, frame: T) -> Result<(), (PushError, T)> {
        let now = self.turn;
        let Some(outlet) = self.channels.get_mut(&channel) else {
            return Err((PushError::NotOpen, frame));
        };
        if outlet.queue.len() >= MAX_QUEUED_FRAMES {
            return Err((PushError::Full, frame));
        }
        if !outlet.is_ready() {
            outlet.turn = outlet.turn.max(now);
        }
        outlet.queue.push_back((cost, frame));
        Ok(())
    }

    /// The frame whose turn it is; it has left then.
    pub fn pop(&mut self) -> Option<(ChannelId, T)> {
        let ready = self.channels.iter_mut().filter(|(_, o)| o.is_ready());
        let (channel, outlet) = ready.min_by_key(|(_, outlet)| outlet.turn)?;
        let (cost, frame) = outlet.queue.pop_front()?;
        outlet.credit -= cost;
        self.turn = outlet.turn;
        outlet.turn += u64::from(cost);
        Some((*channel, frame))
    }

    /// The receiver gives credit back.
    ///
    /// # Errors
    /// [`ChannelViolation::OverWindow`] where that is more than was used.
    pub fn on_credit(&mut self, channel: ChannelId, bytes: u32) -> Result<(), ChannelViolation> {
        let now = self.turn;
        let Some(outlet) = self.channels.get_mut(&channel) else {
            let left = self.late_credit.checked_sub(bytes.into());
            self.late_credit = left.ok_or(ChannelViolation::OverWindow)?;
            return Ok(());
        };
        if bytes > STAGE_WINDOW_BYTES - outlet.credit {
            return Err(ChannelViolation::OverWindow);
        }
        let was_ready = outlet.is_ready();
        outlet.credit += bytes;
        if !was_ready && outlet.is_ready() {
            outlet.turn = outlet.turn.max(now);
        }
        Ok(())
    }

    /// Forgets a channel; the frames that waited. `None`: it was not open.
    pub fn close(&mut self, channel: ChannelId) -> Option<Vec<T>> {
        let outlet = self.channels.remove(&channel)?;
        // What was used may still be given back by somebody who does not know yet.
        self.late_credit += u64::from(STAGE_WINDOW_BYTES - outlet.credit);
        Some(outlet.queue.into_iter().map(|(_, frame)| frame).collect())
    }

    /// The channels that are open.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> {
        self.channels.keys().copied()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }
}
