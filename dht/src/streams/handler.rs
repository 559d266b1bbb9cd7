//! A connection's streams: opens ours, takes in the peer's within the limits, and reports each
//! one that ended. It knows no other connection.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Poll},
};

use libp2p::{
    InboundUpgrade, OutboundUpgrade, StreamProtocol,
    core::UpgradeInfo,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};

use super::{Limit, NEGOTIATION_TIMEOUT, OpenId, OpenStreamError, Stream, ledger::Ledger};

/// Told to open a stream.
#[derive(Debug)]
pub struct Open {
    pub(super) id: OpenId,
    pub(super) protocol: StreamProtocol,
}

/// What the behaviour is told.
#[derive(Debug)]
pub enum Report {
    /// What a command to open came to.
    Opened(OpenId, Result<Stream, OpenStreamError>),
    /// The peer opened one.
    Inbound(StreamProtocol, Stream),
    /// One was dropped.
    Closed,
    /// One of the peer's was not taken in.
    Refused(Limit),
}

/// The state of one connection.
pub struct Handler {
    protocols: Arc<[StreamProtocol]>,
    ledger: Arc<Ledger>,
    /// Bounded by what the behaviour lets wait.
    commands: VecDeque<Open>,
    /// Streams that libp2p was asked for.
    opening: usize,
    /// Emptied before anything new is taken in.
    reports: VecDeque<Report>,
}

impl Handler {
    pub(super) fn new(protocols: Arc<[StreamProtocol]>, inbound_of_all: Arc<AtomicUsize>) -> Self {
        Self {
            protocols,
            ledger: Arc::new(Ledger::new(inbound_of_all)),
            commands: VecDeque::new(),
            opening: 0,
            reports: VecDeque::new(),
        }
    }

    fn on_inbound(&mut self, (stream, protocol): (libp2p::Stream, StreamProtocol)) {
        self.reports.push_back(match self.ledger.enter_inbound() {
            Ok(entry) => Report::Inbound(protocol, Stream::new(stream, entry)),
            Err(limit) => Report::Refused(limit),
        });
    }

    fn on_outbound(&mut self, stream: libp2p::Stream, id: OpenId) {
        self.opening -= 1;
        let stream = Stream::new(stream, self.ledger.enter_outbound());
        self.reports.push_back(Report::Opened(id, Ok(stream)));
    }

    fn on_dial_error(&mut self, error: StreamUpgradeError<Infallible>, id: OpenId) {
        self.opening -= 1;
        let error = match error {
            StreamUpgradeError::Timeout => OpenStreamError::Timeout,
            StreamUpgradeError::NegotiationFailed => OpenStreamError::Unsupported,
            StreamUpgradeError::Io(error) => OpenStreamError::Broken(error),
            StreamUpgradeError::Apply(never) => match never {},
        };
        self.reports.push_back(Report::Opened(id, Err(error)));
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Report;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = OpenId;

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        let upgrade = Upgrade {
            protocols: self.protocols.clone(),
        };
        SubstreamProtocol::new(upgrade, ()).with_timeout(NEGOTIATION_TIMEOUT)
    }

    fn connection_keep_alive(&self) -> bool {
        let is_idle = self.ledger.is_empty()
            && self.commands.is_empty()
            && self.opening == 0
            && self.reports.is_empty();
        !is_idle
    }

    fn on_behaviour_event(&mut self, open: Open) {
        self.commands.push_back(open);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Upgrade, OpenId, Report>> {
        self.ledger.waker.register(cx.waker());
        // A stream's beginning before its end.
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        if self.ledger.take_ended() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Closed));
        }
        let Some(Open { id, protocol }) = self.commands.pop_front() else {
            return Poll::Pending;
        };
        if !self.ledger.has_room(self.opening) {
            let busy = Report::Opened(id, Err(OpenStreamError::Busy));
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(busy));
        }
        self.opening += 1;
        let upgrade = Upgrade {
            protocols: [protocol].into(),
        };
        let protocol = SubstreamProtocol::new(upgrade, id).with_timeout(NEGOTIATION_TIMEOUT);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade, (), OpenId>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => self.on_inbound(protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, _),
                info,
            }) => self.on_outbound(stream, info),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info }) => {
                self.on_dial_error(error, info);
            }
            _ => {}
        }
    }
}

/// Agrees on one of the names, and adds nothing.
#[derive(Debug, Clone)]
pub struct Upgrade {
    protocols: Arc<[StreamProtocol]>,
}

impl UpgradeInfo for Upgrade {
    type Info = StreamProtocol;
    type InfoIter = Names;

    fn protocol_info(&self) -> Names {
        Names {
            protocols: self.protocols.clone(),
            next: 0,
        }
    }
}

impl InboundUpgrade<libp2p::Stream> for Upgrade {
    type Output = (libp2p::Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: libp2p::Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<libp2p::Stream> for Upgrade {
    type Output = (libp2p::Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: libp2p::Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

/// The names one by one. libp2p asks for them each time that it looks after a connection, so
/// nothing is allocated.
#[derive(Debug)]
pub struct Names {
    protocols: Arc<[StreamProtocol]>,
    next: usize,
}

impl Iterator for Names {
    type Item = StreamProtocol;

    fn next(&mut self) -> Option<StreamProtocol> {
        let name = self.protocols.get(self.next)?.clone();
        self.next += 1;
        Some(name)
    }
}
