//! Real connections over loopback QUIC: who gets in, who does not, what a stranger sees.

use std::sync::Arc;

use bytes::BytesMut;
use protocol::{
    frame::encode_data,
    limits::MAX_ADMISSION_BYTES,
    membership::{RefusalCode, Role},
};

use super::{
    fixture::{Disk, Manner, Plan, Rude, TestNode, until},
    *,
};
use crate::core::{
    join::Cause,
    membership::{
        Admission, AdmissionFailure, Ends, EntryFailure, ExpelCause, NotMember,
        fixture::{DAY, NOW, certificate, invite, later, list, node, swarm},
    },
};

async fn dial(nodes: &mut [TestNode], from: usize, to: usize) {
    let address = nodes[to].address.clone().unwrap();
    nodes[from].dial(&address);
    // The dial is under way before anything else is asked.
    until(nodes, |nodes| {
        let counters = nodes[from].swarm.network_info();
        counters.connection_counters().num_established() > 0
    })
    .await;
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    encode_data(message, MAX_ADMISSION_BYTES, &mut frame).unwrap();
    frame.to_vec()
}

/// A member's true first message to another.
fn hello(from: u8, to: u8) -> Vec<u8> {
    let ends = Ends {
        local: node(from),
        remote: node(to),
    };
    let credential = Credential::Certificate(certificate(from, NOW));
    Admission::dial(ends, &Roster::new(swarm()), credential, [7; 32]).1
}

#[tokio::test]
async fn members_admit_each_other_and_meet_inside() {
    let mut nodes = [TestNode::member(5).await, TestNode::member(6).await];
    dial(&mut nodes, 0, 1).await;
    until(&mut nodes, |nodes| {
        nodes[0].is_settled_with(6) && nodes[1].is_settled_with(5)
    })
    .await;
    for (at, other) in [(0, 6), (1, 5)] {
        let inside: Vec<_> = nodes[at]
            .admitted(other)
            .into_iter()
            .map(|(_, inside)| inside)
            .collect();
        assert_eq!(inside, [false, true], "outside first, then inside");
        assert!(nodes[at].refusals().is_empty());
        let member = nodes[at]
            .swarm
            .behaviour()
            .admission
            .roster()
            .admitted(node(other));
        assert_eq!(
            member.map(|member| (member.role, member.expires)),
            Some((Role::Member, later(DAY)))
        );
    }
    // The other way round, while they are connected: inside at once.
    let address = nodes[0].address.clone().unwrap();
    nodes[1].dial(&address);
    until(&mut nodes, |nodes| {
        nodes[0].admitted(6).len() == 3 && nodes[1].admitted(5).len() == 3
    })
    .await;
    assert!(nodes[0].admitted(6)[2].1 && nodes[1].admitted(5)[2].1);
    // Who leaves is forgotten, and the gate is shut.
    let peer = *nodes[0].swarm.local_peer_id();
    nodes[1].swarm.disconnect_peer_id(peer).unwrap();
    let left = |node: &TestNode| matches!(node.told.last(), Some(Event::Left { .. }));
    until(&mut nodes, |nodes| nodes.iter().all(left)).await;
    assert!(!nodes[1].swarm.behaviour().gated.admits(&peer));
}

#[tokio::test]
async fn a_stranger_is_cut_off_in_silence_whichever_of_the_two_dials() {
    for (dialer, listener) in [
        (Plan::stranger(5), Plan::member(6)),
        (Plan::member(5), Plan::stranger(6)),
    ] {
        let mut nodes = [TestNode::new(dialer).await, TestNode::new(listener).await];
        dial(&mut nodes, 0, 1).await;
        until(&mut nodes, |nodes| {
            !nodes[0].refusals().is_empty()
                && !nodes[1].refusals().is_empty()
                && !nodes[0].is_connected(6)
        })
        .await;
        let failure = |failure| EntryFailure::Handshake(failure);
        assert_eq!(nodes[0].refusals(), [&failure(AdmissionFailure::Closed)]);
        assert_eq!(nodes[1].refusals(), [&failure(AdmissionFailure::Stranger)]);
        assert_eq!(nodes[0].refusals()[0].join_cause(), Cause::NotMember);
    }
}

