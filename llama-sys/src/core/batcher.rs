//! How a batch is shared: every running answer gets its next token first, what is left of the
//! batch goes to prompts, the oldest first, but none takes more than its turn while others want
//! theirs. So prompts are finished one after another (equal shares would finish all of them at
//! the end, and tear the rows of each apart, which attention pays for), a short one gets by
//! several long ones, and no prompt stops the answers that run.

/// Prompts that get a turn in each batch, however long they are.
const TURNS: usize = 8;

/// Shares `budget` among `wants`, the first first, nobody more than they want.
#[must_use]
pub fn shares(budget: usize, wants: &[usize]) -> Vec<usize> {
    let turn = (budget / TURNS).max(1);
    let mut left = budget;
    let mut take = |want: usize| {
        let taken = want.min(left);
        left -= taken;
        taken
    };
    let mut shares: Vec<usize> = wants.iter().map(|want| take((*want).min(turn))).collect();
    for (share, want) in shares.iter_mut().zip(wants) {
        *share += take(want - *share);
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_budget_is_used_and_the_first_get_their_turn(
            budget in 0usize..2000, wants in prop::collection::vec(0usize..1500, 0..20)
        ) {
            let shares = shares(budget, &wants);
            let total: usize = shares.iter().sum();
            prop_assert_eq!(total, budget.min(wants.iter().sum()));
            for (i, (share, want)) in shares.iter().zip(&wants).enumerate() {
                prop_assert!(share <= want);
                if i < TURNS {
                    prop_assert!(*share >= (*want).min(budget / TURNS));
                }
            }
        }
    }

    #[test]
    fn older_prompts_are_finished_first_and_short_ones_get_by() {
        assert_eq!(shares(64, &[32, 32, 32]), [32, 24, 8]);
        assert_eq!(shares(80, &[1000, 9, 1000]), [61, 9, 10]);
        assert_eq!(shares(10, &[]), Vec::<usize>::new());
    }
}
