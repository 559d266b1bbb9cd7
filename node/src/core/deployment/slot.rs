//! One place of a deployment as its head sees it: wanted, or leased and how far it is.

use std::time::{Duration, Instant};

use protocol::{
    ChannelId, LeaseId,
    chain::{Granted, Link, Phase, StageState},
    limits::LEASE_RENEWAL,
};

use super::event::Loss;
use super::laggards::Course;
use super::{MAX_RESERVE_TRIES, POLL_EVERY, POLL_FIRST, RETRY_GAP, SILENT_AFTER, STUCK_AFTER};

/// A place, wanted or leased.
#[derive(Debug)]
pub(super) enum Slot {
    /// So many requests for it were not answered.
    Wanted(u32),
    Held(Box<Held>),
}

/// A lease.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lease: LeaseId,
    pub(super) channel: ChannelId,
    pub(super) phase: Phase,
    pub(super) progress: f32,
    /// The neighbours that the stage is known to have.
    pub(super) linked: Option<Link>,
    /// It was told to load: its renewals began.
    pub(super) is_going: bool,
    /// It said that it stops soon.
    pub(super) is_leaving: bool,
    /// How its batches go.
    pub(super) course: Course,
    pub(super) lapses_at: Instant,
    heard_at: Instant,
    going_since: Instant,
    progressed_at: Instant,
    renew_at: Instant,
    link_at: Instant,
}

/// What a stage says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) phase: Phase,
    pub(super) progress: f32,
    pub(super) lapses_in: Duration,
    pub(super) slowness: Option<f32>,
}

impl From<&StageState> for Report {
    fn from(state: &StageState) -> Self {
        Self {
            phase: state.phase,
            progress: state.progress,
            lapses_in: state.lapses_in,
            slowness: state.slowness,
        }
    }
}

impl Slot {
    pub(super) fn held(&self) -> Option<&Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Wanted(_) => None,
        }
    }

    pub(super) fn held_mut(&mut self) -> Option<&mut Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Wanted(_) => None,
        }
    }

    /// Whether it was asked for often enough, with this time.
    pub(super) fn is_hopeless(&mut self) -> bool {
        match self {
            Self::Wanted(tries) => {
                *tries += 1;
                *tries >= MAX_RESERVE_TRIES
            }
            Self::Held(_) => false,
        }
    }
}

impl Held {
    /// `sent_at`: the lease cannot have begun before its request was sent, so whoever reckons from
    /// there never believes in it for too long.
    pub(super) fn new(granted: &Granted, sent_at: Instant, now: Instant) -> Self {
        Self {
            lease: granted.lease,
            channel: granted.channel,
            phase: Phase::Reserved,
            progress: 0.0,
            linked: None,
            is_going: false,
            is_leaving: false,
            course: Course::default(),
            lapses_at: sent_at + granted.lapses_in,
            heard_at: now,
            going_since: now,
            progressed_at: now,
            renew_at: now,
            link_at: now,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready | Phase::Linked)
    }

    /// Lets it load.
    pub(super) fn go(&mut self, now: Instant) {
        if !self.is_going {
            self.is_going = true;
            self.renew_at = now;
            self.going_since = now;
            self.progressed_at = now;
        }
    }

    pub(super) fn on_report(&mut self, report: Report, sent_at: Instant, now: Instant) {
        if report.phase == Phase::Draining {
            // What it holds goes on as before until it stops.
            self.is_leaving = true;
        } else if (report.phase, report.progress) != (self.phase, self.progress) {
            self.phase = report.phase;
            self.progress = report.progress;
            self.progressed_at = now;
        }
        self.course.on_report(report.slowness, now);
        self.heard_at = now;
        self.lapses_at = sent_at + report.lapses_in;
        let every = if self.is_ready() || self.is_leaving {
            LEASE_RENEWAL
        } else {
            let age = now.saturating_duration_since(self.going_since);
            (age / 4).clamp(POLL_FIRST, POLL_EVERY)
        };
        self.renew_at = now + every;
    }

    pub(super) fn on_unanswered(&mut self, now: Instant) {
        self.renew_at = self.renew_at.max(now + RETRY_GAP);
        self.link_at = now + RETRY_GAP;
    }

    /// It is asked by then at the latest.
    pub(super) fn renew_by(&mut self, at: Instant) {
        self.renew_at = self.renew_at.min(at);
    }

    pub(super) fn may_renew(&self, now: Instant) -> bool {
        self.is_going && self.renew_at <= now
    }

    pub(super) fn may_link(&self, now: Instant) -> bool {
        self.link_at <= now
    }

    /// A stage that is not ready takes its neighbours' names, and no frame yet.
    pub(super) fn on_link_answered(&mut self, link: Link, now: Instant) {
        if self.phase == Phase::Linked || self.is_leaving {
            self.linked = Some(link);
        } else {
            self.link_at = now + RETRY_GAP;
        }
    }

    /// The next ring's links are sent in any case: their answers show that each stage is there.
    pub(super) fn unlink(&mut self, now: Instant) {
        self.linked = None;
        self.link_at = now;
    }

    pub(super) fn is_failed(&self) -> bool {
        self.phase == Phase::Failed
    }

    /// How far it is; more is further.
    pub(super) fn standing(&self) -> (Phase, u16) {
        #[expect(clippy::cast_possible_truncation, reason = "0 to 1000")]
        #[expect(clippy::cast_sign_loss, reason = "0 to 1000")]
        let thousandths = (self.progress.clamp(0.0, 1.0) * 1000.0) as u16;
        (self.phase, thousandths)
    }

    /// What is wrong with it, if anything is.
    pub(super) fn loss(&self, now: Instant) -> Option<Loss> {
        if self.silent_at() <= now {
            Some(Loss::Silent)
        } else if self.stuck_at().is_some_and(|at| at <= now) {
            Some(Loss::Stuck)
        } else {
            None
        }
    }

    /// When something is due; of renewing and linking only where no request is under way.
    pub(super) fn next_deadline(&self, renews: bool, links: bool) -> Instant {
        let renew = (self.is_going && renews).then_some(self.renew_at);
        let link = links.then_some(self.link_at);
        let deadlines = [renew, link, self.stuck_at()].into_iter().flatten();
        deadlines.fold(self.silent_at(), Instant::min)
    }

    fn silent_at(&self) -> Instant {
        if self.is_going {
            self.lapses_at.min(self.heard_at + SILENT_AFTER)
        } else {
            self.lapses_at
        }
    }

    fn stuck_at(&self) -> Option<Instant> {
        let loads = self.is_going && !self.is_ready() && !self.is_leaving;
        loads.then_some(self.progressed_at + STUCK_AFTER)
    }
}
