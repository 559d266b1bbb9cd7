//! A connection's probes: one stream of ours that is kept open, and one of the peer's that is
//! echoed. It knows no other connection.

use std::{
    io,
    task::{Context, Poll},
    time::{Duration, Instant},
};

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

use super::{PROBE_TIMEOUT, ProbeError};

/// Bytes that go there and back: enough that an answer cannot be guessed before the question.
const PROBE_BYTES: usize = 8;

/// Echoes in a row before a pause: a peer that wants more than one each [`ECHO_INTERVAL`] over a
/// longer time is made to wait, which spoils its own measurement only.
const ECHO_BURST: u32 = 16;

/// The pause.
const ECHO_INTERVAL: Duration = Duration::from_secs(1);

/// Told to measure now.
#[derive(Debug, Clone, Copy)]
pub struct Begin;

type Outcome = Result<(Stream, Duration), ProbeError>;

/// Our stream. Absent → Opening → Running ⇄ Ready; a failure leads back to Absent.
enum Outbound {
    Absent,
    Opening,
    Ready(Stream),
    Running(BoxFuture<'static, Outcome>),
}

/// The state of one connection.
pub struct Handler {
    protocol: StreamProtocol,
    outbound: Outbound,
    inbound: Option<BoxFuture<'static, io::Result<()>>>,
    wanted: bool,
    failed: Option<ProbeError>,
}

impl Handler {
    pub(super) fn new(protocol: StreamProtocol) -> Self {
        Self {
            protocol,
            outbound: Outbound::Absent,
            inbound: None,
            wanted: false,
            failed: None,
        }
    }

    fn upgrade(&self) -> SubstreamProtocol<ReadyUpgrade<StreamProtocol>, ()> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn on_dial_error(&mut self, error: &StreamUpgradeError<std::convert::Infallible>) {
        self.outbound = Outbound::Absent;
        self.failed = Some(match error {
            StreamUpgradeError::NegotiationFailed => ProbeError::Unsupported,
            StreamUpgradeError::Timeout => ProbeError::Timeout,
            _ => ProbeError::Broken,
        });
    }

    /// Moves our stream on. An outcome of a probe, if one ended.
    fn poll_outbound(&mut self, cx: &mut Context<'_>) -> Option<Result<Duration, ProbeError>> {
        let Outbound::Running(running) = &mut self.outbound else {
            return None;
        };
        let Poll::Ready(outcome) = running.poll_unpin(cx) else {
            return None;
        };
        self.wanted = false;
        Some(match outcome {
            Ok((stream, round_trip)) => {
                self.outbound = Outbound::Ready(stream);
                Ok(round_trip)
            }
            Err(error) => {
                self.outbound = Outbound::Absent;
                Err(error)
            }
        })
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Begin;
    type ToBehaviour = Result<Duration, ProbeError>;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, ()> {
        self.upgrade()
    }

    fn on_behaviour_event(&mut self, Begin: Begin) {
        self.wanted = true;
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if let Some(echo) = &mut self.inbound
            && echo.poll_unpin(cx).is_ready()
        {
            self.inbound = None;
        }
        if let Some(error) = self.failed.take() {
            self.wanted = false;
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Err(error)));
        }
        if self.wanted {
            match std::mem::replace(&mut self.outbound, Outbound::Absent) {
                Outbound::Absent => {
                    self.outbound = Outbound::Opening;
                    let protocol = self.upgrade();
                    return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                        protocol,
                    });
                }
                Outbound::Ready(stream) => {
                    self.outbound = Outbound::Running(measure(stream, false).boxed());
                }
                busy => self.outbound = busy,
            }
        }
        match self.poll_outbound(cx) {
            Some(outcome) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(outcome)),
            None => Poll::Pending,
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            // A peer needs one stream: a new one takes the place of the old.
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => self.inbound = Some(echo(protocol).boxed()),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol, ..
            }) => self.outbound = Outbound::Running(measure(protocol, true).boxed()),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.on_dial_error(&error);
            }
            _ => {}
        }
    }
}

/// Measures once. A new stream is tried out first: its negotiation may still be under way.
async fn measure(mut stream: Stream, new: bool) -> Outcome {
    let probes = async {
        if new {
            there_and_back(&mut stream).await?;
        }
        there_and_back(&mut stream).await
    };
    let round_trip = tokio::time::timeout(PROBE_TIMEOUT, probes).await;
    let round_trip = round_trip.map_err(|_| ProbeError::Timeout)?;
    let round_trip = round_trip.map_err(|_| ProbeError::Broken)?;
    Ok((stream, round_trip))
}

async fn there_and_back(stream: &mut Stream) -> io::Result<Duration> {
    let sent: [u8; PROBE_BYTES] = rand::random();
    let begun = Instant::now();
    stream.write_all(&sent).await?;
    stream.flush().await?;
    let mut received = [0; PROBE_BYTES];
    stream.read_exact(&mut received).await?;
    let round_trip = begun.elapsed();
    if received == sent {
        Ok(round_trip)
    } else {
        Err(io::Error::from(io::ErrorKind::InvalidData))
    }
}

async fn echo(mut stream: Stream) -> io::Result<()> {
    let mut bytes = [0; PROBE_BYTES];
    loop {
        let begun = Instant::now();
        for _ in 0..ECHO_BURST {
            stream.read_exact(&mut bytes).await?;
            stream.write_all(&bytes).await?;
            stream.flush().await?;
        }
        let early = ECHO_INTERVAL.saturating_sub(begun.elapsed());
        tokio::time::sleep(early).await;
    }
}
