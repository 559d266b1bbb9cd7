//! Transitions one by one, then properties over random histories.

use proptest::prelude::*;

use super::*;

const KEEP_ALIVE: Duration = Duration::from_secs(300);
const WAIT: Duration = Duration::from_secs(60);

/// A residency with its clock and what it last said.
struct World {
    residency: Residency,
    now: Instant,
    next_ticket: u64,
    /// How often the files of each model were replaced.
    replaced: BTreeMap<ModelName, u64>,
}

impl World {
    fn new(budget_bytes: u64) -> Self {
        Self {
            residency: Residency::new(Policy {
                budget_bytes,
                keep_alive: KEEP_ALIVE,
                wait: WAIT,
            }),
            now: Instant::now(),
            next_ticket: 0,
            replaced: BTreeMap::new(),
        }
    }

    fn replace(&mut self, model: &str) {
        *self.replaced.entry(name(model)).or_default() += 1;
    }

    fn handle(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.residency.handle(input, self.now, &mut out);
        out
    }

    fn pass(&mut self, time: Duration) -> Vec<Output> {
        self.now += time;
        self.handle(Input::Tick)
    }

    fn want(&mut self, model: &str, need_bytes: u64, pinned: bool) -> Want {
        self.next_ticket += 1;
        let model = name(model);
        Want {
            ticket: Ticket(self.next_ticket),
            version: Version(self.replaced.get(&model).copied().unwrap_or(0)),
            model,
            need_bytes,
            pinned,
            guest: false,
            placed: false,
        }
    }

    fn guest_want(&mut self, model: &str, need_bytes: u64) -> Want {
        let want = self.want(model, need_bytes, false);
        Want {
            guest: true,
            ..want
        }
    }

    fn guest(&mut self, model: &str, need_bytes: u64) -> (Ticket, Vec<Output>) {
        let want = self.guest_want(model, need_bytes);
        (want.ticket, self.handle(Input::Acquire(want)))
    }

    fn acquire(&mut self, model: &str, need_bytes: u64) -> (Ticket, Vec<Output>) {
        let want = self.want(model, need_bytes, false);
        (want.ticket, self.handle(Input::Acquire(want)))
    }

    /// Acquires an absent model that fits, and loads it.
    fn load(&mut self, model: &str, need_bytes: u64) -> LoadId {
        let (_, out) = self.acquire(model, need_bytes);
        let [Output::Load { load, .. }] = out[..] else {
            panic!("{out:?}");
        };
        self.handle(Input::Loaded(load));
        load
    }

