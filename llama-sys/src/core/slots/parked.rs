//! Prefixes that were moved out of the cache into ordinary memory, by their tokens. What they
//! hold is somewhere else, under their [`ParkId`]s.

use super::common_prefix;

/// A sequence's state outside of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParkId(pub u64);

/// Parked prefixes at most: each is compared with every prompt that comes.
const MOST_PARKED: usize = 256;

#[derive(Debug, Clone)]
struct Parked {
    id: ParkId,
    tokens: Vec<u32>,
}

/// All parked prefixes, the longest unused first.
#[derive(Debug, Clone)]
pub(super) struct Parking {
    parked: Vec<Parked>,
    /// Tokens of all of them, and how many there may be.
    tokens: usize,
    room: usize,
    next: u64,
}

/// A parked prefix that a prompt begins like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: ParkId,
    /// Tokens in common with the prompt.
    pub(super) common: usize,
    /// Tokens in all, which must fit in the cache to use any of them.
    pub(super) len: usize,
}

impl Parking {
    /// For `room` tokens at most.
    pub(super) fn new(room: usize) -> Self {
        Self {
            parked: Vec::new(),
            tokens: 0,
            room,
            next: 0,
        }
    }

    /// Tokens that are parked.
    #[cfg(test)]
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// The parked prefix of at most `most` tokens with the longest beginning in common with
    /// `prompt`, the newest of equals.
    pub(super) fn find(&self, prompt: &[u32], most: usize) -> Option<Found> {
        let fitting = self.parked.iter().filter(|p| p.tokens.len() <= most);
        let found = fitting.map(|p| Found {
            id: p.id,
            common: common_prefix(&p.tokens, prompt),
            len: p.tokens.len(),
        });
        found.filter(|f| f.common > 0).max_by_key(|f| f.common)
    }

    /// Room for `tokens`, under a new id; those that made way for it are added to `gone`.
    /// `None` if there is nothing to park: they are here already, or there is no room beside
    /// `spared`.
    pub(super) fn park(
        &mut self,
        tokens: &[u32],
        spared: Option<ParkId>,
        gone: &mut Vec<ParkId>,
    ) -> Option<ParkId> {
        if let Some(at) = self
            .parked
            .iter()
            .position(|p| p.tokens.starts_with(tokens))
        {
            self.parked[at..].rotate_left(1);
            return None;
        }
        let kept = |p: &&Parked| Some(p.id) == spared;
        let reserved = self.parked.iter().find(kept).map_or(0, |p| p.tokens.len());
        if tokens.len() + reserved > self.room {
            return None;
        }
        let outgrown = |p: &Parked| Some(p.id) != spared && tokens.starts_with(&p.tokens);
        while let Some(at) = self.parked.iter().position(outgrown) {
            gone.push(self.take(at));
        }
        while self.tokens + tokens.len() > self.room || self.parked.len() >= MOST_PARKED {
            let oldest = self.parked.iter().position(|p| Some(p.id) != spared)?;
            gone.push(self.take(oldest));
        }
        let id = ParkId(self.next);
        self.next += 1;
        self.tokens += tokens.len();
        self.parked.push(Parked {
            id,
            tokens: tokens.to_vec(),
        });
        Some(id)
    }

    /// The tokens under `id`, which count as used now.
    pub(super) fn touch(&mut self, id: ParkId) -> Option<&[u32]> {
        let at = self.parked.iter().position(|p| p.id == id)?;
        self.parked[at..].rotate_left(1);
        self.parked.last().map(|p| p.tokens.as_slice())
    }

    /// Forgets `id`.
    pub(super) fn remove(&mut self, id: ParkId) {
        if let Some(at) = self.parked.iter().position(|p| p.id == id) {
            self.take(at);
        }
    }

    fn take(&mut self, at: usize) -> ParkId {
        let parked = self.parked.remove(at);
        self.tokens -= parked.tokens.len();
        parked.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parking(room: usize, all: &[&[u32]]) -> (Parking, Vec<ParkId>) {
        let mut parking = Parking::new(room);
        let mut gone = Vec::new();
        for tokens in all {
            parking.park(tokens, None, &mut gone);
        }
        (parking, gone)
    }

    #[test]
    fn the_longest_unused_makes_way() {
        let (mut parking, mut gone) = parking(10, &[&[1, 2, 3, 4], &[5, 6, 7, 8]]);
        assert_eq!(parking.touch(ParkId(0)), Some([1, 2, 3, 4].as_slice()));
        assert_eq!(parking.park(&[9; 4], None, &mut gone), Some(ParkId(2)));
        assert_eq!((gone, parking.tokens()), (vec![ParkId(1)], 8));
    }

    #[test]
    fn whoever_is_spared_stays() {
        let (mut parking, mut gone) = parking(10, &[&[1; 6], &[2; 4]]);
        assert_eq!(parking.park(&[3; 5], Some(ParkId(0)), &mut gone), None);
        assert_eq!(
            parking.park(&[3; 4], Some(ParkId(0)), &mut gone),
            Some(ParkId(2))
        );
        assert_eq!(gone, [ParkId(1)]);
    }

    #[test]
    fn a_longer_form_takes_the_place_of_its_beginning() {
        let (mut parking, mut gone) = parking(10, &[&[1, 2]]);
        assert_eq!(parking.park(&[1, 2, 3], None, &mut gone), Some(ParkId(1)));
        assert_eq!((&gone[..], parking.tokens()), ([ParkId(0)].as_slice(), 3));
        assert_eq!(parking.park(&[1, 2], None, &mut gone), None);
        assert_eq!(parking.park(&[4; 11], None, &mut gone), None);
        assert_eq!(parking.tokens(), 3);
    }

    #[test]
    fn found_by_what_is_in_common() {
        let (parking, _) = parking(20, &[&[1, 2, 3], &[1, 2, 4, 5], &[1, 9]]);
        let found = |id, common, len| {
            Some(Found {
                id: ParkId(id),
                common,
                len,
            })
        };
        assert_eq!(parking.find(&[1, 2, 4], 9), found(1, 3, 4));
        assert_eq!(parking.find(&[1, 2, 4], 3), found(0, 2, 3));
        assert_eq!(parking.find(&[7], 9), None);
    }

    #[test]
    fn their_number_is_bounded() {
        let mut parking = Parking::new(10_000);
        let mut gone = Vec::new();
        for i in 0..1000 {
            assert!(parking.park(&[i, i], None, &mut gone).is_some());
        }
        assert_eq!((parking.parked.len(), gone.len()), (MOST_PARKED, 744));
    }
}
