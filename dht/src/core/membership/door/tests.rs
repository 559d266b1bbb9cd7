//! Two doors, and what strangers, floods, clocks and lost redials do to them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::{Sequence, membership::AdmissionMessage};

use super::*;
use crate::core::membership::{
    AdmissionFailure, InviteLedger, NotMember,
    fixture::{DAY, NOW, certificate, invite, key, later, list, node, swarm},
};

type TestDoor = Door<usize>;

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix: NOW,
    }
}

fn after(now: Now, by: Duration) -> Now {
    Now {
        instant: now.instant + by,
        unix: now.unix.saturating_add(by),
    }
}

fn member(number: u8) -> TestDoor {
    let own = Credential::Certificate(certificate(number, NOW));
    Door::new(node(number), Roster::new(swarm()), own, None)
}

fn issuer(number: u8) -> TestDoor {
    let desk = Desk::new(InviteLedger::default(), DAY, None);
    let own = Credential::Certificate(certificate(number, NOW));
    Door::new(node(number), Roster::new(swarm()), own, Some(desk))
}

fn stranger(number: u8) -> TestDoor {
    let mut other = swarm();
    other.root = node(77);
    let own = Credential::Certificate(certificate(number, NOW));
    Door::new(node(number), Roster::new(other), own, None)
}

fn sign(grant: &crate::core::membership::Grant) -> Certificate {
    let statement = wire::MembershipCertificate::from(&grant.certificate(&swarm()));
    let serial = Sequence(grant.not_before.0);
    Chain::by_root(&key(1), serial, grant.expires, &statement).unwrap()
}

/// Two doors and the connections between them. Side 0 is node 5, side 1 is node 6.
struct Pair {
    doors: [TestDoor; 2],
    now: Now,
    open: BTreeMap<usize, usize>,
    next: usize,
    /// Everything but what the pair did itself.
    told: [Vec<DoorOutput<usize>>; 2],
    /// Bytes that each side said.
    said: [Vec<Vec<u8>>; 2],
    redials_work: bool,
    disk_works: bool,
    /// Whether each side's gate is open to the other.
    gates: [bool; 2],
}

impl Pair {
    fn new(first: TestDoor, second: TestDoor) -> Self {
        Self {
            doors: [first, second],
            now: now(),
            open: BTreeMap::new(),
            next: 0,
            told: [Vec::new(), Vec::new()],
            said: [Vec::new(), Vec::new()],
            redials_work: true,
            disk_works: true,
            gates: [false; 2],
        }
    }

    /// A connection that this side dials; false if one of them denied it.
    fn dial(&mut self, dialer: usize) -> bool {
        let connection = self.next;
        self.next += 1;
        let mut hello = None;
        for side in [dialer, 1 - dialer] {
            let arrival = Arrival {
                connection,
                peer: self.doors[1 - side].local,
                is_dialer: side == dialer,
                is_inside: self.gates[side],
            };
            let nonce = [u8::try_from(connection % 250).unwrap(); NONCE_BYTES];
            match self.doors[side].open(arrival, nonce, self.now) {
                Ok(first) => hello = hello.or(first),
                Err(_) => {
                    self.doors[dialer].on_closed(connection);
                    return false;
                }
            }
        }
        self.open.insert(connection, dialer);
        let hello = hello.unwrap();
        self.said[dialer].push(hello.clone());
        self.doors[1 - dialer].on_message(connection, &hello, self.now);
        true
    }

    fn close(&mut self, connection: usize) {
        if self.open.remove(&connection).is_some() {
            self.doors
                .iter_mut()
                .for_each(|door| door.on_closed(connection));
        }
    }

    fn run(&mut self) {
        while let Some(side) = (0..2).find(|side| !self.doors[*side].outputs.is_empty()) {
            let output = self.doors[side].next_output().unwrap();
            self.apply(side, output);
        }
    }

    fn apply(&mut self, side: usize, output: DoorOutput<usize>) {
        let other = 1 - side;
        match output {
            DoorOutput::Say {
                connection,
                messages,
                then,
            } => {
                for message in messages {
                    self.said[side].push(message.clone());
                    self.doors[other].on_message(connection, &message, self.now);
                }
                if then == Then::Close {
                    self.doors[side].on_said(connection);
                }
            }
            DoorOutput::Close(connection) => self.close(connection),
            DoorOutput::Redial { peer, .. } if !(self.redials_work && self.dial(side)) => {
                self.doors[side].on_redial_failed(peer);
            }
            DoorOutput::Redial { .. } => {}
            DoorOutput::Write(_) => self.doors[side].on_written(self.disk_works, self.now),
            DoorOutput::Sign { connection, grant } => {
                self.doors[side].on_signed(connection, Some(sign(&grant)), self.now);
            }
            DoorOutput::Expelled { .. } => {
                self.gates[side] = false;
                self.told[side].push(output);
                let all: Vec<_> = self.open.keys().copied().collect();
                all.into_iter()
                    .for_each(|connection| self.close(connection));
            }
            told => {
                match &told {
                    DoorOutput::Admitted { .. } => self.gates[side] = true,
                    DoorOutput::Left(_) => self.gates[side] = false,
                    _ => {}
                }
                self.told[side].push(told);
            }
        }
    }

