//! What was heard of what others ask for: of each author the newest record of its present period,
//! and that of the next.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::{
    NodeId, Sequence, Signed, Verified,
    demand::{Asking, Demand as Said, DemandError, Period, Record},
    limits::{DEMAND_LEAD, DEMAND_PERIOD, MAX_CLOCK_SKEW},
    names::SwarmName,
};

use super::{
    MAX_SAYINGS,
    estimate::estimate,
    outcome::Outcome,
    sample::{Crowd, Samples},
};
use crate::{
    core::adverts::{MAX_SHUNNED, Moment, SHUN},
    demand::Demand,
};

/// Authors that are kept: both samples, and four times as many while very many begin at once.
/// At 500 bytes a record 1 MiB; with the longest records 18 MiB.
pub const MAX_AUTHORS: usize = 1024;

/// How many times larger than this node's own chance would be a coin may be: neighbours know of other
/// crowds while those grow.
const SURPLUS: f64 = 4.0;

/// How often the crowd is counted anew: all that are kept are looked at.
const COUNT_EVERY: Duration = Duration::from_millis(250);

/// Records of others.
#[derive(Debug)]
pub struct Listener {
    own: NodeId,
    swarm: SwarmName,
    since: Instant,
    heard: BTreeMap<NodeId, Heard>,
    shunned: BTreeMap<NodeId, Instant>,
    counted: Option<(Instant, Crowd)>,
    /// Nothing ends before this.
    soonest: Option<Instant>,
}

/// What was heard of one author.
#[derive(Debug)]
struct Heard {
    newest: Signed<Said>,
    sequence: Sequence,
    /// Of this period and of the next, in their order; at least one.
    turns: Vec<Turn>,
}

/// The newest record of one period.
#[derive(Debug)]
struct Turn {
    record: Record,
    coin: f64,
    begins: Instant,
    ends: Instant,
    /// Which one, told apart from the next by the author's own time.
    period: Period,
    sayings: u32,
}

impl Listener {
    /// Nothing was heard yet.
    pub fn new(own: NodeId, swarm: SwarmName, now: Instant) -> Self {
        Self {
            own,
            swarm,
            since: now,
            heard: BTreeMap::new(),
            shunned: BTreeMap::new(),
            counted: None,
            soonest: None,
        }
    }

    /// Takes a record that came by gossip.
    pub fn handle(&mut self, said: &Verified<Said>, at: Moment) -> Outcome {
        match self.check(said, at) {
            Err(refused) => refused,
            Ok(turn) => self.take(said, turn, at.now),
        }
    }

    /// What the record is, if nothing speaks against it.
    fn check(&mut self, said: &Verified<Said>, at: Moment) -> Result<Turn, Outcome> {
        let author = said.author();
        let record = Record::try_from(said.message()).map_err(Outcome::Malformed)?;
        if record.swarm != self.swarm {
            return Err(Outcome::OtherSwarm);
        }
        let period = Period::ending(&author, said.expires()).map_err(Outcome::Malformed)?;
        let coin = period.coin(&self.swarm, &author);
        if coin >= record.chance {
            return Err(Outcome::Malformed(DemandError::NotDrawn));
        }
        if author == self.own {
            return Err(Outcome::Own(said.sequence()));
        }
        if period.ends() <= at.unix {
            return Err(Outcome::Expired);
        }
        let latest = at.unix.saturating_add(DEMAND_LEAD + MAX_CLOCK_SKEW);
        if period.begins() > latest {
            return Err(Outcome::Early);
        }
        self.compare(said, at.now)?;
        let is_surplus = coin >= SURPLUS * self.crowd(at.now).chance(record.is_unmet());
        // What it said before must not go on counting.
        if is_surplus && !self.has_told(&author, period) {
            return Err(Outcome::Surplus);
        }
        Ok(Turn {
            record,
            coin,
            begins: at.now + period.begins().saturating_since(at.unix),
            ends: at.now + period.ends().saturating_since(at.unix),
            period,
            sayings: 1,
        })
    }

    /// Whether the author said as much or more before.
    fn compare(&mut self, said: &Verified<Said>, now: Instant) -> Result<(), Outcome> {
        let author = said.author();
        if self.shunned.get(&author).is_some_and(|until| now < *until) {
            return Err(Outcome::Shunned);
        }
        let Some(heard) = self.heard.get(&author) else {
            return Ok(());
        };
        if said.sequence() > heard.sequence {
            return Ok(());
        }
        if said.sequence() < heard.sequence || *said.signed() == heard.newest {
            return Err(Outcome::Duplicate);
        }
        self.shun(author, now);
        Err(Outcome::Equivocation)
    }

    fn has_told(&self, author: &NodeId, period: Period) -> bool {
        let turns = self.heard.get(author).map(|heard| &heard.turns);
        turns.is_some_and(|turns| turns.iter().any(|turn| turn.period == period))
    }

