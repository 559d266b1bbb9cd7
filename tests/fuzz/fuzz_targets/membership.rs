//! A stranger's bytes as a message of the admission stream, and as each signed statement: what is
//! accepted has one form, and nothing holds in a swarm whose root did not sign it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use protocol::{
    NodeId, UnixMillis,
    membership::{AdmissionMessage, Chain, Statement, Swarm, wire},
};

/// Before the expiry of the seeds in `seeds/membership`.
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// The key of RFC 8032 section 7.1, test 2: it signed none of the seeds.
const ROOT: &str = "586Z7H2vpX9qNhN2T4e9Utugie3ogjbxzGaMtM3E6HR5";

fn check<T: Statement>(bytes: &[u8]) {
    let Ok(chain) = wire::Chain::decode(bytes) else {
        return;
    };
    let Ok(chain) = Chain::<T>::decode(&chain) else {
        return;
    };
    let _ = chain.statement.claimed_payload().map(|claimed| claimed.check());
    let root: NodeId = ROOT.parse().expect("a usable key");
    let name = "lab".parse().expect("a usable name");
    let swarm = Swarm { name, root };
    assert!(chain.verify(&swarm, NOW).is_err(), "nobody signed this");
}

fuzz_target!(|bytes: &[u8]| {
    check::<wire::MembershipCertificate>(bytes);
    check::<wire::Delegation>(bytes);
    check::<wire::Invite>(bytes);
    check::<wire::Revocations>(bytes);
    let _ = wire::Revocations::decode(bytes).map(|list| list.check());
    let _ = wire::Invite::decode(bytes).map(|invite| invite.check());
    if let Ok(message) = AdmissionMessage::decode(bytes) {
        let again = AdmissionMessage::decode(&message.encode());
        assert_eq!(again, Ok(message), "what was encoded can be decoded");
    }
});
