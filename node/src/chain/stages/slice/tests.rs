//! A neighbour that stands still.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dht::links::StageLinks;
use dht::network::{Config, Network, both_transports};
use ed25519_dalek::SigningKey;
use llama_sys::stage::MAX_IN_FLIGHT;
use protocol::names::SwarmName;
use tokio::time::timeout;

use super::*;
use crate::serving::Upload;

/// Far beyond what anything here takes; what waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

const STALLED: ChannelId = ChannelId(1);
const OTHER: ChannelId = ChannelId(2);

/// A stage's way out, within one node.
struct Bench {
    own: NodeId,
    say: mpsc::Sender<FromStage>,
    target: watch::Sender<Target>,
    cut: watch::Sender<Target>,
    stalled: Receiver,
    other: Receiver,
    stop: CancellationToken,
    _carrying: AbortOnDropHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bench {
    /// It sends to the neighbour that stands still, and waits for it.
    async fn stuck() -> Self {
        let stop = CancellationToken::new();
        let config = Config {
            listen: both_transports(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).into(),
            mdns: false,
            upnp: false,
            ..Config::new(SigningKey::from_bytes(&[3; 32]), SwarmName::public())
        };
        let (network, _, _) = Network::start(config, stop.clone()).unwrap();
        let own = network.own();
        let (links, _) = StageLinks::new(network);
        let channels = Channels::new(own, links, Upload::new(None));
        let stalled = channels.register(STALLED, own).unwrap();
        let other = channels.register(OTHER, own).unwrap();
        let (target, targets) = watch::channel(Some((own, STALLED)));
        let (cut, cuts) = watch::channel(None);
        let carrier = Carrier {
            channels,
            targets,
            cut: cut.clone(),
            cuts,
            open: None,
        };
        let (say, said) = mpsc::channel(2 * MAX_IN_FLIGHT);
        let carrying = tokio::spawn(carrier.run(said));
        for _ in 0..=MAX_IN_FLIGHT {
            say.send(FromStage::Next("lost".into())).await.unwrap();
        }
        // The last is taken, and finds no place.
        let taken = async {
            while say.capacity() < say.max_capacity() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, taken).await.unwrap();
        Self {
            own,
            say,
            target,
            cut,
            stalled,
            other,
            stop,
            _carrying: AbortOnDropHandle::new(carrying),
        }
    }

    /// Links to the other neighbour: what is said then arrives there.
    async fn go_on(&mut self) {
        self.target.send_replace(Some((self.own, OTHER)));
        let said = FromStage::Next("next".into());
        self.say.send(said).await.unwrap();
        let arrived = timeout(PATIENCE, self.other.next()).await.unwrap();
        assert_eq!(arrived, Some((StageKind::Forward, "next".into())));
    }
}

#[tokio::test]
async fn a_neighbour_that_stands_still_holds_nothing_up_once_it_is_anothers_turn() {
    let mut bench = Bench::stuck().await;
    bench.go_on().await;
}

#[tokio::test]
async fn a_ring_that_is_cut_is_not_waited_for_and_its_next_stage_hears_of_it() {
    let mut bench = Bench::stuck().await;
    bench.cut.send_replace(Some((bench.own, STALLED)));
    let ended = async { while bench.stalled.next().await.is_some() {} };
    timeout(PATIENCE, ended).await.unwrap();
    bench.go_on().await;
}
