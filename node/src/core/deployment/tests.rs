//! A deployment and the leases of its stages, together in a simulated world.

use std::time::Duration;

use protocol::limits::{LEASE_LIFETIME, LEASE_RENEWAL};
use rand::RngExt;

use self::world::{Event, Nature, World, node};
use super::*;
use crate::core::leases::{self, Limits};

mod slow;
mod steps;
mod world;

const SECOND: Duration = Duration::from_secs(1);

fn serves(head: usize) -> impl Fn(&World) -> bool {
    move |world| world.heads[head].ring.is_some()
}

/// Some place of a peer.
pub(super) fn node_place(n: u8) -> Place {
    Place {
        peer: node(n),
        first_layer: 0,
        last_layer: 1,
    }
}

/// The seeds of a test, or the one of `SEED=n`.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    seed.map_or(0..count, |seed: u64| seed..seed + 1)
}

#[test]
fn a_plan_comes_into_service_and_stays() {
    let mut world = World::new(1, Nature::default(), &[1, 1, 1], 1);
    let took = world.run_until(10 * SECOND, serves(0));
    assert!(took < 6 * SECOND, "{took:?}");
    world.run(600 * SECOND);
    let head = &world.heads[0];
    assert_eq!((head.losses.len(), head.ready.len(), head.plans), (0, 1, 1));
    assert!(world.stages.values().all(|stage| stage.loads == 1));
}

#[test]
fn a_message_lost_now_and_then_is_no_loss_of_a_stage() {
    for seed in seeds(20) {
        let nature = Nature {
            loss: 0.02,
            ..Nature::default()
        };
        let mut world = World::new(seed, nature, &[1, 1, 1], 1);
        world.run_until(240 * SECOND, serves(0));
        world.run(600 * SECOND);
        assert_eq!(world.heads[0].losses, [], "seed {seed}");
    }
}

#[test]
fn a_spare_replaces_a_dead_stage_within_a_second() {
    for seed in seeds(50) {
        let nature = Nature {
            spares: 6,
            ..Nature::default()
        };
        let mut world = World::new(seed, nature, &[2; 9], 1);
        world.run_until(10 * SECOND, serves(0));
        world.run(20 * SECOND);
        let status = world.heads[0].deployment.status();
        let spare = status.stages.iter().find(|stage| stage.is_spare).unwrap();
        let ring = world.heads[0].ring.clone().unwrap();
        let like = ring
            .stages
            .iter()
            .find(|stage| stage.is_like(&spare.place))
            .unwrap();
        world.after(Duration::ZERO, Event::CrashStage(like.peer));
        world.run_until(5 * SECOND, |world| world.heads[0].losses.len() == 1);
        let took = world.run_until(5 * SECOND, serves(0));
        assert!(took <= SECOND, "seed {seed}: {took:?}");
        let ready = &world.heads[0].ready;
        assert!(ready[1].1.generation > ready[0].1.generation);
    }
}

#[test]
fn without_a_spare_only_the_lost_layers_are_loaded_anew() {
    for seed in seeds(50) {
        let mut world = World::new(seed, Nature::default(), &[1; 4], 1);
        world.run_until(60 * SECOND, serves(0));
        let dead = world.heads[0].ring.as_ref().unwrap().stages[1].peer;
        world.after(Duration::ZERO, Event::CrashStage(dead));
        world.run(SECOND);
        let took = world.run_until(30 * SECOND, serves(0));
        assert!(took <= 5 * SECOND, "seed {seed}: {took:?}");
        assert!(
            world.stages.values().all(|stage| stage.loads <= 1),
            "seed {seed}"
        );
    }
}

#[test]
fn a_stage_that_hangs_is_replaced_though_nobody_uses_the_ring() {
    for seed in seeds(20) {
        let mut world = World::new(seed, Nature::default(), &[1; 4], 1);
        world.run_until(60 * SECOND, serves(0));
        let stage = world.heads[0].ring.as_ref().unwrap().stages[1];
        world.after(Duration::ZERO, Event::Freeze(stage.peer));
        world.is_quiet = true;
        world.run(SILENT_AFTER + LEASE_RENEWAL + 6 * SECOND);
        let head = &world.heads[0];
        let why = Loss::Silent;
        let peer = stage.peer;
        assert_eq!(
            head.losses[0].1,
            RingEnd::Stage { peer, why },
            "seed {seed}"
        );
        assert_eq!(head.ready.len(), 2, "seed {seed}");
    }
}

