//! Members find each other, invites are redeemed, and nobody else learns or gets anything.

use std::time::Duration;

use proptest::prelude::*;
use protocol::Sequence;

use super::*;
use crate::core::membership::{
    InviteLedger, NotMember,
    fixture::{DAY, NOW, certificate, invite, key, later, list, node, swarm},
};

const DIALER: u8 = 5;
const LISTENER: u8 = 6;

fn roster() -> Roster {
    Roster::new(swarm())
}

fn other_swarm() -> Roster {
    let mut swarm = swarm();
    swarm.root = node(77);
    Roster::new(swarm)
}

fn ends(local: u8, remote: u8) -> Ends {
    let (local, remote) = (node(local), node(remote));
    Ends { local, remote }
}

fn member(number: u8) -> Credential {
    Credential::Certificate(certificate(number, NOW))
}

fn dial(roster: &Roster, credential: Credential) -> (Admission, Vec<u8>) {
    Admission::dial(ends(DIALER, LISTENER), roster, credential, [1; 32])
}

fn listen() -> Admission {
    let ends = ends(LISTENER, DIALER);
    Admission::listen(ends, &roster(), certificate(LISTENER, NOW), [2; 32])
}

/// The messages among the outputs.
fn sent(outputs: &[Output]) -> Vec<Vec<u8>> {
    let message = |output: &Output| match output {
        Output::Send(bytes) => Some(bytes.clone()),
        _ => None,
    };
    outputs.iter().filter_map(message).collect()
}

fn admitted(outputs: &[Output]) -> Option<NodeId> {
    outputs.iter().find_map(|output| match output {
        Output::Admitted(member) => Some(member.peer),
        _ => None,
    })
}

fn failure(outputs: &[Output]) -> Option<&AdmissionFailure> {
    outputs.iter().find_map(|output| match output {
        Output::Failed(failure) => Some(failure),
        _ => None,
    })
}

/// A whole handshake: all outputs of the dialer and of the listener, and the messages.
struct Run {
    dialer: Vec<Output>,
    listener: Vec<Output>,
    messages: Vec<Vec<u8>>,
}

fn run(dialer: (Admission, Vec<u8>), mut listener: Admission, listeners: &Roster) -> Run {
    let (mut dialer, hello) = dialer;
    let mut run = Run {
        dialer: Vec::new(),
        listener: Vec::new(),
        messages: vec![hello.clone()],
    };
    let mut to_listener = vec![hello];
    let mut ledger = InviteLedger::default();
    while let Some(message) = to_listener.pop() {
        let mut outputs = listener.handle(&message, listeners, NOW);
        if let Some(Output::Redeem(invite)) = outputs.first() {
            let grant = ledger.redeem(invite, node(DIALER), DAY, NOW).unwrap();
            let statement = wire::MembershipCertificate::from(&grant.certificate(&swarm()));
            let serial = Sequence(grant.not_before.0);
            let chain = Chain::by_root(&key(1), serial, grant.expires, &statement);
            outputs.extend(listener.grant(chain.unwrap(), listeners, NOW));
        }
        for message in sent(&outputs) {
            let answers = dialer.handle(&message, &roster(), NOW);
            to_listener.extend(sent(&answers));
            run.messages.push(message);
            run.messages.extend(sent(&answers));
            run.dialer.extend(answers);
        }
        run.listener.extend(outputs);
    }
    run
}

#[test]
fn two_members_admit_each_other() {
    let run = run(dial(&roster(), member(DIALER)), listen(), &roster());
    assert_eq!(admitted(&run.dialer), Some(node(LISTENER)));
    assert_eq!(admitted(&run.listener), Some(node(DIALER)));
    assert_eq!(run.messages.len(), 4, "two round trips");
}

#[test]
fn an_invite_becomes_a_certificate() {
    let credential = Credential::Invite(invite(1, 1, 1));
    let run = run(dial(&roster(), credential), listen(), &roster());
    assert_eq!(admitted(&run.dialer), Some(node(LISTENER)));
    assert_eq!(admitted(&run.listener), Some(node(DIALER)));
    let granted = run.dialer.iter().find_map(|output| match output {
        Output::Granted(chain) => Some(chain),
        _ => None,
    });
    let checked = roster().check_certificate(granted.unwrap(), node(DIALER), NOW);
    assert!(checked.is_ok());
}

#[test]
fn a_stranger_that_dials_is_not_answered() {
    let listener_says = |hello: &[u8]| listen().handle(hello, &roster(), NOW);
    let (_, hello) = dial(&other_swarm(), member(DIALER));
    let stranger = listener_says(&hello);
    assert_eq!(stranger, [Output::Failed(AdmissionFailure::Stranger)]);
    for garbage in [&b""[..], b"GET / HTTP/1.1\r\n", &[0xff; 6000]] {
        let outputs = listener_says(garbage);
        assert!(sent(&outputs).is_empty() && failure(&outputs).is_some());
    }
}

