//! One lease: what was promised to which head, how far it is, and who may send to it.

use std::time::Instant;

use protocol::{
    ChannelId, LeaseId, NodeId,
    chain::{Granted, LeaseReply, Link, Phase, Reserve, StageState},
};

use super::event::{Asker, Failure, LoadStep, SliceId};
use super::slices::{Slice, Step};

/// What is promised, and what became of it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) asker: Asker,
    pub(super) reserve: Reserve,
    pub(super) bytes: u64,
    pub(super) channel: ChannelId,
    /// Where it stands in the order of grants.
    pub(super) serial: u64,
    pub(super) lapses_at: Instant,
    pub(super) state: State,
    /// Whatever is used now has its memory.
    pub(super) is_spare: bool,
    /// The neighbours that its head named last.
    pub(super) link: Option<Link>,
    /// The channel on which frames are taken, and whose.
    pub(super) open_to: Option<(ChannelId, NodeId)>,
    /// Where the slice sends what it computes.
    pub(super) linked_to: Option<(NodeId, ChannelId)>,
}

/// What became of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Memory is kept; its head has not said yet that the deployment will be.
    Promised,
    /// It is to be loaded as soon as memory is free of what made room for it.
    Going,
    /// A slice is loaded or being loaded for it.
    Holding(SliceId),
    /// Nothing is kept; its head is told why until the lease lapses.
    Failed(Failure),
}

impl Lease {
    /// Whether it is the same promise: its head may have missed the reply.
    pub(super) fn is_of(&self, head: NodeId, reserve: &Reserve) -> bool {
        let layers = |r: &Reserve| (r.deployment, r.first_layer, r.last_layer);
        self.asker.peer == head && layers(&self.reserve) == layers(reserve)
    }

    pub(super) fn slice(&self) -> Option<SliceId> {
        match self.state {
            State::Holding(slice) => Some(slice),
            _ => None,
        }
    }

    pub(super) fn is_failed(&self) -> bool {
        matches!(self.state, State::Failed(_))
    }

    /// Memory that it takes or will take, bytes.
    pub(super) fn promised_bytes(&self) -> u64 {
        if self.is_failed() { 0 } else { self.bytes }
    }

    /// Whether this peer's frames on this channel are taken.
    pub(super) fn takes(&self, channel: ChannelId, peer: NodeId, now: Instant) -> bool {
        self.open_to == Some((channel, peer)) && now < self.lapses_at
    }

    pub(super) fn granted(&self, id: LeaseId, now: Instant) -> LeaseReply {
        LeaseReply::Granted(Granted {
            lease: id,
            channel: self.channel,
            lapses_in: self.lapses_at.saturating_duration_since(now),
            memory_bytes: self.bytes,
        })
    }

    /// What its head is told.
    pub(super) fn report(
        &self,
        slice: Option<&Slice>,
        is_draining: bool,
        now: Instant,
    ) -> LeaseReply {
        let (phase, progress) = match (self.state, slice.map(|slice| slice.step)) {
            (State::Failed(_), _) => (Phase::Failed, 0.0),
            _ if is_draining => (Phase::Draining, 1.0),
            (_, Some(Step::Loading(LoadStep::Fetching, progress))) => (Phase::Fetching, progress),
            (_, Some(Step::Loading(LoadStep::Loading, progress))) => (Phase::Loading, progress),
            (_, Some(Step::Ready)) if self.open_to.is_some() => (Phase::Linked, 1.0),
            (_, Some(Step::Ready)) => (Phase::Ready, 1.0),
            _ => (Phase::Reserved, 0.0),
        };
        let cause = match self.state {
            State::Failed(failure) => failure.to_string(),
            _ => String::new(),
        };
        LeaseReply::State(StageState {
            phase,
            progress,
            lapses_in: self.lapses_at.saturating_duration_since(now),
            cause,
            decode_seconds: slice.and_then(|slice| slice.decode_seconds),
            slowness: slice.and_then(|slice| slice.slowness),
        })
    }
}