    /// The same, and gives the lease back.
    fn load_idle(&mut self, model: &str, need_bytes: u64) -> LoadId {
        let load = self.load(model, need_bytes);
        self.now += Duration::from_secs(1);
        self.handle(Input::Release(load));
        load
    }
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn end(load: LoadId) -> Input {
    Input::Ended { load, cause: None }
}

fn fail(load: LoadId) -> Input {
    Input::Ended {
        load,
        cause: Some("broken".into()),
    }
}

#[test]
fn waiting_requests_share_one_load() {
    let mut world = World::new(10);
    let (first, out) = world.acquire("a", 5);
    let [Output::Load { load, .. }] = out[..] else {
        panic!("{out:?}");
    };
    let (second, out) = world.acquire("a", 5);
    assert_eq!(out, []);
    let grants = [first, second].map(|ticket| Output::Grant { ticket, load });
    assert_eq!(world.handle(Input::Loaded(load)), grants);
    assert_eq!(world.residency.residents()[&name("a")].leases, 2);
}

#[test]
fn several_models_are_resident_at_once() {
    let mut world = World::new(10);
    world.load("a", 5);
    world.load("b", 5);
    assert_eq!(world.residency.residents().len(), 2);
}

#[test]
fn the_least_recently_used_idle_model_makes_room() {
    let mut world = World::new(10);
    let a = world.load_idle("a", 5);
    let b = world.load_idle("b", 5);
    let again = world.want("a", 5, false);
    world.handle(Input::Acquire(again));
    world.now += Duration::from_secs(1);
    world.handle(Input::Release(a));
    let (_, out) = world.acquire("c", 5);
    assert_eq!(out, [Output::Unload(b)]);
    let out = world.handle(end(b));
    assert!(
        matches!(&out[..], [Output::Load { model, .. }] if model.as_str() == "c"),
        "{out:?}"
    );
}

#[test]
fn a_busy_model_is_never_evicted_and_its_end_lets_the_next_in() {
    let mut world = World::new(10);
    let a = world.load("a", 10);
    let (_, out) = world.acquire("b", 10);
    assert_eq!(out, []);
    assert_eq!(world.handle(Input::Release(a)), [Output::Unload(a)]);
    let out = world.handle(end(a));
    assert!(
        matches!(&out[..], [Output::Load { model, .. }] if model.as_str() == "b"),
        "{out:?}"
    );
}

#[test]
fn nothing_is_evicted_when_it_would_not_help() {
    let mut world = World::new(10);
    world.load("busy", 6);
    world.load_idle("idle", 4);
    let (_, out) = world.acquire("big", 8);
    assert_eq!(out, []);
}

#[test]
fn waiting_for_room_ends_at_the_deadline() {
    let mut world = World::new(10);
    world.load("a", 10);
    let (ticket, _) = world.acquire("b", 10);
    assert_eq!(world.residency.next_deadline(), Some(world.now + WAIT));
    let refusal = Refusal::NoRoom;
    assert_eq!(world.pass(WAIT), [Output::Refuse { ticket, refusal }]);
}

#[test]
fn a_slow_load_goes_on_without_those_who_waited() {
    let mut world = World::new(10);
    let (ticket, out) = world.acquire("a", 10);
    let [Output::Load { load, .. }] = out[..] else {
        panic!("{out:?}");
    };
    let refusal = Refusal::StillLoading;
    assert_eq!(world.pass(WAIT), [Output::Refuse { ticket, refusal }]);
    assert_eq!(world.handle(Input::Loaded(load)), []);
    let (ticket, out) = world.acquire("a", 10);
    assert_eq!(out, [Output::Grant { ticket, load }]);
}

#[test]
fn a_later_request_does_not_take_the_room_that_an_earlier_one_waits_for() {
    let mut world = World::new(10);
    let a = world.load("a", 6);
    world.acquire("big", 10);
    let (_, out) = world.acquire("small", 4);
    assert_eq!(out, []);
    world.handle(Input::Release(a));
    let out = world.handle(end(a));
    assert!(
        matches!(&out[..], [Output::Load { model, .. }] if model.as_str() == "big"),
        "{out:?}"
    );
}

#[test]
fn a_request_for_a_ready_model_overtakes_those_who_wait_for_room() {
    let mut world = World::new(10);
    let load = world.load("a", 6);
    world.acquire("big", 10);
    let (ticket, out) = world.acquire("a", 6);
    assert_eq!(out, [Output::Grant { ticket, load }]);
}

#[test]
fn idle_models_go_after_the_keep_alive_and_pinned_ones_stay() {
    let mut world = World::new(10);
    let a = world.load_idle("a", 5);
    let pinned = world.want("p", 5, true);
    let out = world.handle(Input::Acquire(pinned));
    let [Output::Load { load, .. }] = out[..] else {
        panic!("{out:?}");
    };
    world.handle(Input::Loaded(load));
    world.handle(Input::Release(load));
    assert_eq!(world.pass(KEEP_ALIVE), [Output::Unload(a)]);
    world.handle(end(a));
    assert_eq!(world.residency.next_deadline(), None);
    assert_eq!(world.pass(KEEP_ALIVE * 10), []);
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let mut world = World::new(10);
    let (ticket, out) = world.acquire("huge", 11);
    let refusal = Refusal::TooLarge {
        need_bytes: 11,
        available_bytes: 10,
    };
    assert_eq!(out, [Output::Refuse { ticket, refusal }]);
}

#[test]
fn a_failure_is_told_to_all_who_wait_and_remembered_for_a_while() {
    let mut world = World::new(10);
    let (first, out) = world.acquire("a", 5);
    let [Output::Load { load, .. }] = out[..] else {
        panic!("{out:?}");
    };
    let (second, _) = world.acquire("a", 5);
    let refused = |ticket| Output::Refuse {
        ticket,
        refusal: Refusal::LoadFailed {
            cause: "broken".into(),
            retry_after: FAILURE_MEMORY,
        },
    };
    assert_eq!(world.handle(fail(load)), [refused(first), refused(second)]);
    let (third, out) = world.acquire("a", 5);
    assert_eq!(out, [refused(third)]);
    world.pass(FAILURE_MEMORY);
    let (_, out) = world.acquire("a", 5);
    assert!(matches!(&out[..], [Output::Load { .. }]), "{out:?}");
}

#[test]
fn an_engine_that_gives_up_leaves_its_room() {
    let mut world = World::new(10);
    let a = world.load("a", 10);
    assert_eq!(world.handle(fail(a)), []);
    assert_eq!(world.handle(Input::Release(a)), []);
    let (_, out) = world.acquire("b", 10);
    assert!(matches!(&out[..], [Output::Load { .. }]), "{out:?}");
}

#[test]
fn a_cancelled_request_is_forgotten() {
    let mut world = World::new(10);
    world.load("a", 10);
    let (ticket, _) = world.acquire("b", 10);
    assert_eq!(world.handle(Input::Cancel(ticket)), []);
    assert_eq!(world.pass(WAIT), []);
}

#[test]
fn the_owner_unloads_even_what_is_in_use() {
    let mut world = World::new(10);
    let a = world.load("a", 5);
    assert_eq!(world.handle(Input::Unload(name("a"))), [Output::Unload(a)]);
    let (_, out) = world.acquire("a", 5);
    assert_eq!(out, [], "the old one must be gone first");
    let out = world.handle(end(a));
    assert!(
        matches!(&out[..], [Output::Load { load, .. }] if *load != a),
        "{out:?}"
    );
}

fn no_room(ticket: Ticket) -> [Output; 1] {
    let refusal = Refusal::NoRoom;
    [Output::Refuse { ticket, refusal }]
}

#[test]
fn a_guest_evicts_nothing_and_takes_what_is_free() {
    let mut world = World::new(10);
    world.load_idle("a", 6);
    let (ticket, out) = world.guest("big", 5);
    assert_eq!(out, no_room(ticket));
    let (_, out) = world.guest("small", 4);
    assert!(matches!(out[..], [Output::Load { .. }]), "{out:?}");
    assert!(!world.residency.owner_waits());
    let (_, out) = world.guest("a", 6);
    assert!(matches!(out[..], [Output::Grant { .. }]), "{out:?}");
}

#[test]
fn guests_have_one_load_in_a_while() {
    let mut world = World::new(10);
    let (_, out) = world.guest("a", 1);
    assert!(matches!(out[..], [Output::Load { .. }]), "{out:?}");
    let (ticket, out) = world.guest("b", 1);
    assert_eq!(out, no_room(ticket));
    world.pass(GUEST_LOAD_GAP);
    let (_, out) = world.guest("b", 1);
    assert!(matches!(out[..], [Output::Load { .. }]), "{out:?}");
}

#[test]
fn what_is_placed_waits_for_no_gap_and_evicts_nothing() {
    let mut world = World::new(10);
    world.guest("a", 1);
    let want = Want {
        placed: true,
        ..world.guest_want("b", 2)
    };
    let out = world.handle(Input::Acquire(want));
    assert!(matches!(out[..], [Output::Load { .. }]), "{out:?}");
    let want = Want {
        placed: true,
        ..world.guest_want("c", 8)
    };
    let ticket = want.ticket;
    assert_eq!(world.handle(Input::Acquire(want)), no_room(ticket));
}

#[test]
fn what_is_kept_does_not_age_and_makes_room_last() {
    let mut world = World::new(10);
    let kept = world.load("kept", 4);
    world.handle(Input::Release(kept));
    world.handle(Input::Keep([name("kept")].into()));
    world.pass(Duration::from_secs(10_000));
    let other = world.load("other", 4);
    world.handle(Input::Release(other));
    let (_, out) = world.acquire("third", 5);
    assert_eq!(
        out,
        [Output::Unload(other)],
        "the owner's idle one goes first"
    );
    world.handle(end(other));
    let (_, out) = world.acquire("whole", 10);
    assert_eq!(out, [], "the third is being loaded: nothing would do yet");
    let out = world.handle(Input::Keep(BTreeSet::new()));
    assert!(out.contains(&Output::Unload(kept)), "{out:?}");
}

#[test]
fn a_guest_never_takes_the_room_that_the_owner_waits_for() {
    let mut world = World::new(10);
    world.load("a", 6);
    world.acquire("big", 10);
    assert!(world.residency.owner_waits());
    let (ticket, out) = world.guest("small", 4);
    assert_eq!(out, no_room(ticket));
}

#[test]
fn what_only_guests_used_makes_room_first() {
    let mut world = World::new(10);
    let owners = world.load_idle("owners", 5);
    let (_, out) = world.guest("theirs", 5);
    let [Output::Load { load: theirs, .. }] = out[..] else {
        panic!("{out:?}");
    };
    world.handle(Input::Loaded(theirs));
    assert_eq!(world.residency.residents()[&name("theirs")].guests, 1);
    world.now += Duration::from_secs(1);
    world.handle(Input::ReleaseGuest(theirs));
    assert_eq!(world.residency.residents()[&name("theirs")].guests, 0);
    let (ticket, out) = world.acquire("new", 5);
    assert_eq!(out, [Output::Unload(theirs)], "used last, and yet");
    world.handle(Input::Cancel(ticket));
    world.handle(end(theirs));
    let (_, out) = world.acquire("owners", 5);
    assert!(matches!(out[..], [Output::Grant { load, .. }] if load == owners));
}

/// The load that is begun, if one is.
fn begun(out: &[Output]) -> Option<LoadId> {
    out.iter().find_map(|output| match output {
        Output::Load { load, .. } => Some(*load),
        _ => None,
    })
}

fn granted(out: &[Output]) -> Option<LoadId> {
    out.iter().find_map(|output| match output {
        Output::Grant { load, .. } => Some(*load),
        _ => None,
    })
}

#[test]
fn newer_files_are_loaded_beside_and_the_older_end_with_their_answers() {
    let mut world = World::new(10);
    let old = world.load("a", 5);
    world.replace("a");
    let (_, out) = world.acquire("a", 5);
    let (new, answers) = (begun(&out).unwrap(), granted(&out));
    assert_eq!(answers, Some(old), "whichever is ready");
    let (_, out) = world.acquire("a", 5);
    assert_eq!((begun(&out), granted(&out)), (None, Some(old)), "once");
    assert_eq!(world.handle(Input::Loaded(new)), []);
    let (_, out) = world.acquire("a", 5);
    assert_eq!(granted(&out), Some(new));
    assert_eq!(world.handle(Input::Release(old)), []);
    assert_eq!(world.pass(KEEP_ALIVE), [], "two answers go on");
    assert_eq!(world.handle(Input::Release(old)), []);
    assert_eq!(world.handle(Input::Release(old)), [Output::Unload(old)]);
    world.handle(end(old));
    assert_eq!(world.residency.all().count(), 1);
}

#[test]
fn guests_are_answered_by_what_is_there() {
    let mut world = World::new(10);
    let old = world.load("a", 5);
    world.replace("a");
    let (_, out) = world.guest("a", 5);
    assert_eq!((begun(&out), granted(&out)), (None, Some(old)));
}

#[test]
fn without_room_for_both_the_older_goes_when_nobody_uses_it() {
    let mut world = World::new(10);
    let old = world.load("a", 6);
    world.replace("a");
    let (_, out) = world.acquire("a", 6);
    assert_eq!(
        (begun(&out), granted(&out)),
        (None, Some(old)),
        "it is busy"
    );
    world.handle(Input::Release(old));
    world.handle(Input::Release(old));
    let (ticket, out) = world.acquire("a", 6);
    assert_eq!(out, [Output::Unload(old)]);
    let out = world.handle(end(old));
    let new = begun(&out).unwrap();
    let grant = Output::Grant { ticket, load: new };
    assert_eq!(world.handle(Input::Loaded(new)), [grant]);
}

#[test]
fn without_room_for_both_the_older_goes_in_time_though_it_is_always_busy() {
    let mut world = World::new(10);
    let old = world.load("a", 6);
    world.replace("a");
    let (_, out) = world.acquire("a", 6);
    assert_eq!(granted(&out), Some(old));
    world.pass(UPDATE_PATIENCE);
    let (_, out) = world.acquire("a", 6);
    assert_eq!(out, [], "it waits");
    assert_eq!(world.handle(Input::Release(old)), []);
    assert_eq!(world.handle(Input::Release(old)), [Output::Unload(old)]);
    assert!(begun(&world.handle(end(old))).is_some());
}

#[test]
fn newer_files_that_cannot_be_loaded_beside_leave_the_older_until_it_is_idle() {
    let mut world = World::new(10);
    let old = world.load("a", 5);
    world.replace("a");
    let (_, out) = world.acquire("a", 5);
    let new = begun(&out).unwrap();
    assert_eq!(world.handle(fail(new)), []);
    let (_, out) = world.acquire("a", 5);
    assert_eq!((begun(&out), granted(&out)), (None, Some(old)));
    for _ in 0..3 {
        world.handle(Input::Release(old));
    }
    let (_, out) = world.acquire("a", 5);
    assert!(out.contains(&Output::Unload(old)), "{out:?}");
    assert!(begun(&out).is_some(), "there is room meanwhile");
}

#[test]
fn the_newer_takes_over_when_the_older_is_lost() {
    let mut world = World::new(10);
    let old = world.load("a", 5);
    world.replace("a");
    let (_, out) = world.acquire("a", 5);
    let new = begun(&out).unwrap();
    assert_eq!(world.handle(fail(old)), []);
    let (ticket, out) = world.acquire("a", 5);
    assert_eq!(out, []);
    let grant = Output::Grant { ticket, load: new };
    assert_eq!(world.handle(Input::Loaded(new)), [grant]);
}

#[test]
fn the_owner_unloads_both() {
    let mut world = World::new(10);
    let old = world.load("a", 5);
    world.replace("a");
    let (_, out) = world.acquire("a", 5);
    let new = begun(&out).unwrap();
    let out = world.handle(Input::Unload(name("a")));
    assert_eq!(out, [Output::Unload(old), Output::Unload(new)]);
    world.handle(end(new));
    world.handle(end(old));
    assert_eq!(world.residency.all().count(), 0);
}

#[test]
fn stopping_refuses_and_drains_everything() {
    let mut world = World::new(10);
    let a = world.load("a", 5);
    let (ticket, _) = world.acquire("b", 10);
    let refusal = Refusal::Stopping;
    assert_eq!(
        world.handle(Input::Stop),
        [
            Output::Refuse {
                ticket,
                refusal: refusal.clone()
            },
            Output::Unload(a)
        ]
    );
    let (ticket, out) = world.acquire("a", 5);
    assert_eq!(out, [Output::Refuse { ticket, refusal }]);
    world.handle(end(a));
    assert!(world.residency.residents().is_empty());
}

#[test]
fn the_queue_and_the_failures_are_bounded() {
    let mut world = World::new(10);
    world.load("a", 10);
    for _ in 0..MAX_WAITING {
        world.acquire("b", 10);
    }
    let (ticket, out) = world.acquire("b", 10);
    let refusal = Refusal::Overloaded;
    assert_eq!(out, [Output::Refuse { ticket, refusal }]);

    let mut world = World::new(10);
    for i in 0..MAX_FAILURES * 2 {
        let (_, out) = world.acquire(&i.to_string(), 1);
        let [Output::Load { load, .. }] = out[..] else {
            panic!("{out:?}");
        };
        world.handle(fail(load));
    }
    assert_eq!(world.residency.failures.len(), MAX_FAILURES);
}

/// One thing that the world does next.
#[derive(Debug, Clone)]
enum Step {
    Acquire(usize, bool),
    Guest(usize),
    Cancel(usize),
    Release(usize),
    Loaded(usize),
    Fail(usize),
    Ended(usize),
    Unload(usize),
    Replace(usize),
    Pass(u64),
}

/// Memory of the models `0..6`; the last never fits.
const NEEDS: [u64; 6] = [2, 3, 5, 7, 10, 11];

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..NEEDS.len(), prop::bool::weighted(0.05)).prop_map(|(i, pinned)| Step::Acquire(i, pinned)),
        2 => (0..NEEDS.len()).prop_map(Step::Guest),
        1 => (0..8usize).prop_map(Step::Cancel),
        5 => (0..8usize).prop_map(Step::Release),
        5 => (0..8usize).prop_map(Step::Loaded),
        1 => (0..8usize).prop_map(Step::Fail),
        5 => (0..8usize).prop_map(Step::Ended),
        1 => (0..NEEDS.len()).prop_map(Step::Unload),
        1 => (0..NEEDS.len()).prop_map(Step::Replace),
        3 => (0..400u64).prop_map(Step::Pass),
    ]
}

