//! The worker's messages on their way out: whatever is ready goes with one system call.

use std::io;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

use super::ipc::{IpcError, Message, Reply, encode};
use crate::engine::{Event, JobError};

/// Messages on their way out; beyond this whoever has one waits, and with it its own request.
pub(super) const OUT_CHANNEL: usize = 256;

/// Bytes gathered before a write.
const WRITE_BYTES: usize = 128 << 10;

/// Writes messages until every sender is gone.
pub(super) async fn run(
    mut messages: mpsc::Receiver<Message>,
    mut socket: OwnedWriteHalf,
) -> io::Result<()> {
    let mut out = BytesMut::with_capacity(WRITE_BYTES);
    while let Some(first) = messages.recv().await {
        append(first, &mut out);
        // One batch of the engine makes a token for each of its sequences: the tasks that carry
        // the others are about to run.
        tokio::task::yield_now().await;
        while out.len() < WRITE_BYTES
            && let Ok(next) = messages.try_recv()
        {
            append(next, &mut out);
        }
        socket.write_all(&out).await?;
        out.clear();
    }
    Ok(())
}

/// A message that is too large becomes its request's failure.
fn append(message: Message, out: &mut BytesMut) {
    let id = match &message {
        Message::Reply(id, reply) => Some((*id, matches!(reply, Reply::Event(_)))),
        _ => None,
    };
    let Err(error) = encode(message, out) else {
        return;
    };
    let Some((id, is_event)) = id else {
        return;
    };
    let failure = too_large(&error);
    let reply = if is_event {
        Reply::Event(Event::Failed(failure))
    } else {
        Reply::Refused(failure)
    };
    encode(Message::Reply(id, reply), out).expect("a short message fits into a frame");
}

fn too_large(error: &IpcError) -> JobError {
    JobError::Unsupported(format!("the answer does not fit into one message: {error}"))
}
