//! Parts of a model between whole nodes over real connections on loopback: one giver is killed in the
//! middle, one is hostile, one is honest.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::BytesMut;
use dht::network::{Config, Inbound, Network, both_transports};
use dht::view::View;
use dht::weights::{Given, serve_weights};
use futures::StreamExt;
use protocol::names::SwarmName;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;

/// Far beyond what anything here takes; what waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node with a network.
struct Joined {
    node: Node,
    network: Network,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.stop.cancel();
        self.serving.abort();
    }
}

/// Answers those who ask for parts; a liar turns a bit of each piece.
async fn serve(mut inbound: mpsc::Receiver<Inbound>, giving: Giving, is_liar: bool) {
    let mut answers = tokio::task::JoinSet::new();
    while let Some(Inbound { peer, stream, .. }) = inbound.recv().await {
        let giving = giving.clone();
        answers.spawn(async move {
            let answer = async |request| {
                let is_bytes = matches!(request, protocol::weights::WeightsRequest::Range(..));
                match giving.answer(peer, false, request).await {
                    Given::Bytes(count, pieces) if is_liar && is_bytes => {
                        Given::Bytes(count, pieces.map(|piece| Ok(turned(&piece?))).boxed())
                    }
                    given => given,
                }
            };
            let _ = serve_weights(stream, answer).await;
        });
    }
}

fn turned(piece: &[u8]) -> bytes::Bytes {
    let mut wrong = BytesMut::from(piece);
    wrong[0] ^= 1;
    wrong.freeze()
}

fn join(number: u8, node: Node, bootstrap: &[String], is_liar: bool) -> Joined {
    let config = Config {
        listen: both_transports(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).into(),
        bootstrap: bootstrap.to_vec(),
        mdns: false,
        upnp: false,
        is_server: bootstrap.is_empty(),
        ..Config::new(SigningKey::from_bytes(&[number; 32]), SwarmName::public())
    };
    let stop = CancellationToken::new();
    let (network, inbound, _) = Network::start(config, stop.clone()).unwrap();
    let serving = tokio::spawn(serve(inbound, node.giving.clone(), is_liar));
    Joined {
        node,
        network,
        stop,
        serving,
    }
}

async fn until(joined: &Joined, shows: impl Fn(&View) -> bool) -> Arc<View> {
    let mut views = joined.network.watch();
    let wanted = views.wait_for(|view| shows(view));
    let view = tokio::time::timeout(PATIENCE, wanted).await;
    Arc::clone(&view.expect("shown in time").unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_over_real_connections_outlives_a_giver_and_a_liar() {
    let honest = Node::new(1).with_model().await;
    let want = want(honest.id_of_model());
    let total = wanted_bytes(&want);
    let honest = join(1, honest, &[], false);
    let view = until(&honest, |view| view.listening.len() == 2).await;
    let begin = &view.listening;
    // Slow enough to be killed in the middle.
    let mortal = Node::with_upload(2, Some(1 << 20)).with_model().await;
    let mortal = join(2, mortal, begin, false);
    let liar = join(3, Node::new(3).with_model().await, begin, true);
    let own = join(4, Node::new(4), begin, false);
    let ids = [1, 2, 3].map(peer);
    until(&own, |view| {
        let knows = |id| view.peers.get(id).is_some_and(|peer| peer.said.is_some());
        ids.iter().all(knows)
    })
    .await;
    let giver = |id| Arc::new(PeerGiver::new(own.network.clone(), id)) as Arc<dyn Giver>;
    let (givers, list) = watch::channel(vec![giver(mortal.node.id)]);
    let (progress, mut seen) = watch::channel(Progress::default());
    let fetching = own.node.weights.fetch(want.clone(), list, progress);
    let disturbing = async {
        let _ = seen.wait_for(|p| p.done_bytes > total / 4).await;
        mortal.stop.cancel();
        givers.send_modify(|list| list.extend([giver(liar.node.id), giver(honest.node.id)]));
        let _ = seen.wait_for(|p| p.done_bytes == p.wanted_bytes).await;
        mortal.node.giving.given_bytes()
    };
    let both = async { tokio::join!(fetching, disturbing) };
    let both = tokio::time::timeout(3 * PATIENCE, both).await;
    let (fetched, by_mortal) = both.expect("fetched in time");
    let fetched = fetched.unwrap();
    check(&fetched, &want);
    assert!(by_mortal >= total / 4 && by_mortal < total, "{by_mortal}");
    assert!(own.node.weights.is_distrusted(&liar.node.id));
    assert!(!own.node.weights.is_distrusted(&honest.node.id));
    // The slice, a chunk of each lane of the dead and of the liar, and chunks' borders.
    assert!(
        fetched.came_bytes * 100 <= total * 101 + 400 * 4096,
        "{} of {total}",
        fetched.came_bytes
    );
    let received = own.node.weights.received().bytes();
    let manifest = honest.node.weights.manifest(&want.id).unwrap();
    let manifest = manifest.encode().len() as u64;
    // What was on its way when an ask ended was received, too.
    assert!(
        received <= fetched.came_bytes + manifest + (256 << 10),
        "{received}"
    );
    // A second time nothing comes at all.
    let list = watch::Sender::new(Vec::new()).subscribe();
    let again = own.node.weights.fetch(want, list, watch::Sender::default());
    assert_eq!(again.await.unwrap().came_bytes, 0);
    assert_eq!(own.node.weights.received().bytes(), received);
}
