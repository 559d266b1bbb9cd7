//! One answer to a peer, from its place in the queue to its last event. Dropping the future, or
//! the peer's end of the stream, ends it anywhere and frees the place.

use std::sync::Arc;
use std::time::Duration;

use protocol::ModelName;
use protocol::generate::generate_event::Event;
use protocol::generate::{Bounded, Failure, GenerateEvent, GenerateRequest, Privacy, Queued};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::desk::{Place, Turn};
use super::{Shared, refusal};
use crate::core::guests::ANSWER_TOKEN_COST;
use crate::residency::Lease;

/// How long a peer may leave its stream full: longer than a path is lost and found again. A peer
/// that does not read would hold a seat for ever.
const MAX_STALL: Duration = Duration::from_secs(30);

/// Bytes of a peer's request id that are kept; the rest of an id's length makes it unique here.
const MAX_FOREIGN_ID_BYTES: usize = 64;

/// Why an answer goes no further.
enum Broken {
    /// The peer is told.
    Failed(Failure),
    /// The peer is gone, or does not read.
    Gone,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// One answer to a peer.
pub(super) struct Answer {
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
    pub(super) model: ModelName,
    pub(super) request: GenerateRequest,
    pub(super) sender: mpsc::Sender<GenerateEvent>,
}

impl Answer {
    pub(super) async fn run(mut self) {
        let sender = self.sender.clone();
        let given = tokio::select! {
            biased;
            () = sender.closed() => Err(Broken::Gone),
            given = self.give() => given,
        };
        if let Err(Broken::Failed(failure)) = given {
            // Whoever does not read it is gone, or stalls: the stream then ends without a word.
            let _ = self.send(Event::Failed(failure)).await;
        }
    }

    async fn give(&mut self) -> Result<(), Broken> {
        self.wait().await?;
        let lease = lease(&self.shared, &self.model).await?;
        let mut request = std::mem::take(&mut self.request);
        request.request_id = unique_id(&request.request_id, self.place.number());
        request.privacy = Privacy::Local.into();
        let begun = self.shared.local.generate(request, lease).await;
        let mut events = begun.map_err(refusal::outward)?;
        // A stream that closes without a last event is cut here too: the peer goes on elsewhere.
        while let Some(GenerateEvent { event: Some(event) }) = events.recv().await {
            self.place.spend(cost(&event));
            let event = match event {
                Event::Failed(failure) => return Err(refusal::outward(failure).into()),
                event => event,
            };
            let is_last = matches!(event, Event::Finished(_));
            self.send(event).await?;
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// Waits for the turn, and says how many go before.
    async fn wait(&mut self) -> Result<(), Broken> {
        let mut turn = self.place.turn().await;
        loop {
            match turn {
                Turn::Go => return Ok(()),
                Turn::Refused(full) => return Err(refusal::full(full).into()),
                Turn::Waits(position) => self.send(Event::Queued(Queued { position })).await?,
                Turn::Asked => {}
            }
            turn = self.place.next_turn().await;
        }
    }

    async fn send(&self, event: Event) -> Result<(), Broken> {
        let event = GenerateEvent { event: Some(event) };
        self.shared.upload.send(encoded_bytes(&event)).await;
        match timeout(MAX_STALL, self.sender.send(event)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Broken::Gone),
        }
    }
}

/// Bytes that a message takes on the wire.
pub(super) fn encoded_bytes<M: Bounded>(message: &M) -> usize {
    message.encoded_len()
}

/// A guest's lease on the model.
pub(super) async fn lease(shared: &Shared, model: &ModelName) -> Result<Lease, Failure> {
    let lease = shared.residency.acquire_for_guest(model).await;
    lease.map_err(|error| {
        tracing::debug!(%error, %model, "a peer gets no model");
        refusal::of_acquire(&error)
    })
}

/// What an event cost: tokens of the prompt that were computed, and those of the answer.
fn cost(event: &Event) -> u64 {
    match event {
        Event::Started(started) => started
            .prompt_tokens
            .saturating_sub(started.cached_tokens)
            .into(),
        Event::Delta(delta) => delta.tokens.len() as u64 * ANSWER_TOKEN_COST,
        _ => 0,
    }
}

/// The peer's id with a number behind: engines want it unique, and peers choose theirs.
pub(super) fn unique_id(foreign: &str, number: u64) -> String {
    let mut end = foreign.len().min(MAX_FOREIGN_ID_BYTES);
    while !foreign.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}@{number}", &foreign[..end])
}
