//! Shards of a node whose swarm grows and shrinks.

use ed25519_dalek::SigningKey;
use proptest::{collection::vec, prelude::*};

use super::*;

fn id(peer: u32) -> NodeId {
    let mut secret = [0; 32];
    secret[..4].copy_from_slice(&peer.to_be_bytes());
    NodeId::from(&SigningKey::from_bytes(&secret))
}

struct World {
    shards: Shards,
    now: Instant,
    out: Vec<Output>,
}

impl World {
    fn new() -> Self {
        Self {
            shards: Shards::new(&id(0)),
            now: Instant::now(),
            out: Vec::new(),
        }
    }

    fn poll(&mut self, size: u32) -> Vec<Output> {
        self.shards.poll(Some(size), self.now, &mut self.out);
        std::mem::take(&mut self.out)
    }

    fn wait(&mut self, size: u32, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.shards.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            self.poll(size);
        }
        self.now = end;
        self.poll(size);
    }

    fn bits(&self) -> Option<u8> {
        self.shards.current().map(ShardPrefix::length)
    }

    fn own(&self, bits: u8) -> ShardPrefix {
        ShardPrefix::new(ShardPrefix::hash(&id(0)), bits)
    }
}

#[test]
fn the_first_estimate_places_the_node() {
    for (size, bits) in [(100, 0), (800, 3), (1600, 4), (12_800, 7)] {
        let mut world = World::new();
        world.shards.poll(None, world.now, &mut world.out);
        assert!(world.out.is_empty());
        let shard = world.own(bits);
        assert_eq!(
            world.poll(size),
            [Output::Listen(shard), Output::Moved(shard)]
        );
        let topic = Topic::Adverts {
            cell: CELL,
            prefix: shard,
        };
        assert_eq!(world.shards.publishes(), [topic]);
    }
    for (size, both) in [(150, [1, 0]), (135, [0, 1]), (10_000, [7, 6])] {
        let mut world = World::new();
        world.poll(size);
        let topic = |bits| Topic::Adverts {
            cell: CELL,
            prefix: world.own(bits),
        };
        assert_eq!(world.shards.publishes(), both.map(topic), "{size}");
    }
}

#[test]
fn a_split_waits_and_then_overlaps() {
    let mut world = World::new();
    world.poll(100);
    world.poll(170);
    world.wait(170, DWELL / 2);
    world.poll(150);
    world.poll(170);
    world.wait(170, DWELL - Duration::from_secs(1));
    assert_eq!(world.bits(), Some(0), "not without a break yet");
    world.wait(170, Duration::from_secs(1));
    assert_eq!(world.bits(), Some(1));
    assert_eq!(world.shards.publishes().len(), 2, "the old one and the new");
    world.wait(170, OVERLAP - Duration::from_secs(1));
    assert_eq!(world.shards.publishes().len(), 2);
    world.wait(170, Duration::from_secs(1));
    assert_eq!(world.shards.publishes().len(), 1);
    world.wait(120, Duration::from_secs(3600));
    assert_eq!(world.bits(), Some(1), "60 in the shard are no merge");
    world.poll(110);
    world.wait(110, DWELL);
    assert_eq!(world.bits(), Some(0));
    world.wait(150, Duration::from_secs(3600));
    assert_eq!(world.bits(), Some(0), "150 are no split");
}

#[test]
fn a_thousandfold_growth_is_one_move() {
    let mut world = World::new();
    world.poll(100);
    world.poll(100_000);
    world.wait(100_000, DWELL);
    assert_eq!(world.bits(), Some(10));
    assert_eq!(world.shards.publishes().len(), 2);
}

#[test]
fn who_is_near_a_bound_follows_the_crowd() {
    let mut world = World::new();
    world.poll(100);
    let child = world.own(1);
    assert_eq!(world.poll(140), [Output::Listen(child)]);
    let mut moved = 0;
    for peer in 1.. {
        if !child.contains(ShardPrefix::hash(&id(peer))) {
            continue;
        }
        assert_eq!(world.bits(), Some(0));
        assert_eq!(world.shards.check(child, &id(peer)), Ok(()));
        let first = world
            .shards
            .on_heard(child, id(peer), Sequence(1), world.now);
        assert!(first);
        moved += 1;
        if world.poll(140).contains(&Output::Moved(child)) {
            break;
        }
    }
    assert_eq!(moved, 35, "half of the 70 that the shard has");
    // The old topic is full of those who have not left it: no reason to go back.
    for peer in 1..200 {
        let parent = world.own(0);
        assert!(world.shards.check(parent, &id(peer)).is_ok());
        world
            .shards
            .on_heard(parent, id(peer), Sequence(1), world.now);
    }
    world.poll(130);
    assert_eq!(world.bits(), Some(1));
}

