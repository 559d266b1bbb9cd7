//! How one handshake moves on, by what the peer, the desk or the signer said.

use protocol::{
    NodeId,
    membership::{Invite, Issued, RefusalCode},
};

use super::{
    super::{Admission, Credential, DeskStep, Member, Output, Roster},
    CLOSE_LINGER, Certificate, Door, DoorOutput, EntryFailure, Now, Stage, Then,
};

impl<C: Copy + Ord> Door<C> {
    /// Moves a handshake on, and does what it says.
    pub(super) fn advance(
        &mut self,
        connection: C,
        now: Now,
        step: impl FnOnce(&mut Admission, &Roster) -> Vec<Output>,
    ) {
        let Some(entry) = self.table.entry_mut(connection) else {
            return;
        };
        let Stage::Handshake {
            admission,
            is_known,
            ..
        } = &mut entry.stage
        else {
            return;
        };
        let outputs = step(admission, &self.roster);
        *is_known |= !admission.is_done();
        let mut messages = Vec::new();
        for output in outputs {
            match output {
                Output::Send(message) => messages.push(message),
                Output::Redeem(invite) => return self.queue_at_desk(connection, invite, now),
                Output::Granted(granted) => self.take_grant(granted),
                Output::Admitted(member) => {
                    return self.admit(connection, member, messages, now);
                }
                Output::Failed(failure) => {
                    return self.fail(connection, failure.into(), messages, now);
                }
            }
        }
        self.say(connection, messages, Then::Listen);
    }

    /// The gate is told before the peer is: its next connection finds it open.
    fn admit(&mut self, connection: C, member: Member, messages: Vec<Vec<u8>>, now: Now) {
        if let Err(error) = self.roster.admit(member) {
            return self.fail(connection, error.into(), Vec::new(), now);
        }
        let Some(entry) = self.table.entry_mut(connection) else {
            return;
        };
        entry.stage = Stage::Admitted;
        let is_inside = entry.is_inside;
        self.outputs.push_back(DoorOutput::Admitted {
            member,
            connection,
            is_inside,
        });
        self.say(connection, messages, Then::Finish);
        self.settle(member.peer);
    }

    fn take_grant(&mut self, granted: Box<Certificate>) {
        let is_longer = match &self.credential {
            Credential::Invite(_) => true,
            Credential::Certificate(own) => {
                granted.statement.claimed_expiry() > own.statement.claimed_expiry()
            }
        };
        if is_longer {
            self.credential = Credential::Certificate((*granted).clone());
            self.outputs.push_back(DoorOutput::Granted(granted));
        }
    }

    fn queue_at_desk(&mut self, connection: C, invite: Box<Issued<Invite>>, now: Now) {
        let peer = self.table.entry(connection).map(|entry| entry.peer);
        let desk = self.desk.as_mut().zip(peer);
        if desk.is_some_and(|(desk, peer)| desk.redeem(connection, peer, invite)) {
            self.step_desk(now);
        } else {
            self.refuse(connection, RefusalCode::CannotRedeem, now);
        }
    }

    pub(super) fn step_desk(&mut self, now: Now) {
        while let Some(step) = self.desk.as_mut().and_then(|desk| desk.step(now.unix)) {
            match step {
                DeskStep::Write(entry) => self.outputs.push_back(DoorOutput::Write(entry)),
                DeskStep::Refuse(connection, code) => self.refuse(connection, code, now),
            }
        }
    }

    pub(super) fn refuse(&mut self, connection: C, code: RefusalCode, now: Now) {
        self.advance(connection, now, |admission, _| {
            admission.refuse(code, now.unix)
        });
    }

    /// A peer that is in here does not let this node in any more: it is out here too, and other
    /// connections to it close. Otherwise each new one would begin inside, as long as an older
    /// one is still closing, and count as a way into the swarm.
    fn part(&mut self, peer: NodeId, connection: C) {
        if self.roster.admitted(peer).is_none() {
            return;
        }
        self.roster.on_disconnected(peer);
        self.redialing.remove(&peer);
        self.outputs.push_back(DoorOutput::Left(peer));
        let others = self.table.of(peer).map(|(id, _)| id);
        let others: Vec<_> = others.filter(|id| *id != connection).collect();
        for other in others {
            self.close(other);
        }
    }

    /// Ends a handshake that admits nobody: the refusal is sent, where there is one.
    pub(super) fn fail(
        &mut self,
        connection: C,
        cause: EntryFailure,
        messages: Vec<Vec<u8>>,
        now: Now,
    ) {
        let Some(entry) = self.table.entry_mut(connection) else {
            return;
        };
        let peer = entry.peer;
        entry.stage = Stage::Closing(now.instant + CLOSE_LINGER);
        if cause.is_turned_away() {
            self.part(peer, connection);
        }
        self.refused(peer, connection, cause);
        if messages.is_empty() {
            self.close(connection);
        } else {
            self.say(connection, messages, Then::Close);
        }
        self.settle(peer);
    }
}
