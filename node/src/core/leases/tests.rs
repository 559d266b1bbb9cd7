//! Leases one by one; whole histories are in `tests/histories.rs`.

use std::{collections::BTreeSet, sync::LazyLock};

use ed25519_dalek::SigningKey;
use protocol::{
    DeploymentId, ManifestId,
    chain::{Granted, ModelRef, Phase, Precision, StageState},
};
use rand::{SeedableRng, rngs::StdRng};

use super::*;

mod histories;

const SECOND: Duration = Duration::from_secs(1);

fn node(n: u8) -> NodeId {
    static NODES: LazyLock<Vec<NodeId>> = LazyLock::new(|| {
        let keys = (0..16).map(|n| SigningKey::from_bytes(&[n; 32]).verifying_key());
        keys.map(|key| NodeId::from_bytes(key.as_bytes()).unwrap())
            .collect()
    });
    NODES[usize::from(n)]
}

fn limits(memory_bytes: u64) -> Limits {
    Limits {
        memory_bytes,
        resident_bytes: 0,
        serves_strangers: true,
        models: None,
    }
}

fn reserve(deployment: u8, first_layer: u32, last_layer: u32) -> Reserve {
    Reserve {
        deployment: DeploymentId([deployment; 16]),
        model: ModelRef {
            name: "tiny".parse().unwrap(),
            manifest: ManifestId::new([7; 32]),
            layers: 12,
        },
        first_layer,
        last_layer,
        cells: 64,
        sequences: 2,
        batch_tokens: 32,
        precision: Precision::F32,
        is_spare: false,
    }
}

/// A peer's leases, with a clock, and requests that are answered at once.
struct Desk {
    leases: Leases<StdRng>,
    now: Instant,
    tickets: u64,
    /// What was put out beside replies and tidings.
    done: Vec<Output>,
}

impl Desk {
    fn new(memory_bytes: u64) -> Self {
        Self {
            leases: Leases::new(limits(memory_bytes), StdRng::seed_from_u64(1)),
            now: Instant::now(),
            tickets: 0,
            done: Vec::new(),
        }
    }

    /// The replies.
    fn put(&mut self, input: Input) -> Vec<LeaseReply> {
        self.leases.handle(input, self.now);
        let mut replies = Vec::new();
        while let Some(output) = self.leases.next_output() {
            match output {
                Output::Reply { reply, .. } => replies.push(reply),
                Output::Told { .. } => {}
                other => self.done.push(other),
            }
        }
        replies
    }

    fn ask(&mut self, input: impl FnOnce(Ticket) -> Input) -> LeaseReply {
        self.tickets += 1;
        let replies = self.put(input(Ticket(self.tickets)));
        let [reply] = &replies[..] else {
            panic!("one reply, not {replies:?}");
        };
        reply.clone()
    }

    fn reserve(&mut self, head: u8, reserve: Reserve, bytes: u64) -> LeaseReply {
        let peer = node(head);
        let from = Asker {
            peer,
            is_stranger: true,
        };
        let need = Need::Bytes(bytes);
        self.ask(|ticket| Input::Reserve {
            ticket,
            from,
            reserve,
            need,
        })
    }

    fn granted(&mut self, head: u8, first_layer: u32, bytes: u64) -> Granted {
        let wanted = reserve(head, first_layer, first_layer + 1);
        match self.reserve(head, wanted, bytes) {
            LeaseReply::Granted(granted) => granted,
            other => panic!("{other:?}"),
        }
    }

    fn renew(&mut self, head: u8, lease: LeaseId) -> LeaseReply {
        let from = node(head);
        self.ask(|ticket| Input::Renew {
            ticket,
            from,
            lease,
        })
    }

    fn release(&mut self, head: u8, lease: LeaseId) -> LeaseReply {
        let from = node(head);
        self.ask(|ticket| Input::Release {
            ticket,
            from,
            lease,
        })
    }

