//! With whom a board is reconciled, and when.
//!
//! Peers that follow a board reconcile it when they meet; of two that meet, the one with the lesser
//! id begins, the other only if nothing came of that. Whoever got news by reconciling tells on a few
//! others by reconciling with them, so that what was parted is one again within a few rounds of
//! that (an epidemic: Demers et al., 1987), and news that came by gossip is gossip's to spread. Now
//! and then each board is reconciled with anybody, for what was lost otherwise.
//!
//! A board is reconciled with one peer at a time: after the first the others have nothing to add,
//! as a rule, which costs a round trip and a kilobyte. Who answers with poison is blamed and not
//! asked again for [`SHUN`].
//!
//! While few who follow a board are connected, others are sought.
//!
//! It does not know what reconciling is, nor who follows boards that this node does not follow.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::{NodeId, board::BoardName};
use rand::Rng;

mod board;

use self::board::Board;

/// Boards that one node follows: each is a topic of gossip, and a peer's topics are limited.
pub const MOST_BOARDS: usize = 32;

/// Reconciliations that this node has begun and that are under way: each may hold the items of a
/// board, 4 MiB for a hundred thousand.
pub const MOST_RUNNING: usize = 4;

/// Peers of one board that are remembered: connections are bounded to about a hundred.
pub const MOST_PEERS: usize = 256;

/// How long the one with the greater id waits for the other to begin.
pub const POLITENESS: Duration = Duration::from_secs(4);

/// Between two reconciliations of a board of which the first brought nothing new.
pub const PACE: Duration = Duration::from_millis(500);

/// How often a board is reconciled with anybody, less or more by a quarter.
pub const PERIOD: Duration = Duration::from_secs(180);

/// Others to whom news that came by reconciling is told on: with three, and those who come to ask,
/// all but a few in a thousand hear of it.
pub const FANOUT: usize = 3;

/// Until news is told on, and as much again at most: what comes in that time goes together.
pub const GATHER: Duration = Duration::from_millis(250);

/// Until a peer that gave no answer is asked again, twice as long after each further time.
pub const RETRY: Duration = Duration::from_secs(10);

/// How often it is asked in vain before it is left for [`PERIOD`] to find.
pub const MOST_TRIES: u32 = 4;

/// How long a peer that answered with poison is not asked, if it comes again after it was cut off.
pub const SHUN: Duration = Duration::from_secs(600);

/// Connected peers that follow a board, of whom there are to be so many: with fewer, gossip passes
/// notes on by luck.
pub const FEW: usize = 4;

/// When others are sought after a board was followed (those who are connected have said by then
/// what they follow), and twice as long after each time.
pub const SEEK_FIRST: Duration = Duration::from_secs(2);

/// How long at most until they are sought again: a lookup asks two dozen peers.
pub const MOST_SEEK: Duration = Duration::from_secs(600);

/// Shunned peers that are remembered; of more, who is free soonest goes.
pub const MOST_SHUNNED: usize = 1024;

/// A reconciliation that this node begins; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeetingId(u64);

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// This node follows a board from now on. Peers that do are named after it.
    Followed(BoardName),
    /// It no longer does.
    Unfollowed(BoardName),
    /// A connected peer follows a board.
    Met(NodeId, BoardName),
    /// It no longer does.
    Parted(NodeId, BoardName),
    /// A peer is not connected any more.
    Gone(NodeId),
    /// A peer has reconciled with this node; whether that brought something new.
    Served(NodeId, BoardName, bool),
    /// A reconciliation that this node began is over.
    Ended(MeetingId, Ending),
}

/// How a reconciliation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Both have the same.
    Whole {
        /// It brought something new.
        news: bool,
    },
    /// There is more to reconcile.
    Partial {
        /// It brought something new.
        news: bool,
    },
    /// The peer did not answer, or not to the end.
    Failed,
    /// It answered with what no honest peer says.
    Poisoned,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Reconcile a board with a peer, and say how it ended.
    Reconcile {
        /// Names it.
        id: MeetingId,
        /// With whom.
        peer: NodeId,
        /// What.
        board: BoardName,
    },
    /// Look for others who follow a board.
    Seek(BoardName),
    /// A peer broke the protocol.
    Blame(NodeId),
}

/// All boards that are followed.
#[derive(Debug)]
pub struct Meetings {
    own: NodeId,
    boards: BTreeMap<BoardName, Board>,
    running: BTreeMap<MeetingId, (NodeId, BoardName)>,
    shunned: BTreeMap<NodeId, Instant>,
    next_id: u64,
}

