//! The view under honest and hostile authors, and when this node speaks itself.

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use protocol::{
    Signed,
    advert::{Abilities, AddressText, DeviceKind, Neighbour, NodeDevice, NodeRole},
    limits::ADVERT_HEARTBEAT,
};
use rand::{SeedableRng, rngs::StdRng};

use super::{publisher::SETTLE, *};

const UNIX: UnixMillis = UnixMillis(1_800_000_000_000);

struct World {
    view: Adverts,
    start: Instant,
    at: Moment,
}

fn key(author: u32) -> SigningKey {
    let mut secret = [0; 32];
    secret[..4].copy_from_slice(&author.to_be_bytes());
    SigningKey::from_bytes(&secret)
}

fn id(author: u32) -> NodeId {
    NodeId::from(&key(author))
}

fn lab() -> SwarmName {
    "lab".parse().unwrap()
}

fn deployed(model: &str) -> Deployed {
    Deployed {
        model: model.parse().unwrap(),
        context_tokens: 4096,
        parallel: 4,
        running: 0,
        queued: 0,
        prefill_tokens_per_second: None,
        decode_tokens_per_second: Some(20.0),
        abilities: Abilities::default(),
    }
}

fn profile(models: &[&str]) -> Profile {
    let address: AddressText = "/ip4/192.0.2.1/udp/1/quic-v1".parse().unwrap();
    Profile {
        deployments: models.iter().map(|model| deployed(model)).collect(),
        addresses: vec![address],
        ..Profile::new(lab(), NodeRole::Server)
    }
}

#[test]
fn what_is_about_to_be_served_is_told_at_once() {
    let old = profile(&["a"]);
    let mut new = old.clone();
    new.coming = vec!["b".parse().unwrap()];
    assert!(material::is_material(&old, &new) && material::is_material(&new, &old));
    assert!(!material::is_material(&new, &new.clone()));
}

fn neighbour(number: u32) -> Neighbour {
    Neighbour {
        node: id(number),
        rtt: Duration::from_millis(number.into()),
    }
}

impl World {
    fn new(seats: usize) -> Self {
        let now = Instant::now();
        Self {
            view: Adverts::new(id(0), lab(), [3; 32]).with_capacity(seats),
            start: now,
            at: Moment { now, unix: UNIX },
        }
    }

    fn pass(&mut self, time: Duration) {
        self.at.now += time;
        self.at.unix = self.at.unix.saturating_add(time);
    }

    fn signed(&self, author: u32, sequence: u64, profile: &Profile) -> Verified<Advert> {
        self.lasting(author, sequence, profile, ADVERT_LIFETIME)
    }

    fn lasting(
        &self,
        author: u32,
        sequence: u64,
        profile: &Profile,
        lifetime: Duration,
    ) -> Verified<Advert> {
        let expires = self.at.unix.saturating_add(lifetime);
        let advert = Advert::from(profile);
        let signed = Signed::sign(&key(author), Sequence(sequence), expires, &advert).unwrap();
        signed.verify(self.at.unix).unwrap()
    }

    fn hear(&mut self, author: u32, sequence: u64, models: &[&str]) -> Outcome {
        self.hear_from(author, sequence, models, Closeness::Stranger)
    }

    fn hear_from(
        &mut self,
        author: u32,
        sequence: u64,
        models: &[&str],
        closeness: Closeness,
    ) -> Outcome {
        let advert = self.signed(author, sequence, &profile(models));
        self.view.handle(advert, closeness, self.at)
    }

    fn heads(&self, model: &str) -> Vec<NodeId> {
        let model = model.parse().unwrap();
        let serving = self.view.serving(&model, self.at.now);
        serving.map(|candidate| candidate.node).collect()
    }
}

