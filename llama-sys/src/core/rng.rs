//! Noise for token selection: a counter-based generator, so that the noise of a token is a
//! function of (seed, position, token) and of nothing else. No state, no order of calls.
//!
//! Philox4x32-10 (Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, 2011): passes
//! TestU01's BigCrush for any key and any walk through its counters.

/// Rounds of Philox4x32; ten is the authors' choice with a margin over the seven that pass.
const ROUNDS: u32 = 10;
const MULTIPLIER: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// 2⁻⁶⁴: turns 64 random bits into a number in [0, 1).
const TWO_POW_MINUS_64: f64 = 1.0 / 18_446_744_073_709_551_616.0;

/// The noise of one position of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise {
    key: [u32; 2],
    position: u64,
}

impl Noise {
    /// The noise for the token at `position` of the answer that `seed` keys.
    #[must_use]
    pub fn new(seed: u64, position: u64) -> Self {
        Self {
            key: halves(seed),
            position,
        }
    }

    /// 64 uniform bits for `token`.
    #[must_use]
    pub fn bits(self, token: u32) -> u64 {
        let [low, high] = halves(self.position);
        let [a, b, ..] = philox([token, 0, low, high], self.key);
        u64::from(a) << 32 | u64::from(b)
    }

    /// A draw from the standard Gumbel distribution for `token`, from its [`Self::bits`].
    #[must_use]
    pub fn gumbel(bits: u64) -> f64 {
        // The small end of the uniform becomes the large end of the Gumbel, and it is there that
        // a floating-point number has its finest steps.
        let uniform = ((bits as f64) + 0.5) * TWO_POW_MINUS_64;
        let exponential = -(-uniform.min(1.0 - f64::EPSILON)).ln_1p();
        -exponential.ln()
    }
}

fn halves(x: u64) -> [u32; 2] {
    [(x & 0xFFFF_FFFF) as u32, (x >> 32) as u32]
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let [low0, high0] = halves(MULTIPLIER[0] * u64::from(counter[0]));
        let [low1, high1] = halves(MULTIPLIER[1] * u64::from(counter[2]));
        counter = [
            high1 ^ counter[1] ^ key[0],
            low1,
            high0 ^ counter[3] ^ key[1],
            low0,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors of the authors' Random123 library.
    #[test]
    fn philox_gives_the_published_vectors() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn the_extremes_of_the_uniform_stay_finite() {
        for bits in [0, 1, u64::MAX - 1, u64::MAX] {
            assert!(Noise::gumbel(bits).is_finite(), "{bits}");
        }
        assert!(Noise::gumbel(0) > 44.0);
    }

    /// Kolmogorov–Smirnov over consecutive tokens, positions and seeds: the walks that an
    /// engine takes through the counters.
    #[test]
    fn gumbel_draws_follow_their_distribution() {
        const DRAWS: u32 = 20_000;
        let walks: [fn(u32) -> u64; 3] = [
            |i| Noise::new(42, 7).bits(i),
            |i| Noise::new(42, u64::from(i)).bits(11),
            |i| Noise::new(u64::from(i), 0).bits(0),
        ];
        for walk in walks {
            let mut draws: Vec<f64> = (0..DRAWS).map(|i| Noise::gumbel(walk(i))).collect();
            draws.sort_by(f64::total_cmp);
            let n = f64::from(DRAWS);
            let distance = (0u32..)
                .zip(&draws)
                .map(|(i, g)| {
                    let cumulative = (-(-g).exp()).exp();
                    let below = (cumulative - f64::from(i) / n).abs();
                    below.max((cumulative - f64::from(i + 1) / n).abs())
                })
                .fold(0.0, f64::max);
            // The 0.1 % point of the Kolmogorov distribution.
            assert!(distance < 1.95 / n.sqrt(), "{distance}");
        }
    }
}
