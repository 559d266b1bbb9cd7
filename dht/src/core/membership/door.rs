//! The door of a private swarm: which connections are on their way in, who is in, who must go.
//!
//! It runs one [`Admission`] on every connection, owns the [`Roster`] and, where this node may
//! redeem invites, the [`Desk`]. Each connection: opened → handshake → admitted, or refused and
//! closed; a peer that is in → expelled (revoked, expired) or left (no connection any more).
//!
//! Handlers of what is behind the gate are made when a connection begins, so the connection on
//! which a peer proved itself stays outside. Whoever dialed it dials once more
//! ([`DoorOutput::Redial`]), and closes the first one when the second is admitted: then the
//! other side has it too, and the peer is never without a connection in between. A redial that
//! leads to nothing closes the first one, and the next join begins anew.
//!
//! Bounds: [`MAX_HANDSHAKES`] each way, [`MAX_HANDSHAKES_PER_PEER`], one unread message a
//! connection (its owner reads the next only when told to). It signs, writes and sends nothing.

mod event;
mod progress;
mod table;

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use protocol::{
    NodeId, UnixMillis,
    membership::{Chain, InviteId, NONCE_BYTES, RefusalCode, wire},
};

use super::{
    ADMISSION_TIMEOUT, Admission, Credential, Desk, Ends, ListError, ListOutcome, Output,
    RedeemError, Roster, Written,
};

pub use event::{Arrival, Denied, DoorOutput, EntryFailure, ExpelCause, Now, Then};
use table::{Entry, Stage, Table};
pub use table::{MAX_HANDSHAKES, MAX_HANDSHAKES_PER_PEER};

/// How long a refused peer has to read why: two round trips of the slowest path.
pub const CLOSE_LINGER: Duration = Duration::from_secs(2);

/// The wall's clock may be set while a timer runs: expiry is looked at this often.
const EXPIRY_RECHECK: Duration = Duration::from_secs(60);

type Certificate = Chain<wire::MembershipCertificate>;

/// The door of one node in one swarm. `C` names a connection and is never used twice.
#[derive(Debug)]
pub struct Door<C> {
    local: NodeId,
    roster: Roster,
    credential: Credential,
    desk: Option<Desk<C>>,
    table: Table<C>,
    /// Peers that are being dialed once more.
    redialing: BTreeSet<NodeId>,
    outputs: VecDeque<DoorOutput<C>>,
}

