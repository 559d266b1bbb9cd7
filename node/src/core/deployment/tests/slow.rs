//! Stages that fall behind: which are replaced, and that nothing swings to and fro.

use std::time::Duration;

use protocol::NodeId;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::super::RingEnd;
use super::super::laggards::{CHANGE_REST, SLOW_FOR, SLOW_MEMORY};
use super::world::{Event, Nature, World};
use super::{SECOND, seeds, serves};

/// Long enough for the verdict, the change and its loads.
const SOON: Duration = Duration::from_secs(60);

const HOUR: Duration = Duration::from_secs(3600);

/// A world whose ring of three serves, beside so many others.
fn serving(seed: u64, others: usize) -> World {
    let room = vec![1; 3 + others];
    let mut world = World::new(seed, Nature::default(), &room, 1);
    world.run_until(60 * SECOND, serves(0));
    world.run(SOON);
    world
}

/// Who holds the stages of the ring.
fn ring(world: &World) -> Vec<NodeId> {
    let ring = world.heads[0].ring.as_ref().unwrap();
    ring.stages.iter().map(|stage| stage.peer).collect()
}

fn set_pace(world: &mut World, peer: NodeId, pace: f64) {
    world.stages.get_mut(&peer).unwrap().pace = pace;
}

/// Rings that served, one after the other.
fn rings(world: &World) -> usize {
    world.heads[0].ready.len()
}

#[test]
fn a_stage_that_becomes_slow_is_replaced_while_the_ring_serves() {
    for seed in seeds(50) {
        let mut world = serving(seed, 1);
        let slow = ring(&world)[1];
        set_pace(&mut world, slow, 4.0);
        world.run(SLOW_FOR);
        assert_eq!(rings(&world), 1, "seed {seed}: too soon");
        world.run(SOON);
        assert!(!ring(&world).contains(&slow), "seed {seed}");
        let head = &world.heads[0];
        let ((lost, end), ready) = (head.losses[0], head.ready[1].0);
        assert_eq!(end, RingEnd::Switched, "seed {seed}");
        assert!(ready - lost < SECOND, "seed {seed}: {:?}", ready - lost);
        assert!(world.stages[&slow].leases.is_empty(), "seed {seed}");
        world.run(HOUR);
        assert_eq!(rings(&world), 2, "seed {seed}: it goes on");
    }
}

#[test]
fn of_two_that_are_equally_slow_neither_is_better() {
    for seed in seeds(20) {
        let mut world = serving(seed, 1);
        let first = ring(&world)[2];
        let both = world.heads[0].group.clone().into_iter();
        let both: Vec<_> = both
            .filter(|peer| *peer == first || !ring(&world).contains(peer))
            .collect();
        for peer in both {
            set_pace(&mut world, peer, 4.0);
        }
        world.run(24 * HOUR);
        assert_eq!(rings(&world), 2, "seed {seed}");
    }
}

/// Each is fast when it is loaded and slow from then on, whoever it is: the worst that there is.
#[test]
fn peers_that_are_slow_by_turns_are_changed_less_and_less_often() {
    for seed in seeds(10) {
        let mut world = serving(seed, 2);
        let mut rng = StdRng::seed_from_u64(seed);
        let hours = 24;
        for _ in 0..hours * 60 {
            let now = ring(&world);
            let all = world.heads[0].group.clone();
            for peer in all {
                let is_slow = now.contains(&peer) && rng.random_bool(0.9);
                set_pace(&mut world, peer, if is_slow { 4.0 } else { 1.0 });
            }
            world.run(60 * SECOND);
        }
        // Five peers, each remembered for twice as long each time, six hours at last.
        let most = 5 * 10;
        assert!(rings(&world) <= most, "seed {seed}: {}", rings(&world));
        let wanted = world.heads[0].changes_wanted;
        let rests = (hours * HOUR).as_secs() / CHANGE_REST.as_secs();
        assert!(u64::from(wanted) <= rests, "seed {seed}: {wanted}");
    }
}