impl Meetings {
    /// No boards yet.
    pub fn new(own: NodeId) -> Self {
        Self {
            own,
            boards: BTreeMap::new(),
            running: BTreeMap::new(),
            shunned: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Takes what happened.
    pub fn handle<R: Rng>(
        &mut self,
        input: Input,
        now: Instant,
        rng: &mut R,
        outputs: &mut Vec<Output>,
    ) {
        match input {
            Input::Followed(board) => self.on_followed(board, now, rng),
            Input::Unfollowed(board) => {
                self.boards.remove(&board);
            }
            Input::Met(peer, board) => self.on_met(peer, &board, now),
            Input::Parted(peer, board) => {
                if let Some(board) = self.boards.get_mut(&board) {
                    board.peers.remove(&peer);
                }
            }
            Input::Gone(peer) => self.forget(peer),
            Input::Served(peer, board, news) => {
                if let Some(board) = self.boards.get_mut(&board) {
                    board.on_reconciled(peer, now, rng);
                    board.on_news(news, peer, now, rng);
                }
            }
            Input::Ended(id, ending) => {
                if let Some((peer, board)) = self.running.remove(&id) {
                    self.on_ended(peer, &board, ending, (now, rng));
                    if ending == Ending::Poisoned {
                        self.shun(peer, now);
                        outputs.push(Output::Blame(peer));
                    }
                }
            }
        }
    }

    /// Begins what is due.
    pub fn poll<R: Rng>(&mut self, now: Instant, rng: &mut R, outputs: &mut Vec<Output>) {
        for (name, board) in &mut self.boards {
            if board.seeks(now) {
                outputs.push(Output::Seek(name.clone()));
            }
        }
        while self.running.len() < MOST_RUNNING {
            let due = self.boards.iter().filter_map(|(name, board)| {
                let due = board.next(now).filter(|due| *due <= now)?;
                Some((due, name))
            });
            let Some((_, name)) = due.min() else {
                return;
            };
            let name = name.clone();
            let peer = self
                .boards
                .get_mut(&name)
                .and_then(|board| board.begin(now, rng));
            let Some(peer) = peer else {
                return;
            };
            let id = MeetingId(self.next_id);
            self.next_id += 1;
            self.running.insert(id, (peer, name.clone()));
            let board = name;
            outputs.push(Output::Reconcile { id, peer, board });
        }
    }

    /// When there is something to begin.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let has_room = self.running.len() < MOST_RUNNING;
        let boards = self.boards.values();
        let next = boards.flat_map(|board| {
            let next = board.next(now).filter(|_| has_room);
            [next, board.next_seek()]
        });
        next.flatten().min()
    }

    /// Connected peers that follow a board, by id.
    pub fn followers(&self, board: &BoardName) -> impl Iterator<Item = NodeId> {
        let board = self.boards.get(board).into_iter();
        board.flat_map(|board| board.peers.keys().copied())
    }

    /// Whether there is room for one more board, or it is followed already.
    pub fn may_follow(&self, board: &BoardName) -> bool {
        self.boards.len() < MOST_BOARDS || self.boards.contains_key(board)
    }

    /// Boards, peers of them, what is under way, and who is shunned.
    pub fn len(&self) -> [usize; 4] {
        let peers = self.boards.values().map(|board| board.peers.len()).sum();
        let (running, shunned) = (self.running.len(), self.shunned.len());
        [self.boards.len(), peers, running, shunned]
    }

    fn on_followed<R: Rng>(&mut self, board: BoardName, now: Instant, rng: &mut R) {
        if !self.may_follow(&board) {
            return;
        }
        // It may have been unfollowed while a reconciliation of it was under way.
        let is_running = self.running.values().any(|(_, running)| *running == board);
        let new = || Board::new(is_running, now, rng);
        self.boards.entry(board).or_insert_with(new);
    }

    fn on_met(&mut self, peer: NodeId, board: &BoardName, now: Instant) {
        self.shunned.retain(|_, until| *until > now);
        if peer == self.own || self.shunned.contains_key(&peer) {
            return;
        }
        let Some(board) = self.boards.get_mut(board) else {
            return;
        };
        if board.peers.len() >= MOST_PEERS {
            return;
        }
        let wait = match self.own < peer {
            true => Duration::ZERO,
            false => POLITENESS,
        };
        board.meet(peer, now + wait);
    }

    fn on_ended<R: Rng>(
        &mut self,
        peer: NodeId,
        board: &BoardName,
        ending: Ending,
        (now, rng): (Instant, &mut R),
    ) {
        let Some(board) = self.boards.get_mut(board) else {
            return;
        };
        board.is_running = false;
        match ending {
            Ending::Whole { news } => {
                board.on_reconciled(peer, now, rng);
                board.turn = if news { now } else { now + PACE };
                board.on_news(news, peer, now, rng);
            }
            Ending::Partial { news } => {
                board.want(peer, now);
                board.on_news(news, peer, now, rng);
            }
            Ending::Failed => board.on_failed(peer, now),
            Ending::Poisoned => {}
        }
    }

    fn shun(&mut self, peer: NodeId, now: Instant) {
        self.forget(peer);
        if self.shunned.len() >= MOST_SHUNNED {
            let first = self.shunned.iter().min_by_key(|(_, until)| **until);
            if let Some(peer) = first.map(|(peer, _)| *peer) {
                self.shunned.remove(&peer);
            }
        }
        self.shunned.insert(peer, now + SHUN);
    }

    fn forget(&mut self, peer: NodeId) {
        for board in self.boards.values_mut() {
            board.peers.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests;
