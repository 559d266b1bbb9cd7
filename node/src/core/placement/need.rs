//! What a model lacks: from what is asked of it and what is served to a number of servers. It knows
//! no machine.

use std::time::Duration;

use super::event::{Asked, Policy, Served};

/// Sequences of a server of which none is known: what a small machine runs well at a time.
const USUAL_SEQUENCES: f64 = 4.0;

/// The share of a served model's requests that may stay unmet: some always come while a server
/// restarts or is full for a moment.
const TOLERATED_SHARE: f64 = 0.05;

/// A first token that comes later was waited for too long, if no sequence is idle.
const PATIENCE: Duration = Duration::from_secs(10);

/// Room that is left for more requests before a server is one too many.
const HEADROOM: f64 = 1.5;

/// Servers that one need raises at a time; what they leave unmet is seen when they serve.
const MOST_AT_ONCE: u32 = 8;

/// Nodes that must say that they ask for a model before more than one server is raised at a time:
/// one key can be anybody's.
const AUTHORS_FOR_MANY: u32 = 3;

/// What a model lacks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Need {
    /// How much it helps to serve it: unmet requests a second for each sequence that there is.
    pub score: f64,
    /// Requests a second that are not met.
    pub unmet: f64,
    /// Servers that it lacks; more than none.
    pub servers: u32,
}

/// What a model lacks; `None`: nothing that is sure enough. Peers that are about to serve it are
/// not considered.
pub fn need(asked: &Asked, served: &Served, policy: &Policy) -> Option<Need> {
    let unmet = unmet(asked, served);
    // Of a model that nobody serves, one record that says so is enough: an estimate out of one
    // record has an error of its own size.
    let (least, errors) = match served.servers {
        0 => (policy.least_unmet, 1.0),
        _ => {
            let tolerated = asked.arrivals.per_second * TOLERATED_SHARE;
            (policy.least_unmet.max(tolerated), 2.0)
        }
    };
    if unmet <= 0.0 || unmet < least || unmet < asked.unmet.error * errors {
        return None;
    }
    let most = match asked.authors < AUTHORS_FOR_MANY {
        true => 1,
        false => MOST_AT_ONCE,
    };
    let servers = servers(unmet * policy.request_seconds, served);
    Some(Need {
        score: unmet / (1.0 + f64::from(served.sequences)),
        unmet,
        servers: servers.clamp(1, most),
    })
}

/// Whether a model is asked for at all.
pub fn is_asked(asked: &Asked, policy: &Policy) -> bool {
    let most = asked.arrivals.per_second + asked.arrivals.error;
    most >= policy.least_unmet
}

/// Servers that what is asked of a model needs, with room to spare; none: nobody asks for it.
pub fn enough(asked: &Asked, served: &Served, policy: &Policy) -> u32 {
    if !is_asked(asked, policy) {
        return 0;
    }
    let most = asked.arrivals.per_second + asked.arrivals.error;
    servers(most * policy.request_seconds * HEADROOM, served).max(1)
}

/// Requests a second that nobody answers, or too late while everybody is busy.
fn unmet(asked: &Asked, served: &Served) -> f64 {
    let unmet = asked.unmet.per_second;
    let is_late = asked.waiting > PATIENCE && served.servers > 0 && served.idle == 0;
    if !is_late {
        return unmet;
    }
    let late = 1.0 - PATIENCE.as_secs_f64() / asked.waiting.as_secs_f64();
    let answered = (asked.arrivals.per_second - unmet).max(0.0);
    unmet + answered * late
}

/// Requests a second that one server can meet.
pub fn capacity(served: &Served, policy: &Policy) -> f64 {
    sequences(served) / policy.request_seconds.max(1.0)
}

/// Sequences of one server.
fn sequences(served: &Served) -> f64 {
    match served.servers {
        0 => USUAL_SEQUENCES,
        servers => (f64::from(served.sequences) / f64::from(servers)).max(1.0),
    }
}

/// Servers that have so many sequences.
fn servers(wanted: f64, served: &Served) -> u32 {
    let servers = (wanted / sequences(served))
        .ceil()
        .clamp(0.0, f64::from(u32::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "it was clamped")]
    let servers = servers as u32;
    servers
}
