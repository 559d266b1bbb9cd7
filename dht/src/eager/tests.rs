//! What is said without listening to an answer arrives all the same.

use std::time::Duration;

use futures::StreamExt;
use libp2p::{
    Swarm, SwarmBuilder,
    core::upgrade::Version,
    kad::{
        self, RecordKey,
        store::{MemoryStore, RecordStore},
    },
    swarm::SwarmEvent,
};
use tokio::time::timeout;

use super::*;

type Kad = Eager<kad::Behaviour<MemoryStore>>;

const RECORDS: u8 = 40;

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn node() -> Swarm<Kad> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic()
        .with_behaviour(|key| {
            let own = key.public().to_peer_id();
            let mut kad = kad::Behaviour::new(own, MemoryStore::new(own));
            kad.set_mode(Some(kad::Mode::Server));
            Eager::new(kad)
        })
        .unwrap()
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(DEADLINE)
                .with_substream_upgrade_protocol_override(Version::V1Lazy)
        })
        .build()
}

/// How many of the records a node holds.
fn held(node: &mut Swarm<Kad>) -> usize {
    let store = node.behaviour_mut().store_mut();
    let keys = (0..RECORDS).map(|n| RecordKey::new(&[n]));
    keys.filter(|key| !store.providers(key).is_empty()).count()
}

#[tokio::test]
async fn every_provider_record_arrives_over_quic() {
    let (mut server, mut client) = (node(), node());
    let listen = "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap();
    server.listen_on(listen).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = server.select_next_some().await {
            break address;
        }
    };
    let peer = *server.local_peer_id();
    client.behaviour_mut().add_address(&peer, address);
    for n in 0..RECORDS {
        let key = RecordKey::new(&[n]);
        client.behaviour_mut().start_providing(key).unwrap();
    }
    let all = async {
        while held(&mut server) < usize::from(RECORDS) {
            tokio::select! {
                _ = server.select_next_some() => {}
                _ = client.select_next_some() => {}
            }
        }
    };
    let arrived = timeout(DEADLINE, all).await;
    let held = held(&mut server);
    assert!(arrived.is_ok(), "{held} of {RECORDS}");
}
