//! How many second requests are opened for first tokens that are late: a share of all requests,
//! so that a swarm that is slow because it is full gets hardly more to do (Dean and Barroso, "The
//! Tail at Scale", 2013). It knows neither peers nor time.

/// A second request may be opened for one in this many requests on the whole.
pub const REQUESTS_PER_HEDGE: u32 = 20;

/// Second requests that may be saved up.
pub const MOST_SAVED: u32 = 4;

/// The budget of second requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HedgeBudget {
    /// In requests; [`REQUESTS_PER_HEDGE`] of them are worth one.
    credit: u32,
}

impl Default for HedgeBudget {
    /// One, so that a node's first request can be hedged too.
    fn default() -> Self {
        Self {
            credit: REQUESTS_PER_HEDGE,
        }
    }
}

impl HedgeBudget {
    /// A request went out.
    pub fn earn(&mut self) {
        self.credit = (self.credit + 1).min(MOST_SAVED * REQUESTS_PER_HEDGE);
    }

    /// Takes one, if there is one.
    pub fn take(&mut self) -> bool {
        match self.credit.checked_sub(REQUESTS_PER_HEDGE) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hedges_are_a_share_of_requests(wishes: Vec<bool>) {
            let mut budget = HedgeBudget::default();
            let (mut requests, mut hedges) = (0_u32, 0_u32);
            for wish in wishes {
                requests += 1;
                budget.earn();
                if wish && budget.take() {
                    hedges += 1;
                }
                prop_assert!(hedges <= 1 + requests / REQUESTS_PER_HEDGE);
            }
        }

        #[test]
        fn what_is_saved_is_bounded(requests in 0..10_000_u32) {
            let mut budget = HedgeBudget::default();
            (0..requests).for_each(|_| budget.earn());
            let taken = std::iter::repeat_with(|| budget.take()).take_while(|taken| *taken);
            prop_assert!(taken.count() <= MOST_SAVED as usize);
        }
    }
}