    fn shun(&mut self, author: NodeId, now: Instant) {
        self.heard.remove(&author);
        if self.shunned.len() >= MAX_SHUNNED {
            let first = self.shunned.iter().min_by_key(|(_, until)| **until);
            if let Some(node) = first.map(|(node, _)| *node) {
                self.shunned.remove(&node);
            }
        }
        let until = now + SHUN;
        self.note(until);
        self.shunned.insert(author, until);
    }

    /// Keeps it, in the place of what the author said of the same period.
    fn take(&mut self, said: &Verified<Said>, mut turn: Turn, now: Instant) -> Outcome {
        let author = said.author();
        let (newest, sequence) = (said.signed().clone(), said.sequence());
        let ends = turn.ends;
        let Some(heard) = self.heard.get_mut(&author) else {
            if !self.make_room(turn.coin) {
                return Outcome::NoSeat;
            }
            self.note(ends);
            let turns = vec![turn];
            let heard = Heard {
                newest,
                sequence,
                turns,
            };
            self.heard.insert(author, heard);
            return Outcome::Taken;
        };
        let before = heard.turns.iter().position(|old| old.period == turn.period);
        if let Some(before) = before {
            let before = heard.turns.remove(before);
            turn.sayings += before.sayings;
            if turn.sayings > MAX_SAYINGS {
                heard.turns.push(before);
                heard.turns.sort_by_key(|turn| turn.period);
                return Outcome::TooOften;
            }
        }
        heard.turns.retain(|turn| now < turn.ends);
        // One that is off by a whole period has no third.
        heard.turns.truncate(1);
        heard.turns.push(turn);
        heard.turns.sort_by_key(|turn| turn.period);
        (heard.newest, heard.sequence) = (newest, sequence);
        self.note(ends);
        Outcome::Taken
    }

    /// Whether there is a seat for one with this coin: the largest goes, which counts least.
    fn make_room(&mut self, coin: f64) -> bool {
        if self.heard.len() < MAX_AUTHORS {
            return true;
        }
        let coins = self.heard.iter();
        let coins = coins.map(|(node, heard)| (*node, heard.coin()));
        let largest = coins.max_by(|(_, one), (_, other)| one.total_cmp(other));
        match largest {
            Some((node, largest)) if coin < largest => self.heard.remove(&node).is_some(),
            _ => false,
        }
    }

    /// Drops what an author said, as one that is put out.
    pub fn forget(&mut self, author: &NodeId) {
        self.heard.remove(author);
    }

    /// How many others tell, or would if they were drawn; a quarter of a second old at most.
    pub fn crowd(&mut self, now: Instant) -> Crowd {
        match self.counted {
            Some((at, crowd)) if now < at + COUNT_EVERY => crowd,
            _ => {
                let crowd = Samples::of(self.live(now)).crowd();
                self.counted = Some((now, crowd));
                crowd
            }
        }
    }

    /// The same in a swarm of so many peers. Before a whole period was listened to, all of them may
    /// tell, and were not heard yet.
    pub fn crowd_of(&mut self, peers: u32, now: Instant) -> Crowd {
        let crowd = self.crowd(now);
        let met = match now < self.since + DEMAND_PERIOD {
            true => crowd.met.max(f64::from(peers)),
            false => crowd.met,
        };
        Crowd {
            met,
            peers,
            ..crowd
        }
    }

    /// What the swarm asks for, this node's own users included.
    pub fn demand(&self, own: &[Asking], now: Instant) -> Vec<Demand> {
        estimate(own, self.live(now))
    }

    /// Authors that are kept.
    pub fn len(&self) -> usize {
        self.heard.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.heard.is_empty()
    }

    fn live(&self, now: Instant) -> impl Iterator<Item = (f64, &Record)> {
        self.heard.values().filter_map(move |heard| {
            let is_live = |turn: &&Turn| turn.begins <= now && now < turn.ends;
            let turn = heard.turns.iter().rev().find(is_live)?;
            Some((turn.coin, &turn.record))
        })
    }

    /// When [`Listener::handle_timeout`] has something to do, and never later than that.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.soonest
    }

    fn note(&mut self, until: Instant) {
        self.soonest = self.soonest.into_iter().chain([until]).min();
    }

    /// Drops what ended.
    pub fn handle_timeout(&mut self, now: Instant) {
        for heard in self.heard.values_mut() {
            heard.turns.retain(|turn| now < turn.ends);
        }
        self.heard.retain(|_, heard| !heard.turns.is_empty());
        self.shunned.retain(|_, until| now < *until);
        let ends = self.heard.values().flat_map(|heard| &heard.turns);
        let ends = ends.map(|turn| turn.ends);
        self.soonest = ends.chain(self.shunned.values().copied()).min();
    }
}

impl Heard {
    /// The smallest of its coins: as long as it counts anywhere it has its seat.
    fn coin(&self) -> f64 {
        let coins = self.turns.iter().map(|turn| turn.coin);
        coins.fold(1.0, f64::min)
    }
}