#[test]
fn the_newest_wins_and_the_rest_is_not_passed_on() {
    let mut world = World::new(8);
    let old = world.signed(1, 5, &profile(&["a"]));
    assert_eq!(world.hear(1, 6, &["a"]), Outcome::New);
    assert_eq!(world.hear(1, 7, &["b"]), Outcome::Updated);
    for outcome in [
        world.view.handle(old, Closeness::Stranger, world.at),
        world.hear(1, 7, &["b"]),
    ] {
        assert_eq!(outcome, Outcome::Duplicate);
        assert_eq!(outcome.verdict(), Verdict::Ignore);
    }
    assert_eq!(world.heads("b"), [id(1)]);
    assert!(world.heads("a").is_empty());
    assert_eq!(world.view.models(world.at.now).len(), 1);
}

#[test]
fn who_says_two_things_at_once_is_shunned_and_proven() {
    let mut world = World::new(8);
    world.hear(1, 5, &["a"]);
    let outcome = world.hear(1, 5, &["b"]);
    assert_eq!(outcome.verdict(), Verdict::Accept, "others must see it too");
    let Outcome::Equivocation(proof) = outcome else {
        panic!("{outcome:?}");
    };
    let both = [&proof.first, &proof.second].map(|signed| {
        let verified = signed.clone().verify(UNIX).unwrap();
        (verified.author(), verified.sequence())
    });
    assert_eq!(both, [(id(1), Sequence(5)); 2]);
    assert_ne!(proof.first, proof.second);
    assert!(world.heads("a").is_empty());
    assert_eq!(world.view.proofs().count(), 1);

    assert_eq!(world.hear(1, 6, &["a"]), Outcome::Shunned);
    world.pass(SHUN);
    assert_eq!(world.hear(1, 7, &["a"]), Outcome::New);
    let due = world.view.next_deadline();
    assert!(due.is_some_and(|due| due <= world.at.now));
    assert!(world.view.handle_timeout(world.at.now).is_empty());
    assert_eq!(world.view.proofs().count(), 0);
}

#[test]
fn what_no_honest_peer_signs_is_rejected() {
    let mut world = World::new(8);
    let other = Profile::new(SwarmName::public(), NodeRole::Server);
    let elsewhere = world.signed(1, 1, &other);
    let outcome = world.view.handle(elsewhere, Closeness::Stranger, world.at);
    assert_eq!(
        (outcome.verdict(), outcome),
        (Verdict::Reject, Outcome::OtherSwarm)
    );

    let mut twice = profile(&["a"]);
    twice.deployments.push(deployed("a"));
    let malformed = world.signed(1, 1, &twice);
    let outcome = world.view.handle(malformed, Closeness::Stranger, world.at);
    assert_eq!(outcome.verdict(), Verdict::Reject);
    assert_eq!(world.hear(0, 9, &["a"]), Outcome::Own(Sequence(9)));
    assert_eq!(world.view.iter(world.at.now).count(), 0);
}

#[test]
fn adverts_end_and_none_that_they_replaced_comes_back() {
    let mut world = World::new(8);
    let long = world.lasting(1, 5, &profile(&["a"]), ADVERT_LIFETIME);
    let short = world.lasting(1, 6, &profile(&["b"]), Duration::from_secs(60));
    world.view.handle(long.clone(), Closeness::Near, world.at);
    world.view.handle(short.clone(), Closeness::Near, world.at);
    world.pass(Duration::from_secs(60));
    assert!(world.heads("b").is_empty(), "ended before the timer ran");
    assert_eq!(world.view.next_deadline(), Some(world.at.now));
    assert_eq!(world.view.handle_timeout(world.at.now), [id(1)]);
    let near = Closeness::Near;
    let outcome = world.view.handle(long, near, world.at);
    assert_eq!(outcome, Outcome::Duplicate);
    assert_eq!(world.view.handle(short, near, world.at), Outcome::Expired);
    assert_eq!(world.hear(1, 7, &["c"]), Outcome::New);

    world.pass(2 * ADVERT_LIFETIME);
    world.view.handle_timeout(world.at.now);
    world.pass(2 * ADVERT_LIFETIME);
    world.view.handle_timeout(world.at.now);
    assert_eq!(world.view.next_deadline(), None, "nothing is kept for ever");
}