    fn admitted(&self, side: usize) -> Vec<(usize, bool)> {
        let admitted = |told: &DoorOutput<usize>| match told {
            DoorOutput::Admitted {
                connection,
                is_inside,
                ..
            } => Some((*connection, *is_inside)),
            _ => None,
        };
        self.told[side].iter().filter_map(admitted).collect()
    }

    fn refused(&self, side: usize) -> Vec<&EntryFailure> {
        let refused = |told: &'_ DoorOutput<usize>| matches!(told, DoorOutput::Refused { .. });
        let told = self.told[side].iter().filter(|told| refused(told));
        told.map(|told| match told {
            DoorOutput::Refused { cause, .. } => cause,
            other => panic!("{other:?}"),
        })
        .collect()
    }
}

#[test]
fn the_dialer_dials_again_and_the_first_connection_closes() {
    let mut pair = Pair::new(member(5), member(6));
    pair.dial(0);
    pair.run();
    for side in 0..2 {
        assert_eq!(pair.admitted(side), [(0, false), (1, true)]);
    }
    assert_eq!(pair.open.keys().copied().collect::<Vec<_>>(), [1]);
    pair.dial(1);
    pair.run();
    assert_eq!(pair.open.len(), 2, "further connections are inside at once");
    pair.close(1);
    pair.close(2);
    pair.run();
    for side in 0..2 {
        assert_eq!(
            pair.told[side].last(),
            Some(&DoorOutput::Left(node(6 - u8::try_from(side).unwrap())))
        );
        assert_eq!(pair.doors[side].roster().members().count(), 0);
    }
}

#[test]
fn a_redial_that_fails_closes_the_connection() {
    let mut pair = Pair::new(member(5), member(6));
    pair.redials_work = false;
    pair.dial(0);
    pair.run();
    assert!(pair.open.is_empty());
    assert!(
        pair.told
            .iter()
            .all(|told| matches!(told.last(), Some(DoorOutput::Left(_))))
    );
}

#[test]
fn a_stranger_hears_nothing_and_shows_nothing() {
    for (dialer, listener) in [(stranger(5), member(6)), (member(5), stranger(6))] {
        let mut pair = Pair::new(dialer, listener);
        pair.dial(0);
        pair.run();
        assert!(pair.said[1].is_empty(), "not a byte");
        assert_eq!(pair.said[0].len(), 1, "a hello of random bytes");
        assert!(pair.open.is_empty());
        let stranger = EntryFailure::Handshake(AdmissionFailure::Stranger);
        assert_eq!(pair.refused(1), [&stranger]);
    }
}

#[test]
fn an_invite_is_written_down_signed_and_granted() {
    let credential = Credential::Invite(invite(1, 1, 1));
    let new = Door::new(node(5), Roster::new(swarm()), credential, None);
    let mut pair = Pair::new(new, issuer(6));
    pair.dial(0);
    pair.run();
    assert!(
        pair.told[0]
            .iter()
            .any(|told| matches!(told, DoorOutput::Granted(_)))
    );
    assert_eq!(pair.admitted(0), [(0, false), (1, true)]);
    assert_eq!(pair.doors[1].desk().unwrap().ledger().entries().count(), 1);
    assert!(matches!(
        pair.doors[0].credential,
        Credential::Certificate(_)
    ));
}

#[test]
fn nothing_is_granted_that_was_not_written_down() {
    let credential = Credential::Invite(invite(1, 1, 1));
    let new = || Door::new(node(5), Roster::new(swarm()), credential.clone(), None);
    let mut pair = Pair::new(new(), issuer(6));
    pair.disk_works = false;
    pair.dial(0);
    pair.run();
    let refused = EntryFailure::Handshake(AdmissionFailure::Refused {
        code: RefusalCode::CannotRedeem,
        clock: None,
    });
    assert_eq!(pair.refused(0), [&refused]);
    let mut pair = Pair::new(new(), member(6));
    pair.dial(0);
    pair.run();
    assert_eq!(
        pair.refused(0),
        [&refused],
        "who has no desk redeems nothing"
    );
    let mut pair = Pair::new(member(5), new());
    assert!(!pair.dial(0), "who has no certificate lets nobody in");
}

