//! Two peers over loopback, QUIC and TCP, with lazy negotiation; and the behaviour by itself.

use std::io::ErrorKind;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{
    core::ConnectedPoint,
    swarm::behaviour::{ConnectionClosed, ConnectionEstablished},
};

use super::{
    fixture::{ADDRESSES, Node, PROTOCOL, Seen, connect},
    *,
};

const OTHER: StreamProtocol = StreamProtocol::new("/shoal/test/other/1");

#[tokio::test]
async fn streams_carry_bytes_and_each_end_is_heard_of_at_both_sides() {
    for address in ADDRESSES {
        let (mut near, mut far, ours, theirs) = Node::pair(address).await;
        let mut stream = near.open(far.peer, ours, PROTOCOL).await.unwrap();
        stream.write_all(b"question").await.unwrap();
        stream.flush().await.unwrap();
        let (connection, protocol, mut taken) = far.inbound().await;
        assert_eq!((connection, protocol), (theirs, PROTOCOL));
        let mut bytes = [0; 8];
        taken.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"question");
        taken.write_all(b"answer").await.unwrap();
        taken.close().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        // In other tasks, as a server and a client would.
        tokio::spawn(async move { drop(stream) });
        assert_eq!(near.closed().await, ours);
        std::thread::spawn(move || drop(taken));
        assert_eq!(far.closed().await, theirs);
    }
}

