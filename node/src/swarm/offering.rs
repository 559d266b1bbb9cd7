//! One stream of a peer, answered.

use dht::generate::{RequestRoom, serve_embed, serve_generate};
use dht::network::Inbound;
use futures::stream::poll_fn;
use protocol::names::Protocol;
use tracing::debug;

use crate::serving::Serving;

/// Answers the one request of a stream. Members of the own private swarm are trusted; in the
/// public mesh the owner knows nobody by membership.
pub(super) async fn answer(
    inbound: Inbound,
    is_trusted: bool,
    serving: Serving,
    room: RequestRoom,
) {
    let Inbound {
        peer,
        protocol,
        stream,
    } = inbound;
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
        debug!(%peer, %error, "a peer was not answered");
    }
}