#[test]
fn a_stage_that_hangs_under_a_batch_is_replaced_by_its_spare_within_a_second() {
    for seed in seeds(50) {
        let nature = Nature {
            spares: 6,
            ..Nature::default()
        };
        let mut world = World::new(seed, nature, &[2; 9], 1);
        world.run_until(10 * SECOND, serves(0));
        world.run(20 * SECOND);
        let ring = world.heads[0].ring.clone().unwrap();
        let status = world.heads[0].deployment.status();
        let spares = status.stages.iter().filter(|stage| stage.is_spare);
        let like = |place: &Place| ring.stages.iter().find(|stage| stage.is_like(place));
        let stage = spares.filter_map(|spare| like(&spare.place)).next();
        let peer = stage.unwrap().peer;
        world.is_quiet = true;
        world.after(Duration::ZERO, Event::Freeze(peer));
        world.run(Duration::from_millis(1));
        world.head(0, Input::Overdue(ring.generation));
        // An answer that was on its way may have arrived after that.
        world.run(Duration::from_millis(150));
        world.head(0, Input::Overdue(ring.generation));
        world.run_until(SECOND, |world| world.heads[0].losses.len() == 1);
        let why = Loss::NoAnswer;
        let end = RingEnd::Stage { peer, why };
        assert_eq!(world.heads[0].losses[0].1, end, "seed {seed}");
        let took = world.run_until(SECOND, serves(0));
        assert!(took <= SECOND / 2, "seed {seed}: {took:?}");
    }
}

#[test]
fn batches_that_are_slow_cost_no_stage() {
    for seed in seeds(20) {
        let mut world = World::new(seed, Nature::default(), &[1; 4], 1);
        world.run_until(60 * SECOND, serves(0));
        let generation = world.heads[0].ring.as_ref().unwrap().generation;
        for _ in 0..100 {
            world.head(0, Input::Overdue(generation));
            world.run(Duration::from_millis(150));
        }
        assert_eq!(world.heads[0].losses, [], "seed {seed}");
    }
}

#[test]
fn spares_are_found_while_the_ring_serves_and_others_have_their_memory() {
    for seed in seeds(20) {
        let nature = Nature {
            later_spares: 1,
            ..Nature::default()
        };
        let mut world = World::new(seed, nature, &[1; 4], 1);
        world.run_until(60 * SECOND, serves(0));
        world.run(10 * SECOND);
        let spare = |world: &World| {
            let status = world.heads[0].deployment.status();
            let mut stages = status.stages.into_iter();
            stages.find(|stage| stage.is_spare && stage.phase.is_some())
        };
        let peer = spare(&world).expect("a spare").place.peer;
        let stage = world.stages.get_mut(&peer).unwrap();
        let limits = Limits {
            resident_bytes: world::SLICE_BYTES,
            ..stage.limits()
        };
        world.stage(peer, leases::Input::Limits(limits));
        world.run(LEASE_RENEWAL + SECOND);
        assert_eq!(world.stages[&peer].leases.spare_bytes(), 0, "seed {seed}");
        assert_eq!(world.heads[0].losses, [], "seed {seed}");
        let limits = world.stages[&peer].limits();
        world.stage(peer, leases::Input::Limits(limits));
        world.run(2 * SPARES_EVERY);
        assert!(spare(&world).is_some(), "seed {seed}");
    }
}

#[test]
fn a_stage_that_leaves_politely_costs_the_ring_less_than_a_second() {
    for seed in seeds(50) {
        let mut world = World::new(seed, Nature::default(), &[1; 4], 1);
        world.run_until(60 * SECOND, serves(0));
        let peer = world.heads[0].ring.as_ref().unwrap().stages[1].peer;
        world.after(Duration::ZERO, Event::StopStage(peer, 60 * SECOND));
        world.run(70 * SECOND);
        let head = &world.heads[0];
        assert_eq!(head.losses.len(), 1, "seed {seed}: {:?}", head.losses);
        let ((lost, end), (ready, ring)) = (head.losses[0], &head.ready[1]);
        assert_eq!(end, RingEnd::Switched);
        assert!(*ready - lost < SECOND, "seed {seed}");
        assert!(ring.stages.iter().all(|stage| stage.peer != peer));
        assert!(world.stages[&peer].drained, "it left when it was free");
    }
}

#[test]
fn a_stage_that_leaves_with_nobody_to_replace_it_serves_to_its_end() {
    let mut world = World::new(3, Nature::default(), &[1; 3], 1);
    world.run_until(60 * SECOND, serves(0));
    let peer = world.heads[0].ring.as_ref().unwrap().stages[1].peer;
    world.after(Duration::ZERO, Event::StopStage(peer, 60 * SECOND));
    world.run(55 * SECOND);
    assert_eq!(world.heads[0].losses, []);
    world.run(10 * SECOND);
    assert_eq!(world.heads[0].losses.len(), 1);
    assert!(world.stages[&peer].drained);
    world.after(Duration::ZERO, Event::Restart(peer));
    world.run_until(120 * SECOND, serves(0));
}

