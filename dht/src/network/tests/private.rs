//! A private swarm over real loopback connections: an invite becomes a certificate, members hear
//! of one another, a stranger hears nothing, and who is put out is put out everywhere.

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt, future::BoxFuture};
use libp2p::{Multiaddr, StreamProtocol, swarm::SwarmEvent};
use protocol::{
    Sequence, UnixMillis,
    membership::{Certificate, Invite, InviteId, Issuer, Revocations, Role, Swarm, wire as signed},
};

use super::*;
use crate::{
    admission::{LedgerStore, NotKept, Redeemer, sign},
    core::{
        join::{Cause, Way},
        membership::{Grant, InviteLedger, LedgerEntry, Roster},
    },
    streams::{self, OpenStreamError, Streams},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn root() -> SigningKey {
    SigningKey::from_bytes(&[200; 32])
}

fn lab() -> Swarm {
    Swarm {
        name: "lab".parse().unwrap(),
        root: NodeId::from(&root()),
    }
}

fn issuer() -> Issuer {
    Issuer::root(lab(), root()).unwrap()
}

fn now() -> UnixMillis {
    UnixMillis::from(std::time::SystemTime::now())
}

fn node_of(seed: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[seed; 32]))
}

fn certificate(seed: u8, is_member: bool) -> Credential {
    let grant = Grant {
        peer: node_of(seed),
        is_member,
        not_before: now(),
        expires: now().saturating_add(DAY),
    };
    Credential::Certificate(sign(&issuer(), &grant).unwrap())
}

fn invite() -> Credential {
    let invite = signed::Invite::from(&Invite {
        swarm: lab(),
        id: InviteId([7; 16]),
        role: Role::Member,
        uses: 1,
        bootstrap: Vec::new(),
    });
    let expires = now().saturating_add(DAY);
    let invite = issuer().sign(Sequence(1), expires, &invite);
    Credential::Invite(invite.unwrap())
}

fn put_out(seed: u8) -> Chain<signed::Revocations> {
    let list = signed::Revocations::from(&Revocations {
        swarm: lab(),
        revoked: BTreeMap::from([(node_of(seed), now())]),
    });
    let expires = now().saturating_add(DAY);
    issuer().sign(Sequence(now().0), expires, &list).unwrap()
}

/// A ledger that nobody restarts over.
struct Unkept;

impl LedgerStore for Unkept {
    fn keep(&self, _: LedgerEntry) -> BoxFuture<'static, Result<(), NotKept>> {
        std::future::ready(Ok(())).boxed()
    }
}

fn private(seed: u8, list: &[String], credential: Credential) -> Config {
    Config {
        private: Some(Private {
            roster: Roster::new(lab()),
            credential,
            redeemer: None,
        }),
        swarm: lab().name,
        ..config(seed, list)
    }
}

/// A bootstrap node that redeems invites.
async fn desk(seed: u8) -> (Node, Vec<String>) {
    let mut config = private(seed, &[], certificate(seed, true));
    config.is_server = true;
    config.private.as_mut().unwrap().redeemer = Some(Redeemer {
        issuer: issuer(),
        ledger: InviteLedger::default(),
        lifetime: DAY,
        store: Arc::new(Unkept),
    });
    let node = start(config);
    let view = until(&node, |view| view.listening.len() == 2).await;
    let addresses = view.listening.clone();
    (node, addresses)
}

fn knows(view: &View, node: NodeId) -> bool {
    let peer = view.peers.get(&node);
    peer.is_some_and(|peer| peer.said.is_some())
}

#[tokio::test]
async fn an_invite_becomes_a_certificate_and_members_hear_of_each_other() {
    let (server, list) = desk(1).await;
    let invited = start(private(2, &list, invite()));
    invited.network.set_profile(serves("org/model"));
    until(&invited, |view| view.connected() == 1).await;
    let mut kept = invited.network.kept();
    let granted = kept.wait_for(|kept| kept.certificate.is_some());
    let granted = tokio::time::timeout(PATIENCE, granted).await;
    let granted = granted.unwrap().unwrap().certificate.clone().unwrap();
    let issued = granted.verify(&lab(), now()).unwrap();
    let content: Certificate = issued.content;
    assert_eq!(content.peer, invited.network.own());

    let client = start(private(3, &list, certificate(3, false)));
    let model: ModelName = "org/model".parse().unwrap();
    until(&client, |view| view.heads(&model).next().is_some()).await;
    let role = |view: &View, of: NodeId| view.peers.get(&of).and_then(|peer| peer.membership);
    let clients = |view: &View| role(view, client.network.own()) == Some(Role::Client);
    until(&server, clients).await;
    assert_eq!(
        role(&server.network.view(), invited.network.own()),
        Some(Role::Member)
    );
}

