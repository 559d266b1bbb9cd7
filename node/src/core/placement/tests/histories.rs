//! Any history of scenes, loads and failures.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MODELS: [&str; 4] = ["a", "b", "c", "d"];

/// One thing that changes.
#[derive(Debug, Clone)]
enum Step {
    Ask(usize, f64, f64),
    Serve(usize, u32, u32),
    Come(usize, u8),
    Open(bool),
    Use(usize, bool),
    Unload(usize),
    Room(u64),
    Found(usize),
    Taken(usize, bool),
    Dropped(usize),
    Pass(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let model = || 0..MODELS.len();
    prop_oneof![
        4 => (model(), 0.0..2.0f64, 0.0..1.0f64).prop_map(|(m, all, share)| Step::Ask(m, all, all * share)),
        1 => model().prop_map(|m| Step::Ask(m, 0.0, 0.0)),
        3 => (model(), 0..4u32, 0..5u32).prop_map(|(m, n, idle)| Step::Serve(m, n, idle)),
        2 => (model(), 1..9u8).prop_map(|(m, n)| Step::Come(m, n)),
        1 => any::<bool>().prop_map(Step::Open),
        1 => (model(), any::<bool>()).prop_map(|(m, pins)| Step::Use(m, pins)),
        1 => model().prop_map(Step::Unload),
        1 => (0..30u64).prop_map(Step::Room),
        8 => (0..4usize).prop_map(Step::Found),
        6 => (0..4usize, prop::bool::weighted(0.8)).prop_map(|(n, ok)| Step::Taken(n, ok)),
        4 => (0..4usize).prop_map(Step::Dropped),
        8 => (0..120u64).prop_map(Step::Pass),
    ]
}

/// The world outside: what was asked of it and not done yet.
struct Outside {
    placement: Placement,
    scene: Scene,
    now: Instant,
    rng: StdRng,
    finding: Vec<Errand>,
    taking: Vec<(Errand, ModelName)>,
    dropping: Vec<(Errand, ModelName)>,
    /// When each model was let go for the swarm.
    dropped: BTreeMap<ModelName, Vec<Instant>>,
}

impl Outside {
    fn new(seed: u64) -> Self {
        let mut scene = Scene {
            free_bytes: 20,
            ..Scene::default()
        };
        for (need_bytes, model) in (5..).step_by(3).zip(MODELS) {
            scene.candidates.insert(name(model), candidate(need_bytes));
        }
        Self {
            placement: Placement::new(node(0), Policy::default()),
            scene,
            now: Instant::now(),
            rng: StdRng::seed_from_u64(seed),
            finding: Vec::new(),
            taking: Vec::new(),
            dropping: Vec::new(),
            dropped: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Ask(model, arrivals, unmet) => {
                let asked = asked(arrivals, unmet);
                self.scene.asked.insert(name(MODELS[model]), asked);
            }
            Step::Serve(model, servers, idle) => {
                let served = Served {
                    idle: servers * idle,
                    ..served(servers, &[])
                };
                self.scene.served.insert(name(MODELS[model]), served);
            }
            Step::Come(model, other) => {
                let served = self.scene.served.entry(name(MODELS[model]));
                served.or_default().coming.insert(node(other));
            }
            Step::Open(opens) => self.scene.closed = (!opens).then_some("closed"),
            Step::Use(model, is_pinned) => {
                if let Some(held) = self.scene.held.get_mut(&name(MODELS[model])) {
                    *held = Held {
                        is_owners: true,
                        is_pinned,
                        leases: 1,
                    };
                }
            }
            Step::Unload(model) => {
                self.scene.held.remove(&name(MODELS[model]));
            }
            Step::Room(bytes) => self.scene.free_bytes = bytes,
            Step::Found(n) => {
                if let Some(errand) = pick(&mut self.finding, n) {
                    self.feed(Input::Found(errand));
                }
            }
            Step::Taken(n, is_well) => self.taken(n, is_well),
            Step::Dropped(n) => {
                if let Some((errand, model)) = pick(&mut self.dropping, n) {
                    self.scene.held.remove(&model);
                    self.feed(Input::Dropped(errand));
                }
            }
            Step::Pass(seconds) => self.pass(seconds),
        }
    }

