//! What is taken on, by whom, and what is let go; whole histories are in `tests/histories.rs`.

use ed25519_dalek::SigningKey;
use rand::{SeedableRng, rngs::StdRng};

use super::*;

mod histories;
mod lots;

const SECOND: Duration = Duration::from_secs(1);

fn node(n: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[n; 32]))
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

/// So many requests a second, of which so many are unmet; said by four, without an error.
fn asked(arrivals: f64, unmet: f64) -> Asked {
    Asked {
        arrivals: Rate::new(arrivals, 0.0),
        unmet: Rate::new(unmet, 0.0),
        waiting: SECOND,
        authors: 4,
    }
}

/// So many servers, all of them busy.
fn served(servers: u32, coming: &[u8]) -> Served {
    Served {
        servers,
        sequences: servers * 4,
        idle: 0,
        coming: coming.iter().map(|n| node(*n)).collect(),
    }
}

fn candidate(need_bytes: u64) -> Candidate {
    Candidate {
        form: Form::Alone,
        need_bytes,
        fetch_bytes: 0,
        writes: true,
        rivals: 1,
    }
}

const HELD: Held = Held {
    is_owners: false,
    is_pinned: false,
    leases: 0,
};

/// One node whose errands are done at once, in a swarm that a test writes.
struct World {
    placement: Placement,
    scene: Scene,
    now: Instant,
    rng: StdRng,
    /// What was put out beside questions.
    done: Vec<Output>,
    /// How often the swarm was asked.
    looked: usize,
    /// Loads fail.
    fails: bool,
    /// Whoever is said to serve anything turns out to be gone when the swarm is asked.
    gone: bool,
}

impl World {
    fn new() -> Self {
        let mut scene = Scene {
            free_bytes: 10,
            ..Scene::default()
        };
        scene.candidates.insert(name("m"), candidate(10));
        Self {
            placement: Placement::new(node(0), Policy::default()),
            scene,
            now: Instant::now(),
            rng: StdRng::seed_from_u64(7),
            done: Vec::new(),
            looked: 0,
            fails: false,
            gone: false,
        }
    }

    fn asking(arrivals: f64, unmet: f64) -> Self {
        let mut world = Self::new();
        world.scene.asked.insert(name("m"), asked(arrivals, unmet));
        world
    }

    /// A node that took the model on and serves it.
    fn holding() -> Self {
        let mut world = Self::asking(1.0, 1.0);
        world.pass(15 * SECOND);
        assert_eq!(world.taken(), ["m"]);
        world.done.clear();
        world.ask(1.0, 0.0);
        world
    }

    fn ask(&mut self, arrivals: f64, unmet: f64) {
        self.scene.asked.insert(name("m"), asked(arrivals, unmet));
    }

    fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut out = Vec::new();
            self.placement
                .handle(input, self.now, &mut self.rng, &mut out);
            for output in out {
                inputs.push(self.answer(&output));
                if !matches!(output, Output::Find { .. }) {
                    self.done.push(output);
                }
            }
        }
    }

    /// Does what is to be done; the scene shows it before it is answered.
    fn answer(&mut self, output: &Output) -> Input {
        match output {
            Output::Find { errand, .. } => {
                self.looked += 1;
                if self.gone {
                    self.scene.served.clear();
                    self.show();
                }
                Input::Found(*errand)
            }
            Output::Take { errand, model, .. } => {
                let cause = self.fails.then(|| "broken".to_owned());
                if !self.fails {
                    self.scene.held.insert(model.clone(), HELD);
                    self.scene.free_bytes -= self.scene.candidates[model].need_bytes;
                }
                self.show();
                let errand = *errand;
                Input::Taken { errand, cause }
            }
            Output::Drop { errand, model, .. } => {
                self.scene.held.remove(model);
                self.scene.free_bytes += self.scene.candidates[model].need_bytes;
                Input::Dropped(*errand)
            }
        }
    }

    fn show(&mut self) {
        let scene = Input::Scene(Box::new(self.scene.clone()));
        let mut out = Vec::new();
        self.placement
            .handle(scene, self.now, &mut self.rng, &mut out);
        assert_eq!(out, [], "one thing at a time");
    }

    /// Time passes, with a scene each second and every deadline at its time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.input(Input::Scene(Box::new(self.scene.clone())));
            let next = self.now + SECOND;
            while let Some(at) = self.placement.next_deadline().filter(|at| *at <= next) {
                self.now = self.now.max(at);
                self.input(Input::Tick);
                let later = self.placement.next_deadline();
                assert!(
                    later.is_none_or(|later| later > self.now),
                    "it stands still"
                );
            }
            self.now = next;
        }
        self.input(Input::Scene(Box::new(self.scene.clone())));
    }

    fn taken(&self) -> Vec<&str> {
        let models = self.done.iter().filter_map(|output| match output {
            Output::Take { model, .. } => Some(model.as_str()),
            _ => None,
        });
        models.collect()
    }

    fn dropped(&self) -> Vec<&str> {
        let models = self.done.iter().filter_map(|output| match output {
            Output::Drop { model, .. } => Some(model.as_str()),
            _ => None,
        });
        models.collect()
    }

    fn account(&self) -> (&'static str, String) {
        let mut accounts = self.placement.accounts(self.now);
        let account = accounts.pop().unwrap();
        (account.state, account.why)
    }
}

