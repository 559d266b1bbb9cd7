//! Who is asked, when, how often; and that nothing grows or stands still whatever happens.

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;

struct Scene {
    meetings: Meetings,
    now: Instant,
    rng: StdRng,
    outputs: Vec<Output>,
}

/// Nodes in the order of their ids.
fn nodes() -> Vec<NodeId> {
    let keys = (0..12).map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let mut nodes: Vec<NodeId> = keys.map(|key| NodeId::from(&key)).collect();
    nodes.sort_unstable();
    nodes
}

fn board(name: &str) -> BoardName {
    name.parse().unwrap()
}

impl Scene {
    fn new(own: NodeId) -> Self {
        let mut scene = Self {
            meetings: Meetings::new(own),
            now: Instant::now(),
            rng: StdRng::seed_from_u64(7),
            outputs: Vec::new(),
        };
        scene.handle(Input::Followed(board("a")));
        scene
    }

    fn handle(&mut self, input: Input) {
        self.meetings
            .handle(input, self.now, &mut self.rng, &mut self.outputs);
    }

    /// What is begun after so long.
    fn begun(&mut self, after: Duration) -> Vec<(MeetingId, NodeId, BoardName)> {
        self.now += after;
        self.meetings
            .poll(self.now, &mut self.rng, &mut self.outputs);
        let outputs = std::mem::take(&mut self.outputs);
        let begun = outputs.into_iter().filter_map(|output| match output {
            Output::Reconcile { id, peer, board } => Some((id, peer, board)),
            Output::Blame(_) | Output::Seek(_) => None,
        });
        begun.collect()
    }

    /// The next that is begun, whenever that is, and how long it took.
    fn next(&mut self) -> (MeetingId, NodeId, Duration) {
        let mut waited = Duration::ZERO;
        loop {
            let due = self.meetings.next_deadline(self.now).unwrap();
            let wait = due.saturating_duration_since(self.now);
            waited += wait;
            let begun = self.begun(wait);
            match &begun[..] {
                [(id, peer, _)] => return (*id, *peer, waited),
                // Others were sought.
                [] => {}
                more => panic!("{more:?}"),
            }
        }
    }

    fn end(&mut self, id: MeetingId, ending: Ending) {
        self.handle(Input::Ended(id, ending));
    }
}

const NO_NEWS: Ending = Ending::Whole { news: false };

#[test]
fn of_two_that_meet_the_lesser_begins_and_the_greater_waits() {
    let nodes = nodes();
    let mut scene = Scene::new(nodes[5]);
    scene.handle(Input::Met(nodes[6], board("a")));
    let (id, peer, wait) = scene.next();
    assert_eq!((peer, wait), (nodes[6], Duration::ZERO));
    scene.end(id, NO_NEWS);
    scene.handle(Input::Met(nodes[4], board("a")));
    let (id, peer, wait) = scene.next();
    assert_eq!((peer, wait), (nodes[4], POLITENESS));
    scene.end(id, NO_NEWS);
    // If it came, it is not asked.
    scene.handle(Input::Met(nodes[3], board("a")));
    scene.handle(Input::Served(nodes[3], board("a"), false));
    let (_, _, wait) = scene.next();
    assert!(wait >= PERIOD / 2, "{wait:?}");
}

#[test]
fn a_board_is_reconciled_with_one_at_a_time_and_in_peace() {
    let nodes = nodes();
    let mut scene = Scene::new(nodes[0]);
    for peer in &nodes[1..] {
        scene.handle(Input::Met(*peer, board("a")));
    }
    let (id, first, _) = scene.next();
    assert_eq!(scene.begun(PERIOD * 2), []);
    scene.end(id, NO_NEWS);
    let mut asked = vec![first];
    for _ in 2..nodes.len() {
        let (id, peer, wait) = scene.next();
        assert_eq!(wait, PACE);
        asked.push(peer);
        scene.end(id, NO_NEWS);
    }
    asked.sort_unstable();
    assert_eq!(asked, nodes[1..]);
    assert!(scene.next().2 > PERIOD / 2);
}

