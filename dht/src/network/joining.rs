//! The join's searches and dials, as [`Join`] wishes them.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, TransportError,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use protocol::NodeId;
use tokio::task::JoinSet;

use super::{
    actor::Actor,
    config::{Config, Meeting, Remembered},
};
use crate::{
    address::Direct,
    core::join::{Address, Candidate, Cause, DialId, Input, Join, Output, Report, SearchId, Way},
    peer::peer_id,
    resolve::{SystemLookup, resolve},
};

/// Multicast DNS is asked and answered within this, or there is nobody.
const MDNS_TIME: Duration = Duration::from_secs(5);

/// A search's end.
pub(super) struct Found {
    id: SearchId,
    way: Way,
    found: Result<Vec<Candidate>, Cause>,
}

/// The join's core, and what it has under way.
pub(super) struct Joining {
    join: Join,
    searches: JoinSet<Found>,
    dials: BTreeMap<ConnectionId, DialId>,
    bootstrap: Vec<String>,
    remembered: Vec<Remembered>,
    waiting: Vec<Input>,
    /// A search of the meeting place that was not begun yet.
    pub(super) wants_meeting: Option<SearchId>,
}

impl Joining {
    /// Begins with every way that the configuration leaves.
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        let used = [
            (Way::Remembered, !config.remembered.is_empty()),
            (Way::Bootstrap, !config.bootstrap.is_empty()),
            (Way::Mdns, config.mdns),
            (Way::Rendezvous, config.meeting != Meeting::Nowhere),
        ];
        let ways: Vec<Way> = used
            .into_iter()
            .filter_map(|(way, on)| on.then_some(way))
            .collect();
        Self {
            join: Join::new(&ways, now),
            searches: JoinSet::new(),
            dials: BTreeMap::new(),
            bootstrap: config.bootstrap.clone(),
            remembered: config.remembered.clone(),
            waiting: vec![Input::Tick],
            wants_meeting: None,
        }
    }

    /// How the join stands.
    pub(super) fn report(&self) -> Report {
        self.join.report()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.join.next_deadline()
    }

    /// The next search that ends; `None` while there is none, which a `select!` passes over.
    pub(super) async fn next_search(&mut self) -> Option<Found> {
        match self.searches.join_next().await {
            Some(Ok(found)) => Some(found),
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => None,
        }
    }

    /// Takes note of something for the next [`Actor::drive_joining`].
    pub(super) fn push(&mut self, input: Input) {
        self.waiting.push(input);
    }

    /// The dial that a connection was for.
    pub(super) fn take_dial(&mut self, connection: ConnectionId) -> Option<DialId> {
        self.dials.remove(&connection)
    }

    fn search(&mut self, id: SearchId, way: Way) {
        match way {
            Way::Remembered => {
                let found = self.remembered.iter().filter_map(remembered).collect();
                self.searches.spawn(async move {
                    Found {
                        id,
                        way,
                        found: Ok(found),
                    }
                });
            }
            Way::Bootstrap => {
                let list = self.bootstrap.clone();
                self.searches.spawn(async move {
                    let found = bootstrap(list).await;
                    Found { id, way, found }
                });
            }
            Way::Rendezvous => self.wants_meeting = Some(id),
            // Its answers come by themselves; this only ends the round.
            Way::Mdns => {
                self.searches.spawn(async move {
                    tokio::time::sleep(MDNS_TIME).await;
                    Found {
                        id,
                        way,
                        found: Ok(Vec::new()),
                    }
                });
            }
        }
    }
}

impl Actor {
    /// Hands the core what happened, and does what it wishes.
    pub(super) fn drive_joining(&mut self, now: Instant) {
        let mut inputs = std::mem::take(&mut self.joining.waiting);
        if self.joining.next_deadline().is_some_and(|due| due <= now) {
            inputs.push(Input::Tick);
        }
        let mut outputs = Vec::new();
        for input in inputs {
            self.joining
                .join
                .handle(input, now, &mut self.rng, &mut outputs);
        }
        if !outputs.is_empty() {
            self.viewing.on_change();
        }
        for output in outputs {
            match output {
                Output::Search(id, way) => self.joining.search(id, way),
                Output::Dial {
                    id, peer, address, ..
                } => self.dial(id, peer, &address),
                Output::Abandon(id) => self.joining.dials.retain(|_, dial| *dial != id),
                Output::State(_) => {}
            }
        }
    }