#[tokio::test]
async fn whatever_a_stranger_says_it_reads_not_one_byte() {
    let mut victim = TestNode::member(6).await;
    let other = Ends {
        local: node(9),
        remote: node(6),
    };
    let credential = Credential::Certificate(certificate(9, NOW));
    let elsewhere = protocol::membership::Swarm {
        name: "elsewhere".parse().unwrap(),
        ..swarm()
    };
    let (_, wrong_swarm) = Admission::dial(other, &Roster::new(elsewhere), credential, [7; 32]);
    let first_words = [
        framed(&wrong_swarm),
        // Another peer's true words, replayed.
        framed(&hello(5, 6)),
        framed(&[]),
        framed(b"GET / HTTP/1.1\r\n\r\n"),
        framed(&[0xff; MAX_ADMISSION_BYTES]),
        b"no frame at all, and long enough to be sure".to_vec(),
        // A frame of 4 GiB is announced.
        [&[0xff; 4][..], &[1], &[0; 60_000]].concat(),
        vec![0; 64],
        Vec::new(),
    ];
    for (at, words) in first_words.into_iter().enumerate() {
        let mut stranger = Rude::new(9);
        stranger.bother(&mut victim, &[Manner::Say(words)]).await;
        assert!(stranger.read.lock().unwrap().is_empty(), "case {at}");
    }
    assert_eq!(victim.refusals().len(), 9);
    assert_eq!(
        victim
            .swarm
            .behaviour()
            .admission
            .roster()
            .members()
            .count(),
        0
    );
}

#[tokio::test]
async fn who_opens_two_streams_is_cut_off() {
    let mut victim = TestNode::member(6).await;
    let mut rude = Rude::new(5);
    let stall = Manner::Stall(framed(&hello(5, 6)));
    rude.bother(&mut victim, &[stall.clone(), stall]).await;
    assert_eq!(victim.refusals(), [&EntryFailure::SecondStream]);
}

#[tokio::test]
async fn who_takes_forever_is_cut_off_at_the_deadline() {
    let mut victim = TestNode::member(6).await;
    let mut rude = Rude::new(5);
    // It knows the swarm, says hello, and then half of a frame.
    let half = [framed(&hello(5, 6)), vec![0, 0, 8]].concat();
    rude.bother(&mut victim, &[Manner::Stall(half)]).await;
    assert_eq!(victim.refusals(), [&EntryFailure::Late]);
    assert!(!victim.is_connected(5));
}

#[tokio::test]
async fn a_refused_member_hears_why() {
    let refused = |code, clock| EntryFailure::Handshake(AdmissionFailure::Refused { code, clock });
    // Its certificate expired long ago by the listener's clock, and the dialer's is behind.
    let mut late = Plan::member(6);
    late.now = later(DAY * 2);
    late.credential = Credential::Certificate(certificate(6, later(DAY)));
    let mut nodes = [TestNode::member(5).await, TestNode::new(late).await];
    dial(&mut nodes, 0, 1).await;
    until(&mut nodes, |nodes| !nodes[0].refusals().is_empty()).await;
    let cause = nodes[0].refusals()[0].clone();
    assert!(matches!(
        &cause,
        EntryFailure::Handshake(AdmissionFailure::Refused { code: RefusalCode::Expired, clock: Some(gap) })
            if gap.by == DAY * 2 && !gap.is_ahead
    ));
    assert_eq!(cause.join_cause(), Cause::ClockOff);
    // Both clocks agree: it is the certificate.
    nodes[0].set_clock(later(DAY * 2));
    nodes[0].told.clear();
    dial(&mut nodes, 0, 1).await;
    until(&mut nodes, |nodes| !nodes[0].refusals().is_empty()).await;
    assert_eq!(nodes[0].refusals(), [&refused(RefusalCode::Expired, None)]);
    assert_eq!(nodes[0].refusals()[0].join_cause(), Cause::NotMember);
}

#[tokio::test]
async fn a_clock_behind_the_issuers_is_named() {
    let mut early = Plan::member(5);
    early.now = UnixMillis(NOW.0 - 24 * 3_600_000);
    let mut nodes = [TestNode::new(early).await, TestNode::member(6).await];
    dial(&mut nodes, 0, 1).await;
    until(&mut nodes, |nodes| !nodes[0].refusals().is_empty()).await;
    let cause = nodes[0].refusals()[0];
    assert!(matches!(
        cause,
        EntryFailure::Handshake(AdmissionFailure::NotMember(NotMember::Chain(_)))
    ));
    assert_eq!(cause.join_cause(), Cause::ClockOff);
}

#[tokio::test]
async fn a_revoked_member_is_cut_off_and_told_so_when_it_comes_again() {
    let mut nodes = [TestNode::member(5).await, TestNode::member(6).await];
    dial(&mut nodes, 0, 1).await;
    until(&mut nodes, |nodes| nodes[1].is_settled_with(5)).await;
    let outcome = nodes[1]
        .swarm
        .behaviour_mut()
        .admission
        .revoke(list(1, &[5]))
        .unwrap();
    assert_eq!(outcome.disconnect, [node(5)]);
    until(&mut nodes, |nodes| {
        !nodes[0].is_connected(6) && !nodes[1].is_connected(5)
    })
    .await;
    let expelled = nodes[1].told.iter().any(|event| {
        matches!(
            event,
            Event::Expelled {
                cause: ExpelCause::Revoked,
                ..
            }
        )
    });
    assert!(expelled);
    dial(&mut nodes, 0, 1).await;
    until(&mut nodes, |nodes| !nodes[0].refusals().is_empty()).await;
    let revoked = EntryFailure::Handshake(AdmissionFailure::Refused {
        code: RefusalCode::Revoked,
        clock: None,
    });
    assert_eq!(nodes[0].refusals(), [&revoked]);
}