#[test]
fn news_is_told_on_to_a_few() {
    let nodes = nodes();
    let mut scene = Scene::new(nodes[0]);
    for peer in &nodes[1..] {
        scene.handle(Input::Met(*peer, board("a")));
        scene.handle(Input::Served(*peer, board("a"), false));
    }
    scene.handle(Input::Served(nodes[1], board("a"), true));
    let mut told = Vec::new();
    loop {
        let (id, peer, wait) = scene.next();
        if wait > PERIOD / 2 {
            break;
        }
        assert!(wait <= PACE.max(GATHER * 2));
        told.push(peer);
        scene.end(id, NO_NEWS);
    }
    assert_eq!(told.len(), FANOUT);
    assert!(!told.contains(&nodes[1]));
}

#[test]
fn more_than_one_reconciliation_holds_goes_on_at_once() {
    let nodes = nodes();
    let mut scene = Scene::new(nodes[0]);
    scene.handle(Input::Met(nodes[1], board("a")));
    let (id, ..) = scene.next();
    scene.end(id, Ending::Partial { news: true });
    let (_, peer, wait) = scene.next();
    assert_eq!((peer, wait), (nodes[1], Duration::ZERO));
}

#[test]
fn who_does_not_answer_is_asked_less_and_less() {
    let nodes = nodes();
    let mut scene = Scene::new(nodes[0]);
    scene.handle(Input::Met(nodes[1], board("a")));
    let mut waits = Vec::new();
    for _ in 0..=MOST_TRIES {
        let (id, _, wait) = scene.next();
        waits.push(wait.as_secs());
        scene.end(id, Ending::Failed);
    }
    assert_eq!(waits, [0, 10, 20, 40, 80]);
    assert!(scene.next().2 > PERIOD / 2);
}

#[test]
fn who_answers_with_poison_is_blamed_and_shunned() {
    let nodes = nodes();
    let mut scene = Scene::new(nodes[0]);
    scene.handle(Input::Followed(board("b")));
    scene.handle(Input::Met(nodes[1], board("a")));
    scene.handle(Input::Met(nodes[1], board("b")));
    let begun = scene.begun(Duration::ZERO);
    assert_eq!(begun.len(), 2);
    scene.end(begun[0].0, Ending::Poisoned);
    assert_eq!(scene.outputs, [Output::Blame(nodes[1])]);
    scene.outputs.clear();
    scene.end(begun[1].0, NO_NEWS);
    assert_eq!(scene.begun(PERIOD * 2), []);
    // Not even when it comes again.
    scene.handle(Input::Gone(nodes[1]));
    scene.handle(Input::Met(nodes[1], board("a")));
    assert_eq!(scene.begun(Duration::ZERO), []);
    scene.now += SHUN;
    scene.handle(Input::Met(nodes[1], board("a")));
    assert_eq!(scene.begun(Duration::ZERO).len(), 1);
}

#[test]
fn boards_go_by_how_long_they_wait() {
    let nodes = nodes();
    let mut scene = Scene::new(nodes[0]);
    let names = ["a", "b", "c", "d", "e", "f"];
    for (late, name) in names.iter().rev().enumerate() {
        scene.handle(Input::Followed(board(name)));
        scene.now += Duration::from_millis(u64::try_from(late).unwrap());
        scene.handle(Input::Met(nodes[1], board(name)));
    }
    let begun = scene.begun(Duration::ZERO);
    let order: Vec<&str> = begun.iter().map(|(_, _, board)| board.as_str()).collect();
    assert_eq!(order, ["f", "e", "d", "c"]);
    scene.end(begun[0].0, NO_NEWS);
    assert_eq!(scene.begun(Duration::ZERO)[0].2, board("b"));
}

#[test]
fn a_board_that_is_not_followed_is_nobodys() {
    let nodes = nodes();
    let mut scene = Scene::new(nodes[0]);
    scene.handle(Input::Met(nodes[1], board("b")));
    assert_eq!(scene.begun(PERIOD * 2), []);
    scene.handle(Input::Met(nodes[1], board("a")));
    let (id, ..) = scene.next();
    scene.handle(Input::Unfollowed(board("a")));
    scene.handle(Input::Followed(board("a")));
    scene.handle(Input::Met(nodes[1], board("a")));
    assert_eq!(scene.begun(PERIOD), [], "the first is still under way");
    scene.end(id, NO_NEWS);
    for number in 0..2 * MOST_BOARDS {
        scene.handle(Input::Followed(board(&format!("x{number}"))));
    }
    assert_eq!(scene.meetings.len()[0], MOST_BOARDS);
}