/// The world outside: what was asked of it and not done yet.
#[derive(Default)]
struct Outside {
    loading: Vec<LoadId>,
    live: Vec<LoadId>,
    draining: Vec<LoadId>,
    leases: Vec<LoadId>,
    waiting: Vec<Ticket>,
    told_to_unload: Vec<LoadId>,
}

fn pick<T: Copy>(from: &mut Vec<T>, index: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(index % from.len()))
}

impl Outside {
    fn input(&mut self, step: &Step, world: &mut World) -> Option<Input> {
        Some(match *step {
            Step::Acquire(i, pinned) => {
                let want = world.want(&i.to_string(), NEEDS[i], pinned);
                self.waiting.push(want.ticket);
                Input::Acquire(want)
            }
            Step::Guest(i) => {
                let want = world.guest_want(&i.to_string(), NEEDS[i]);
                self.waiting.push(want.ticket);
                Input::Acquire(want)
            }
            Step::Cancel(i) => Input::Cancel(pick(&mut self.waiting, i)?),
            Step::Release(i) => Input::Release(pick(&mut self.leases, i)?),
            Step::Loaded(i) => {
                let load = pick(&mut self.loading, i)?;
                self.live.push(load);
                Input::Loaded(load)
            }
            Step::Fail(i) => fail(pick(&mut self.loading, i).or_else(|| pick(&mut self.live, i))?),
            Step::Ended(i) => end(pick(&mut self.draining, i)?),
            Step::Unload(i) => Input::Unload(name(&i.to_string())),
            Step::Replace(i) => {
                world.replace(&i.to_string());
                return None;
            }
            Step::Pass(seconds) => {
                world.now += Duration::from_secs(seconds);
                Input::Tick
            }
        })
    }

