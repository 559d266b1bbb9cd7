//! One stream of a peer, answered.

use dht::generate::{RequestRoom, serve_embed, serve_generate};
use dht::network::{Inbound, Network};
use futures::stream::poll_fn;
use protocol::names::Protocol;
use tracing::debug;

use crate::serving::Serving;

/// Answers the one request of a stream. Members of the own private swarm are trusted; in the
/// public mesh the owner knows nobody by membership. Who does not keep to the protocol is blamed.
pub(super) async fn answer(
    inbound: Inbound,
    network: Network,
    serving: Serving,
    room: RequestRoom,
) {
    let Inbound {
        peer,
        protocol,
        stream,
    } = inbound;
    let is_trusted = network.is_private();
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
