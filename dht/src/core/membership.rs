//! Who belongs to a private swarm: the roster, the admission handshake, the ledger of invites,
//! the door that runs them all for a node's connections, and how revocations spread.
//!
//! Pure: messages and the time come in, decisions come out. It holds no key and signs nothing;
//! it knows no connection beyond the id that the transport authenticated.

mod admission;
mod desk;
mod door;
mod ledger;
mod roster;
mod spread;

#[cfg(test)]
pub(crate) mod fixture;

pub use admission::{
    ADMISSION_TIMEOUT, Admission, AdmissionFailure, ClockGap, Credential, Ends, Output,
};
pub use desk::{Desk, DeskStep, MAX_WAITING_AT_DESK, Written};
pub use door::{
    Arrival, CLOSE_LINGER, Denied, Door, DoorOutput, EntryFailure, ExpelCause, MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_PEER, Now, Then,
};
pub use ledger::{
    Grant, InviteLedger, LedgerEntry, MAX_GRANTS, MAX_INVITES, RedeemError, RestoreError,
};
pub use roster::{
    AdmitError, ListError, ListOutcome, MAX_ADMITTED, MAX_REVOKERS, Member, NotMember, Roster,
};
pub use spread::{MAX_ASKS, Spread, SpreadOutput};
