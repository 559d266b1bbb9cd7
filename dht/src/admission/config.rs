//! What a node brings along to be admitted, and to admit.

use std::time::SystemTime;

use protocol::{NodeId, UnixMillis};

use super::Redeemer;
use crate::core::membership::{Credential, Roster};

/// The wall's clock.
pub type Clock = Box<dyn Fn() -> UnixMillis + Send>;

/// What a node brings along.
pub struct Config {
    /// This node; it is the key that the transports authenticate.
    pub local: NodeId,
    /// The swarm, with the lists of revocations that were kept.
    pub roster: Roster,
    /// What this node has to show.
    pub credential: Credential,
    /// Its right to redeem invites, if it has one.
    pub redeemer: Option<Redeemer>,
    /// [`system_clock`], but for tests.
    pub clock: Clock,
}

/// This machine's clock.
pub fn system_clock() -> Clock {
    Box::new(|| UnixMillis::from(SystemTime::now()))
}