    fn link(&mut self, head: u8, lease: LeaseId, previous: u8, next: u8) -> LeaseReply {
        self.link_in(0, head, lease, previous, next)
    }

    fn link_in(
        &mut self,
        generation: u64,
        head: u8,
        lease: LeaseId,
        previous: u8,
        next: u8,
    ) -> LeaseReply {
        let link = Link {
            lease,
            previous: node(previous),
            next: node(next),
            next_channel: ChannelId(next.into()),
            generation,
        };
        let from = node(head);
        self.ask(|ticket| Input::Link { ticket, from, link })
    }

    fn spare(&mut self, head: u8, first_layer: u32, bytes: u64) -> LeaseReply {
        let wanted = Reserve {
            is_spare: true,
            ..reserve(head, first_layer, first_layer + 1)
        };
        self.reserve(head, wanted, bytes)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.put(Input::Tick);
    }

    fn done(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.done)
    }

    /// The slice that was told to load.
    fn loading(&mut self) -> Option<SliceId> {
        let load = |output: Output| match output {
            Output::Load { slice, .. } => Some(slice),
            _ => None,
        };
        self.done().into_iter().find_map(load)
    }

    fn ready(&mut self, head: u8, first_layer: u32, bytes: u64) -> (Granted, SliceId) {
        let granted = self.granted(head, first_layer, bytes);
        self.renew(head, granted.lease);
        let slice = self.loading().unwrap();
        self.put(Input::Loaded {
            slice,
            decode_seconds: Some(0.5),
        });
        (granted, slice)
    }
}

fn phase(reply: &LeaseReply) -> Phase {
    match reply {
        LeaseReply::State(state) => state.phase,
        other => panic!("{other:?}"),
    }
}