#[tokio::test]
async fn a_certificate_that_runs_out_ends_the_connection() {
    let mut nodes = [TestNode::member(5).await, TestNode::member(6).await];
    // One second is left, by the listener's clock.
    nodes[1].set_clock(UnixMillis(later(DAY).0 - 1_000));
    nodes[0].set_clock(UnixMillis(later(DAY).0 - 60_000));
    dial(&mut nodes, 0, 1).await;
    until(&mut nodes, |nodes| nodes[1].is_settled_with(5)).await;
    nodes[1].set_clock(later(DAY));
    until(&mut nodes, |nodes| !nodes[0].is_connected(6)).await;
    let expired = nodes[1].told.iter().any(|event| {
        matches!(
            event,
            Event::Expelled {
                cause: ExpelCause::Expired,
                ..
            }
        )
    });
    assert!(expired);
}

#[tokio::test]
async fn an_invite_becomes_a_certificate_and_the_certificate_opens_the_gate() {
    let disk = Arc::new(Disk::default());
    let mut bootstrap = Plan::member(6);
    bootstrap.disk = Some(disk.clone());
    let mut guest = Plan::member(5);
    guest.credential = Credential::Invite(invite(1, 1, 1));
    let mut nodes = [TestNode::new(guest).await, TestNode::new(bootstrap).await];
    dial(&mut nodes, 0, 1).await;
    until(&mut nodes, |nodes| {
        nodes[0].is_settled_with(6) && nodes[1].is_settled_with(5)
    })
    .await;
    let granted = nodes[0].told.iter().find_map(|event| match event {
        Event::Granted(certificate) => Some(certificate.clone()),
        _ => None,
    });
    let checked = Roster::new(swarm()).check_certificate(&granted.unwrap(), node(5), NOW);
    assert_eq!(checked.unwrap().expires, later(DAY));
    let entries = disk.entries.lock().unwrap().clone();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].grants[0].peer, node(5));
    // The invite has no use left for another.
    let mut second = Plan::member(7);
    second.credential = Credential::Invite(invite(1, 1, 1));
    let [_, bootstrap] = nodes;
    let mut nodes = [TestNode::new(second).await, bootstrap];
    dial(&mut nodes, 0, 1).await;
    until(&mut nodes, |nodes| !nodes[0].refusals().is_empty()).await;
    let used_up = EntryFailure::Handshake(AdmissionFailure::Refused {
        code: RefusalCode::UsedUp,
        clock: None,
    });
    assert_eq!(nodes[0].refusals(), [&used_up]);
}

#[tokio::test]
async fn nobody_is_let_in_whose_use_of_an_invite_is_not_on_the_disk() {
    let mut bootstrap = Plan::member(6);
    bootstrap.disk = Some(Arc::new(Disk {
        is_broken: true,
        ..Disk::default()
    }));
    let mut guest = Plan::member(5);
    guest.credential = Credential::Invite(invite(1, 1, 1));
    let mut nodes = [TestNode::new(guest).await, TestNode::new(bootstrap).await];
    dial(&mut nodes, 0, 1).await;
    until(&mut nodes, |nodes| !nodes[0].refusals().is_empty()).await;
    let refused = EntryFailure::Handshake(AdmissionFailure::Refused {
        code: RefusalCode::CannotRedeem,
        clock: None,
    });
    assert_eq!(nodes[0].refusals(), [&refused]);
    let told = nodes[1]
        .told
        .iter()
        .any(|event| matches!(event, Event::NotKept(_)));
    assert!(told && nodes[1].admitted(5).is_empty());
}

#[tokio::test]
async fn an_invite_that_was_withdrawn_admits_nobody() {
    let disk = Arc::new(Disk::default());
    let mut bootstrap = Plan::member(6);
    bootstrap.disk = Some(disk.clone());
    let mut guest = Plan::member(5);
    guest.credential = Credential::Invite(invite(1, 1, 1));
    let mut nodes = [TestNode::new(guest).await, TestNode::new(bootstrap).await];
    let admission = &mut nodes[1].swarm.behaviour_mut().admission;
    admission.withdraw(InviteId([1; 16]), later(DAY)).unwrap();
    let kept = |event: &Event| matches!(event, Event::Withdrawn { is_kept: true, .. });
    until(&mut nodes, |nodes| nodes[1].told.iter().any(kept)).await;
    assert!(disk.entries.lock().unwrap()[0].is_withdrawn);
    dial(&mut nodes, 0, 1).await;
    until(&mut nodes, |nodes| !nodes[0].refusals().is_empty()).await;
    assert!(matches!(
        nodes[0].refusals()[..],
        [EntryFailure::Handshake(AdmissionFailure::Refused {
            code: RefusalCode::UsedUp,
            ..
        })]
    ));
}
