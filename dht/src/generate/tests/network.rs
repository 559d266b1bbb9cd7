//! Two nodes over loopback, QUIC and TCP, with lazy negotiation.

use libp2p::{StreamProtocol, swarm::ConnectionId};
use tokio::task::JoinHandle;

use super::*;
use crate::streams::{
    self,
    fixture::{ADDRESSES, Node, PROTOCOL},
};

type Serving = JoinHandle<Result<(), ServeError>>;

/// A client's answer, and the server with its engine in the test's hand.
struct Conversation {
    near: Node,
    far: Node,
    ours: ConnectionId,
    theirs: ConnectionId,
    answer: Answer<streams::Stream>,
    hand: Hand,
    serving: Serving,
}

impl Conversation {
    async fn begin(address: &str) -> Self {
        let (mut near, mut far, ours, theirs) = Node::pair(address).await;
        let stream = near.open(far.peer, ours, PROTOCOL).await.unwrap();
        let mut answer = Answer::new(stream, &request()).unwrap();
        // The request leaves when the answer is asked for.
        assert!(answer.next().now_or_never().is_none());
        let (_, _, stream) = far.inbound().await;
        let (hand, events) = engine();
        let serving = tokio::spawn(async move {
            let room = RequestRoom::default();
            serve_generate(stream, &room, |_| future::ready(Ok(events))).await
        });
        Self {
            near,
            far,
            ours,
            theirs,
            answer,
            hand,
            serving,
        }
    }

    async fn say(&mut self, event: GenerateEvent) {
        self.hand.send(event.clone()).await.unwrap();
        assert_eq!(self.answer.next().await.unwrap().unwrap(), event);
    }

    async fn ended(mut self) -> Result<(), ServeError> {
        assert_eq!(self.near.closed().await, self.ours);
        assert_eq!(self.far.closed().await, self.theirs);
        self.serving.await.unwrap()
    }
}

#[tokio::test]
async fn an_answer_streams_from_node_to_node() {
    for address in ADDRESSES {
        let mut talk = Conversation::begin(address).await;
        for event in answer_events() {
            talk.say(event).await;
        }
        assert!(talk.answer.next().await.is_none());
        talk.ended().await.unwrap();
    }
}

#[tokio::test]
async fn a_cancelled_answer_stops_the_other_nodes_engine() {
    for address in ADDRESSES {
        let mut talk = Conversation::begin(address).await;
        talk.say(started()).await;
        talk.say(delta("a")).await;
        let Conversation {
            mut near,
            mut far,
            ours,
            theirs,
            answer,
            hand,
            serving,
        } = talk;
        drop(answer);
        // The engine says nothing, and yet its events are dropped.
        hand.closed().await;
        let served = serving.await.unwrap();
        assert!(matches!(served, Err(ServeError::Gone)), "{served:?}");
        assert_eq!(near.closed().await, ours);
        assert_eq!(far.closed().await, theirs);
    }
}

#[tokio::test]
async fn a_server_that_dies_cuts_the_answer() {
    for address in ADDRESSES {
        let mut talk = Conversation::begin(address).await;
        talk.say(started()).await;
        talk.say(delta("a")).await;
        // Its task: the stream goes, the connection stays.
        talk.serving.abort();
        let end = talk.answer.next().await;
        assert!(matches!(end, Some(Err(CallError::Cut))), "{end:?}");

        let mut talk = Conversation::begin(address).await;
        talk.say(started()).await;
        // Its connection.
        talk.far.disconnect(talk.theirs);
        let end = talk.answer.next().await;
        let is_lost = matches!(end, Some(Err(CallError::Cut | CallError::Broken(_))));
        assert!(is_lost, "{end:?}");
    }
}

#[tokio::test]
async fn a_node_that_does_not_serve_is_named() {
    let other = StreamProtocol::new("/shoal/test/other/1");
    for address in ADDRESSES {
        let (mut near, far, ours, _) = Node::pair(address).await;
        let stream = near.open(far.peer, ours, other.clone()).await.unwrap();
        let mut answer = Answer::new(stream, &request()).unwrap();
        let end = answer.next().await;
        assert!(matches!(end, Some(Err(CallError::Unsupported))), "{end:?}");
    }
}

#[tokio::test]
async fn embeddings_come_from_node_to_node() {
    for address in ADDRESSES {
        let (mut near, mut far, ours, _) = Node::pair(address).await;
        let stream = near.open(far.peer, ours, PROTOCOL).await.unwrap();
        let request = embed_request();
        let serving = async {
            let (_, _, stream) = far.inbound().await;
            let room = RequestRoom::default();
            serve_embed(stream, &room, |_| async {
                Ok(embed_response(vec![0.5; 4096]))
            })
            .await
        };
        let (embedded, served) = future::join(embed(stream, &request), serving).await;
        served.unwrap();
        assert_eq!(embedded.unwrap(), embed_response(vec![0.5; 4096]));
    }
}