#[tokio::test]
async fn the_peer_notices_a_dropped_stream_while_it_only_reads() {
    for address in ADDRESSES {
        let (mut near, mut far, ours, _) = Node::pair(address).await;
        let mut stream = near.open(far.peer, ours, PROTOCOL).await.unwrap();
        stream.write_all(b"?").await.unwrap();
        stream.flush().await.unwrap();
        let (_, _, mut taken) = far.inbound().await;
        let mut byte = [0];
        taken.read_exact(&mut byte).await.unwrap();
        drop(stream);
        assert!(matches!(taken.read(&mut byte).await, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn a_protocol_that_is_not_spoken_is_named_and_the_stream_is_safe_to_touch() {
    for address in ADDRESSES {
        let (mut near, far, ours, _) = Node::pair(address).await;
        let mut stream = near.open(far.peer, ours, OTHER).await.unwrap();
        stream.write_all(b"anybody?").await.unwrap();
        stream.flush().await.unwrap();
        let mut byte = [0];
        let refused = stream.read(&mut byte).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{address}");
        let again = stream.read(&mut byte).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotConnected);
        let written = stream.write(b"still?").await.unwrap_err();
        assert_eq!(written.kind(), ErrorKind::BrokenPipe);
        assert!(stream.flush().await.is_err() && stream.close().await.is_err());
        drop(stream);
        assert_eq!(near.closed().await, ours);
    }
}

#[tokio::test]
async fn a_peer_has_so_many_streams_and_no_more_until_one_ends() {
    for address in ADDRESSES {
        let (mut near, mut far, ours, _) = Node::pair(address).await;
        let mut taken = Vec::new();
        let mut held = Vec::new();
        for _ in 0..MAX_INBOUND_PER_CONNECTION {
            held.push(asking(&mut near, far.peer, ours).await);
            taken.push(far.inbound().await);
        }
        let mut refused = asking(&mut near, far.peer, ours).await;
        far.until(|seen| matches!(seen, Seen::Streams(Event::Refused { .. })).then_some(()))
            .await;
        assert!(matches!(refused.read(&mut [0]).await, Ok(0) | Err(_)));
        taken.pop();
        far.closed().await;
        held.push(asking(&mut near, far.peer, ours).await);
        far.inbound().await;
    }
}

/// A stream on which something was said, so that the peer knows of it.
async fn asking(near: &mut Node, peer: PeerId, connection: ConnectionId) -> Stream {
    let mut stream = near.open(peer, connection, PROTOCOL).await.unwrap();
    stream.write_all(b"?").await.unwrap();
    stream.flush().await.unwrap();
    stream
}

#[tokio::test]
async fn our_own_streams_on_a_connection_are_bounded() {
    let (mut near, far, ours, _) = Node::pair(ADDRESSES[0]).await;
    let mut held = Vec::new();
    for _ in 0..MAX_OUTBOUND_PER_CONNECTION {
        held.push(near.open(far.peer, ours, PROTOCOL).await.unwrap());
    }
    let more = near.open(far.peer, ours, PROTOCOL).await;
    assert!(matches!(more, Err(OpenStreamError::Busy)));
    held.pop();
    near.closed().await;
    near.open(far.peer, ours, PROTOCOL).await.unwrap();
}

#[tokio::test]
async fn a_connection_ends_when_its_last_stream_did() {
    // Longer than it takes to open a stream on a busy machine.
    let idle = Duration::from_secs(5);
    let mut near = Node::with_idle(vec![PROTOCOL], idle);
    let mut far = Node::new(vec![PROTOCOL]);
    let (ours, _) = connect(&mut near, &mut far, ADDRESSES[0]).await;
    let stream = near.open(far.peer, ours, PROTOCOL).await.unwrap();
    drop(stream);
    let closed_first = near
        .until(|seen| match seen {
            Seen::Streams(Event::Closed { .. }) => Some(true),
            Seen::Disconnected(_) => Some(false),
            _ => None,
        })
        .await;
    assert!(closed_first);
    near.until(|seen| matches!(seen, Seen::Disconnected(id) if id == ours).then_some(()))
        .await;
}

#[tokio::test]
async fn a_lost_connection_ends_its_streams_and_takes_no_new_ones() {
    for address in ADDRESSES {
        let (mut near, far, ours, _) = Node::pair(address).await;
        let stranger = PeerId::random();
        let wrong = near.open(stranger, ours, PROTOCOL).await;
        assert!(matches!(wrong, Err(OpenStreamError::NotConnected)));
        let mut stream = asking(&mut near, far.peer, ours).await;
        near.disconnect(ours);
        near.until(|seen| matches!(seen, Seen::Disconnected(_)).then_some(()))
            .await;
        assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
        drop(stream);
        let late = near.open(far.peer, ours, PROTOCOL).await;
        assert!(matches!(late, Err(OpenStreamError::NotConnected)));
    }
}

/// The behaviour's next event, if it has one.
fn event(streams: &mut Streams) -> Option<Event> {
    let mut cx = Context::from_waker(Waker::noop());
    match streams.poll(&mut cx) {
        Poll::Ready(ToSwarm::GenerateEvent(event)) => Some(event),
        _ => None,
    }
}

#[test]
fn streams_that_wait_are_bounded_and_none_is_forgotten() {
    let mut streams = Streams::new(vec![PROTOCOL]);
    let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(7));
    let endpoint = ConnectedPoint::Listener {
        local_addr: Multiaddr::empty(),
        send_back_addr: Multiaddr::empty(),
    };
    streams.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
        peer_id: peer,
        connection_id: connection,
        endpoint: &endpoint,
        failed_addresses: &[],
        other_established: 0,
    }));
    let mut waiting: Vec<_> = (0..MAX_OPENING_PER_CONNECTION)
        .map(|_| streams.open(peer, connection, PROTOCOL))
        .collect();
    let refused = streams.open(peer, connection, PROTOCOL);
    let first = event(&mut streams);
    assert!(matches!(
        first,
        Some(Event::Opened { id, result: Err(OpenStreamError::Busy), .. }) if id == refused
    ));
    streams.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
        peer_id: peer,
        connection_id: connection,
        endpoint: &endpoint,
        cause: None,
        remaining_established: 0,
    }));
    while let Some(event) = event(&mut streams) {
        let Event::Opened {
            id,
            result: Err(OpenStreamError::Disconnected),
            ..
        } = event
        else {
            panic!("{event:?}");
        };
        waiting.retain(|other| *other != id);
    }
    assert!(waiting.is_empty() && streams.commands.is_empty());
    assert!(streams.connections.is_empty());
}