    fn apply(&mut self, out: Vec<Output>, forced: bool) {
        for output in out {
            match output {
                Output::Load { load, .. } => self.loading.push(load),
                Output::Unload(load) => {
                    assert!(!self.told_to_unload.contains(&load), "told twice");
                    assert!(forced || !self.leases.contains(&load), "evicted while busy");
                    self.told_to_unload.push(load);
                    self.loading.retain(|l| *l != load);
                    self.live.retain(|l| *l != load);
                    self.draining.push(load);
                }
                Output::Grant { ticket, load } => {
                    assert!(self.live.contains(&load), "granted what is not live");
                    self.answered(ticket);
                    self.leases.push(load);
                }
                Output::Refuse { ticket, .. } => self.answered(ticket),
            }
        }
    }

    fn answered(&mut self, ticket: Ticket) {
        let place = self.waiting.iter().position(|waiting| *waiting == ticket);
        self.waiting
            .remove(place.expect("each ticket is answered once"));
    }
}

fn check(world: &World) {
    let all = world.residency.all();
    let used: u64 = all.map(|(_, resident)| resident.need_bytes).sum();
    let retired = &world.residency.retired;
    for (model, _) in retired {
        let of_it = retired.iter().filter(|(name, _)| name == model);
        assert_eq!(of_it.count(), 1, "{model} is retired twice");
    }
    assert!(
        used <= world.residency.policy().budget_bytes,
        "{used} bytes used"
    );
    if let Some(deadline) = world.residency.next_deadline() {
        assert!(deadline > world.now, "a deadline that does not move");
    }
}