    fn taken(&mut self, n: usize, is_well: bool) {
        let Some((errand, model)) = pick(&mut self.taking, n) else {
            return;
        };
        if is_well {
            self.scene.held.insert(model, HELD);
        }
        self.show();
        let cause = (!is_well).then(|| "broken".to_owned());
        self.feed(Input::Taken { errand, cause });
    }

    /// Seconds pass; each deadline comes at its time.
    fn pass(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        self.show();
        while let Some(at) = self.placement.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.feed(Input::Tick);
            let later = self.placement.next_deadline();
            assert!(
                later.is_none_or(|later| later > self.now),
                "it stands still"
            );
        }
        self.now = end;
        self.show();
    }

    fn show(&mut self) {
        self.feed(Input::Scene(Box::new(self.scene.clone())));
    }

    fn feed(&mut self, input: Input) {
        let mut out = Vec::new();
        self.placement
            .handle(input, self.now, &mut self.rng, &mut out);
        for output in out {
            self.check(&output);
            match output {
                Output::Find { errand, .. } => self.finding.push(errand),
                Output::Take { errand, model, .. } => self.taking.push((errand, model)),
                Output::Drop { errand, model, .. } => self.dropping.push((errand, model)),
            }
        }
        assert!(self.placement.coming().len() <= 1, "one at a time");
        let leaving = self.placement.leaving();
        assert!(self.placement.coming().is_disjoint(&leaving));
    }

    /// What must hold whatever happened.
    fn check(&mut self, output: &Output) {
        let scene = self.placement.scene.clone();
        match output {
            Output::Find { .. } => {}
            Output::Take { model, .. } => {
                assert_eq!(scene.closed, None, "the owner wants nothing taken on");
                assert!(scene.candidates[model].need_bytes <= scene.free_bytes);
                assert!(!scene.held.contains_key(model));
                let served = scene.served.get(model);
                assert!(
                    !served.is_some_and(Served::has_room),
                    "there is room elsewhere"
                );
                let last = self.dropped.get(model).and_then(|times| times.last());
                assert!(last.is_none_or(|last| *last + REST <= self.now), "too soon");
            }
            Output::Drop { model, .. } => {
                let held = scene.held[model];
                assert!(!held.is_owners && !held.is_pinned, "the owner uses it");
                let is_last = scene.closed.is_none() && self.placement.is_last(model);
                assert!(!is_last, "the last server of a model that is asked for");
                self.dropped
                    .entry(model.clone())
                    .or_default()
                    .push(self.now);
            }
        }
    }
}

fn pick<T>(from: &mut Vec<T>, index: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(index % from.len()))
}

proptest! {
    #[test]
    fn any_history_is_sound(seed in any::<u64>(), steps in proptest::collection::vec(any_step(), 0..200)) {
        let mut outside = Outside::new(seed);
        for step in &steps {
            outside.step(step);
            outside.show();
        }
    }

    /// Once the demand is gone and every errand is done, nothing is held any more.
    #[test]
    fn everything_is_let_go_in_the_end(seed in any::<u64>(), steps in proptest::collection::vec(any_step(), 0..100)) {
        let mut outside = Outside::new(seed);
        for step in &steps {
            outside.step(step);
        }
        outside.scene.asked.clear();
        for held in outside.scene.held.values_mut() {
            held.leases = 0;
        }
        for _ in 0..40 {
            for n in 0..4 {
                outside.step(&Step::Found(n));
                outside.step(&Step::Taken(n, true));
                outside.step(&Step::Dropped(n));
            }
            outside.pass(60);
        }
        let held = outside.placement.named(|phase| !matches!(phase, Phase::Resting { .. }));
        prop_assert!(held.is_empty(), "{held:?}");
    }
}
