//! The leases that this peer gave to heads: what memory is promised to whom, what is loaded for
//! it, whose frames are taken. It loads, sends and reckons nothing: what a slice needs is handed
//! in, and no clock is read.
//!
//! A lease's states:
//! - (absent) → promised: `Reserve`, where the memory, the owner and the bounds allow it
//! - promised → going: its head's first `Renew` or `Link`. A reservation alone loads nothing: a
//!   head reserves all of its stages before any of them reads a byte for it
//! - going → loading: there is room (`Output::Load`); warm slices are unloaded for it first
//! - promised → loading or ready: a warm slice is what it asks for
//! - loading → ready: `Loaded`; ready ⇄ linked: `Link`, as often as the head wants
//! - any → failed: the slice ended, or the owner took memory or permission back. It takes no
//!   memory, no frame and no renewal; its head is told why until it lapses
//! - any → (absent): `Release` (a loaded slice stays warm for [`KEEP_WARM`], emptied of its
//!   sessions), or [`LEASE_LIFETIME`] without a renewal (everything is unloaded at once)
//!
//! Two sums never exceed what the owner gives: what is promised, and what slices take. A request
//! that finds no room is refused at once; nobody waits for memory while holding some, so heads
//! cannot block one another here.
//!
//! A lease may be a **spare**: it is to take another stage's place if that is lost. It counts for
//! nothing where somebody wants memory for what is used now: another head's stage, or a whole model
//! of the owner's. The newest spare is given up first. Its first link makes it a stage like any
//! other.
//!
//! Only the head that reserved may link, renew or release. Anybody else gets the answer of a
//! lease that never was. A link names its ring's number; one of an older ring changes nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use protocol::{
    ChannelId, LeaseId, NodeId,
    chain::{LeaseReply, Link, Refusal, Reserve},
    limits::LEASE_LIFETIME,
};
use rand::Rng;

mod event;
mod lease;
mod slices;

pub use self::event::{
    Asker, Failure, Input, Limits, LoadStep, Need, Output, SliceId, Ticket, Told,
};
use self::lease::{Lease, State};
use self::slices::{Slices, Step};

/// Leases at most, failed ones included: each has a process, and a machine that holds this many
/// slices holds each of them badly.
pub const MAX_LEASES: usize = 32;

/// Leases of one head at most: the stages and spares that one peer takes in a few deployments.
pub const MAX_LEASES_OF_ONE_HEAD: usize = 8;

/// How long a loaded slice without a lease stays where nobody wants its memory: a head that
/// plans anew comes back within it.
pub const KEEP_WARM: Duration = Duration::from_secs(60);

/// Warm slices at most: what a deployment that plans anew had here.
pub const MAX_WARM: usize = 4;

/// Slices that take memory at most, those on their way out included: heads that reserve and
/// release do not pile up processes.
pub const MAX_SLICES: usize = MAX_LEASES + MAX_WARM;

/// When a head that was refused for want of room may ask again: half a lease's life.
pub const RETRY_AFTER: Duration = Duration::from_secs(15);

/// The leases of one stage peer.
#[derive(Debug)]
pub struct Leases<R> {
    limits: Limits,
    leases: BTreeMap<LeaseId, Lease>,
    slices: Slices,
    granted: u64,
    /// The node stops then.
    stops_at: Option<Instant>,
    is_drained: bool,
    outputs: VecDeque<Output>,
    rng: R,
}

impl<R: Rng> Leases<R> {
    /// No lease yet. `rng` makes the ids: it must not be guessable.
    pub fn new(limits: Limits, rng: R) -> Self {
        Self {
            limits,
            leases: BTreeMap::new(),
            slices: Slices::default(),
            granted: 0,
            stops_at: None,
            is_drained: false,
            outputs: VecDeque::new(),
            rng,
        }
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        self.lapse(now);
        match input {
            Input::Reserve {
                ticket,
                from,
                reserve,
                need,
            } => {
                let reply = self.on_reserve(from, &reserve, need, now);
                self.reply(ticket, reply);
            }
            Input::Link { ticket, from, link } => self.on_link(ticket, from, link, now),
            Input::Renew {
                ticket,
                from,
                lease,
            } => self.on_renew(ticket, from, lease, now),
            Input::Release {
                ticket,
                from,
                lease,
            } => self.on_release(ticket, from, lease, now),
            Input::Progress {
                slice,
                step,
                progress,
            } => self.slices.on_progress(slice, step, progress),
            Input::Loaded {
                slice,
                decode_seconds,
            } => self.on_loaded(slice, decode_seconds),
            Input::Measured { slice, slowness } => self.slices.on_measured(slice, slowness),
            Input::Ended(slice) => self.on_ended(slice),
            Input::Limits(limits) => self.on_limits(limits),
            Input::Stop(drain) => self.on_stop(drain, now),
            Input::Tick => {}
        }
        self.load();
        self.end_drain();
    }

