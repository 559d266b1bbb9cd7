//! One answer's task: it moves events from the engine to whoever asked. What an event means is
//! the session's to say.

use llama_sys::engine::Event;
use protocol::generate::GenerateEvent;
use tokio::sync::mpsc;

use super::core::session::Session;

/// Moves events until the last one, or until nobody listens; then lets go of `guard`. Dropping
/// the engine's end cancels the job.
pub(super) async fn run(
    mut events: mpsc::Receiver<Event>,
    mut session: Session,
    sender: mpsc::Sender<GenerateEvent>,
    guard: impl Send,
) {
    loop {
        let event = tokio::select! {
            biased;
            () = sender.closed() => break,
            event = events.recv() => event,
        };
        // Closed without a last event: the job was cancelled, so this stream is cut too.
        let Some(event) = event else { break };
        let mut out = Vec::new();
        let last = session.react(event, &mut out);
        for event in out {
            let event = GenerateEvent { event: Some(event) };
            if sender.send(event).await.is_err() {
                return;
            }
        }
        if last {
            break;
        }
    }
    drop(guard);
}
