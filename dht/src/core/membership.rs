//! Who belongs to a private swarm: the roster, the admission handshake, the ledger of invites.
//!
//! Pure: messages and the time come in, decisions come out. It holds no key and signs nothing;
//! it knows no connection beyond the id that the transport authenticated.

mod admission;
mod ledger;
mod roster;

#[cfg(test)]
pub(crate) mod fixture;

pub use admission::{
    ADMISSION_TIMEOUT, Admission, AdmissionFailure, ClockGap, Credential, Ends, Output,
};
pub use ledger::{
    Grant, InviteLedger, LedgerEntry, MAX_GRANTS, MAX_INVITES, RedeemError, RestoreError,
};
pub use roster::{
    AdmitError, ListError, ListOutcome, MAX_ADMITTED, MAX_REVOKERS, Member, NotMember, Roster,
};
