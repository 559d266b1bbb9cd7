//! The swarm as the router asks it: heads out of the view, answers over streams.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dht::demand::Asked;
use dht::generate::{Answer, CallError, EmbedError, embed};
use dht::network::{Network, OpenError as NoStream};
use dht::view::{self, Head};
use futures::StreamExt;
use protocol::generate::{
    EmbedRequest, EmbedResponse, ErrorCode, Failure, GenerateEvent, GenerateRequest,
    generate_event::Event,
};
use protocol::limits::MAX_FAILURE_MESSAGE_BYTES;
use protocol::membership::Role;
use protocol::names::Protocol;
use protocol::{ModelName, NodeId};
use tokio::sync::mpsc;
use web::backend::GenerateStream;

use crate::peers::{OpenError, Path, Peers, RemoteHead};
use crate::router::Demands;

/// Events that wait for the router: a slow client holds the peer back, not this node's memory.
const EVENT_CHANNEL: usize = 64;

/// A model that nobody here has heard of is looked up in the swarm's DHT; a client waits so long
/// for that at most.
const FIND_TIMEOUT: Duration = Duration::from_secs(4);

/// What was not found is not looked up again so soon: a wrong name in a client's configuration
/// comes with every request.
const FIND_AGAIN: Duration = Duration::from_secs(20);

/// Names that were looked up and are remembered; beyond that the oldest is forgotten.
const MAX_SOUGHT: usize = 256;

/// The swarm behind the router.
pub struct SwarmPeers {
    network: Network,
    sought: Mutex<BTreeMap<ModelName, Instant>>,
}

impl SwarmPeers {
    /// Over this network.
    pub fn new(network: Network) -> Self {
        Self {
            network,
            sought: Mutex::default(),
        }
    }

    /// Whether it is time to look for this model; if so, that is taken note of.
    fn may_seek(&self, model: &ModelName) -> bool {
        let now = Instant::now();
        let mut sought = self.sought.lock().unwrap_or_else(PoisonError::into_inner);
        sought.retain(|_, at| now < *at + FIND_AGAIN);
        if sought.contains_key(model) {
            return false;
        }
        if sought.len() >= MAX_SOUGHT
            && let Some(oldest) = sought.iter().min_by_key(|(_, at)| **at)
        {
            let oldest = oldest.0.clone();
            sought.remove(&oldest);
        }
        sought.insert(model.clone(), now);
        true
    }

    /// Who serves nobody that its owner does not know is not asked, and neither is one who may
    /// only ask.
    fn serves_us(&self, head: &Head<'_>) -> bool {
        let said = head.peer.said.as_ref();
        let is_open = said.is_some_and(|said| said.limits.serves_strangers);
        (is_open || self.network.is_private()) && head.peer.membership != Some(Role::Client)
    }
}

impl Demands for Network {
    fn asked(&self, model: ModelName, asked: Asked) {
        Network::asked(self, model, asked);
    }
}

#[async_trait]
impl Peers for SwarmPeers {
    fn candidates(&self, model: &ModelName) -> Vec<RemoteHead> {
        let view = self.network.view();
        let heads = view.heads(model).filter(|head| self.serves_us(head));
        let is_member = self.network.is_private();
        heads.map(|head| remote(&head, is_member)).collect()
    }

    fn models(&self) -> Vec<ModelName> {
        let view = self.network.view();
        let heads = view.all_heads().filter(|head| self.serves_us(head));
        let mut models: Vec<ModelName> = heads.map(|head| head.deployed.model.clone()).collect();
        models.sort();
        models.dedup();
        models
    }

    async fn find(&self, model: &ModelName) {
        if self.may_seek(model) {
            // Whoever was found is among the candidates now, however it ended.
            let _ = tokio::time::timeout(FIND_TIMEOUT, self.network.find(model)).await;
        }
    }