proptest! {
    /// Memory is never exceeded, nothing busy is evicted for room or age, each ticket is
    /// answered once, deadlines move, and after a stop everything ends.
    #[test]
    fn any_history_is_sound(steps in proptest::collection::vec(any_step(), 0..200)) {
        let mut world = World::new(10);
        let mut outside = Outside::default();
        for step in steps {
            if let Some(input) = outside.input(&step, &mut world) {
                let out = world.handle(input);
                outside.apply(out, matches!(step, Step::Unload(_)));
            }
            check(&world);
        }
        let out = world.handle(Input::Stop);
        outside.apply(out, true);
        prop_assert!(outside.waiting.is_empty());
        prop_assert!(outside.loading.is_empty() && outside.live.is_empty());
        for load in std::mem::take(&mut outside.draining) {
            world.handle(end(load));
        }
        prop_assert_eq!(world.residency.all().count(), 0);
        prop_assert_eq!(world.residency.next_deadline(), None);
    }

    /// Whoever waits is answered by the deadline, whatever the others do.
    #[test]
    fn waiting_ends(steps in proptest::collection::vec(any_step(), 0..60)) {
        let mut world = World::new(10);
        let mut outside = Outside::default();
        for step in steps {
            if let Some(input) = outside.input(&step, &mut world) {
                let out = world.handle(input);
                outside.apply(out, matches!(step, Step::Unload(_)));
            }
        }
        let out = world.pass(WAIT);
        outside.apply(out, false);
        prop_assert!(outside.waiting.is_empty());
    }
}
