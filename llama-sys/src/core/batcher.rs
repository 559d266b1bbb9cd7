//! How a batch is shared: every running answer gets its next token first, what is left of the
//! batch goes to prompts in equal shares. A short prompt is so done soon beside a long one, and
//! a long one never stops the answers that run.

/// Shares `budget` among `wants`, equally, nobody more than they want. What one does not need
/// goes to the others.
#[must_use]
pub fn fair_shares(budget: usize, wants: &[usize]) -> Vec<usize> {
    let mut shares = vec![0; wants.len()];
    let mut order: Vec<usize> = (0..wants.len()).collect();
    order.sort_by_key(|&i| wants[i]);
    let mut left = budget;
    for (served, &i) in order.iter().enumerate() {
        let others = wants.len() - served;
        shares[i] = wants[i].min(left / others);
        left -= shares[i];
    }
    for (share, &want) in shares.iter_mut().zip(wants) {
        let more = (want - *share).min(left);
        *share += more;
        left -= more;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_are_fair_and_use_the_budget(
            budget in 0usize..2000, wants in prop::collection::vec(0usize..1500, 0..20)
        ) {
            let shares = fair_shares(budget, &wants);
            let total: usize = shares.iter().sum();
            prop_assert_eq!(total, budget.min(wants.iter().sum()));
            let least_unmet = shares.iter().zip(&wants).filter(|(s, w)| s < w).map(|(s, _)| *s).min();
            for (share, want) in shares.iter().zip(&wants) {
                prop_assert!(share <= want);
                if let Some(least) = least_unmet {
                    // Nobody has more than a fair share while another wants. The odd rest
                    // is less than one each.
                    prop_assert!(*share <= least + wants.len());
                }
            }
        }
    }

    #[test]
    fn the_small_are_served_and_the_rest_is_split() {
        assert_eq!(fair_shares(100, &[1000, 10, 1000]), [45, 10, 45]);
        assert_eq!(fair_shares(3, &[5, 5]).iter().sum::<usize>(), 3);
        assert_eq!(fair_shares(10, &[]), Vec::<usize>::new());
    }
}