    async fn open(
        &self,
        peer: NodeId,
        request: GenerateRequest,
    ) -> Result<GenerateStream, OpenError> {
        let stream = self.network.open(peer, Protocol::Generate).await;
        let stream = stream.map_err(no_stream)?;
        let answer = Answer::new(stream, &request).map_err(|_| too_large())?;
        let (sender, receiver) = mpsc::channel(EVENT_CHANNEL);
        let network = self.network.clone();
        tokio::spawn(async move {
            if forward(answer, peer, sender).await.is_err() {
                network.blame(peer);
            }
        });
        Ok(receiver)
    }

    async fn embed(&self, peer: NodeId, request: EmbedRequest) -> Result<EmbedResponse, OpenError> {
        let stream = self.network.open(peer, Protocol::Embed).await;
        let stream = stream.map_err(no_stream)?;
        embed(stream, &request).await.map_err(|error| match error {
            EmbedError::Failed(failure) => OpenError::Refused(shown(failure)),
            EmbedError::Call(error) if error.is_violation() => {
                self.network.blame(peer);
                OpenError::Unreachable
            }
            _ => OpenError::Unreachable,
        })
    }
}

fn remote(head: &Head<'_>, is_member: bool) -> RemoteHead {
    let deployed = head.deployed;
    RemoteHead {
        node: head.node,
        context_tokens: deployed.context_tokens,
        parallel: deployed.parallel,
        running: deployed.running,
        queued: deployed.queued,
        prefill_tokens_per_second: deployed.prefill_tokens_per_second,
        decode_tokens_per_second: deployed.decode_tokens_per_second,
        rtt: head.peer.round_trip(),
        is_member,
        path: match head.peer.path {
            Some(view::Path::Relayed) => Path::Relayed,
            Some(view::Path::Direct) | None => Path::Direct,
        },
        abilities: deployed.abilities,
    }
}

/// The peer does not keep to the protocol.
struct Violation;

/// Hands the events on until the last one, until the peer is lost, or until nobody wants them.
async fn forward<A>(
    mut answer: A,
    peer: NodeId,
    sender: mpsc::Sender<GenerateEvent>,
) -> Result<(), Violation>
where
    A: futures::Stream<Item = Result<GenerateEvent, CallError>> + Unpin,
{
    loop {
        let event = tokio::select! {
            biased;
            () = sender.closed() => return Ok(()),
            event = answer.next() => event,
        };
        let mut event = match event {
            Some(Ok(event)) => event,
            Some(Err(error)) if error.is_violation() => return Err(Violation),
            Some(Err(_)) | None => return Ok(()),
        };
        match &mut event.event {
            // Who it is was proved by the connection, whatever it says.
            Some(Event::Started(started)) => started.served_by = peer.to_string(),
            Some(Event::Failed(failure)) => *failure = shown(std::mem::take(failure)),
            _ => {}
        }
        if sender.send(event).await.is_err() {
            return Ok(());
        }
    }
}

/// A peer's failure, cut to what a person is shown.
fn shown(mut failure: Failure) -> Failure {
    let message = &mut failure.message;
    let end = message.floor_char_boundary(MAX_FAILURE_MESSAGE_BYTES);
    message.truncate(end);
    failure
}

fn no_stream(error: NoStream) -> OpenError {
    match error {
        NoStream::Busy => OpenError::Refused(
            Failure::new(ErrorCode::Overloaded, "too many requests to this peer")
                .with_retry_after(1),
        ),
        _ => OpenError::Unreachable,
    }
}

fn too_large() -> OpenError {
    let message = "the request is longer than a peer takes";
    OpenError::Refused(Failure::new(ErrorCode::InvalidRequest, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_failure_is_cut_at_a_character() {
        let failure = Failure::new(ErrorCode::Internal, "ü".repeat(MAX_FAILURE_MESSAGE_BYTES));
        let cut = shown(failure).message;
        assert!(cut.len() <= MAX_FAILURE_MESSAGE_BYTES);
        assert!(cut.chars().all(|c| c == 'ü'));
    }
}
