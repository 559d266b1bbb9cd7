//! One connection's admission stream: frames there and back, each when the door says so. It
//! reads one message, and the next only after the door's answer, so a peer can make it keep one.
//! It decides nothing and knows no other connection.
//!
//! The dialer opens the stream as soon as the connection is there. Of the stream: absent →
//! (opening →) moving ⇄ waiting → done. Any stream beside the one, on either side, is a fault.

use std::{
    collections::VecDeque,
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::BoxFuture};
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};
use protocol::limits::MAX_ADMISSION_BYTES;

use crate::{
    core::membership::{ADMISSION_TIMEOUT, AdmissionFailure, EntryFailure, Then},
    frames::{FrameReader, ReadError, write_frame},
};

/// What the door wants said.
#[derive(Debug)]
pub struct Say {
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) then: Then,
}

/// What the door is told.
#[derive(Debug)]
pub enum Report {
    /// The peer's message.
    Message(Bytes),
    /// The stream is of no use any more.
    Broken(EntryFailure),
    /// The last words were sent, and the peer had time to read them.
    Said,
}

/// The stream, with what was read of it beyond the last message.
struct Channel {
    stream: Stream,
    reader: FrameReader,
}

/// A channel that goes on, and what is to be told.
type Moved = (Option<Channel>, Option<Report>);

enum State {
    Absent,
    Opening,
    Moving(BoxFuture<'static, Moved>),
    Waiting(Box<Channel>),
    Done,
}

/// The state of one connection.
pub struct Handler {
    protocol: StreamProtocol,
    /// On the dialer's side: what it begins with.
    first: Option<Say>,
    is_dialer: bool,
    state: State,
    reports: VecDeque<Report>,
}

impl Handler {
    /// With the first message, the dialer's side.
    pub(super) fn new(protocol: StreamProtocol, hello: Option<Vec<u8>>) -> Self {
        let is_dialer = hello.is_some();
        let first = hello.map(|hello| Say {
            messages: vec![hello],
            then: Then::Listen,
        });
        Self {
            protocol,
            first,
            is_dialer,
            state: State::Absent,
            reports: VecDeque::new(),
        }
    }

    fn upgrade(&self) -> SubstreamProtocol<ReadyUpgrade<StreamProtocol>, ()> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn go(&mut self, channel: Channel, say: Say) {
        self.state = State::Moving(channel.exchange(say).boxed());
    }

    /// At most one fault is told: the connection is closed for it.
    fn break_off(&mut self, failure: EntryFailure) {
        self.state = State::Done;
        self.reports.clear();
        self.reports.push_back(Report::Broken(failure));
    }

    fn on_inbound(&mut self, stream: Stream) {
        if self.is_dialer || !matches!(self.state, State::Absent) {
            return self.break_off(EntryFailure::SecondStream);
        }
        let listen = Say {
            messages: Vec::new(),
            then: Then::Listen,
        };
        self.go(Channel::new(stream), listen);
    }

    fn on_dial_error(&mut self, error: &StreamUpgradeError<Infallible>) {
        self.break_off(match error {
            StreamUpgradeError::NegotiationFailed => EntryFailure::NotSpoken,
            StreamUpgradeError::Timeout => EntryFailure::Late,
            _ => AdmissionFailure::Closed.into(),
        });
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Say;
    type ToBehaviour = Report;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, ()> {
        self.upgrade()
    }

    /// The door closes what stays here for too long.
    fn connection_keep_alive(&self) -> bool {
        !matches!(self.state, State::Done)
    }

    fn on_behaviour_event(&mut self, say: Say) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Waiting(channel) => self.go(*channel, say),
            other => self.state = other,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if let State::Moving(moving) = &mut self.state
            && let Poll::Ready((channel, report)) = moving.poll_unpin(cx)
        {
            self.state = channel.map_or(State::Done, |channel| State::Waiting(Box::new(channel)));
            self.reports.extend(report);
        }
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        if self.is_dialer && matches!(self.state, State::Absent) {
            self.state = State::Opening;
            let protocol = self.upgrade();
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => self.on_inbound(protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol, ..
            }) => {
                if let Some(first) = self.first.take() {
                    self.go(Channel::new(protocol), first);
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.on_dial_error(&error);
            }
            _ => {}
        }
    }
}

impl Channel {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            reader: FrameReader::new(MAX_ADMISSION_BYTES),
        }
    }

    /// Says what is to be said, and what comes after it. A peer that does not read is left to
    /// itself: its handshake has a deadline at the door, and this ends too.
    async fn exchange(mut self, say: Say) -> Moved {
        let then = say.then;
        let moved = tokio::time::timeout(ADMISSION_TIMEOUT, async {
            self.write(&say.messages).await?;
            self.follow(then).await
        });
        match (moved.await, then) {
            (Ok(Ok(message)), Then::Listen) => (Some(self), message.map(Report::Message)),
            (Ok(Err(failure)), Then::Listen) => (None, Some(Report::Broken(failure))),
            (Err(_), Then::Listen) => (None, Some(Report::Broken(EntryFailure::Late))),
            (_, Then::Finish) => (None, None),
            (_, Then::Close) => (None, Some(Report::Said)),
        }
    }

    async fn write(&mut self, messages: &[Vec<u8>]) -> Result<(), EntryFailure> {
        for message in messages {
            let written = write_frame(&mut self.stream, message, MAX_ADMISSION_BYTES).await;
            written.map_err(|_| AdmissionFailure::Closed)?;
        }
        Ok(())
    }

    /// The peer's next message, where one is awaited.
    async fn follow(&mut self, then: Then) -> Result<Option<Bytes>, EntryFailure> {
        let closed = |_| EntryFailure::from(AdmissionFailure::Closed);
        match then {
            Then::Listen => match self.reader.next(&mut self.stream).await {
                Ok(message) => Ok(Some(message)),
                Err(ReadError::Closed | ReadError::Unsupported) => {
                    Err(AdmissionFailure::Closed.into())
                }
                Err(ReadError::Frame(error)) => Err(error.into()),
            },
            Then::Finish => self.stream.close().await.map(|()| None).map_err(closed),
            // The end of the connection would overtake the words: the peer ends it, once it has
            // read them.
            Then::Close => {
                self.stream.close().await.map_err(closed)?;
                let read = self.stream.read(&mut [0]).await;
                read.map(|_| None).map_err(closed)
            }
        }
    }
}