#[test]
fn a_model_that_nobody_serves_is_taken_on_within_ten_seconds() {
    for seed in 0..200 {
        let mut world = World::asking(0.01, 0.01);
        world.rng = StdRng::seed_from_u64(seed);
        world.pass(10 * SECOND);
        assert_eq!(world.taken(), ["m"], "seed {seed}");
        assert!(world.placement.kept().contains(&name("m")));
        assert_eq!(world.account().0, "held");
    }
}

#[test]
fn what_nobody_lacks_is_not_taken_on() {
    let mut world = World::asking(0.2, 0.0);
    world.pass(60 * SECOND);
    world.ask(0.0005, 0.0005);
    world.pass(60 * SECOND);
    // Served, and what is unmet is within the tolerance or within the error.
    world.scene.served.insert(name("m"), served(2, &[]));
    world.ask(1.0, 0.04);
    world.pass(600 * SECOND);
    let noisy = Asked {
        unmet: Rate::new(0.2, 0.15),
        ..asked(1.0, 0.2)
    };
    world.scene.asked.insert(name("m"), noisy);
    world.pass(600 * SECOND);
    assert_eq!(world.done, []);
}

#[test]
fn a_busy_model_gets_another_server() {
    let mut world = World::asking(1.0, 0.0);
    world.scene.served.insert(name("m"), served(2, &[]));
    world.pass(600 * SECOND);
    world.ask(1.0, 0.3);
    world.pass(15 * SECOND);
    assert_eq!(world.taken(), ["m"]);
}

#[test]
fn whoever_waits_too_long_while_all_are_busy_is_not_met() {
    let late = Asked {
        waiting: 30 * SECOND,
        ..asked(1.0, 0.0)
    };
    let mut world = World::new();
    world.scene.asked.insert(name("m"), late);
    let idle = Served {
        idle: 1,
        ..served(2, &[])
    };
    world.scene.served.insert(name("m"), idle);
    world.pass(600 * SECOND);
    assert_eq!(world.done, [], "somebody is idle");
    world.scene.served.insert(name("m"), served(2, &[]));
    world.pass(15 * SECOND);
    assert_eq!(world.taken(), ["m"]);
}

#[test]
fn what_is_said_to_be_unmet_beside_idle_servers_is_looked_into_now_and_then() {
    let mut world = World::asking(1.0, 0.0);
    let idle = Served {
        idle: 8,
        ..served(2, &[])
    };
    world.scene.served.insert(name("m"), idle);
    world.pass(300 * SECOND);
    world.ask(1.0, 1.0);
    world.pass(300 * SECOND);
    assert_eq!(world.done, []);
    assert!((2..=5).contains(&world.looked), "{} times", world.looked);
    // Somebody else does so: then this node need not.
    let looked = world.looked;
    for _ in 0..6 {
        let served = world.scene.served.get_mut(&name("m")).unwrap();
        served.coming.insert(node(5));
        world.pass(SECOND);
        let served = world.scene.served.get_mut(&name("m")).unwrap();
        served.coming.clear();
        world.pass(50 * SECOND);
    }
    assert_eq!(world.looked, looked);
    // It turns out that they are gone.
    world.gone = true;
    world.pass(90 * SECOND);
    assert_eq!(world.taken(), ["m"]);
}

#[test]
fn whoever_goes_before_has_it() {
    let model = name("m");
    let own = lot::rank(&model, &node(0));
    let is_before = |n: &u8| lot::rank(&model, &node(*n)) < own;
    let before = (1..100).find(is_before).unwrap();
    let after = (1..100).find(|n| !is_before(n)).unwrap();
    for (other, takes) in [(before, false), (after, true)] {
        let mut world = World::asking(0.01, 0.01);
        world.input(Input::Scene(Box::new(world.scene.clone())));
        while world.placement.coming().is_empty() {
            world.now = world.placement.next_deadline().unwrap();
            world.input(Input::Tick);
        }
        // The other said so at the same time.
        world.scene.served.insert(name("m"), served(0, &[other]));
        world.pass(20 * SECOND);
        assert_eq!(!world.taken().is_empty(), takes);
    }
}