fn code(reply: &LeaseReply) -> Refusal {
    match reply {
        LeaseReply::Refused(refused) => refused.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reservation_alone_loads_nothing() {
    let mut desk = Desk::new(100);
    let granted = desk.granted(1, 0, 60);
    assert_eq!(
        (granted.memory_bytes, granted.lapses_in),
        (60, LEASE_LIFETIME)
    );
    assert_eq!(desk.loading(), None);
    assert_eq!(phase(&desk.renew(1, granted.lease)), Phase::Fetching);
    let slice = desk.loading().unwrap();
    desk.put(Input::Progress {
        slice,
        step: LoadStep::Loading,
        progress: f32::NAN,
    });
    assert_eq!(phase(&desk.renew(1, granted.lease)), Phase::Loading);
    desk.put(Input::Loaded {
        slice,
        decode_seconds: Some(0.5),
    });
    let LeaseReply::State(StageState {
        phase: Phase::Ready,
        decode_seconds: Some(_),
        ..
    }) = desk.renew(1, granted.lease)
    else {
        panic!("not ready");
    };
    for (slowness, said) in [(Some(3.0), Some(3.0)), (Some(f32::NAN), None), (None, None)] {
        desk.put(Input::Measured { slice, slowness });
        let LeaseReply::State(state) = desk.renew(1, granted.lease) else {
            panic!("no state");
        };
        assert_eq!(state.slowness, said);
    }
}

#[test]
fn a_reservation_whose_reply_was_lost_is_the_same_one() {
    let mut desk = Desk::new(100);
    let granted = desk.granted(1, 0, 60);
    desk.wait(SECOND);
    assert_eq!(desk.granted(1, 0, 60), granted);
    let other = Reserve {
        cells: 128,
        ..reserve(1, 0, 1)
    };
    assert_eq!(code(&desk.reserve(1, other, 30)), Refusal::Invalid);
    assert_eq!(desk.leases.len(), 1);
}

#[test]
fn who_wants_the_same_memory_is_refused_at_once() {
    let mut desk = Desk::new(100);
    desk.granted(1, 0, 60);
    let LeaseReply::Refused(refused) = desk.reserve(2, reserve(2, 0, 1), 60) else {
        panic!("both");
    };
    assert_eq!(refused.code, Refusal::NoRoom);
    assert_eq!((refused.needed_bytes, refused.free_bytes), (60, 40));
    assert!(refused.retry_after.is_some());
}

#[test]
fn only_its_head_has_a_lease() {
    let mut desk = Desk::new(100);
    let (granted, _) = desk.ready(1, 0, 60);
    let foreign = [
        desk.renew(2, granted.lease),
        desk.link(2, granted.lease, 2, 2),
        desk.release(2, granted.lease),
    ];
    let unknown = desk.renew(2, LeaseId(1));
    assert!(foreign.iter().all(|reply| *reply == unknown), "no hint");
    assert_eq!(code(&unknown), Refusal::UnknownLease);
    assert_eq!(phase(&desk.renew(1, granted.lease)), Phase::Ready);
}

#[test]
fn who_names_another_heads_deployment_gets_a_lease_of_its_own() {
    let mut desk = Desk::new(100);
    let granted = desk.granted(1, 0, 40);
    let LeaseReply::Granted(other) = desk.reserve(2, reserve(1, 0, 1), 40) else {
        panic!("no lease");
    };
    assert_ne!(
        (other.lease, other.channel),
        (granted.lease, granted.channel)
    );
}

#[test]
fn a_link_lets_one_peer_in_and_the_next_link_another() {
    let mut desk = Desk::new(100);
    let (granted, slice) = desk.ready(1, 0, 60);
    let channel = granted.channel;
    assert!(!desk.leases.may_receive(channel, node(5), desk.now));
    assert_eq!(phase(&desk.link(1, granted.lease, 5, 6)), Phase::Linked);
    assert!(desk.leases.may_receive(channel, node(5), desk.now));
    assert!(
        !desk.leases.may_receive(channel, node(1), desk.now),
        "not even its head"
    );
    assert!(!desk.leases.may_receive(ChannelId(0), node(5), desk.now));
    desk.done();
    desk.link(1, granted.lease, 7, 6);
    let (previous, open) = (node(7), Output::CloseChannel(channel));
    let opened = Output::OpenChannel {
        channel,
        slice,
        previous,
    };
    assert_eq!(desk.done(), [open, opened]);
    assert!(!desk.leases.may_receive(channel, node(5), desk.now));
    assert!(desk.leases.may_receive(channel, node(7), desk.now));
}

#[test]
fn a_link_before_the_load_counts_after_it() {
    let mut desk = Desk::new(100);
    let granted = desk.granted(1, 0, 60);
    assert_eq!(phase(&desk.link(1, granted.lease, 5, 6)), Phase::Fetching);
    assert!(!desk.leases.may_receive(granted.channel, node(5), desk.now));
    let slice = desk.loading().unwrap();
    desk.put(Input::Loaded {
        slice,
        decode_seconds: None,
    });
    assert!(desk.leases.may_receive(granted.channel, node(5), desk.now));
    assert_eq!(phase(&desk.renew(1, granted.lease)), Phase::Linked);
}

#[test]
fn a_lease_lapses_and_takes_everything_with_it() {
    let mut desk = Desk::new(100);
    let (granted, slice) = desk.ready(1, 0, 60);
    desk.link(1, granted.lease, 5, 6);
    desk.done();
    desk.wait(LEASE_LIFETIME - SECOND);
    assert_eq!(phase(&desk.renew(1, granted.lease)), Phase::Linked);
    desk.now += LEASE_LIFETIME;
    let is_in = desk.leases.may_receive(granted.channel, node(5), desk.now);
    assert!(!is_in, "before the timer says so");
    desk.put(Input::Tick);
    let close = Output::CloseChannel(granted.channel);
    assert_eq!(desk.done(), [close, Output::Unload(slice)]);
    assert_eq!(code(&desk.renew(1, granted.lease)), Refusal::UnknownLease);
    assert_eq!(
        (desk.leases.promised_bytes(), desk.leases.held_bytes()),
        (0, 60)
    );
    desk.put(Input::Ended(slice));
    assert_eq!(desk.leases.reserved_bytes(), 0);
    assert_eq!(desk.leases.next_deadline(), None);
}

#[test]
fn a_released_slice_stays_warm_for_whoever_wants_the_same() {
    let mut desk = Desk::new(100);
    let (granted, slice) = desk.ready(1, 0, 60);
    assert_eq!(desk.release(1, granted.lease), LeaseReply::Released);
    assert_eq!(desk.done(), [Output::Clear(slice)]);
    let again = desk.granted(2, 0, 60);
    assert_ne!(
        (again.lease, again.channel),
        (granted.lease, granted.channel)
    );
    assert_eq!(phase(&desk.renew(2, again.lease)), Phase::Ready);
    desk.release(2, again.lease);
    desk.done();
    desk.wait(KEEP_WARM);
    assert_eq!(desk.done(), [Output::Unload(slice)]);
}

#[test]
fn a_warm_slice_makes_room_and_is_waited_for() {
    let mut desk = Desk::new(100);
    let (granted, warm) = desk.ready(1, 0, 60);
    desk.release(1, granted.lease);
    desk.done();
    let other = desk.granted(2, 5, 80);
    assert_eq!(desk.done(), [], "a reservation alone unloads nothing");
    assert_eq!(phase(&desk.renew(2, other.lease)), Phase::Reserved);
    assert_eq!(desk.done(), [Output::Unload(warm)]);
    desk.put(Input::Ended(warm));
    assert!(desk.loading().is_some());
    assert_eq!(phase(&desk.renew(2, other.lease)), Phase::Fetching);
}

#[test]
fn a_failed_stage_says_so_and_nothing_of_this_machine() {
    let mut desk = Desk::new(100);
    let (granted, slice) = desk.ready(1, 0, 60);
    desk.link(1, granted.lease, 5, 6);
    desk.put(Input::Ended(slice));
    assert!(!desk.leases.may_receive(granted.channel, node(5), desk.now));
    assert_eq!(desk.leases.reserved_bytes(), 0);
    let LeaseReply::State(state) = desk.renew(1, granted.lease) else {
        panic!("no state");
    };
    assert_eq!(state.phase, Phase::Failed);
    assert_eq!(state.cause, Failure::Died.to_string());
    assert_eq!(phase(&desk.link(1, granted.lease, 5, 6)), Phase::Failed);
    // The same layers may be asked for again at once.
    let again = desk.granted(1, 0, 60);
    assert_ne!(again.lease, granted.lease);
    assert_eq!(desk.leases.len(), 1);
    desk.wait(LEASE_LIFETIME);
    assert!(desk.leases.is_empty());
}

#[test]
fn the_owner_takes_memory_back_from_the_newest() {
    let mut desk = Desk::new(100);
    let (old, _) = desk.ready(1, 0, 40);
    let (new, slice) = desk.ready(2, 0, 40);
    let grown = Limits {
        resident_bytes: 50,
        ..limits(100)
    };
    desk.put(Input::Limits(grown));
    assert_eq!(desk.done(), [Output::Unload(slice)]);
    assert_eq!(phase(&desk.renew(1, old.lease)), Phase::Ready);
    assert_eq!(phase(&desk.renew(2, new.lease)), Phase::Failed);
    assert_eq!(desk.leases.promised_bytes(), 40);
}

#[test]
fn the_owner_takes_memory_back_from_what_is_only_warm() {
    let mut desk = Desk::new(100);
    let (granted, warm) = desk.ready(1, 0, 60);
    desk.release(1, granted.lease);
    desk.done();
    desk.put(Input::Limits(limits(59)));
    assert_eq!(desk.done(), [Output::Unload(warm)]);
}

#[test]
fn the_owner_says_to_whom_and_of_what() {
    let mut desk = Desk::new(100);
    let granted = desk.granted(1, 0, 10);
    let closed = Limits {
        serves_strangers: false,
        ..limits(100)
    };
    desk.put(Input::Limits(closed.clone()));
    assert_eq!(phase(&desk.renew(1, granted.lease)), Phase::Failed);
    assert_eq!(
        code(&desk.reserve(2, reserve(2, 0, 1), 10)),
        Refusal::NotAllowed
    );
    let peer = node(3);
    let member = Asker {
        peer,
        is_stranger: false,
    };
    let mut ask = |need, reserve| {
        desk.ask(|ticket| Input::Reserve {
            ticket,
            from: member,
            reserve,
            need,
        })
    };
    let bytes = Need::Bytes(10);
    assert!(matches!(
        ask(bytes, reserve(3, 0, 1)),
        LeaseReply::Granted(_)
    ));
    assert_eq!(
        code(&ask(Need::UnknownModel, reserve(3, 1, 2))),
        Refusal::UnknownModel
    );
    assert_eq!(
        code(&ask(Need::Unsupported, reserve(3, 1, 2))),
        Refusal::Unsupported
    );
    assert_eq!(code(&ask(bytes, reserve(3, 5, 5))), Refusal::Invalid);
    assert_eq!(code(&ask(bytes, reserve(3, 5, 13))), Refusal::Invalid);
    let models = Some(BTreeSet::from(["other".parse().unwrap()]));
    desk.put(Input::Limits(Limits { models, ..closed }));
    assert_eq!(
        code(&desk.reserve(3, reserve(3, 4, 5), 10)),
        Refusal::NotAllowed
    );
}

#[test]
fn leases_are_bounded_for_each_head_and_in_all() {
    let mut desk = Desk::new(u64::MAX);
    let most = u32::try_from(MAX_LEASES_OF_ONE_HEAD).unwrap();
    for layer in 0..most {
        desk.granted(1, layer, 1);
    }
    assert_eq!(
        code(&desk.reserve(1, reserve(1, 11, 12), 1)),
        Refusal::TooMany
    );
    for head in 2..=4 {
        for layer in 0..most {
            desk.granted(head, layer, 1);
        }
    }
    assert_eq!(
        code(&desk.reserve(9, reserve(9, 0, 1), 1)),
        Refusal::TooMany
    );
    assert_eq!(desk.leases.len(), MAX_LEASES);
}

#[test]
fn a_peer_that_stops_says_goodbye() {
    let mut desk = Desk::new(100);
    let (granted, slice) = desk.ready(1, 0, 60);
    desk.link(1, granted.lease, 5, 6);
    // Nobody renews it, and the peer stops before it lapses by itself.
    let (idle, _) = desk.ready(2, 1, 10);
    desk.put(Input::Stop(20 * SECOND));
    assert_eq!(
        code(&desk.reserve(2, reserve(2, 0, 1), 10)),
        Refusal::Draining
    );
    desk.wait(10 * SECOND);
    let LeaseReply::State(state) = desk.renew(1, granted.lease) else {
        panic!("no state");
    };
    assert_eq!(
        (state.phase, state.lapses_in),
        (Phase::Draining, 10 * SECOND)
    );
    assert!(desk.leases.may_receive(granted.channel, node(5), desk.now));
    desk.done();
    desk.wait(10 * SECOND);
    let close = Output::CloseChannel(granted.channel);
    let done = desk.done();
    assert!(done.contains(&close) && done.contains(&Output::Unload(slice)));
    assert_eq!(code(&desk.renew(2, idle.lease)), Refusal::UnknownLease);
    for output in done {
        if let Output::Unload(slice) = output {
            desk.put(Input::Ended(slice));
        }
    }
    assert_eq!(desk.done(), [Output::Drained]);
    desk.put(Input::Tick);
    assert_eq!(desk.done(), []);
}

#[test]
fn a_peer_without_leases_stops_at_once() {
    let mut desk = Desk::new(100);
    let (granted, warm) = desk.ready(1, 0, 60);
    desk.release(1, granted.lease);
    desk.done();
    desk.put(Input::Stop(20 * SECOND));
    assert_eq!(desk.done(), [Output::Unload(warm)]);
    desk.put(Input::Ended(warm));
    assert_eq!(desk.done(), [Output::Drained]);
}

fn lease_of(reply: &LeaseReply) -> LeaseId {
    match reply {
        LeaseReply::Granted(granted) => granted.lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_late_link_of_an_older_ring_changes_nothing() {
    let mut desk = Desk::new(100);
    let (granted, slice) = desk.ready(1, 0, 60);
    desk.link_in(2, 1, granted.lease, 3, 4);
    desk.done();
    assert_eq!(
        phase(&desk.link_in(1, 1, granted.lease, 5, 6)),
        Phase::Linked
    );
    assert_eq!(desk.done(), []);
    let now = desk.now;
    let channel = granted.channel.in_ring(2);
    assert!(desk.leases.may_receive(channel, node(3), now));
    assert!(
        !desk
            .leases
            .may_receive(granted.channel.in_ring(1), node(5), now)
    );
    // The next ring has another channel, though the neighbours are the same.
    desk.link_in(3, 1, granted.lease, 3, 4);
    let opened = Output::OpenChannel {
        channel: granted.channel.in_ring(3),
        slice,
        previous: node(3),
    };
    assert_eq!(desk.done(), [Output::CloseChannel(channel), opened]);
    assert!(!desk.leases.may_receive(channel, node(3), now));
}

#[test]
fn a_spare_gives_way_to_a_stage_of_another_head() {
    let mut desk = Desk::new(100);
    let older = lease_of(&desk.spare(1, 0, 30));
    let newer = lease_of(&desk.spare(1, 1, 50));
    assert_eq!(desk.leases.promised_bytes(), 0);
    // A spare has what nobody else has; another spare too.
    assert_eq!(code(&desk.spare(1, 2, 30)), Refusal::NoRoom);
    desk.renew(1, newer);
    let slice = desk.loading().unwrap();
    desk.granted(2, 0, 60);
    assert_eq!(phase(&desk.renew(1, newer)), Phase::Failed);
    assert_eq!(phase(&desk.renew(1, older)), Phase::Fetching);
    assert!(desk.done().contains(&Output::Unload(slice)));
}

#[test]
fn a_spare_gives_way_to_the_owners_models_and_a_stage_does_only_after_it() {
    let mut desk = Desk::new(100);
    let stage = desk.granted(1, 0, 40).lease;
    let spare = lease_of(&desk.spare(2, 0, 60));
    let resident = Limits {
        resident_bytes: 50,
        ..limits(100)
    };
    desk.put(Input::Limits(resident));
    assert_eq!(phase(&desk.renew(2, spare)), Phase::Failed);
    assert_ne!(phase(&desk.renew(1, stage)), Phase::Failed);
}

#[test]
fn a_spare_that_is_linked_is_a_stage_like_any_other() {
    let mut desk = Desk::new(100);
    let spare = lease_of(&desk.spare(1, 0, 60));
    desk.renew(1, spare);
    let slice = desk.loading().unwrap();
    desk.put(Input::Loaded {
        slice,
        decode_seconds: None,
    });
    assert_eq!(phase(&desk.link_in(4, 1, spare, 3, 4)), Phase::Linked);
    assert_eq!(desk.leases.promised_bytes(), 60);
    assert_eq!(
        code(&desk.reserve(2, reserve(2, 0, 1), 60)),
        Refusal::NoRoom
    );
    assert_eq!(phase(&desk.renew(1, spare)), Phase::Linked);
}