/// As long as an older connection is still closing here, a new one begins inside; the refusal on
/// it shuts the gate all the same.
#[test]
fn who_refuses_this_node_is_out_here_too() {
    let mut pair = Pair::new(member(5), member(6));
    pair.dial(0);
    pair.run();
    pair.doors[1].revoke(list(1, &[5]), NOW).unwrap();
    while let Some(output) = pair.doors[1].next_output() {
        if !matches!(output, DoorOutput::Expelled { .. }) {
            pair.apply(1, output);
        }
    }
    assert!(pair.gates[0], "the old connection is still there");
    pair.dial(0);
    pair.run();
    assert!(!pair.gates[0]);
    assert!(pair.told[0].contains(&DoorOutput::Left(node(6))));
    assert!(pair.doors[0].roster().admitted(node(6)).is_none());
    assert!(pair.open.is_empty(), "the old one closes with it");
}

#[test]
fn a_revoked_member_is_expelled_and_refused_by_name() {
    let mut pair = Pair::new(member(5), member(6));
    pair.dial(0);
    pair.run();
    let outcome = pair.doors[1].revoke(list(1, &[5]), NOW).unwrap();
    assert_eq!(outcome.disconnect, [node(5)]);
    pair.run();
    let cause = ExpelCause::Revoked;
    let expelled = DoorOutput::Expelled {
        peer: node(5),
        cause,
    };
    let [.., before, last] = pair.told[1].as_slice() else {
        panic!("nothing was told");
    };
    assert_eq!((before, last), (&expelled, &DoorOutput::RosterChanged));
    assert!(pair.open.is_empty());
    pair.dial(0);
    pair.run();
    let revoked = EntryFailure::Handshake(AdmissionFailure::Refused {
        code: RefusalCode::Revoked,
        clock: None,
    });
    assert_eq!(pair.refused(0), [&revoked]);
    assert_eq!(revoked.join_cause(), crate::core::join::Cause::NotMember);
}

#[test]
fn an_expired_member_is_expelled_in_mid_connection() {
    let mut pair = Pair::new(member(5), member(6));
    pair.dial(0);
    pair.run();
    let deadline = pair.doors[0].next_deadline(pair.now).unwrap();
    assert!(
        deadline <= pair.now.instant + EXPIRY_RECHECK,
        "clocks may be set"
    );
    pair.now = after(pair.now, DAY);
    let now = pair.now;
    pair.doors[0].on_tick(now);
    pair.run();
    let cause = ExpelCause::Expired;
    let peer = node(6);
    assert_eq!(
        pair.told[0].last(),
        Some(&DoorOutput::Expelled { peer, cause })
    );
    assert!(pair.open.is_empty());
}

#[test]
fn a_clock_that_is_off_is_named() {
    let mut pair = Pair::new(member(5), member(6));
    // The two judge by one clock here: the certificates are from tomorrow.
    pair.now.unix = UnixMillis(NOW.0 - 24 * 3_600_000);
    pair.dial(0);
    pair.run();
    let [cause] = pair.refused(1)[..] else {
        panic!("{:?}", pair.told);
    };
    assert!(matches!(
        cause,
        EntryFailure::Handshake(AdmissionFailure::NotMember(NotMember::Chain(_)))
    ));
    assert!(cause.is_clock());
    let refused = |clock| {
        EntryFailure::Handshake(AdmissionFailure::Refused {
            code: RefusalCode::Expired,
            clock,
        })
    };
    let gap = crate::core::membership::ClockGap::between(NOW, later(DAY));
    assert_eq!(
        refused(gap).join_cause(),
        crate::core::join::Cause::ClockOff
    );
    assert!(!refused(None).is_clock());
}

#[test]
fn who_says_nothing_is_cut_off_in_time() {
    let mut door = member(6);
    let now = now();
    let arrival = Arrival {
        connection: 0,
        peer: node(5),
        is_dialer: false,
        is_inside: false,
    };
    door.open(arrival, [1; NONCE_BYTES], now).unwrap();
    assert_eq!(
        door.next_deadline(now),
        Some(now.instant + ADMISSION_TIMEOUT)
    );
    door.on_tick(after(now, ADMISSION_TIMEOUT));
    assert!(matches!(
        door.next_output(),
        Some(DoorOutput::Refused {
            cause: EntryFailure::Late,
            ..
        })
    ));
    assert_eq!(door.next_output(), Some(DoorOutput::Close(0)));
    door.on_tick(after(now, ADMISSION_TIMEOUT));
    assert_eq!(door.next_output(), None);
}

