//! How a batch is shared: every running answer gets its next token first, what is left of the
//! batch goes to prompts. Half of it to the oldest, so that nobody waits for ever; the other half
//! to whoever has the least left to compute, so that a short prompt gets by long ones. Prompts of
//! one length are then finished one after another: equal shares would finish all of them at the
//! end, and tear the rows of each apart, which attention pays for.

/// Shares `budget` among `wants`, the oldest first, nobody more than they want.
#[must_use]
pub fn shares(budget: usize, wants: &[usize]) -> Vec<usize> {
    let mut left = budget;
    let mut half = budget.div_ceil(2);
    let by_age = wants.iter().map(|&want| {
        let taken = want.min(half);
        half -= taken;
        left -= taken;
        taken
    });
    let mut shares: Vec<usize> = by_age.collect();
    let mut by_rest: Vec<usize> = (0..wants.len()).collect();
    by_rest.sort_by_key(|&i| wants[i] - shares[i]);
    for i in by_rest {
        let taken = (wants[i] - shares[i]).min(left);
        shares[i] += taken;
        left -= taken;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_budget_is_used_and_the_oldest_gets_half(
            budget in 0usize..2000, wants in prop::collection::vec(0usize..1500, 0..20)
        ) {
            let shares = shares(budget, &wants);
            let total: usize = shares.iter().sum();
            prop_assert_eq!(total, budget.min(wants.iter().sum()));
            prop_assert!(shares.iter().zip(&wants).all(|(share, want)| share <= want));
            if let Some((share, want)) = shares.first().zip(wants.first()) {
                prop_assert!(*share >= (*want).min(budget.div_ceil(2)));
            }
        }
    }

    #[test]
    fn older_prompts_are_finished_first_and_short_ones_get_by() {
        assert_eq!(shares(64, &[32, 32, 32]), [32, 32, 0]);
        assert_eq!(shares(80, &[1000, 9, 500, 1000]), [40, 9, 31, 0]);
        assert_eq!(shares(512, &[208, 208, 208, 208]), [208, 208, 96, 0]);
        assert_eq!(shares(10, &[]), Vec::<usize>::new());
    }
}