#[test]
fn only_what_could_be_news_needs_its_signature_checked() {
    let mut world = World::new(8);
    let signed = |sequence, models: &[&str]| {
        let advert = world.signed(1, sequence, &profile(models));
        advert.signed().clone()
    };
    let (older, held, other, newer) = (
        signed(4, &["a"]),
        signed(5, &["a"]),
        signed(5, &["b"]),
        signed(6, &["a"]),
    );
    assert!(!world.view.is_no_news(&id(1), &held), "nobody is known");
    world.hear(1, 5, &["a"]);
    assert!(world.view.is_no_news(&id(1), &held));
    assert!(world.view.is_no_news(&id(1), &older));
    assert!(!world.view.is_no_news(&id(1), &newer));
    assert!(
        !world.view.is_no_news(&id(1), &other),
        "it may be equivocation"
    );
    assert!(!world.view.is_no_news(&id(2), &held), "of somebody else");
}

#[test]
fn a_flood_is_cut_off_and_an_honest_pace_is_not() {
    let mut world = World::new(8);
    let passed = (1..1000)
        .filter(|&n| world.hear(1, n, &["a"]).verdict() == Verdict::Accept)
        .count();
    assert!(passed <= 8, "{passed}");
    assert_eq!(world.hear(1, 1000, &["a"]), Outcome::TooOften);
    for n in 1001..1100 {
        world.pass(MIN_GAP);
        assert_eq!(world.hear(1, n, &["a"]), Outcome::Updated);
    }
}

#[test]
fn a_crowd_of_sybils_pushes_out_nobody_near() {
    let mut world = World::new(100);
    for author in 1..=20 {
        world.hear_from(author, 1, &["mine"], Closeness::Group);
    }
    for author in 21..=40 {
        world.hear_from(author, 1, &["near"], Closeness::Near);
    }
    // 60 seats for 100 honest strangers and four times as many Sybils, who are louder.
    for author in 1000..1400 {
        world.hear(author, 1, &["sybil"]);
    }
    for author in 100..200 {
        world.hear(author, 1, &["honest"]);
    }
    for author in 1000..1400 {
        world.hear(author, 2, &["sybil"]);
    }
    assert_eq!(world.view.iter(world.at.now).count(), 100);
    assert_eq!(world.heads("mine").len(), 20);
    assert_eq!(world.heads("near").len(), 20);
    let honest = world.heads("honest").len();
    assert!((5..=20).contains(&honest), "a fair share is 12: {honest}");
}

#[test]
fn who_came_near_takes_a_strangers_seat() {
    let mut world = World::new(4);
    for author in 1..=8 {
        world.hear(author, 1, &["stranger"]);
    }
    let seated = world.heads("stranger");
    assert_eq!(seated.len(), 4);
    assert_eq!(
        world.hear_from(20, 1, &["near"], Closeness::Near),
        Outcome::New
    );
    assert_eq!(world.heads("stranger").len(), 3);
    // Near peers give way to the group only.
    for author in 21..=23 {
        world.hear_from(author, 1, &["group"], Closeness::Group);
    }
    assert_eq!(world.heads("near"), [id(20)]);
    world.view.set_closeness(&id(20), Closeness::Stranger);
    world.hear_from(24, 1, &["group"], Closeness::Group);
    assert!(world.heads("near").is_empty());
    let outcome = world.hear(30, 1, &["stranger"]);
    assert_eq!(
        (outcome.verdict(), outcome),
        (Verdict::Ignore, Outcome::NoSeat)
    );
}

#[test]
fn the_closest_and_longest_known_are_remembered() {
    let mut world = World::new(8);
    world.hear(1, 1, &[]);
    world.pass(Duration::from_secs(10));
    world.hear(2, 1, &[]);
    world.hear_from(3, 1, &[], Closeness::Group);
    let remembered = world.view.remembered(2, world.at.now);
    let ids: Vec<_> = remembered.into_iter().map(|(node, _)| node).collect();
    assert_eq!(ids, [id(3), id(1)]);
    let known = world.view.known(&id(1), world.at.now).unwrap();
    assert_eq!(
        (known.since, known.closeness),
        (world.start, Closeness::Stranger)
    );
}