impl<C: Copy + Ord> Door<C> {
    /// `local` is this node, `credential` what it has to show, `desk` its right to redeem.
    pub fn new(
        local: NodeId,
        roster: Roster,
        credential: Credential,
        desk: Option<Desk<C>>,
    ) -> Self {
        Self {
            local,
            roster,
            credential,
            desk,
            table: Table::new(),
            redialing: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Who is a member, and the lists of revocations.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The uses of invites, where this node redeems them.
    pub fn desk(&self) -> Option<&Desk<C>> {
        self.desk.as_ref()
    }

    /// What this node shows from now on, as a certificate that was renewed.
    pub fn set_credential(&mut self, credential: Credential) {
        self.credential = credential;
    }

    /// The next thing to do.
    pub fn next_output(&mut self) -> Option<DoorOutput<C>> {
        self.outputs.pop_front()
    }

    /// When [`Door::on_tick`] is to be called.
    pub fn next_deadline(&self, now: Now) -> Option<Instant> {
        let expiry = self.roster.next_expiry(now.unix);
        let expiry = expiry.map(|wait| now.instant + wait.min(EXPIRY_RECHECK));
        expiry.into_iter().chain(self.table.next_deadline()).min()
    }

    /// A connection is open. The first message, where this node speaks first. `nonce` is fresh
    /// and random.
    ///
    /// # Errors
    /// Every [`Denied`]: the connection is closed, and nothing is known of it here.
    pub fn open(
        &mut self,
        arrival: Arrival<C>,
        nonce: [u8; NONCE_BYTES],
        now: Now,
    ) -> Result<Option<Vec<u8>>, Denied> {
        let Arrival {
            connection,
            peer,
            is_dialer,
            is_inside,
        } = arrival;
        let (admission, hello) = self.begin(peer, is_dialer, nonce)?;
        if let Some(stranger) = self.table.room(peer, is_dialer)? {
            self.fail(stranger, EntryFailure::Crowded, Vec::new(), now);
        }
        if is_dialer {
            self.redialing.remove(&peer);
        }
        let entry = Entry {
            peer,
            is_dialer,
            is_inside,
            is_redialed: false,
            stage: Stage::Handshake {
                admission: Box::new(admission),
                deadline: now.instant + ADMISSION_TIMEOUT,
                is_known: false,
            },
        };
        self.table.insert(connection, entry);
        Ok(hello)
    }

    fn begin(
        &self,
        remote: NodeId,
        is_dialer: bool,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<(Admission, Option<Vec<u8>>), Denied> {
        let local = self.local;
        let ends = Ends { local, remote };
        if is_dialer {
            let credential = self.credential.clone();
            let (admission, hello) = Admission::dial(ends, &self.roster, credential, nonce);
            return Ok((admission, Some(hello)));
        }
        match &self.credential {
            Credential::Certificate(own) => {
                let own = own.clone();
                Ok((Admission::listen(ends, &self.roster, own, nonce), None))
            }
            Credential::Invite(_) => Err(Denied::NoCertificate),
        }
    }

    /// A message came on a connection's admission stream.
    pub fn on_message(&mut self, connection: C, message: &[u8], now: Now) {
        self.advance(connection, now, |admission, roster| {
            admission.handle(message, roster, now.unix)
        });
    }

    /// The admission stream of a connection is of no use any more.
    pub fn on_broken(&mut self, connection: C, failure: EntryFailure, now: Now) {
        let stage = self.table.entry(connection).map(|entry| &entry.stage);
        if matches!(stage, Some(Stage::Handshake { .. } | Stage::Admitted)) {
            self.fail(connection, failure, Vec::new(), now);
        }
    }

    /// The refusal was sent, and the peer had time to read it.
    pub fn on_said(&mut self, connection: C) {
        if let Some(entry) = self.table.entry_mut(connection)
            && matches!(entry.stage, Stage::Closing(_))
        {
            entry.stage = Stage::Gone;
            self.outputs.push_back(DoorOutput::Close(connection));
        }
    }

    /// A connection is closed, or was denied by somebody else.
    pub fn on_closed(&mut self, connection: C) {
        let Some(entry) = self.table.remove(connection) else {
            return;
        };
        let peer = entry.peer;
        if let Some(desk) = &mut self.desk {
            desk.forget(connection);
        }
        if let Stage::Handshake { mut admission, .. } = entry.stage {
            for output in admission.on_closed() {
                if let Output::Failed(failure) = output {
                    self.refused(peer, connection, failure.into());
                }
            }
        }
        if self.table.of(peer).next().is_none() {
            self.redialing.remove(&peer);
            if self.roster.admitted(peer).is_some() {
                self.roster.on_disconnected(peer);
                self.outputs.push_back(DoorOutput::Left(peer));
            }
        } else {
            self.settle(peer);
        }
    }

    /// A dial that [`DoorOutput::Redial`] asked for made no connection.
    pub fn on_redial_failed(&mut self, peer: NodeId) {
        if self.redialing.remove(&peer) {
            self.settle(peer);
        }
    }

    /// Takes a list of revocations, from the owner or from a peer. Whoever must go is expelled.
    ///
    /// # Errors
    /// Every [`ListError`]; nothing changed then.
    pub fn revoke(
        &mut self,
        list: Chain<wire::Revocations>,
        now: UnixMillis,
    ) -> Result<ListOutcome, ListError> {
        let outcome = self.roster.handle_revocations(list, now)?;
        for peer in &outcome.disconnect {
            self.expel(*peer, ExpelCause::Revoked);
        }
        if outcome.is_news {
            self.outputs.push_back(DoorOutput::RosterChanged);
        }
        Ok(outcome)
    }

    /// Lets an invite admit nobody new at this node. Does nothing where it redeems none.
    ///
    /// # Errors
    /// [`RedeemError::Full`].
    pub fn withdraw(
        &mut self,
        invite: InviteId,
        expires: UnixMillis,
        now: Now,
    ) -> Result<(), RedeemError> {
        if let Some(desk) = &mut self.desk {
            desk.withdraw(invite, expires)?;
        }
        self.step_desk(now);
        Ok(())
    }

    /// The entry of [`DoorOutput::Write`] is on the disk, or could not be written.
    pub fn on_written(&mut self, is_kept: bool, now: Now) {
        match self.desk.as_mut().and_then(|desk| desk.on_written(is_kept)) {
            Some(Written::Granted(connection, grant)) if self.table.entry(connection).is_some() => {
                self.outputs
                    .push_back(DoorOutput::Sign { connection, grant });
            }
            Some(Written::Refused(connection, code)) => self.refuse(connection, code, now),
            Some(Written::Withdrawn { invite, is_kept }) => {
                let withdrawn = DoorOutput::Withdrawn { invite, is_kept };
                self.outputs.push_back(withdrawn);
            }
            Some(Written::Granted(..)) | None => {}
        }
        self.step_desk(now);
    }

    /// The certificate that [`DoorOutput::Sign`] asked for; `None` where it cannot be signed.
    pub fn on_signed(&mut self, connection: C, granted: Option<Certificate>, now: Now) {
        match granted {
            Some(granted) => self.advance(connection, now, |admission, roster| {
                admission.grant(granted, roster, now.unix)
            }),
            None => self.refuse(connection, RefusalCode::CannotRedeem, now),
        }
    }

    /// Cuts off who is late and who expired.
    pub fn on_tick(&mut self, now: Now) {
        for connection in self.table.due(now.instant) {
            let stage = self.table.entry(connection).map(|entry| &entry.stage);
            match stage {
                Some(Stage::Closing(_)) => self.on_said(connection),
                _ => self.fail(connection, EntryFailure::Late, Vec::new(), now),
            }
        }
        for peer in self.roster.expire(now.unix) {
            self.expel(peer, ExpelCause::Expired);
        }
    }

    /// Sees to it that a peer that is in has a connection inside, and none outside beside it.
    fn settle(&mut self, peer: NodeId) {
        if self.roster.admitted(peer).is_none() {
            return;
        }
        let inside = || self.table.of(peer).filter(|(_, entry)| entry.is_inside);
        let is_settled = inside().any(|(_, entry)| entry.is_admitted());
        let is_pending =
            self.redialing.contains(&peer) || inside().any(|(_, e)| e.deadline().is_some());
        if is_pending && !is_settled {
            return;
        }
        let outside = self.table.of(peer);
        let outside = outside.filter(|(_, e)| !e.is_inside && e.is_dialer && e.is_admitted());
        let outside: Vec<_> = outside.map(|(id, e)| (id, e.is_redialed)).collect();
        let to_redial = outside.iter().find(|(_, done)| !is_settled && !done);
        let to_redial = to_redial.map(|(id, _)| *id);
        for (connection, is_redialed) in outside {
            if to_redial == Some(connection) {
                self.redial(connection, peer);
            } else if is_settled || is_redialed {
                self.close(connection);
            }
        }
    }

    fn redial(&mut self, connection: C, peer: NodeId) {
        if let Some(entry) = self.table.entry_mut(connection) {
            entry.is_redialed = true;
        }
        self.redialing.insert(peer);
        let redial = DoorOutput::Redial { connection, peer };
        self.outputs.push_back(redial);
    }

    fn close(&mut self, connection: C) {
        if let Some(entry) = self.table.entry_mut(connection) {
            entry.stage = Stage::Gone;
            self.outputs.push_back(DoorOutput::Close(connection));
        }
    }

    fn expel(&mut self, peer: NodeId, cause: ExpelCause) {
        self.redialing.remove(&peer);
        let connections: Vec<_> = self.table.of(peer).map(|(id, _)| id).collect();
        for connection in connections {
            if let Some(entry) = self.table.entry_mut(connection) {
                entry.stage = Stage::Gone;
            }
        }
        self.outputs.push_back(DoorOutput::Expelled { peer, cause });
    }

    fn refused(&mut self, peer: NodeId, connection: C, cause: EntryFailure) {
        self.outputs.push_back(DoorOutput::Refused {
            peer,
            connection,
            cause,
        });
    }

    fn say(&mut self, connection: C, messages: Vec<Vec<u8>>, then: Then) {
        self.outputs.push_back(DoorOutput::Say {
            connection,
            messages,
            then,
        });
    }
}

#[cfg(test)]
mod tests;
