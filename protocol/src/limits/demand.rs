//! What a record of demand may hold, and how long it counts.

use std::time::Duration;

/// Models in a record: an API node with more users than that asks for is an office, and those it
/// asks for most are told.
pub const MAX_DEMAND_MODELS: usize = 16;

/// A record's encoding: [`MAX_DEMAND_MODELS`] of the longest names with four numbers each are
/// 4.6 KiB; the rest is room for fields of later versions.
pub const MAX_DEMAND_BYTES: usize = 6 << 10;

/// Requests a second for one model that anybody may claim: a hundred times what the largest API
/// node takes.
pub const MAX_DEMAND_RATE: f64 = 10_000.0;

/// The longest wait for a first token that is told: whoever waits longer has given up.
pub const MAX_DEMAND_WAIT: Duration = Duration::from_secs(3600);

/// How long an author's record counts, and how often it may be drawn for another: long enough that
/// a sample of some hundred authors costs a few messages a second, and short enough that what is
/// asked for no longer is soon forgotten.
pub const DEMAND_PERIOD: Duration = Duration::from_secs(60);

/// How long before a period its record may be told: it is everywhere when the last one ends.
pub const DEMAND_LEAD: Duration = Duration::from_secs(5);