#[test]
fn a_heartbeat_is_jittered_and_a_change_is_told_soon() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut world = World::new(1);
    let mut publisher = Publisher::new(None);
    let mut current = profile(&["a"]);
    assert_eq!(publisher.next_deadline(), None);
    let first = publisher.poll(&current, world.at, &mut rng).unwrap();
    assert_eq!(first.sequence, Sequence(UNIX.0));
    assert_eq!(first.expires, UNIX.saturating_add(ADVERT_LIFETIME));

    // What drifts waits.
    current.swarm_size = Some(7);
    assert_eq!(publisher.poll(&current, world.at, &mut rng), None);
    let wait = publisher.next_deadline().unwrap() - world.at.now;
    assert!(wait >= ADVERT_HEARTBEAT.mul_f64(0.8) && wait <= ADVERT_HEARTBEAT.mul_f64(1.2));

    // What matters does not, and one change is told once.
    current.deployments[0].running = 4;
    publisher.on_profile(&current);
    assert_eq!(publisher.next_deadline(), Some(world.at.now + SETTLE));
    world.pass(SETTLE);
    assert!(publisher.poll(&current, world.at, &mut rng).is_some());
    world.pass(MIN_GAP);
    assert_eq!(publisher.poll(&current, world.at, &mut rng), None);
}

/// Whoever hears an author counts from its first advert on, so none may come too often.
#[test]
fn an_author_that_always_has_news_is_heard_every_time() {
    let mut rng = StdRng::seed_from_u64(3);
    let mut world = World::new(1);
    let mut publisher = Publisher::new(None);
    let mut current = profile(&["a"]);
    let (begin, mut told) = (world.at.now, Vec::new());
    for n in 0..10_000_u64 {
        current.deployments[0].running = if n % 2 == 0 { 4 } else { 0 };
        if let Some(stamp) = publisher.poll(&current, world.at, &mut rng) {
            let heard = world.hear(1, stamp.sequence.0, &["a"]);
            assert_eq!(heard.verdict(), Verdict::Accept, "{heard:?}");
            told.push(world.at.now - begin);
        }
        world.pass(Duration::from_millis(30));
    }
    let early = told.iter().filter(|at| **at < MIN_GAP).count();
    assert_eq!(early, 7, "{told:?}");
    assert!((35..=37).contains(&told.len()), "{}", told.len());
}

#[test]
fn sequences_grow_over_restarts_and_clocks_turned_back() {
    let mut rng = StdRng::seed_from_u64(2);
    let world = World::new(1);
    let first = Publisher::new(None).poll(&profile(&[]), world.at, &mut rng);
    let stored = first.unwrap().sequence;
    let past = Moment {
        unix: UnixMillis(5),
        ..world.at
    };
    let mut restarted = Publisher::new(Some(stored));
    let second = restarted.poll(&profile(&[]), past, &mut rng).unwrap();
    assert_eq!(Some(second.sequence), stored.next());

    // Without a store, its own last advert comes back by gossip.
    let mut amnesic = Publisher::new(None);
    amnesic.poll(&profile(&[]), past, &mut rng).unwrap();
    amnesic.on_own(second.sequence);
    let later = Moment {
        now: past.now + MIN_GAP,
        ..past
    };
    let third = amnesic.poll(&profile(&[]), later, &mut rng).unwrap();
    assert!(third.sequence > second.sequence);

    let mut last = Publisher::new(Some(Sequence(u64::MAX)));
    assert_eq!(last.poll(&profile(&[]), past, &mut rng), None);
}

