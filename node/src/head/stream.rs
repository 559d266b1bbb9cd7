//! One answer's task: it moves events from the engine to whoever asked. What an event means is
//! the session's to say.

use llama_sys::engine::Event;
use protocol::generate::GenerateEvent;
use tokio::sync::mpsc;

use super::Hold;
use super::core::measure::Measure;
use super::core::session::Session;

/// One answer on its way.
pub(super) struct Answer<H> {
    pub(super) session: Session,
    pub(super) measure: Measure,
    /// Let go when the answer is over.
    pub(super) hold: H,
}

/// Moves events until the last one, or until nobody listens. Dropping the engine's end cancels
/// the job.
pub(super) async fn run<H: Hold>(
    mut events: mpsc::Receiver<Event>,
    mut answer: Answer<H>,
    sender: mpsc::Sender<GenerateEvent>,
) {
    loop {
        let event = tokio::select! {
            biased;
            () = sender.closed() => break,
            event = events.recv() => event,
        };
        // Closed without a last event: the job was cancelled, so this stream is cut too.
        let Some(event) = event else { break };
        if let Some(answered) = answer.measure.note(&event) {
            answer.hold.on_answered(&answered);
        }
        let mut out = Vec::new();
        let last = answer.session.react(event, &mut out);
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
}
