//! The verifier's side: it samples after each row with that row's own noise, as it would have
//! without drafts, and goes on while the next row's token is the one that it sampled. So what is
//! answered is what would have been answered, token for token, at any temperature. It knows
//! neither the model nor who drafted.

/// What was sampled after a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampled {
    /// A token after which the answer goes on.
    Token(u32),
    /// A token that ends the answer.
    Last(u32),
    /// Nothing can follow.
    Nothing,
}

/// What is said of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Drafted tokens that are the ones that were sampled.
    pub accepted: usize,
    /// The answer ends with the last of the tokens, or where none is said after them.
    pub ended: bool,
}

/// Judges the tokens `drafted` behind a row that is certain. `sample(i)` samples after row `i`, of
/// which the first is that certain one; it is called in order, and not beyond the first draft that
/// is rejected. The tokens to return, those accepted and one, are appended to `tokens`.
pub fn verdict(
    drafted: &[u32],
    tokens: &mut Vec<u32>,
    mut sample: impl FnMut(usize) -> Sampled,
) -> Verdict {
    for row in 0..=drafted.len() {
        let (token, ended) = match sample(row) {
            Sampled::Token(token) => (Some(token), false),
            Sampled::Last(token) => (Some(token), true),
            Sampled::Nothing => (None, true),
        };
        tokens.extend(token);
        if ended || token != drafted.get(row).copied() {
            return Verdict {
                accepted: row,
                ended,
            };
        }
    }
    Verdict {
        accepted: drafted.len(),
        ended: false,
    }
}

/// What a verifier remembers of a sequence, to know windows that were drafted on an assumption
/// which did not come true: there is no need to sample for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expectation {
    next: Option<(usize, u32)>,
}

impl Expectation {
    /// A window whose first row, the draft `token` at `position` of the context, is what was
    /// sampled for that position. Windows that begin with a certain token need not be asked for.
    #[must_use]
    pub fn holds(&self, position: usize, token: u32) -> bool {
        self.next == Some((position, token))
    }

    /// `tokens` were returned for a window whose first sampled row is at `position`.
    pub fn on_verdict(&mut self, position: usize, tokens: &[u32], verdict: Verdict) {
        let last = tokens.last().filter(|_| !verdict.ended);
        self.next = last.map(|token| (position + tokens.len(), *token));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_returned_was_sampled(
            drafted in prop::collection::vec(0u32..3, 0..8),
            model in prop::collection::vec(0u32..5, 9),
        ) {
            let (mut tokens, mut rows) = (Vec::new(), 0);
            let verdict = verdict(&drafted, &mut tokens, |row| {
                assert_eq!(row, rows);
                rows += 1;
                match model[row] {
                    3 => Sampled::Last(3),
                    4 => Sampled::Nothing,
                    token => Sampled::Token(token),
                }
            });
            let agreeing = drafted.iter().zip(&model).take_while(|(d, m)| d == m).count();
            prop_assert_eq!(verdict.accepted, agreeing);
            prop_assert_eq!(verdict.ended, model[agreeing] > 2);
            let said = agreeing + usize::from(model[agreeing] != 4);
            prop_assert_eq!(&tokens[..], &model[..said]);
            prop_assert_eq!(rows, agreeing + 1);
        }
    }

    #[test]
    fn a_window_counts_if_the_one_before_ended_as_it_assumed() {
        let mut expectation = Expectation::default();
        assert!(!expectation.holds(0, 0));
        let whole = Verdict {
            accepted: 1,
            ended: false,
        };
        expectation.on_verdict(10, &[7, 8], whole);
        assert!(expectation.holds(12, 8));
        assert!(!expectation.holds(12, 7) && !expectation.holds(11, 8));
        expectation.on_verdict(
            12,
            &[9],
            Verdict {
                accepted: 0,
                ended: true,
            },
        );
        assert!(!expectation.holds(13, 9));
    }
}