#[tokio::test]
async fn a_stranger_with_the_address_hears_nothing() {
    let (server, list) = desk(1).await;
    let member = start(private(2, &list, certificate(2, true)));
    until(&member, |view| view.connected() == 1).await;
    // Of the public mesh, of the swarm's name without a proof, and of another root.
    let public = start(config(10, &list));
    let unproved = start(Config {
        swarm: lab().name,
        ..config(11, &list)
    });
    let mut other = private(12, &list, certificate(12, true));
    other.private.as_mut().unwrap().roster = Roster::new(Swarm {
        root: node_of(12),
        ..lab()
    });
    let other = start(other);
    for (stranger, cause) in [
        (&public, Cause::HandshakeRefused),
        (&unproved, Cause::HandshakeRefused),
        (&other, Cause::NotMember),
    ] {
        let told = |view: &View| {
            let mut ways = view.join.ways.iter();
            ways.any(|way| way.way == Way::Bootstrap && way.cause == Some(cause))
        };
        let view = until(stranger, told).await;
        assert!(!knows(&view, server.network.own()), "{view:#?}");
        assert!(!knows(&view, member.network.own()));
    }
    let view = server.network.view();
    for stranger in [10, 11, 12] {
        assert!(!view.peers.contains_key(&node_of(stranger)));
    }
    assert!(view.peers.contains_key(&member.network.own()));
}

/// Whatever is spoken between members, a stranger is not answered in it.
#[tokio::test]
async fn a_stranger_is_spoken_to_in_no_protocol_of_members() {
    let (_server, list) = desk(1).await;
    let tcp = list
        .iter()
        .find(|address| address.contains("/tcp/"))
        .unwrap();
    let mut stranger = other_peer(|_| Streams::new(Vec::new()));
    stranger.dial(tcp.parse::<Multiaddr>().unwrap()).unwrap();
    let members = [
        Protocol::Generate,
        Protocol::Embed,
        Protocol::Lease,
        Protocol::Stage,
    ];
    let mut refused = 0;
    let refusing = async {
        while refused < members.len() {
            match stranger.select_next_some().await {
                SwarmEvent::ConnectionEstablished {
                    peer_id,
                    connection_id,
                    ..
                } => {
                    for protocol in members {
                        let name = StreamProtocol::try_from_owned(protocol.of(&lab().name));
                        let streams = stranger.behaviour_mut();
                        streams.open(peer_id, connection_id, name.unwrap());
                    }
                }
                SwarmEvent::Behaviour(streams::Event::Opened { result, .. }) => {
                    let error = result.expect_err("no stream to a stranger");
                    assert!(matches!(error, OpenStreamError::Unsupported), "{error}");
                    refused += 1;
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, refusing).await.unwrap();
}

#[tokio::test]
async fn who_is_put_out_is_cut_off_everywhere() {
    let (server, list) = desk(1).await;
    let stays = start(private(2, &list, certificate(2, true)));
    let goes = start(private(3, &list, certificate(3, true)));
    goes.network.set_profile(serves("org/model"));
    until(&stays, |view| knows(view, node_of(3))).await;
    until(&goes, |view| view.connected() > 0).await;

    server.network.revoke(put_out(3)).await.unwrap();
    until(&goes, |view| view.connected() == 0).await;
    until(&stays, |view| !knows(view, node_of(3))).await;
    let mut kept = stays.network.kept();
    let spread = kept.wait_for(|kept| !kept.lists.is_empty());
    let spread = tokio::time::timeout(PATIENCE, spread).await;
    assert_eq!(spread.unwrap().unwrap().lists[0].0, lab().root);
    let told = |view: &View| {
        let mut ways = view.join.ways.iter();
        ways.any(|way| way.cause == Some(Cause::NotMember))
    };
    until(&goes, told).await;
}