#[test]
fn a_flood_of_strangers_takes_places_from_strangers_only() {
    let mut door: Door<usize> = member(6);
    let now = now();
    let arrive = |door: &mut TestDoor, connection: usize, peer: u8| {
        let arrival = Arrival {
            connection,
            peer: node(peer),
            is_dialer: false,
            is_inside: false,
        };
        door.open(arrival, [1; NONCE_BYTES], now)
    };
    for connection in 0..MAX_HANDSHAKES_PER_PEER {
        arrive(&mut door, connection, 5).unwrap();
    }
    assert_eq!(arrive(&mut door, 900, 5), Err(Denied::CrowdedByPeer));
    // Node 5's first connection shows that it knows the swarm.
    let ends = Ends {
        local: node(5),
        remote: node(6),
    };
    let credential = Credential::Certificate(certificate(5, NOW));
    let (_, hello) = Admission::dial(ends, &Roster::new(swarm()), credential, [9; NONCE_BYTES]);
    door.on_message(0, &hello, now);
    while door.next_output().is_some() {}
    let mut cut = Vec::new();
    for connection in MAX_HANDSHAKES_PER_PEER..1000 {
        let peer = u8::try_from(connection / MAX_HANDSHAKES_PER_PEER).unwrap();
        arrive(&mut door, connection, peer.saturating_add(6).max(7)).unwrap_or_default();
        while let Some(output) = door.next_output() {
            if let DoorOutput::Close(connection) = output {
                cut.push(connection);
                door.on_closed(connection);
            }
        }
    }
    assert!(!cut.is_empty() && !cut.contains(&0));
    assert_eq!(cut[..3], [1, 2, 3], "the oldest first");
}

/// What may happen to two doors.
#[derive(Debug, Clone)]
enum Event {
    Dial(usize),
    Close(usize),
    Garbage(usize, usize, Vec<u8>),
    Echo(usize, usize),
    Break(usize, usize),
    Tick(u64),
    Redials(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0usize..2).prop_map(Event::Dial),
        2 => (0usize..20).prop_map(Event::Close),
        1 => (0usize..2, 0usize..20, prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(side, connection, bytes)| Event::Garbage(side, connection, bytes)),
        1 => (0usize..2, 0usize..20).prop_map(|(side, at)| Event::Echo(side, at)),
        1 => (0usize..2, 0usize..20).prop_map(|(side, at)| Event::Break(side, at)),
        1 => (0u64..20).prop_map(Event::Tick),
        1 => any::<bool>().prop_map(Event::Redials),
    ]
}

proptest! {
    /// Whatever happens: it ends, a connection is admitted once at most, the roster knows who
    /// is here, and nobody is left between outside and inside once all is quiet.
    #[test]
    fn the_door_is_sound(events in prop::collection::vec(event(), 0..40)) {
        let mut pair = Pair::new(member(5), member(6));
        for event in events {
            match event {
                Event::Dial(side) => drop(pair.dial(side)),
                Event::Close(connection) => pair.close(connection),
                Event::Garbage(side, connection, bytes) => {
                    let now = pair.now;
                    pair.doors[side].on_message(connection, &bytes, now);
                }
                Event::Echo(side, at) => {
                    let now = pair.now;
                    if let Some(message) = pair.said[side].get(at).cloned() {
                        pair.doors[side].on_message(at, &message, now);
                    }
                }
                Event::Break(side, connection) => {
                    let now = pair.now;
                    pair.doors[side].on_broken(connection, EntryFailure::SecondStream, now);
                }
                Event::Tick(seconds) => {
                    pair.now = after(pair.now, Duration::from_secs(seconds));
                    let now = pair.now;
                    pair.doors.iter_mut().for_each(|door| door.on_tick(now));
                }
                Event::Redials(work) => pair.redials_work = work,
            }
            pair.run();
            prop_assert!(pair.next < 400, "redials without end");
        }
        pair.now = after(pair.now, ADMISSION_TIMEOUT);
        let now = pair.now;
        pair.doors.iter_mut().for_each(|door| door.on_tick(now));
        pair.run();
        for side in 0..2 {
            let mut admitted: Vec<_> = pair.admitted(side).into_iter().map(|(id, _)| id).collect();
            let count = admitted.len();
            admitted.dedup();
            prop_assert_eq!(admitted.len(), count);
            let door = &pair.doors[side];
            let peer = pair.doors[1 - side].local;
            prop_assert_eq!(door.table.of(peer).count(), pair.open.len());
            prop_assert!(pair.open.is_empty() <= door.roster().admitted(peer).is_none());
            let lonely = door.table.of(peer).filter(|(_, e)| e.is_dialer && !e.is_inside);
            let inside = door.table.of(peer).any(|(_, e)| e.is_inside && e.is_admitted());
            prop_assert!(lonely.count() == 0 || !inside);
            prop_assert!(door.redialing.is_empty());
        }
        let message = pair.said.iter().flatten().find(|said| AdmissionMessage::decode(said).is_err());
        prop_assert!(message.is_none());
    }
}