    /// The next thing to do.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `Input::Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let lapses = self.leases.values().map(|lease| lease.lapses_at);
        lapses.chain(self.slices.cools_at()).min()
    }

    /// Whether a frame on this channel from this peer is taken now. A channel that was opened
    /// for a lease that lapsed a moment ago is closed here before the timer says so.
    pub fn may_receive(&self, channel: ChannelId, peer: NodeId, now: Instant) -> bool {
        let mut leases = self.leases.values();
        leases.any(|lease| lease.takes(channel, peer, now))
    }

    /// Memory that whole models must leave alone: what is promised or what slices take, whichever
    /// is more, bytes.
    pub fn reserved_bytes(&self) -> u64 {
        self.promised_bytes().max(self.slices.held_bytes())
    }

    /// Memory that is promised, without spares, bytes.
    pub fn promised_bytes(&self) -> u64 {
        let stages = self.leases.values().filter(|lease| !lease.is_spare);
        stages.map(Lease::promised_bytes).sum()
    }

    /// Memory that spares would take, bytes.
    pub fn spare_bytes(&self) -> u64 {
        let spares = self.leases.values().filter(|lease| lease.is_spare);
        spares.map(Lease::promised_bytes).sum()
    }

    /// Memory that slices take, bytes.
    pub fn held_bytes(&self) -> u64 {
        self.slices.held_bytes()
    }

    /// Leases, failed ones included.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether nothing is leased.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    fn on_reserve(
        &mut self,
        from: Asker,
        reserve: &Reserve,
        need: Need,
        now: Instant,
    ) -> LeaseReply {
        if let Some(code) = self.forbids(from, reserve) {
            return refused(code);
        }
        let bytes = match need {
            Need::Bytes(bytes) => bytes,
            Need::UnknownModel => return refused(Refusal::UnknownModel),
            Need::Unsupported => return refused(Refusal::Unsupported),
        };
        let mut leases = self.leases.iter();
        let known = leases.find(|(_, lease)| lease.is_of(from.peer, reserve));
        match known.map(|(id, lease)| (*id, lease.is_failed(), lease.reserve == *reserve)) {
            Some((id, true, _)) => self.end(id, Told::Released, now),
            Some((id, false, true)) => return self.grant_again(id, now),
            Some((_, false, false)) => return refused(Refusal::Invalid),
            None => {}
        }
        if let Some(refusal) = self.lacks(from.peer, bytes, reserve.is_spare) {
            return refusal;
        }
        let reply = self.grant(from, reserve, bytes, now);
        self.give_up_spares();
        reply
    }

    /// Why it is not even looked at.
    fn forbids(&self, from: Asker, reserve: &Reserve) -> Option<Refusal> {
        let layers =
            reserve.first_layer < reserve.last_layer && reserve.last_layer <= reserve.model.layers;
        let sizes = [reserve.cells, reserve.sequences, reserve.batch_tokens];
        if !layers || sizes.contains(&0) {
            Some(Refusal::Invalid)
        } else if self.stops_at.is_some() {
            Some(Refusal::Draining)
        } else if !self.limits.allow(from, reserve) {
            Some(Refusal::NotAllowed)
        } else {
            None
        }
    }

    fn grant(&mut self, asker: Asker, reserve: &Reserve, bytes: u64, now: Instant) -> LeaseReply {
        let id = self.new_lease_id();
        let warm = self.slices.adopt(reserve, bytes);
        let lease = Lease {
            asker,
            reserve: reserve.clone(),
            bytes,
            channel: self.new_channel_id(),
            serial: self.granted,
            lapses_at: now + LEASE_LIFETIME,
            state: warm.map_or(State::Promised, State::Holding),
            is_spare: reserve.is_spare,
            link: None,
            open_to: None,
            linked_to: None,
        };
        self.granted += 1;
        let reply = lease.granted(id, now);
        self.tell(id, asker.peer, Told::Granted);
        self.leases.insert(id, lease);
        reply
    }

    fn grant_again(&mut self, id: LeaseId, now: Instant) -> LeaseReply {
        let lapses_at = self.lapse_from(now);
        let Some(lease) = self.leases.get_mut(&id) else {
            return refused(Refusal::UnknownLease);
        };
        lease.lapses_at = lapses_at;
        lease.granted(id, now)
    }

    fn on_link(&mut self, ticket: Ticket, from: NodeId, link: Link, now: Instant) {
        if let Some(lease) = self.leases.get_mut(&link.lease)
            && lease.asker.peer == from
            && !lease.is_failed()
            && lease
                .link
                .is_none_or(|old| old.generation <= link.generation)
        {
            lease.link = Some(link);
            lease.is_spare = false;
            self.connect(link.lease);
        }
        self.on_renew(ticket, from, link.lease, now);
    }

    /// Opens the channel and says where the results go, where the slice is ready for it.
    fn connect(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let (Some(slice), Some(link)) = (lease.slice(), lease.link) else {
            return;
        };
        if self
            .slices
            .by_id(slice)
            .is_none_or(|s| s.step != Step::Ready)
        {
            return;
        }
        let (next, next_channel) = (link.next, link.next_channel);
        if lease.linked_to != Some((next, next_channel)) {
            lease.linked_to = Some((next, next_channel));
            self.outputs.push_back(Output::LinkTo {
                slice,
                next,
                next_channel,
            });
        }
        let channel = lease.channel.in_ring(link.generation);
        if lease.open_to == Some((channel, link.previous)) {
            return;
        }
        close(lease, &mut self.outputs);
        lease.open_to = Some((channel, link.previous));
        self.outputs.push_back(Output::OpenChannel {
            channel,
            slice,
            previous: link.previous,
        });
    }

    fn on_renew(&mut self, ticket: Ticket, from: NodeId, id: LeaseId, now: Instant) {
        let lapses_at = self.lapse_from(now);
        let lease = self.leases.get_mut(&id);
        let Some(lease) = lease.filter(|lease| lease.asker.peer == from) else {
            return self.reply(ticket, refused(Refusal::UnknownLease));
        };
        if !lease.is_failed() {
            lease.lapses_at = lapses_at;
        }
        if lease.state == State::Promised {
            lease.state = State::Going;
            self.load();
        }
        self.report(ticket, id, now);
    }

    fn report(&mut self, ticket: Ticket, id: LeaseId, now: Instant) {
        let reply = match self.leases.get(&id) {
            Some(lease) => {
                let slice = lease.slice().and_then(|slice| self.slices.by_id(slice));
                lease.report(slice, self.stops_at.is_some(), now)
            }
            None => refused(Refusal::UnknownLease),
        };
        self.reply(ticket, reply);
    }

    fn on_release(&mut self, ticket: Ticket, from: NodeId, id: LeaseId, now: Instant) {
        let lease = self.leases.get(&id);
        if lease.is_none_or(|lease| lease.asker.peer != from) {
            return self.reply(ticket, refused(Refusal::UnknownLease));
        }
        self.end(id, Told::Released, now);
        self.reply(ticket, LeaseReply::Released);
    }

    fn on_loaded(&mut self, slice: SliceId, decode_seconds: Option<f32>) {
        if self.slices.on_loaded(slice, decode_seconds)
            && let Some(id) = self.holder(slice)
        {
            self.connect(id);
        }
    }

    fn on_ended(&mut self, slice: SliceId) {
        let Some(ended) = self.slices.on_ended(slice) else {
            return;
        };
        if let Some(id) = self.holder(slice) {
            let failure = match ended.step {
                Step::Loading(..) => Failure::NotLoaded,
                Step::Ready | Step::Unloading => Failure::Died,
            };
            self.fail(id, failure);
        }
    }
}

mod upkeep;

fn refused(code: Refusal) -> LeaseReply {
    LeaseReply::Refused(code.into())
}

/// From here on nobody's frames are taken.
fn close(lease: &mut Lease, out: &mut VecDeque<Output>) {
    if let Some((channel, _)) = lease.open_to.take() {
        out.push_back(Output::CloseChannel(channel));
    }
}

#[cfg(test)]
mod tests;
