//! Selection against the plain definitions, and its statistics.

use proptest::prelude::*;

use super::*;

fn logits() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![
        8 => -20.0f32..20.0,
        2 => (-3i8..3).prop_map(f32::from),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::NAN),
    ];
    prop::collection::vec(value, 0..700)
}

fn sorted(logits: &[f32]) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = logits
        .iter()
        .enumerate()
        .filter(|(_, l)| **l > f32::NEG_INFINITY)
        .map(|(i, &l)| Candidate::new(i, l))
        .collect();
    all.sort_by(best_first);
    all
}

proptest! {
    #[test]
    fn argmax_is_the_first_of_the_sorted(logits in logits()) {
        let expected = sorted(&logits).first().map(|c| c.token as u32);
        prop_assert_eq!(argmax(&logits), expected);
    }

    #[test]
    fn top_k_is_the_head_of_the_sorted(logits in logits(), k in 0usize..300) {
        let mut expected = sorted(&logits);
        expected.truncate(k);
        let mut out = vec![Candidate::new(1, 1.0)];
        top_k(&logits, k, &mut out);
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn shortcut_never_changes_the_draw(
        logits in logits(), seed: u64, position in 0u64..1000, temperature in 0.05f32..2.0
    ) {
        let candidates: Vec<_> = logits.iter().enumerate()
            .map(|(i, &l)| Candidate::new(i, l)).collect();
        let noise = Noise::new(seed, position);
        let plain = candidates.iter()
            .filter(|c| c.logit > f32::NEG_INFINITY)
            .map(|c| {
                let scaled = f64::from(c.logit) * (1.0 / f64::from(temperature));
                (scaled + Noise::gumbel(noise.bits(c.token as u32)), c.token)
            })
            .fold(None, |best: Option<(f64, i32)>, (s, t)| match best {
                Some((b, _)) if s <= b => best,
                _ => Some((s, t)),
            });
        prop_assert_eq!(gumbel_max(&candidates, temperature, noise), plain.map(|(_, t)| t as u32));
    }

    #[test]
    fn order_of_candidates_does_not_matter(mut logits in logits(), seed: u64) {
        logits.truncate(60);
        let mut candidates: Vec<_> = logits.iter().enumerate()
            .map(|(i, &l)| Candidate::new(i, l)).collect();
        let noise = Noise::new(seed, 3);
        let one = gumbel_max(&candidates, 0.8, noise);
        candidates.reverse();
        prop_assert_eq!(gumbel_max(&candidates, 0.8, noise), one);
    }

    /// What removal of losers (by truncation or a grammar) may not do.
    #[test]
    fn removing_a_loser_changes_nothing(logits in logits(), seed: u64, keep in any::<u64>()) {
        let candidates: Vec<_> = logits.iter().enumerate()
            .map(|(i, &l)| Candidate::new(i, l)).collect();
        let noise = Noise::new(seed, 9);
        let Some(winner) = gumbel_max(&candidates, 1.0, noise) else { return Ok(()) };
        let rest: Vec<_> = candidates.into_iter()
            .filter(|c| c.token as u32 == winner || keep >> (c.token % 64) & 1 == 1).collect();
        prop_assert_eq!(gumbel_max(&rest, 1.0, noise), Some(winner));
    }
}

/// Chi-square of draws at consecutive positions against the softmax.
#[test]
fn draws_follow_the_softmax() {
    const DRAWS: u32 = 40_000;
    for (temperature, seed) in [(1.0f32, 1u64), (0.7, 2), (1.6, u64::MAX)] {
        let logits = [2.0f32, 1.0, 0.5, 0.0, -0.5, -1.0, 1.5, -2.0];
        let candidates: Vec<_> = logits
            .iter()
            .enumerate()
            .map(|(i, &l)| Candidate::new(i, l))
            .collect();
        let weights: Vec<f64> = logits
            .iter()
            .map(|l| f64::from(l / temperature).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        let mut counts = [0u32; 8];
        for position in 0..DRAWS {
            let noise = Noise::new(seed, u64::from(position));
            let token = gumbel_max(&candidates, temperature, noise).unwrap();
            counts[token as usize] += 1;
        }
        let chi_square: f64 = counts
            .iter()
            .zip(&weights)
            .map(|(&count, w)| {
                let expected = f64::from(DRAWS) * w / total;
                (f64::from(count) - expected).powi(2) / expected
            })
            .sum();
        // The 0.1 % point with 7 degrees of freedom.
        assert!(chi_square < 24.32, "{temperature}: {chi_square}");
    }
}

#[test]
fn nothing_to_choose_from_is_none() {
    let dead = [f32::NEG_INFINITY, f32::NAN];
    assert_eq!(argmax(&dead), None);
    assert_eq!(argmax(&[]), None);
    let candidates = [Candidate::new(0, dead[0]), Candidate::new(1, dead[1])];
    assert_eq!(gumbel_max(&candidates, 1.0, Noise::new(0, 0)), None);
}
