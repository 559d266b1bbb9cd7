//! Any history of requests, loads and limits: the promises hold after each event, and when the
//! heads fall silent nothing is left.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Something that happens. Numbers choose among what is there, so most of it means something.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Reserve {
        head: u8,
        layer: u32,
        bytes: u64,
        cells: u32,
    },
    Link {
        head: u8,
        lease: usize,
        previous: u8,
    },
    Renew {
        head: u8,
        lease: usize,
    },
    Release {
        head: u8,
        lease: usize,
    },
    Progress {
        slice: usize,
    },
    Loaded {
        slice: usize,
    },
    Ended {
        slice: usize,
    },
    Limits {
        memory: u64,
        resident: u64,
        strangers: bool,
    },
    Stop,
    Wait(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    let head = 1u8..5;
    let at = 0usize..8;
    prop_oneof![
        6 => (head.clone(), 0u32..14, 0u64..70, 0u32..3).prop_map(|(head, layer, bytes, cells)| {
            H::Reserve { head, layer, bytes, cells }
        }),
        4 => (head.clone(), at.clone(), 1u8..8)
            .prop_map(|(head, lease, previous)| H::Link { head, lease, previous }),
        6 => (head.clone(), at.clone()).prop_map(|(head, lease)| H::Renew { head, lease }),
        2 => (head, at.clone()).prop_map(|(head, lease)| H::Release { head, lease }),
        1 => at.clone().prop_map(|slice| H::Progress { slice }),
        4 => at.clone().prop_map(|slice| H::Loaded { slice }),
        3 => at.prop_map(|slice| H::Ended { slice }),
        1 => (0u64..120, 0u64..60, any::<bool>()).prop_map(|(memory, resident, strangers)| {
            H::Limits { memory, resident, strangers }
        }),
        1 => (0u32..40).prop_map(|rare| if rare == 0 { H::Stop } else { H::Wait(1) }),
        4 => (0u64..16).prop_map(H::Wait),
    ]
}

/// What an observer knows from replies and outputs alone.
#[derive(Default)]
struct Seen {
    leases: Vec<(u8, Granted)>,
    slices: Vec<SliceId>,
    /// Channels that are open, and to whom.
    open: BTreeMap<ChannelId, NodeId>,
    unloading: Vec<SliceId>,
}

impl Seen {
    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Load { slice, .. } => {
                    assert!(!self.slices.contains(&slice), "an id is used twice");
                    self.slices.push(slice);
                }
                Output::Unload(slice) => {
                    assert!(!self.unloading.contains(&slice), "unloaded twice");
                    self.unloading.push(slice);
                }
                Output::OpenChannel {
                    channel, previous, ..
                } => {
                    assert_eq!(self.open.insert(channel, previous), None);
                }
                Output::CloseChannel(channel) => {
                    assert!(self.open.remove(&channel).is_some());
                }
                _ => {}
            }
        }
    }
}

/// What is told of a slice.
fn told(happening: Happening, slice: SliceId) -> Input {
    match happening {
        Happening::Progress { .. } => Input::Progress {
            slice,
            step: LoadStep::Loading,
            progress: 0.5,
        },
        Happening::Loaded { .. } => Input::Loaded {
            slice,
            decode_seconds: None,
        },
        _ => Input::Ended(slice),
    }
}