    pub(super) fn on_search(&mut self, ended: Found) {
        let Found { id, way, found } = ended;
        let failure = found.as_ref().err().copied();
        if let Ok(candidates) = found {
            self.joining
                .push(Input::Found(way, self.not_us(candidates)));
        }
        self.joining.push(Input::SearchEnded(id, failure));
    }

    pub(super) fn on_lan(&mut self, found: Vec<Candidate>) {
        let found = self.not_us(found);
        self.joining.push(Input::Found(Way::Mdns, found));
    }

    pub(super) fn on_dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        self.on_led_nowhere(connection, cause(error));
    }

    /// Tells whoever began a dial that it failed, or that its connection stayed outside.
    pub(super) fn on_led_nowhere(&mut self, connection: ConnectionId, cause: Cause) {
        self.on_peer_dial_failed(connection);
        if let Some(id) = self.joining.take_dial(connection) {
            self.joining.push(Input::Failed(id, cause));
        }
    }

    pub(super) fn not_us(&self, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        candidates.retain(|candidate| candidate.peer != self.own);
        candidates
    }

    fn dial(&mut self, id: DialId, peer: NodeId, address: &Address) {
        // A second connection would be closed as a duplicate, or the first one with all that hangs
        // on it: a relay's reservation, streams that are served.
        if self.linking.direct_address(peer).is_some() {
            self.joining.push(Input::Reached(id));
            return;
        }
        let Ok(address) = address.text.parse::<Multiaddr>() else {
            self.joining.push(Input::Failed(id, Cause::NoAddress));
            return;
        };
        let options = DialOpts::peer_id(peer_id(&peer))
            .condition(PeerCondition::Always)
            .addresses(vec![address])
            .build();
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.joining.dials.insert(connection, id);
            }
            Err(error) => self.joining.push(Input::Failed(id, cause(&error))),
        }
    }
}

fn remembered(peer: &Remembered) -> Option<Candidate> {
    let addresses = peer.addresses.iter();
    let addresses: Vec<Address> = addresses
        .filter_map(|text| Direct::parse(&text.parse().ok()?))
        .map(|direct| direct.to_address())
        .collect();
    (!addresses.is_empty()).then_some(Candidate {
        peer: peer.node,
        addresses,
    })
}

async fn bootstrap(list: Vec<String>) -> Result<Vec<Candidate>, Cause> {
    let candidates = resolve(&list, &SystemLookup).await.candidates();
    if candidates.is_empty() {
        return Err(Cause::NoAddress);
    }
    Ok(candidates)
}

/// What a failed dial tells a person.
fn cause(error: &DialError) -> Cause {
    match error {
        DialError::WrongPeerId { .. }
        | DialError::LocalPeerId { .. }
        | DialError::Denied { .. } => Cause::HandshakeRefused,
        DialError::Transport(attempts) => {
            let causes = attempts.iter().map(|(_, error)| transport_cause(error));
            causes.min().unwrap_or(Cause::NoAddress)
        }
        DialError::NoAddresses => Cause::NoAddress,
        DialError::Aborted | DialError::DialPeerConditionFalse(_) => Cause::TimedOut,
    }
}

fn transport_cause(error: &TransportError<io::Error>) -> Cause {
    let TransportError::Other(error) = error else {
        return Cause::NoAddress;
    };
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Cause::Refused,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Cause::Unreachable,
        io::ErrorKind::TimedOut => Cause::TimedOut,
        _ => said_cause(&error.to_string()),
    }
}

/// libp2p wraps its transports' errors into each other's text; what is left of them is this.
fn said_cause(text: &str) -> Cause {
    let text = text.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if says(&["refused"]) {
        Cause::Refused
    } else if says(&["unreachable", "no route"]) {
        Cause::Unreachable
    } else if says(&["timed out", "timeout", "deadline"]) {
        Cause::TimedOut
    } else {
        Cause::HandshakeRefused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_read_off_errors() {
        for (text, expected) in [
            ("Connection refused (os error 111)", Cause::Refused),
            ("Handshake with the remote timed out.", Cause::TimedOut),
            ("Network is unreachable (os error 101)", Cause::Unreachable),
            ("noise: bad key", Cause::HandshakeRefused),
        ] {
            assert_eq!(said_cause(text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn a_list_without_an_address_says_so() {
        let found = bootstrap(vec!["nonsense".into()]).await;
        assert_eq!(found, Err(Cause::NoAddress));
        let peer = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
        let list = [
            format!("/ip4/203.0.113.9/udp/9338/quic-v1/p2p/{peer}"),
            format!("/ip4/203.0.113.9/tcp/9338/p2p/{peer}"),
        ];
        let found = bootstrap(list.into()).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].addresses.len(), 2);
    }
}
