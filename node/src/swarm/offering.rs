//! One stream of a peer, answered or taken in.

use dht::generate::{RequestRoom, serve_embed, serve_generate};
use dht::lease::serve;
use dht::links::StageLinks;
use dht::network::{Inbound, Network};
use dht::streams::Stream;
use dht::weights::serve_weights;
use futures::stream::poll_fn;
use protocol::NodeId;
use protocol::names::Protocol;
use tracing::debug;

use crate::chain::Desk;
use crate::serving::Serving;
use crate::weights::Giving;

/// What answers peers.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) serving: Serving,
    pub(super) giving: Giving,
    /// `None`: this node holds stages for nobody.
    pub(super) chain: Option<ChainSide>,
    pub(super) room: RequestRoom,
}

/// What answers heads and neighbours in chains.
#[derive(Clone)]
pub struct ChainSide {
    /// Leases.
    pub desk: Desk,
    /// Streams of neighbours.
    pub links: StageLinks,
}

/// Answers the one request of a stream, or takes a neighbour's in. Members of the own private swarm
/// are trusted; in the public mesh the owner knows nobody by membership. Who does not keep to the
/// protocol is blamed.
pub(super) async fn answer(inbound: Inbound, network: Network, services: Services) {
    let Inbound {
        peer,
        protocol,
        stream,
    } = inbound;
    let is_trusted = network.is_private();
    let Services {
        serving,
        giving,
        chain,
        room,
    } = services;
    match (protocol, chain) {
        (Protocol::Weights, _) => return give(peer, stream, &network, &giving).await,
        (Protocol::Lease, Some(chain)) => {
            return lease(peer, stream, &network, &chain.desk).await;
        }
        (Protocol::Stage, Some(chain)) => return chain.links.accept(peer, stream).await,
        _ => {}
    }
    let ended = match protocol {
        Protocol::Generate => {
            serve_generate(stream, &room, async |request| {
                let events = serving.serve(peer, is_trusted, request).await;
                events.map(|mut events| poll_fn(move |cx| events.poll_recv(cx)))
            })
            .await
        }
        Protocol::Embed => {
            serve_embed(stream, &room, async |request| {
                serving.embed(peer, is_trusted, request).await
            })
            .await
        }
        _ => Ok(()),
    };
    if let Err(error) = ended {
        if error.is_violation() {
            network.blame(peer);
        }
        debug!(%peer, %error, "a peer was not answered");
    }
}

/// Gives a part of a model, likewise.
async fn give(peer: NodeId, stream: Stream, network: &Network, giving: &Giving) {
    let is_trusted = network.is_private();
    let given = serve_weights(stream, |request| giving.answer(peer, is_trusted, request));
    if let Err(error) = given.await {
        if error.is_violation() {
            network.blame(peer);
        }
        debug!(%peer, %error, "a peer was not given all of a model that it asked for");
    }
}

/// Answers a head's request for a lease, likewise.
async fn lease(head: NodeId, stream: Stream, network: &Network, desk: &Desk) {
    let is_trusted = network.is_private();
    let answered = serve(stream, |request| desk.answer(head, is_trusted, request));
    if let Err(error) = answered.await {
        if error.is_violation() {
            network.blame(head);
        }
        debug!(peer = %head, %error, "a head was not answered");
    }
}