#[test]
fn only_what_matters_is_material() {
    let old = profile(&["a"]);
    let changed = |change: fn(&mut Profile)| {
        let mut new = old.clone();
        change(&mut new);
        is_material(&old, &new)
    };
    assert!(!changed(|_| {}));
    assert!(!changed(|p| p.swarm_size = Some(9)));
    assert!(!changed(
        |p| p.deployments[0].decode_tokens_per_second = Some(21.0)
    ));
    assert!(changed(
        |p| p.deployments[0].decode_tokens_per_second = Some(40.0)
    ));
    assert!(changed(|p| p.deployments[0].running = 1));
    assert!(changed(|p| p.deployments[0].queued = 1));
    assert!(changed(|p| p.deployments[0].model = "b".parse().unwrap()));
    assert!(changed(|p| p.deployments.clear()));
    assert!(changed(|p| p.addresses.clear()));
    assert!(changed(|p| p.limits.serves_strangers = true));
}

#[test]
fn the_first_neighbours_and_speeds_are_material_and_so_is_a_full_queue() {
    let old = profile(&["a"]);
    let near = |count: u32| {
        let mut profile = old.clone();
        profile.neighbours = (0..count).map(neighbour).collect();
        profile
    };
    assert!(is_material(&near(1), &near(2)), "a chain may need the way");
    assert!(!is_material(&near(2), &near(1)));
    assert!(is_material(&near(11), &near(12)));
    assert!(!is_material(&near(12), &near(13)), "there are enough");
    let others = |numbers: [u32; 3], swarm_size| {
        let mut profile = old.clone();
        profile.neighbours = numbers.map(neighbour).to_vec();
        profile.swarm_size = Some(swarm_size);
        profile
    };
    let came = |size| is_material(&others([1, 2, 3], size), &others([1, 3, 4], size));
    assert!(came(5), "one came when another went");
    assert!(!came(1000), "the nearest of many change places");
    assert!(!is_material(&others([1, 2, 3], 5), &others([3, 1, 2], 5)));

    let measured = |speed| {
        let mut profile = old.clone();
        profile.devices = vec![NodeDevice {
            kind: DeviceKind::Cpu,
            name: "CPU".into(),
            memory_total_bytes: 2,
            memory_free_bytes: 1,
            prefill_tokens_per_second: None,
            bandwidth_bytes_per_second: speed,
        }];
        profile
    };
    assert!(is_material(&measured(None), &measured(Some(1e9))));
    assert!(!is_material(&measured(Some(1e9)), &measured(Some(1.1e9))));

    let queue = |running, queued| {
        let mut profile = old.clone();
        (
            profile.deployments[0].running,
            profile.deployments[0].queued,
        ) = (running, queued);
        profile
    };
    assert!(
        !is_material(&queue(1, 0), &queue(3, 0)),
        "there is still room"
    );
    assert!(is_material(&queue(3, 0), &queue(4, 0)), "it is full");
    assert!(!is_material(&queue(4, 4), &queue(4, 7)));
    assert!(is_material(&queue(4, 4), &queue(4, 16)));
}

proptest! {
    /// Whatever comes in whatever order: seats are bounded, an author's sequence never falls,
    /// and what passes on is bounded.
    #[test]
    fn the_view_is_bounded_and_only_grows_newer(
        events in prop::collection::vec((1..12_u32, 0..6_u64, 0..3_usize, 0..90_u64), 1..60)
    ) {
        let mut world = World::new(5);
        let mut newest: BTreeMap<NodeId, Sequence> = BTreeMap::new();
        for (author, sequence, model, seconds) in events {
            world.pass(Duration::from_secs(seconds));
            world.view.handle_timeout(world.at.now);
            let model = ["a", "b", "c"][model];
            world.hear(author, sequence, &[model]);
            prop_assert!(world.view.iter(world.at.now).count() <= 5);
            for (node, known) in world.view.iter(world.at.now) {
                let sequence = known.advert.sequence();
                let seated_before = known.since < known.heard;
                if seated_before {
                    prop_assert!(newest.get(&node).is_none_or(|&last| last <= sequence));
                }
                newest.insert(node, sequence);
            }
            let deadline = world.view.next_deadline();
            prop_assert!(deadline.is_none_or(|at| at > world.at.now));
        }
    }
}