#[test]
fn who_uses_both_topics_is_no_crowd() {
    let mut world = World::new();
    world.poll(140);
    let (parent, child) = (world.own(0), world.own(1));
    let is_of_child = |peer: &NodeId| child.contains(ShardPrefix::hash(peer));
    let peers: Vec<NodeId> = (1..).map(id).filter(is_of_child).take(60).collect();
    for peer in &peers {
        for topic in [parent, child] {
            (world.shards).on_heard(topic, *peer, Sequence(1), world.now);
        }
    }
    world.wait(140, ARRIVAL);
    assert_eq!(world.shards.publishes().len(), 1, "it has arrived");
    assert_eq!(world.bits(), Some(0), "and they are here as well");
    assert_eq!(world.shards.check(child, &peers[0]), Ok(()));
    for peer in &peers {
        (world.shards).on_heard(child, *peer, Sequence(2), world.now);
    }
    world.poll(140);
    assert_eq!(world.bits(), Some(1), "they have gone");
}

#[test]
fn newcomers_of_the_other_half_are_no_crowd() {
    let mut world = World::new();
    world.poll(160);
    world.wait(160, ARRIVAL);
    assert_eq!(world.bits(), Some(1));
    let (parent, child) = (world.own(0), world.own(1));
    assert_eq!(
        world.shards.publishes().len(),
        1,
        "the parent is listened to only"
    );
    let is_of_child = |peer: &NodeId| child.contains(ShardPrefix::hash(peer));
    let (mates, others): (Vec<NodeId>, _) = (1..200).map(id).partition(is_of_child);
    for peer in &others {
        (world.shards).on_heard(parent, *peer, Sequence(1), world.now);
    }
    world.poll(160);
    assert_eq!(world.bits(), Some(1), "they never speak in the child");
    for peer in mates.iter().take(40) {
        (world.shards).on_heard(parent, *peer, Sequence(1), world.now);
    }
    world.poll(160);
    assert_eq!(world.bits(), Some(0), "half of the 80 that the child has");
}

#[test]
fn an_advert_belongs_to_its_topic() {
    let mut world = World::new();
    world.poll(800);
    let own = world.own(3);
    let of = |inside: bool| {
        let mut peers = (1..).map(id);
        let fits = |peer: &NodeId| own.contains(ShardPrefix::hash(peer)) == inside;
        peers.find(fits).unwrap()
    };
    let (neighbour, foreigner) = (of(true), of(false));
    assert!(world.shards.is_neighbour(&neighbour) && !world.shards.is_neighbour(&foreigner));
    assert_eq!(world.shards.check(own, &neighbour), Ok(()));
    assert_eq!(
        world.shards.check(own, &foreigner),
        Err(ShardError::Foreign)
    );
    let wider = world.own(0);
    assert_eq!(
        world.shards.check(wider, &foreigner),
        Err(ShardError::NotListening)
    );
    let elsewhere = ShardPrefix::new(ShardPrefix::hash(&foreigner), 3);
    assert_eq!(
        world.shards.check(elsewhere, &foreigner),
        Err(ShardError::NotListening)
    );
}

#[test]
fn authors_count_after_the_longest_pause() {
    let mut world = World::new();
    world.poll(1000);
    assert_eq!(world.shards.countable_bits(world.now), None);
    world.wait(1000, COUNT_AFTER);
    assert_eq!(world.shards.countable_bits(world.now), Some(3));
}

#[test]
fn an_advert_is_new_once_on_each_topic() {
    let mut world = World::new();
    let (old, new) = (world.own(0), world.own(1));
    let mut hear = |topic, sequence| {
        let sequence = Sequence(sequence);
        world.shards.on_heard(topic, id(1), sequence, world.now)
    };
    assert!(hear(old, 5) && hear(new, 5));
    assert!(!hear(old, 5) && !hear(new, 5), "a replay goes nowhere");
    assert!(!hear(new, 4));
    assert!(hear(new, 6) && hear(old, 6) && !hear(new, 6));
}

proptest! {
    #[test]
    fn shards_keep_their_bounds_and_topics(
        sizes in vec((1..200_000_u32, 0..900_u64), 1..60),
    ) {
        let mut world = World::new();
        let mut listening = BTreeSet::new();
        for (size, wait) in sizes {
            world.now += Duration::from_secs(wait);
            for output in world.poll(size) {
                match output {
                    Output::Listen(shard) => prop_assert!(listening.insert(shard)),
                    Output::Leave(shard) => prop_assert!(listening.remove(&shard)),
                    Output::Moved(shard) => prop_assert!(listening.contains(&shard)),
                }
            }
            // The current one, the earlier ones and the peeked one.
            prop_assert!((1..=MAX_EARLIER + 2).contains(&listening.len()));
            for topic in world.shards.publishes() {
                let Topic::Adverts { prefix, .. } = topic else { unreachable!() };
                prop_assert!(listening.contains(&prefix));
                prop_assert!(world.shards.check(prefix, &id(0)).is_ok());
            }
            let next = world.shards.next_deadline();
            prop_assert!(next.is_none_or(|next| next > world.now));
        }
    }
}
