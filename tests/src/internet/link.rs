//! The way between two hosts: how long a packet takes, and whether it arrives. It holds no
//! packets.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

/// One way between two hosts, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Of every packet, one way.
    pub delay: Duration,
    /// Of a packet beyond that, at most; drawn evenly.
    pub jitter: Duration,
    /// The share of packets that are lost, 0 to 1.
    pub loss: f64,
}

impl Link {
    /// One without jitter and loss, by its round-trip time.
    pub fn of_rtt(rtt: Duration) -> Self {
        Self {
            delay: rtt / 2,
            jitter: Duration::ZERO,
            loss: 0.0,
        }
    }

    /// When a packet that leaves now arrives; `None`: never. It does not overtake the last one,
    /// which arrives at `last`.
    pub fn arrival<R: Rng>(
        &self,
        now: Instant,
        last: Option<Instant>,
        rng: &mut R,
    ) -> Option<Instant> {
        if self.loss > 0.0 && rng.random_bool(self.loss.min(1.0)) {
            return None;
        }
        let jitter = self.jitter.mul_f64(rng.random::<f64>());
        let at = now + self.delay + jitter;
        Some(last.map_or(at, |last| last.max(at)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    proptest! {
        #[test]
        fn packets_keep_their_order_and_their_time(
            seed: u64,
            delay in 0u64..500,
            jitter in 0u64..100,
            loss in 0f64..0.9,
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let ms = Duration::from_millis;
            let link = Link { delay: ms(delay), jitter: ms(jitter), loss };
            let mut now = Instant::now();
            let mut last = None;
            for _ in 0..100 {
                now += ms(1);
                let Some(at) = link.arrival(now, last, &mut rng) else {
                    continue;
                };
                prop_assert!(last.is_none_or(|last| last <= at));
                prop_assert!(at >= now + link.delay);
                prop_assert!(at <= now + link.delay + link.jitter + ms(100));
                last = Some(at);
            }
        }
    }

    #[test]
    fn as_many_are_lost_as_was_said() {
        let mut rng = StdRng::seed_from_u64(1);
        let now = Instant::now();
        let lost = |loss, rng: &mut StdRng| {
            let link = Link {
                loss,
                ..Link::of_rtt(Duration::ZERO)
            };
            let lost = (0..1000).filter(|_| link.arrival(now, None, rng).is_none());
            lost.count()
        };
        assert_eq!(lost(0.0, &mut rng), 0);
        assert_eq!(lost(1.0, &mut rng), 1000);
        assert!((200..300).contains(&lost(0.25, &mut rng)));
    }
}
