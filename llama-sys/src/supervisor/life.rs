//! One worker from its start to its end: the process, the socket both ways, its last words.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::task::AbortOnDropHandle;

use super::process::{Launch, Process};
use super::stderr::{self, LastLines};
use crate::worker::ipc::stream::{MessageReader, ReadError};
use crate::worker::ipc::{IpcError, MAX_FRAME_BYTES, Message, encode};

/// Bytes that wait for the worker to read them; a worker that is so far behind has stopped.
const PENDING_BYTES: usize = 2 * MAX_FRAME_BYTES;

/// Time for the last lines of a dead worker to come through their pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// One worker.
#[derive(Debug)]
pub(crate) struct Life {
    process: Process,
    reader: MessageReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// Not yet written.
    pending: BytesMut,
    log: AbortOnDropHandle<()>,
    last_lines: LastLines,
    /// Why it is being ended, once it is.
    ending: Option<String>,
}

/// What a worker does.
#[derive(Debug)]
pub(crate) enum LifeEvent {
    /// It says something.
    Message(Message),
    /// It has ended, and this is why.
    Ended(String),
}

impl Life {
    /// Starts a worker.
    ///
    /// # Errors
    /// The system's, where the program cannot be started.
    pub(crate) async fn start(launch: &Launch) -> io::Result<Self> {
        let (process, socket, pipe) = Process::start(launch).await?;
        let (read, writer) = socket.into_split();
        let last_lines = LastLines::default();
        let pipe = tokio::process::ChildStderr::from_std(pipe)?;
        let log = stderr::run(launch.name.clone(), pipe, last_lines.clone());
        Ok(Self {
            process,
            reader: MessageReader::new(read),
            writer,
            pending: BytesMut::new(),
            log: AbortOnDropHandle::new(tokio::spawn(log)),
            last_lines,
            ending: None,
        })
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Says something to the worker; it is on its way while [`Self::next`] is awaited.
    ///
    /// # Errors
    /// [`IpcError::TooLarge`]; nothing was said then.
    pub(crate) fn say(&mut self, message: Message) -> Result<(), IpcError> {
        encode(message, &mut self.pending)?;
        if self.pending.len() > PENDING_BYTES {
            self.end("it does not read its socket");
        }
        Ok(())
    }

    /// Kills the worker for this cause; `Ended` follows.
    pub(crate) fn end(&mut self, cause: &str) {
        self.ending.get_or_insert_with(|| cause.to_owned());
        self.process.kill();
    }

    /// The worker's next deed. What it said before its end comes before its end; nothing is lost
    /// if the future is dropped. Not to be called after `Ended`.
    pub(crate) async fn next(&mut self) -> LifeEvent {
        while self.ending.is_none() {
            tokio::select! {
                biased;
                message = self.reader.next() => match message {
                    Ok(message) => return LifeEvent::Message(message),
                    Err(error) => self.on_read_error(&error),
                },
                written = self.writer.write_buf(&mut self.pending), if !self.pending.is_empty() => {
                    if written.is_err() {
                        // It has closed its end; what it said before is still to be read.
                        self.pending.clear();
                    }
                }
            }
        }
        let status = self.process.exited().await;
        // A grandchild may hold the pipe open: do not wait for it.
        if !self.log.is_finished() {
            let _ = tokio::time::timeout(LAST_WORDS, &mut self.log).await;
        }
        LifeEvent::Ended(self.cause(status.map(|status| status.to_string())))
    }

    fn on_read_error(&mut self, error: &ReadError) {
        match error {
            // It is gone or going: how it ended tells more.
            ReadError::Closed | ReadError::Io(_) => {
                self.ending = Some(String::new());
                self.process.kill();
            }
            ReadError::Protocol(_) => self.end(&error.to_string()),
        }
    }

    fn cause(&self, status: Option<String>) -> String {
        let ending = self.ending.clone().filter(|cause| !cause.is_empty());
        let how = ending.or(status).unwrap_or_else(|| "it ended".into());
        match self.last_lines.cause() {
            Some(line) => format!("{how}: {line}"),
            None => how,
        }
    }
}