#[test]
fn the_same_name_under_another_root_is_another_swarm() {
    let (mut dialer, _) = dial(&roster(), member(DIALER));
    let ends = ends(LISTENER, DIALER);
    let others = other_swarm();
    let mut impostor = Admission::listen(ends, &others, certificate(LISTENER, NOW), [2; 32]);
    // It greets as its own swarm's listener would.
    let (_, its_hello) = Admission::dial(ends, &others, member(LISTENER), [3; 32]);
    let outputs = dialer.handle(&its_hello, &roster(), NOW);
    assert_eq!(outputs, [Output::Failed(AdmissionFailure::Stranger)]);
    assert_eq!(
        impostor.on_closed(),
        [Output::Failed(AdmissionFailure::Closed)]
    );
}

#[test]
fn a_dialer_shows_nothing_before_the_listener_proved() {
    let (_, hello) = dial(&roster(), member(DIALER));
    let (_, with_invite) = dial(&roster(), Credential::Invite(invite(1, 1, 1)));
    assert_eq!(hello, with_invite, "not even what it has");
    let bytes = swarm().root.as_bytes().to_vec();
    assert!(!hello.windows(32).any(|window| window == bytes));
}

#[test]
fn a_recorded_handshake_is_worth_nothing_elsewhere() {
    let recorded = run(dial(&roster(), member(DIALER)), listen(), &roster()).messages;
    // The same words to the same listener from another peer.
    let mut other = Admission::listen(
        ends(LISTENER, 9),
        &roster(),
        certificate(LISTENER, NOW),
        [2; 32],
    );
    let outputs = other.handle(&recorded[0], &roster(), NOW);
    assert_eq!(outputs, [Output::Failed(AdmissionFailure::Stranger)]);
    // By the same peer, in a later handshake.
    let mut later = Admission::listen(
        ends(LISTENER, DIALER),
        &roster(),
        certificate(LISTENER, NOW),
        [4; 32],
    );
    assert!(failure(&later.handle(&recorded[0], &roster(), NOW)).is_none());
    let outputs = later.handle(&recorded[2], &roster(), NOW);
    assert_eq!(outputs, [Output::Failed(AdmissionFailure::Stranger)]);
    // The listener's words to a later handshake of the dialer.
    let (mut dialer, _) =
        Admission::dial(ends(DIALER, LISTENER), &roster(), member(DIALER), [8; 32]);
    let outputs = dialer.handle(&recorded[1], &roster(), NOW);
    assert_eq!(outputs, [Output::Failed(AdmissionFailure::Stranger)]);
}

#[test]
fn the_dialers_own_words_are_no_answer() {
    let (mut dialer, hello) = dial(&roster(), member(DIALER));
    let outputs = dialer.handle(&hello, &roster(), NOW);
    assert_eq!(outputs, [Output::Failed(AdmissionFailure::Stranger)]);
}

#[test]
fn a_revoked_member_is_told_and_learns_no_certificate() {
    let mut listeners = roster();
    listeners
        .handle_revocations(list(1, &[DIALER]), NOW)
        .unwrap();
    let run = run(dial(&roster(), member(DIALER)), listen(), &listeners);
    let told = failure(&run.dialer).unwrap();
    let code = RefusalCode::Revoked;
    assert_eq!(told, &AdmissionFailure::Refused { code, clock: None });
    assert!(told.to_string().ends_with("ask the swarm's owner"));
    let revoked = NotMember::Revoked { peer: node(DIALER) };
    assert_eq!(
        failure(&run.listener),
        Some(&AdmissionFailure::NotMember(revoked))
    );
    assert_eq!(run.messages.len(), 4, "the last one is the refusal");
}

#[test]
fn a_revoked_member_does_not_come_back_by_an_old_invite() {
    let mut listeners = roster();
    listeners
        .handle_revocations(list(1, &[DIALER]), NOW)
        .unwrap();
    let credential = Credential::Invite(invite(1, 1, 1));
    let run = run(dial(&roster(), credential), listen(), &listeners);
    let code = RefusalCode::Revoked;
    let refused = AdmissionFailure::Refused { code, clock: None };
    assert_eq!(failure(&run.dialer), Some(&refused));
    assert_eq!(admitted(&run.listener), None);
}

#[test]
fn somebody_elses_certificate_admits_nobody() {
    let run = run(dial(&roster(), member(9)), listen(), &roster());
    assert_eq!(admitted(&run.listener), None);
    assert_eq!(admitted(&run.dialer), None);
}

#[test]
fn a_listener_without_a_certificate_of_its_own_is_not_admitted() {
    let ends = ends(LISTENER, DIALER);
    let stolen = Admission::listen(ends, &roster(), certificate(9, NOW), [2; 32]);
    let run = run(dial(&roster(), member(DIALER)), stolen, &roster());
    assert_eq!(admitted(&run.dialer), None);
    let other = NotMember::OtherPeer(node(9));
    assert_eq!(
        failure(&run.dialer),
        Some(&AdmissionFailure::NotMember(other))
    );
}

