//! The desk where invites are redeemed, one after the other, in an order that a crash at any
//! moment leaves sound: the ledger counts → the entry is written down → the certificate is
//! signed → the peer is told. A peer whose answer was lost comes again and has the same grant.
//!
//! Transitions: idle → writing ([`DeskStep::Write`]) → idle ([`Desk::on_written`]). One entry is
//! written at a time, for two of one invite could overtake each other on their way to the disk.
//! It neither writes nor signs.

use std::{collections::VecDeque, time::Duration};

use protocol::{
    NodeId, UnixMillis,
    membership::{Delegation, Invite, InviteId, Issued, RefusalCode, Role},
};

use super::ledger::{Grant, InviteLedger, LedgerEntry, RedeemError};

/// Wishes that wait for the disk: as many as there can be handshakes at one time.
pub const MAX_WAITING_AT_DESK: usize = 256;

/// What the desk does next.
#[derive(Debug, Clone, PartialEq)]
pub enum DeskStep<C> {
    /// Write this down durably, then say so to [`Desk::on_written`].
    Write(LedgerEntry),
    /// Tell the peer on this connection that its invite is not redeemed.
    Refuse(C, RefusalCode),
}

/// What is known once an entry was written down, or was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written<C> {
    /// Sign the grant's certificate for the peer on this connection.
    Granted(C, Grant),
    /// Nothing is granted: the entry is not on the disk.
    Refused(C, RefusalCode),
    /// An invite's withdrawal, and whether it is on the disk.
    Withdrawn {
        /// Which invite.
        invite: InviteId,
        /// Whether it is on the disk.
        is_kept: bool,
    },
}

#[derive(Debug)]
enum Wish<C> {
    Redeem {
        connection: C,
        peer: NodeId,
        invite: Box<Issued<Invite>>,
    },
    Keep(InviteId),
}

#[derive(Debug)]
enum Writing<C> {
    Grant(C, Grant),
    Withdrawal(InviteId),
}

/// A ledger, and who waits for it. `C` names a connection.
#[derive(Debug)]
pub struct Desk<C> {
    ledger: InviteLedger,
    lifetime: Duration,
    /// What a delegate may admit; `None`: the root.
    delegation: Option<Delegation>,
    waiting: VecDeque<Wish<C>>,
    writing: Option<Writing<C>>,
}

impl<C: Copy + Ord> Desk<C> {
    /// A desk whose certificates hold for `lifetime`, and are a delegate's with a `delegation`.
    pub fn new(ledger: InviteLedger, lifetime: Duration, delegation: Option<Delegation>) -> Self {
        Self {
            ledger,
            lifetime,
            delegation,
            waiting: VecDeque::new(),
            writing: None,
        }
    }

    /// What was counted so far.
    pub fn ledger(&self) -> &InviteLedger {
        &self.ledger
    }

    /// Queues a peer with a verified invite. False if too many wait.
    #[must_use]
    pub fn redeem(&mut self, connection: C, peer: NodeId, invite: Box<Issued<Invite>>) -> bool {
        let has_room = self.waiting.len() < MAX_WAITING_AT_DESK;
        if has_room {
            self.waiting.push_back(Wish::Redeem {
                connection,
                peer,
                invite,
            });
        }
        has_room
    }

    /// Lets an invite admit nobody new, from now on; its entry is queued to be written.
    ///
    /// # Errors
    /// [`RedeemError::Full`], also when too many wait.
    pub fn withdraw(&mut self, invite: InviteId, expires: UnixMillis) -> Result<(), RedeemError> {
        if self.waiting.len() >= MAX_WAITING_AT_DESK {
            return Err(RedeemError::Full);
        }
        self.ledger.withdraw(invite, expires)?;
        self.waiting.push_back(Wish::Keep(invite));
        Ok(())
    }

    /// A connection is gone: nobody waits on it.
    pub fn forget(&mut self, gone: C) {
        self.waiting
            .retain(|wish| !matches!(wish, Wish::Redeem { connection, .. } if *connection == gone));
    }

    /// The next step; `None` while an entry is being written, and when nobody waits.
    pub fn step(&mut self, now: UnixMillis) -> Option<DeskStep<C>> {
        while self.writing.is_none() {
            match self.waiting.pop_front()? {
                Wish::Redeem {
                    connection, invite, ..
                } if !self.may_admit(invite.content.role) => {
                    return Some(DeskStep::Refuse(connection, RefusalCode::CannotRedeem));
                }
                Wish::Redeem {
                    connection,
                    peer,
                    invite,
                } => match self.ledger.redeem(&invite, peer, self.lifetime, now) {
                    Ok(grant) => {
                        self.writing = Some(Writing::Grant(connection, grant));
                        let entry = self.ledger.entry(invite.content.id);
                        return Some(DeskStep::Write(entry.expect("it was counted just now")));
                    }
                    Err(error) => return Some(DeskStep::Refuse(connection, error.refusal_code())),
                },
                // One that expired meanwhile needs no entry.
                Wish::Keep(invite) => {
                    if let Some(entry) = self.ledger.entry(invite) {
                        self.writing = Some(Writing::Withdrawal(invite));
                        return Some(DeskStep::Write(entry));
                    }
                }
            }
        }
        None
    }

    /// A certificate that its delegation does not cover would admit nobody.
    fn may_admit(&self, role: Role) -> bool {
        let delegation = self.delegation.as_ref();
        delegation.is_none_or(|delegation| delegation.may_admit(role))
    }

    /// The entry of the last [`DeskStep::Write`] is on the disk, or could not be written. In the
    /// ledger it counts in either case: the same peer may come again.
    pub fn on_written(&mut self, is_kept: bool) -> Option<Written<C>> {
        Some(match self.writing.take()? {
            Writing::Grant(connection, grant) if is_kept => Written::Granted(connection, grant),
            Writing::Grant(connection, _) => {
                Written::Refused(connection, RefusalCode::CannotRedeem)
            }
            Writing::Withdrawal(invite) => Written::Withdrawn { invite, is_kept },
        })
    }
}

#[cfg(test)]
mod tests;
