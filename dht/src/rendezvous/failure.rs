//! What a failed dial tells a person. It looks at errors and decides nothing.

use std::{error::Error, io};

use libp2p::{
    TransportError, core::transport::timeout::TransportTimeoutError, quic, swarm::DialError,
};

use crate::core::join::Cause;

/// The cause of a failed dial: of several addresses the most telling one.
pub(super) fn cause_of(error: &DialError) -> Cause {
    match error {
        DialError::Transport(addresses) => {
            let causes = addresses.iter().map(|(_, error)| match error {
                TransportError::MultiaddrNotSupported(_) => Cause::NoAddress,
                TransportError::Other(error) => within(error),
            });
            causes.min().unwrap_or(Cause::NoAddress)
        }
        DialError::WrongPeerId { .. } | DialError::LocalPeerId { .. } => Cause::HandshakeRefused,
        _ => Cause::NoAddress,
    }
}

/// The transports' errors lie in one another; the first one that says something counts. One that
/// does not is of a handshake: everything below it speaks of input and output.
fn within(error: &io::Error) -> Cause {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(cause) = told(error) {
            return cause;
        }
        let boxed = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = boxed
            .map(|inner| inner as &(dyn Error + 'static))
            .or_else(|| error.source());
    }
    Cause::HandshakeRefused
}

fn told(error: &(dyn Error + 'static)) -> Option<Cause> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return of_kind(error.kind());
    }
    let timed_out = matches!(
        error.downcast_ref::<TransportTimeoutError<io::Error>>(),
        Some(TransportTimeoutError::Timeout)
    ) || matches!(
        error.downcast_ref::<quic::Error>(),
        Some(quic::Error::HandshakeTimedOut)
    );
    timed_out.then_some(Cause::TimedOut)
}

fn of_kind(kind: io::ErrorKind) -> Option<Cause> {
    match kind {
        io::ErrorKind::ConnectionRefused => Some(Cause::Refused),
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => Some(Cause::Unreachable),
        io::ErrorKind::TimedOut => Some(Cause::TimedOut),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;

    use super::*;

    fn transport(errors: Vec<io::Error>) -> DialError {
        let address: libp2p::Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let errors = errors.into_iter();
        DialError::Transport(
            errors
                .map(|error| (address.clone(), TransportError::Other(error)))
                .collect(),
        )
    }

    #[test]
    fn the_cause_is_found_inside() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let nested = io::Error::other(TransportTimeoutError::Other(io::Error::other(refused())));
        let timeout = || io::Error::other(TransportTimeoutError::<io::Error>::Timeout);
        let quic = io::Error::other(io::Error::other(quic::Error::HandshakeTimedOut));
        let gone = || io::Error::from(io::ErrorKind::NetworkUnreachable);
        let cases = [
            (vec![nested], Cause::Refused),
            (vec![timeout()], Cause::TimedOut),
            (vec![quic], Cause::TimedOut),
            (vec![gone(), timeout()], Cause::Unreachable),
            (vec![timeout(), refused(), gone()], Cause::Refused),
            (vec![io::Error::other("noise")], Cause::HandshakeRefused),
            (vec![], Cause::NoAddress),
        ];
        for (errors, expected) in cases {
            assert_eq!(cause_of(&transport(errors)), expected);
        }
    }

    #[test]
    fn another_peer_there_is_a_refusal() {
        let wrong = DialError::WrongPeerId {
            obtained: PeerId::random(),
            address: libp2p::Multiaddr::empty(),
        };
        assert_eq!(cause_of(&wrong), Cause::HandshakeRefused);
        assert_eq!(cause_of(&DialError::NoAddresses), Cause::NoAddress);
    }
}