#[test]
fn a_clock_that_is_off_by_a_day_is_told() {
    let (mut dialer, hello) = dial(&roster(), member(DIALER));
    let mut listener = listen();
    let a_day_later = later(DAY);
    let hello = sent(&listener.handle(&hello, &roster(), a_day_later));
    let proof = sent(&dialer.handle(&hello[0], &roster(), NOW));
    let refusal = sent(&listener.handle(&proof[0], &roster(), a_day_later));
    let outputs = dialer.handle(&refusal[0], &roster(), NOW);
    assert_eq!(
        failure(&outputs).unwrap().to_string(),
        "the swarm refuses this node: its certificate or invite expired; ask for a new invite (this machine's clock is 24 hours behind the peer's: set it first)"
    );
}

#[test]
fn an_invite_may_be_refused() {
    let credential = Credential::Invite(invite(1, 1, 1));
    let (mut dialer, hello) = dial(&roster(), credential);
    let mut listener = listen();
    let hello = sent(&listener.handle(&hello, &roster(), NOW));
    let redeem = sent(&dialer.handle(&hello[0], &roster(), NOW));
    let asked = listener.handle(&redeem[0], &roster(), NOW);
    assert!(matches!(asked.as_slice(), [Output::Redeem(_)]));
    let refused = listener.refuse(RefusalCode::UsedUp, NOW);
    assert!(listener.is_done());
    let outputs = dialer.handle(&sent(&refused)[0], &roster(), NOW);
    let told = failure(&outputs).unwrap().to_string();
    assert!(
        told.starts_with("each use of this invite was taken"),
        "{told}"
    );
    // An answer that comes twice changes nothing.
    assert!(
        listener
            .grant(certificate(DIALER, NOW), &roster(), NOW)
            .is_empty()
    );
}

#[test]
fn an_invite_by_nobody_is_not_redeemed() {
    let credential = Credential::Invite(invite(9, 1, 1));
    let run = run(dial(&roster(), credential), listen(), &roster());
    assert_eq!(admitted(&run.listener), None);
    let code = RefusalCode::NotAccepted;
    let refused = AdmissionFailure::Refused { code, clock: None };
    assert_eq!(failure(&run.dialer), Some(&refused));
}

#[test]
fn a_grant_for_somebody_else_is_not_sent() {
    let (mut dialer, hello) = dial(&roster(), Credential::Invite(invite(1, 1, 1)));
    let mut listener = listen();
    let hello = sent(&listener.handle(&hello, &roster(), NOW));
    let redeem = sent(&dialer.handle(&hello[0], &roster(), NOW));
    listener.handle(&redeem[0], &roster(), NOW);
    let outputs = listener.grant(certificate(9, NOW), &roster(), NOW);
    assert!(matches!(
        failure(&outputs),
        Some(AdmissionFailure::Grant(_))
    ));
    assert_eq!(admitted(&outputs), None);
}

#[test]
fn after_the_end_nothing_is_said() {
    let mut listener = listen();
    assert_eq!(listener.on_closed().len(), 1);
    let (_, hello) = dial(&roster(), member(DIALER));
    assert!(listener.handle(&hello, &roster(), NOW).is_empty());
    assert!(listener.on_closed().is_empty());
    assert!(listener.refuse(RefusalCode::UsedUp, NOW).is_empty());
    assert_eq!(ADMISSION_TIMEOUT, Duration::from_secs(10));
}

/// What a stranger may say: messages of other handshakes, peers and swarms, whole or altered.
fn strangers_words() -> Vec<Vec<u8>> {
    let own = run(dial(&roster(), member(DIALER)), listen(), &roster()).messages;
    let invited = dial(&roster(), Credential::Invite(invite(1, 1, 1)));
    let invited = run(invited, listen(), &roster()).messages;
    let (_, foreign) = dial(&other_swarm(), member(DIALER));
    let refused = AdmissionMessage::Refused {
        code: RefusalCode::Expired,
        now: NOW,
    };
    let mut words = [own, invited, vec![foreign, refused.encode()]].concat();
    words.push(Vec::new());
    words
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_words_of_a_stranger_admit_it(
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<u16>()), 1..8),
        as_dialer: bool,
    ) {
        const STRANGER: u8 = 9;
        let words = strangers_words();
        let (mut machine, _) = if as_dialer {
            Admission::dial(ends(DIALER, STRANGER), &roster(), member(DIALER), [3; 32])
        } else {
            let ends = ends(LISTENER, STRANGER);
            let own = certificate(LISTENER, NOW);
            (Admission::listen(ends, &roster(), own, [3; 32]), Vec::new())
        };
        for (at, change, with) in steps {
            let mut message = at.get(&words).clone();
            let bytes = message.len().max(1);
            match change {
                0 => {}
                1 => message.truncate(usize::from(with) % bytes),
                _ => {
                    if let Some(byte) = message.get_mut(usize::from(with) % bytes) {
                        *byte ^= 1;
                    }
                }
            }
            let outputs = machine.handle(&message, &roster(), NOW);
            prop_assert_eq!(admitted(&outputs), None);
            prop_assert!(sent(&outputs).is_empty(), "it learns nothing");
        }
    }
}