#[test]
fn nobody_follows_whoever_takes_it_on() {
    let mut world = World::asking(0.02, 0.02);
    world.scene.served.insert(name("m"), served(0, &[5]));
    world.pass(60 * SECOND);
    assert_eq!(world.account(), ("left", "others take it on".to_owned()));
    // It serves, and the rate of what was unmet decays with its half-life.
    world.scene.served.insert(name("m"), served(1, &[]));
    for second in 0..900 {
        let unmet = 0.02 * (-f64::from(second) / 120.0).exp2();
        world.ask(0.02, unmet);
        world.pass(SECOND);
    }
    assert_eq!(world.done, []);
}

#[test]
fn a_server_that_is_lost_is_replaced_at_once() {
    let mut world = World::asking(0.02, 0.0);
    world.scene.served.insert(name("m"), served(1, &[]));
    world.pass(10 * SECOND);
    world.scene.served.clear();
    world.ask(0.02, 0.01);
    world.pass(10 * SECOND);
    assert_eq!(world.taken(), ["m"]);
}

#[test]
fn the_owners_wishes_win() {
    let mut world = World::asking(1.0, 1.0);
    world.scene.candidates.clear();
    world.pass(30 * SECOND);
    assert!(world.account().1.contains("does not allow"));
    world
        .scene
        .candidates
        .insert(name("m"), candidate(12_000_000));
    world.pass(30 * SECOND);
    assert!(world.account().1.starts_with("it needs 12 MB"));
    world.scene.candidates.insert(name("m"), candidate(10));
    world.scene.closed = Some("it is outside the hours");
    world.pass(30 * SECOND);
    assert_eq!(world.account(), ("left", "it is outside the hours".into()));
    assert_eq!(world.done, []);
}

#[test]
fn outside_the_hours_everything_is_let_go() {
    let mut world = World::holding();
    world.scene.closed = Some("it is outside the hours");
    world.pass(SECOND);
    assert!(world.placement.leaving().contains(&name("m")));
    world.pass(NOTICE);
    assert_eq!(world.dropped(), ["m"]);
}

#[test]
fn the_last_server_of_a_model_that_is_asked_for_stays() {
    let mut world = World::holding();
    world.ask(0.01, 0.0);
    world.pass(4 * STAY);
    assert_eq!(world.done, []);
    // What its owner loaded is kept, too, while it is the last.
    let mut owners = World::asking(0.01, 0.0);
    owners.scene.held.insert(name("m"), HELD);
    owners.pass(10 * SECOND);
    assert!(owners.placement.kept().contains(&name("m")));
    owners.scene.served.insert(name("m"), served(1, &[]));
    owners.pass(10 * SECOND);
    assert!(owners.placement.kept().is_empty());
}

#[test]
fn what_nobody_asks_for_goes_after_the_keep_alive_and_a_notice() {
    let mut world = World::holding();
    let keep_alive = Policy::default().keep_alive;
    world.ask(0.0, 0.0);
    world.pass(keep_alive);
    assert_eq!(world.done, []);
    world.pass(2 * SECOND);
    assert!(world.placement.leaving().contains(&name("m")));
    assert!(
        world.placement.kept().contains(&name("m")),
        "until the notice is over"
    );
    world.pass(NOTICE);
    assert_eq!(world.dropped(), ["m"]);
    assert_eq!(world.account().0, "resting");
    world.ask(1.0, 1.0);
    world.pass(REST - 30 * SECOND);
    assert_eq!(world.taken(), [""; 0], "not so soon");
}

#[test]
fn what_is_asked_for_again_in_its_notice_stays_if_it_is_the_last() {
    let mut world = World::holding();
    world.ask(0.0, 0.0);
    world.pass(Policy::default().keep_alive + 2 * SECOND);
    assert!(!world.placement.leaving().is_empty());
    world.ask(0.5, 0.0);
    world.pass(NOTICE);
    assert_eq!(world.done, []);
    assert!(world.placement.leaving().is_empty());
}

#[test]
fn one_too_many_leaves_by_lot() {
    let mut world = World::holding();
    // Ten servers of four sequences for what one and a half of them meet.
    world.scene.served.insert(name("m"), served(9, &[]));
    world.ask(0.2, 0.0);
    world.pass(STAY - 30 * SECOND);
    assert_eq!(world.done, []);
    world.pass(1200 * SECOND);
    assert_eq!(world.dropped(), ["m"]);
}