#[test]
fn others_are_sought_while_they_are_few() {
    let nodes = nodes();
    let mut scene = Scene::new(nodes[0]);
    let mut waits = Vec::new();
    for _ in 0..10 {
        let due = scene.meetings.next_deadline(scene.now).unwrap();
        waits.push(due.saturating_duration_since(scene.now).as_secs());
        scene.now = due;
        scene
            .meetings
            .poll(scene.now, &mut scene.rng, &mut scene.outputs);
        let sought = std::mem::take(&mut scene.outputs);
        assert_eq!(sought, [Output::Seek(board("a"))]);
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
    for peer in &nodes[1..=FEW] {
        scene.handle(Input::Met(*peer, board("a")));
        scene.handle(Input::Served(*peer, board("a"), false));
    }
    scene.now += MOST_SEEK * 2;
    scene
        .meetings
        .poll(scene.now, &mut scene.rng, &mut scene.outputs);
    assert!(!scene.outputs.contains(&Output::Seek(board("a"))));
}

#[derive(Debug, Clone)]
enum Step {
    Follow(usize),
    Unfollow(usize),
    Met(usize, usize),
    Parted(usize, usize),
    Gone(usize),
    Served(usize, usize, bool),
    End(usize, usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (node, name) = (0..12_usize, 0..3_usize);
    prop_oneof![
        name.clone().prop_map(Step::Follow),
        name.clone().prop_map(Step::Unfollow),
        (node.clone(), name.clone()).prop_map(|(n, b)| Step::Met(n, b)),
        (node.clone(), name.clone()).prop_map(|(n, b)| Step::Met(n, b)),
        (node.clone(), name.clone()).prop_map(|(n, b)| Step::Parted(n, b)),
        node.clone().prop_map(Step::Gone),
        (node, name, any::<bool>()).prop_map(|(n, b, news)| Step::Served(n, b, news)),
        (0..4_usize, 0..6_usize).prop_map(|(which, how)| Step::End(which, how)),
        (0..60_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_it_is_bounded_and_goes_on(steps in prop::collection::vec(step(), 0..200)) {
        let nodes = nodes();
        let name = |n: usize| board(["a", "b", "c"][n]);
        let mut scene = Scene::new(nodes[4]);
        let mut running: Vec<(MeetingId, NodeId, BoardName)> = Vec::new();
        for step in steps {
            let mut wait = Duration::ZERO;
            match step {
                Step::Follow(b) => scene.handle(Input::Followed(name(b))),
                Step::Unfollow(b) => scene.handle(Input::Unfollowed(name(b))),
                Step::Met(n, b) => scene.handle(Input::Met(nodes[n], name(b))),
                Step::Parted(n, b) => scene.handle(Input::Parted(nodes[n], name(b))),
                Step::Gone(n) => scene.handle(Input::Gone(nodes[n])),
                Step::Served(n, b, news) => {
                    scene.handle(Input::Served(nodes[n], name(b), news));
                }
                Step::End(which, how) if which < running.len() => {
                    let ending = [
                        NO_NEWS,
                        Ending::Whole { news: true },
                        Ending::Partial { news: true },
                        Ending::Partial { news: false },
                        Ending::Failed,
                        Ending::Poisoned,
                    ][how];
                    let (id, ..) = running.remove(which);
                    scene.end(id, ending);
                }
                Step::End(..) => {}
                Step::Wait(millis) => wait = Duration::from_millis(millis),
            }
            running.extend(scene.begun(wait));
            prop_assert!(running.len() <= MOST_RUNNING);
            let mut boards: Vec<&BoardName> = running.iter().map(|(_, _, b)| b).collect();
            boards.sort_unstable();
            boards.dedup();
            prop_assert_eq!(boards.len(), running.len(), "one at a time");
            prop_assert!(running.iter().all(|(_, peer, _)| *peer != nodes[4]));
            let due = scene.meetings.next_deadline(scene.now);
            prop_assert!(due.is_none_or(|due| due > scene.now), "what is due is begun");
        }
        // Everybody whom it knows is asked sooner or later.
        for (id, ..) in running {
            scene.end(id, NO_NEWS);
        }
        let [_, peers, ..] = scene.meetings.len();
        let begun = scene.begun(PERIOD * 2);
        prop_assert_eq!(!begun.is_empty(), peers > 0);
    }
}
