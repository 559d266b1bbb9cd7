//! Reconciliations: begun as each peer's meetings say, done in one step at their end.

use std::time::Duration;

use bytes::Bytes;
use dht::core::{
    board::{Difference, Ending, Initiator, Input, MeetingId, Output, Poison, Responder, Verdict},
    score::Offence,
};
use protocol::{NodeId, board::NoteId};

use super::{BoardSwarm, Trick, agenda::Event};

/// Round trips of a reconciliation: a stream and its opening, two or three rounds, what is fetched
/// and what is given.
const ROUND_TRIPS: u32 = 6;

/// The chance that a connection breaks meanwhile.
const BREAKS: f64 = 0.01;

impl BoardSwarm {
    /// Tells a peer's meetings what happened, and does what they say.
    pub(super) fn tell(&mut self, number: usize, input: Input) {
        let now = self.at();
        let member = &mut self.members[number];
        if !member.is_honest() {
            return;
        }
        let mut outputs = Vec::new();
        member
            .meetings
            .handle(input, now, &mut self.rng, &mut outputs);
        self.obey(number, outputs);
        self.poll(number);
    }

    pub(super) fn poll(&mut self, number: usize) {
        let now = self.at();
        let member = &mut self.members[number];
        if !member.is_online || !member.is_honest() {
            return;
        }
        let mut outputs = Vec::new();
        member.meetings.poll(now, &mut self.rng, &mut outputs);
        let due = member.meetings.next_deadline(now);
        let due = due.map(|due| due.saturating_duration_since(self.base));
        if let Some(due) = due
            && member.polls_at.is_none_or(|at| due < at)
        {
            member.polls_at = Some(due);
            self.agenda.push(due, Event::Poll(number));
        }
        self.obey(number, outputs);
    }

    fn obey(&mut self, number: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Reconcile { id, peer, .. } => self.begin_visit(number, &peer, id),
                // Connections are found by the model.
                Output::Seek(_) => {}
                Output::Blame(peer) => {
                    self.log.poisoned += 1;
                    if let Some(who) = self.number(&peer) {
                        self.blame(number, who, Offence::ProtocolViolation, true);
                    }
                }
            }
        }
    }

    fn begin_visit(&mut self, from: usize, peer: &NodeId, id: MeetingId) {
        let to = self.number(peer).unwrap_or(from);
        let node = self.members[from].node;
        let is_let_in = self.members[to].guests.try_enter(node);
        let rtt = self.members[from].spot.rtt(&self.members[to].spot);
        let trips = if is_let_in { ROUND_TRIPS } else { 1 };
        let id = Some(id);
        let visit = Event::Visit { from, to, id };
        self.agenda.push(self.now + rtt * trips, visit);
        if !is_let_in {
            self.log.turned_away += 1;
        }
    }

    pub(super) fn on_visit(&mut self, from: usize, to: usize, id: Option<MeetingId>) {
        let guest = self.members[from].node;
        self.members[to].guests.on_left(guest);
        let Some(id) = id else {
            return self.on_poisoner(from, to);
        };
        let is_linked = self.members[from].links.contains(&to);
        let breaks = !self.members[from].is_online || !is_linked || self.chance(BREAKS);
        let ending = match (breaks, self.members[to].trick) {
            (true, _) => Ending::Failed,
            (false, None) => self.reconcile(from, to),
            (false, Some(Trick::Poisons)) => self.against_poison(from),
            // It is silent.
            (false, Some(_)) => Ending::Failed,
        };
        self.tell(from, Input::Ended(id, ending));
    }

    /// Two honest peers.
    fn reconcile(&mut self, from: usize, to: usize) -> Ending {
        self.log.visits += 1;
        let found = self.compare(from, to);
        let news = self.hand_over(to, from, &found.lacking) > 0;
        let given = self.hand_over(from, to, &found.surplus) > 0;
        let (guest, board) = (self.members[from].node, self.board.clone());
        self.tell(to, Input::Served(guest, board, given));
        match found.is_whole {
            true => Ending::Whole { news },
            false => Ending::Partial { news },
        }
    }

    fn compare(&mut self, from: usize, to: usize) -> Difference {
        let (mut initiator, first) = Initiator::begin(&self.members[from].items());
        let mut responder = Responder::new(&self.members[to].items());
        let mut message = Some(first);
        while let Some(asked) = message {
            let answer = responder.on_round(&asked).expect("an honest message");
            self.log.visit_bytes += asked.len() + answer.len();
            message = initiator.on_round(&answer).expect("an honest answer");
        }
        initiator.end()
    }

    /// How many are new to whom they are given.
    fn hand_over(&mut self, from: usize, to: usize, ids: &[NoteId]) -> usize {
        let mut new = 0;
        for id in ids {
            let Some(entry) = self.members[from].entry(id) else {
                continue;
            };
            let there = &self.members[to];
            if there.has(id) || !there.has_room_for(&entry.author) {
                continue;
            }
            self.log.visit_bytes += entry.bytes.len();
            if self.members[to].keep(&entry) {
                new += 1;
                self.arrived(to, &entry.id);
            }
        }
        new
    }

    /// The one that is asked answers with garbage, without an end, or with what nobody signed.
    fn against_poison(&mut self, from: usize) -> Ending {
        let (mut initiator, _) = Initiator::begin(&self.members[from].items());
        match self.now.subsec_millis() % 3 {
            0 => match initiator.on_round(b"garbage") {
                Err(Poison::Malformed) => Ending::Poisoned,
                _ => Ending::Failed,
            },
            1 => {
                let differs = [&[0x61, 0, 0, 1][..], &[9; 16]].concat();
                let endless = (0..1000).find_map(|_| initiator.on_round(&differs).err());
                assert_eq!(endless, Some(Poison::Endless));
                Ending::Poisoned
            }
            _ => {
                let forged = self.forged();
                match self.check(&forged, None) {
                    Err(Verdict::Invalid) => Ending::Poisoned,
                    _ => Ending::Failed,
                }
            }
        }
    }

    /// An adversary comes to reconcile.
    fn on_poisoner(&mut self, from: usize, to: usize) {
        if !self.members[to].links.contains(&from) || !self.members[to].is_honest() {
            return;
        }
        let mut responder = Responder::new(&self.members[to].items());
        let forged: Bytes = self.forged();
        let is_caught = match self.now.subsec_millis() % 2 {
            0 => responder.on_round(b"garbage").is_err(),
            _ => self.check(&forged, None) == Err(Verdict::Invalid),
        };
        if is_caught {
            self.log.poisoned += 1;
            self.blame(to, from, Offence::ProtocolViolation, true);
        }
    }

    /// An adversary's way to somebody's door.
    pub(super) fn knock(&mut self, from: usize, to: usize) {
        let node = self.members[from].node;
        if !self.members[to].guests.try_enter(node) {
            return;
        }
        let visit = Event::Visit { from, to, id: None };
        self.agenda
            .push(self.now + Duration::from_millis(300), visit);
    }
}