#[test]
fn of_heads_that_want_the_same_memory_one_serves_and_the_others_say_why() {
    for seed in seeds(100) {
        let heads = 2 + u8::try_from(seed % 3).unwrap();
        let nature = Nature {
            loss: if seed % 2 == 0 { 0.0 } else { 0.03 },
            ..Nature::default()
        };
        let mut world = World::new(seed, nature, &[1; 4], heads);
        world.run(400 * SECOND);
        let serving = world
            .heads
            .iter()
            .filter(|head| head.ring.is_some())
            .count();
        assert_eq!(serving, 1, "seed {seed}: {:?}", world.doings());
        for head in &world.heads {
            let is_named = head.has_ended && head.failed.is_some();
            assert!(head.ring.is_some() || is_named, "seed {seed}");
        }
    }
}

#[test]
fn heads_that_fit_beside_one_another_all_serve() {
    for seed in seeds(50) {
        let mut world = World::new(seed, Nature::default(), &[1; 7], 2);
        world.run_until(200 * SECOND, |world| serves(0)(world) && serves(1)(world));
    }
}

#[test]
fn a_head_that_crashes_frees_everything_within_thirty_seconds() {
    for seed in seeds(100) {
        let nature = Nature {
            spares: 1,
            ..Nature::default()
        };
        let mut world = World::new(seed, nature, &[1; 5], 1);
        let moment = Duration::from_millis(world.rng.random_range(0..20_000));
        world.run(moment);
        world.after(Duration::ZERO, Event::CrashHead(0));
        world.run(Duration::from_millis(50));
        world.run(LEASE_LIFETIME);
        let free = |stage: &world::StagePeer| stage.leases.is_empty();
        assert!(world.stages.values().all(free), "seed {seed}");
        world.run(Duration::from_secs(4));
        let held = world.stages.values().map(|stage| stage.leases.held_bytes());
        assert_eq!(held.sum::<u64>(), 0, "seed {seed}");
    }
}

#[test]
fn a_deployment_that_is_stopped_leaves_nothing_behind() {
    for seed in seeds(100) {
        let mut world = World::new(seed, Nature::default(), &[1; 4], 1);
        let moment = Duration::from_millis(world.rng.random_range(0..8_000));
        world.run(moment);
        world.after(Duration::ZERO, Event::StopHead(0));
        world.run(RELEASE_PATIENCE + SECOND);
        assert!(world.heads[0].has_ended, "seed {seed}");
        assert_eq!(world.heads[0].failed, None);
        let free = |stage: &world::StagePeer| stage.leases.is_empty();
        assert!(world.stages.values().all(free), "seed {seed}");
    }
}

#[test]
fn a_slice_that_is_still_warm_is_not_loaded_again() {
    let mut world = World::new(5, Nature::default(), &[1; 3], 2);
    world.run_until(60 * SECOND, |world| serves(0)(world) || serves(1)(world));
    let first = usize::from(serves(1)(&world));
    world.after(Duration::ZERO, Event::StopHead(first));
    world.run_until(60 * SECOND, serves(1 - first));
    let loads = world.stages.values().map(|stage| stage.loads).sum::<u32>();
    assert!(loads <= 6, "{loads}");
}

#[test]
fn broken_loads_are_left_out_for_a_while_and_come_back() {
    for seed in seeds(30) {
        let nature = Nature {
            broken: 0.3,
            ..Nature::default()
        };
        let mut world = World::new(seed, nature, &[1; 6], 1);
        world.run(300 * SECOND);
        let head = &world.heads[0];
        assert!(head.ring.is_some() || head.failed.is_some(), "seed {seed}");
    }
}

/// Anything at any time: whatever comes of it, the promises that the world checks after each
/// event hold, and when it is over nothing is left.
#[test]
fn chaos_breaks_no_promise_and_leaves_nothing_behind() {
    for seed in seeds(60) {
        let nature = Nature {
            loss: 0.05,
            broken: 0.1,
            spares: 1,
            ..Nature::default()
        };
        let mut world = World::new(seed, nature, &[1, 2, 1, 2, 1, 2, 3], 3);
        for _ in 0..40 {
            let peer = node(world.rng.random_range(1..=7));
            let head = world.rng.random_range(0..3);
            let event = match world.rng.random_range(0..6) {
                0 => Event::CrashStage(peer),
                1 => Event::Freeze(peer),
                2 | 3 => Event::Restart(peer),
                4 => Event::Gone(head, peer),
                _ => Event::StopStage(peer, 40 * SECOND),
            };
            let at = Duration::from_millis(world.rng.random_range(0..300_000));
            world.after(at, event);
        }
        world.run(300 * SECOND);
        for head in 0..3 {
            world.after(Duration::ZERO, Event::StopHead(head));
        }
        world.run(RELEASE_PATIENCE + SECOND);
        assert!(world.heads.iter().all(|head| head.has_ended), "seed {seed}");
        world.run(LEASE_LIFETIME);
        let stages = || world.stages.values().filter(|stage| stage.is_alive);
        assert!(stages().all(|stage| stage.leases.is_empty()), "seed {seed}");
        assert!(world.steps < 200_000, "seed {seed}: {}", world.steps);
    }
}