fn put(desk: &mut Desk, seen: &mut Seen, happening: Happening) {
    let lease = |at: usize| {
        let known = seen.leases.iter().rev().nth(at);
        known.map_or(LeaseId(3), |(_, granted)| granted.lease)
    };
    match happening {
        Happening::Reserve {
            head,
            layer,
            bytes,
            cells,
        } => {
            let wanted = Reserve {
                cells,
                is_spare: bytes % 3 == 0,
                ..reserve(head, layer, layer + 1)
            };
            if let LeaseReply::Granted(granted) = desk.reserve(head, wanted, bytes) {
                seen.leases.push((head, granted));
            }
        }
        Happening::Link {
            head,
            lease: at,
            previous,
        } => {
            desk.link(head, lease(at), previous, 1);
        }
        Happening::Renew { head, lease: at } => {
            desk.renew(head, lease(at));
        }
        Happening::Release { head, lease: at } => {
            desk.release(head, lease(at));
        }
        Happening::Progress { slice }
        | Happening::Loaded { slice }
        | Happening::Ended { slice } => {
            let known = seen.slices.iter().rev().nth(slice);
            if let Some(slice) = known.copied() {
                desk.put(told(happening, slice));
            }
        }
        Happening::Limits {
            memory,
            resident,
            strangers,
        } => {
            let limits = Limits {
                memory_bytes: memory,
                resident_bytes: resident,
                serves_strangers: strangers,
                models: None,
            };
            desk.put(Input::Limits(limits));
        }
        Happening::Stop => drop(desk.put(Input::Stop(20 * SECOND))),
        Happening::Wait(seconds) => desk.wait(Duration::from_secs(seconds)),
    }
    seen.take(desk.done());
}

fn check(desk: &Desk, seen: &Seen) {
    let leases = &desk.leases;
    let limit = leases.limits.leasable_bytes();
    let promised = leases.promised_bytes() + leases.spare_bytes();
    assert!(promised <= limit, "too much is promised");
    assert!(leases.len() <= MAX_LEASES);
    assert!(leases.slices.len() <= MAX_SLICES);
    for (_, granted) in &seen.leases {
        for n in 1..8 {
            let may = leases.may_receive(granted.channel, node(n), desk.now);
            let is_open = seen.open.get(&granted.channel) == Some(&node(n));
            assert_eq!(may, is_open, "authorised as the outputs say");
        }
    }
    let live = |channel: &ChannelId| leases.leases.values().any(|l| l.channel == *channel);
    assert!(seen.open.keys().all(live), "open without a lease");
    let timer = leases.next_deadline();
    assert!(
        timer.is_none_or(|at| at > desk.now),
        "a timer that does not move"
    );
}

proptest! {
    #[test]
    fn promises_hold(happenings in prop::collection::vec(happening(), 1..120)) {
        let mut desk = Desk::new(100);
        let mut seen = Seen::default();
        for happening in happenings {
            put(&mut desk, &mut seen, happening);
            check(&desk, &seen);
        }
        // The heads fall silent.
        desk.wait(LEASE_LIFETIME);
        seen.take(desk.done());
        prop_assert!(desk.leases.is_empty());
        prop_assert!(seen.open.is_empty());
        desk.wait(KEEP_WARM);
        seen.take(desk.done());
        for slice in std::mem::take(&mut seen.slices) {
            desk.put(Input::Ended(slice));
        }
        prop_assert_eq!(desk.leases.held_bytes(), 0);
        prop_assert_eq!(desk.leases.next_deadline(), None);
    }

    #[test]
    fn what_slices_take_stays_below_limits_that_do_not_shrink(
        happenings in prop::collection::vec(happening(), 1..120),
    ) {
        let mut desk = Desk::new(100);
        let mut seen = Seen::default();
        for happening in happenings {
            if !matches!(happening, Happening::Limits { .. }) {
                put(&mut desk, &mut seen, happening);
                prop_assert!(desk.leases.reserved_bytes() <= 100);
            }
        }
    }

    #[test]
    fn ids_are_used_once(happenings in prop::collection::vec(happening(), 1..120)) {
        let mut desk = Desk::new(1000);
        let mut seen = Seen::default();
        for happening in happenings {
            put(&mut desk, &mut seen, happening);
        }
        let mut channels = BTreeMap::new();
        for (head, granted) in seen.leases {
            let other = channels.insert(granted.channel, (head, granted.lease));
            prop_assert!(other.is_none_or(|other| other == (head, granted.lease)));
        }
    }
}