#[test]
fn what_its_owner_uses_or_pins_is_not_let_go_from_here() {
    let mut world = World::holding();
    world.ask(0.0, 0.0);
    let used = Held {
        is_owners: true,
        ..HELD
    };
    world.scene.held.insert(name("m"), used);
    world.pass(2 * STAY);
    assert_eq!(world.done, []);
    assert!(
        world.placement.kept().is_empty(),
        "its owner's keep-alive holds"
    );
    let mut world = World::holding();
    let pinned = Held {
        is_pinned: true,
        ..HELD
    };
    world.ask(0.0, 0.0);
    world.scene.held.insert(name("m"), pinned);
    world.pass(2 * STAY);
    assert_eq!(world.done, []);
}

#[test]
fn what_its_owner_let_go_is_not_taken_on_again() {
    let mut world = World::holding();
    world.scene.held.clear();
    world.scene.free_bytes = 10;
    world.ask(1.0, 1.0);
    world.pass(REST - SECOND);
    assert_eq!(world.done, []);
}

#[test]
fn what_failed_rests_and_says_why() {
    let mut world = World::asking(1.0, 1.0);
    world.fails = true;
    world.pass(60 * SECOND);
    assert_eq!(world.taken(), ["m"]);
    assert_eq!(world.account(), ("resting", "broken".to_owned()));
    world.pass(REST);
    assert_eq!(world.taken(), ["m", "m"]);
}

#[test]
fn one_author_raises_one_server_at_most_and_many_raise_many() {
    let policy = Policy::default();
    let lone = Asked {
        authors: 1,
        ..asked(100.0, 100.0)
    };
    let of = |asked: &Asked| need::need(asked, &Served::default(), &policy).unwrap();
    assert_eq!(of(&lone).servers, 1);
    assert_eq!(of(&asked(0.6, 0.6)).servers, 3);
    assert!(of(&asked(100.0, 100.0)).servers > 3);
}

#[test]
fn the_need_that_helps_most_goes_first_where_few_could_help() {
    for seed in 0..50 {
        let mut world = World::asking(0.01, 0.01);
        world.rng = StdRng::seed_from_u64(seed);
        world.scene.asked.insert(name("hot"), asked(1.0, 1.0));
        world.scene.candidates.insert(name("hot"), candidate(10));
        world.pass(20 * SECOND);
        assert_eq!(world.taken(), ["hot"], "seed {seed}");
    }
}

#[test]
fn a_node_without_a_model_begins_with_what_helps_most() {
    let begun = |scene: &Scene| {
        let mut world = World::new();
        world.scene = scene.clone();
        world.show();
        world.input(Input::Start);
        world.taken().first().map(ToString::to_string)
    };
    let mut scene = World::new().scene;
    scene.free_bytes = 40;
    scene.candidates.insert(name("large"), candidate(50));
    let catalog = |need_bytes| Candidate {
        fetch_bytes: 5,
        ..candidate(need_bytes)
    };
    scene.candidates.insert(name("fetched"), catalog(20));
    scene.candidates.insert(name("greedy"), catalog(30));
    assert_eq!(begun(&scene).as_deref(), Some("m"), "what is on the disk");
    scene.candidates.remove(&name("m"));
    assert_eq!(
        begun(&scene).as_deref(),
        Some("fetched"),
        "half of the memory"
    );
    scene.asked.insert(name("greedy"), asked(0.5, 0.0));
    scene.served.insert(name("greedy"), served(1, &[]));
    assert_eq!(begun(&scene).as_deref(), Some("greedy"), "it is asked for");
    scene.asked.insert(name("fetched"), asked(0.1, 0.1));
    // Others may act on it, too: it is announced before it is taken.
    let first = starter::first(&scene, &Policy::default());
    let first = first.map(|first| first.model);
    assert_eq!(first, Some(name("fetched")), "it lacks servers");
    assert_eq!(begun(&scene), None, "a lot decides");
    scene.closed = Some("closed");
    assert_eq!(begun(&scene), None);
    scene.closed = None;
    scene
        .candidates
        .retain(|model, _| model.as_str() == "large");
    assert_eq!(begun(&scene), None, "nothing fits");
}

#[test]
fn numbers_that_are_none_are_nothing() {
    let rate = Rate::new(f64::NAN, f64::INFINITY);
    assert_eq!(rate, Rate::default());
    let broken = Asked {
        arrivals: Rate {
            per_second: f64::NAN,
            error: f64::NAN,
        },
        unmet: Rate {
            per_second: f64::NAN,
            error: f64::NAN,
        },
        ..asked(0.0, 0.0)
    };
    let mut world = World::new();
    world.scene.asked.insert(name("m"), broken);
    world.pass(60 * SECOND);
    assert_eq!(world.taken(), [""; 0]);
}
