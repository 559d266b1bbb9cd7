//! What a person is told of the join: each way's state and last cause of failure. Only shows;
//! decides nothing.

use std::{collections::BTreeMap, time::Instant};

use super::{
    Cause, State, Way,
    cause::Families,
    lane::{Lane, Phase},
};

/// The join as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where the node stands.
    pub state: State,
    /// IPv6 gets no answers on this network while IPv4 does.
    pub ipv6_black_holed: bool,
    /// Each way, in the order of [`Way::ALL`].
    pub ways: Vec<WayReport>,
}

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WayReport {
    /// Which.
    pub way: Way,
    /// What it does now.
    pub state: WayState,
    /// Why its last round led to nobody; `None` if there was none yet, or it led to somebody.
    pub cause: Option<Cause>,
    /// Rounds in a row that led to nobody.
    pub failures: u32,
    /// When it last led to somebody.
    pub last_success: Option<Instant>,
}

/// What a way does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayState {
    /// Switched off.
    Off,
    /// It rests until then.
    Resting(Instant),
    /// It searches and dials.
    Trying {
        /// Dials in flight.
        in_flight: usize,
        /// Addresses that wait for their turn.
        queued: usize,
    },
}

pub(super) fn of(state: State, families: &Families, lanes: &BTreeMap<Way, Lane>) -> Report {
    Report {
        state,
        ipv6_black_holed: families.is_ipv6_black_holed(),
        ways: lanes.iter().map(|(way, lane)| of_way(*way, lane)).collect(),
    }
}

fn of_way(way: Way, lane: &Lane) -> WayReport {
    let state = match lane.phase {
        Phase::Off => WayState::Off,
        Phase::Resting(until) => WayState::Resting(until),
        Phase::Running(_) => WayState::Trying {
            in_flight: lane.in_flight(),
            queued: lane.queued(),
        },
    };
    WayReport {
        way,
        state,
        cause: lane.cause,
        failures: lane.failures,
        last_success: lane.last_success,
    }
}