#[test]
fn what_slows_all_stages_down_changes_nothing() {
    for seed in seeds(20) {
        let mut world = serving(seed, 3);
        for peer in ring(&world) {
            set_pace(&mut world, peer, 5.0);
        }
        world.run(HOUR);
        assert_eq!(
            (rings(&world), world.heads[0].changes_wanted),
            (1, 0),
            "seed {seed}"
        );
    }
}

#[test]
fn noise_and_short_troubles_change_nothing() {
    for seed in seeds(20) {
        let mut world = serving(seed, 3);
        let mut rng = StdRng::seed_from_u64(seed);
        for round in 0..600 {
            for peer in ring(&world) {
                let pace = match round % 20 {
                    // Less than the time that counts.
                    0 | 1 => rng.random_range(1.0..9.0),
                    _ => rng.random_range(1.0..1.4),
                };
                set_pace(&mut world, peer, pace);
            }
            world.run(6 * SECOND);
        }
        assert_eq!(
            (rings(&world), world.heads[0].changes_wanted),
            (1, 0),
            "seed {seed}"
        );
    }
}

#[test]
fn a_slow_stage_for_which_there_is_nobody_goes_on() {
    for seed in seeds(20) {
        let mut world = serving(seed, 0);
        let slow = ring(&world)[0];
        set_pace(&mut world, slow, 6.0);
        world.run(SLOW_MEMORY);
        let head = &world.heads[0];
        assert!(head.changes_wanted > 1, "seed {seed}");
        assert_eq!((head.losses.len(), rings(&world)), (0, 1), "seed {seed}");
    }
}

#[test]
fn a_change_that_fails_costs_the_ring_nothing() {
    for seed in seeds(50) {
        let mut world = serving(seed, 2);
        let slow = ring(&world)[1];
        set_pace(&mut world, slow, 6.0);
        match seed % 3 {
            // Nobody else can load it.
            0 => world.nature.broken = 1.0,
            // Nobody else answers.
            1 => {
                for peer in world.heads[0].group.clone() {
                    if !ring(&world).contains(&peer) {
                        world.after(Duration::ZERO, Event::Freeze(peer));
                    }
                }
            }
            // Whoever was chosen dies while it loads.
            _ => {
                world.nature.load = 100 * SECOND;
                world.run_until(SOON, |world| world.heads[0].changes_wanted > 0);
                world.run(SECOND);
                for peer in world.heads[0].group.clone() {
                    if !ring(&world).contains(&peer) {
                        world.after(Duration::ZERO, Event::CrashStage(peer));
                    }
                }
            }
        }
        world.run(SLOW_MEMORY);
        let head = &world.heads[0];
        assert!(head.changes_wanted > 0, "seed {seed}");
        assert_eq!((head.losses.len(), rings(&world)), (0, 1), "seed {seed}");
        assert_eq!(ring(&world)[1], slow, "seed {seed}");
    }
}

#[test]
fn a_slow_stage_that_dies_while_it_is_replaced_is_replaced() {
    for seed in seeds(30) {
        let mut world = serving(seed, 2);
        let slow = ring(&world)[1];
        set_pace(&mut world, slow, 6.0);
        world.run_until(SOON, |world| world.heads[0].changes_wanted > 0);
        let moment = Duration::from_millis(world.rng.random_range(0..4000));
        world.run(moment);
        world.after(Duration::ZERO, Event::CrashStage(slow));
        world.run(SOON);
        assert!(!ring(&world).contains(&slow), "seed {seed}");
        let others = world.heads[0].losses.iter().filter(|(_, end)| {
            !matches!(end, RingEnd::Switched)
                && !matches!(end, RingEnd::Stage { peer, .. } if *peer == slow)
        });
        assert_eq!(others.count(), 0, "seed {seed}");
    }
}
