//! Both sides over streams in memory, with the clock paused; hostile bytes; and two real nodes.

mod hostile;
mod network;

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt, Stream, StreamExt, future, stream};
use protocol::{
    frame::encode_message,
    generate::{
        Bounded, Delta, EmbedInput, EmbedOrder, EmbedReply, EmbedRequest, EmbedResponse, Embedding,
        ErrorCode, EventOrder, Failure, Finished, GenerateEvent, GenerateRequest, Queued,
        ReplyOrder, Started, embed_input, embed_reply::Reply, generate_event::Event,
        generate_request::Prompt,
    },
    limits::{MAX_REPLY_SILENCE, MAX_REQUEST_BYTES, REPLY_HEARTBEAT, REQUEST_TIMEOUT},
};
use tokio::{io::DuplexStream, sync::mpsc, time::Instant};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;

/// A pipe that holds so few bytes that every message comes in pieces.
fn pipe(bytes: usize) -> (Compat<DuplexStream>, Compat<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(bytes);
    (ours.compat(), theirs.compat())
}

/// A stream whose other side is written down: it reads the pieces one by one, then ends or
/// stalls, and keeps what is written.
#[derive(Default)]
struct Script {
    pieces: VecDeque<Vec<u8>>,
    ends: bool,
    written: Vec<u8>,
    flushes: usize,
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(mut piece) = self.pieces.pop_front() else {
            return if self.ends {
                Poll::Ready(Ok(0))
            } else {
                Poll::Pending
            };
        };
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        let rest = piece.split_off(count);
        if !rest.is_empty() {
            self.pieces.push_front(rest);
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn request() -> GenerateRequest {
    GenerateRequest {
        request_id: "r-1".into(),
        model: "m".into(),
        prompt: Some(Prompt::Text("hello".into())),
        ..GenerateRequest::default()
    }
}

fn of(event: Event) -> GenerateEvent {
    GenerateEvent { event: Some(event) }
}

fn queued(position: u32) -> GenerateEvent {
    of(Event::Queued(Queued { position }))
}

fn started() -> GenerateEvent {
    of(Event::Started(Started::default()))
}

fn delta(text: &str) -> GenerateEvent {
    of(Event::Delta(Delta {
        text: text.into(),
        ..Delta::default()
    }))
}

fn finished() -> GenerateEvent {
    of(Event::Finished(Finished::default()))
}

fn answer_events() -> Vec<GenerateEvent> {
    vec![queued(1), started(), delta("a"), delta("b"), finished()]
}

fn framed<M: Bounded>(messages: &[M]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for message in messages {
        encode_message(message, M::MAX_BYTES, &mut bytes).unwrap();
    }
    bytes.to_vec()
}

/// An engine of which the test is the hand: what is sent is an event; its end is noticed.
type Hand = mpsc::Sender<GenerateEvent>;

fn engine() -> (Hand, impl Stream<Item = GenerateEvent> + Send + 'static) {
    let (hand, mut events) = mpsc::channel(64);
    (hand, stream::poll_fn(move |cx| events.poll_recv(cx)))
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_to_its_end_in_pieces_of_any_size() {
    for bytes in [1, 7, 64 << 10] {
        let (ours, theirs) = pipe(bytes);
        let room = RequestRoom::default();
        let serving = serve_generate(theirs, &room, |asked| {
            assert_eq!(asked, request());
            future::ready(Ok(stream::iter(answer_events())))
        });
        let answer = Answer::new(ours, &request()).unwrap();
        let (served, events) = future::join(serving, answer.collect::<Vec<_>>()).await;
        served.unwrap();
        let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
        assert_eq!(events, answer_events());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_together_leaves_in_one_flush() {
    let mut io = Script {
        pieces: [framed(&[request()])].into(),
        ..Script::default()
    };
    let events = stream::iter(answer_events());
    let room = RequestRoom::default();
    serve_generate(&mut io, &room, |_| future::ready(Ok(events)))
        .await
        .unwrap();
    assert_eq!(io.written, framed(&answer_events()));
    assert_eq!(io.flushes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_engine_is_waited_for_and_its_heartbeats_are_not_heard() {
    let (ours, theirs) = pipe(1024);
    let (hand, events) = engine();
    let room = RequestRoom::default();
    let begin = async {
        tokio::time::sleep(10 * MAX_REPLY_SILENCE).await;
        Ok(events)
    };
    let engine = async move {
        for event in answer_events() {
            tokio::time::sleep(10 * MAX_REPLY_SILENCE).await;
            hand.send(event).await.unwrap();
        }
    };
    let serving = serve_generate(theirs, &room, |_| begin);
    let answer = Answer::new(ours, &request()).unwrap();
    let (served, events, ()) = future::join3(serving, answer.collect::<Vec<_>>(), engine).await;
    served.unwrap();
    let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    // The first heartbeat tells of a queue; nothing more was said by anybody.
    let expected: Vec<_> = [vec![queued(0)], answer_events()].concat();
    assert_eq!(events, expected);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_slowly_is_not_silence() {
    let (ours, mut theirs) = pipe(1024);
    let slow = async {
        for byte in framed(&answer_events()) {
            tokio::time::sleep(MAX_REPLY_SILENCE / 2).await;
            theirs.write_all(&[byte]).await.unwrap();
        }
    };
    let answer = Answer::new(ours, &request()).unwrap();
    let (events, ()) = future::join(answer.collect::<Vec<_>>(), slow).await;
    let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    assert_eq!(events, answer_events());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_given_up() {
    let (ours, _theirs) = pipe(1024);
    let begun = Instant::now();
    let mut answer = Answer::new(ours, &request()).unwrap();
    assert!(matches!(answer.next().await, Some(Err(CallError::Silent))));
    assert!(answer.next().await.is_none());
    assert!(begun.elapsed() >= MAX_REPLY_SILENCE);

    let mut io = Script {
        pieces: [framed(&[queued(3), started()])].into(),
        ..Script::default()
    };
    let answer = Answer::new(&mut io, &request()).unwrap();
    let events: Vec<_> = answer.collect().await;
    assert!(matches!(
        &events[..],
        [Ok(_), Ok(_), Err(CallError::Silent)]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_stops_a_silent_engine_at_once() {
    let (ours, theirs) = pipe(1024);
    let (hand, events) = engine();
    let room = RequestRoom::default();
    let serving = serve_generate(theirs, &room, |_| future::ready(Ok(events)));
    let mut answer = Answer::new(ours, &request()).unwrap();
    let client = async {
        hand.send(started()).await.unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap(), started());
        let begun = Instant::now();
        drop(answer);
        hand.closed().await;
        begun.elapsed()
    };
    let (served, noticed) = future::join(serving, client).await;
    assert!(matches!(served, Err(ServeError::Gone)));
    // The paused clock did not move: no timer was waited for.
    assert_eq!(noticed, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_before_its_end_is_cut() {
    let (ours, theirs) = pipe(1024);
    let room = RequestRoom::default();
    let begun = [queued(0), started(), delta("a")];
    let events = stream::iter(begun.clone());
    let serving = serve_generate(theirs, &room, |_| future::ready(Ok(events)));
    let answer = Answer::new(ours, &request()).unwrap();
    let (served, mut events) = future::join(serving, answer.collect::<Vec<_>>()).await;
    assert!(matches!(served, Err(ServeError::Unfinished)));
    assert!(matches!(events.pop(), Some(Err(CallError::Cut))));
    let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    assert_eq!(events, begun);
}

/// What a client of this request hears, and how serving it ended.
async fn refusal(bytes: Vec<u8>, room: &RequestRoom) -> (Option<Failure>, Result<(), ServeError>) {
    let mut io = Script {
        pieces: [bytes].into(),
        ..Script::default()
    };
    let served = serve_generate(&mut io, room, |_| async {
        Err::<stream::Empty<_>, _>(Failure::new(ErrorCode::ModelNotFound, "no such model"))
    });
    let served = served.await;
    let heard = Script {
        pieces: [io.written].into(),
        ends: true,
        ..Script::default()
    };
    let mut answer = Answer::new(heard, &request()).unwrap();
    let failure = answer.next().await.and_then(|event| match event {
        Ok(event) => match event.event {
            Some(Event::Failed(failure)) => Some(failure),
            _ => None,
        },
        Err(_) => None,
    });
    (failure, served)
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_answered_with_the_cause() {
    let room = RequestRoom::default();
    let code = |(failure, served): (Option<Failure>, Result<(), ServeError>)| {
        served.unwrap();
        failure.unwrap().code()
    };
    let known = refusal(framed(&[request()]), &room).await;
    assert_eq!(code(known), ErrorCode::ModelNotFound);
    let empty = refusal(framed(&[GenerateRequest::default()]), &room).await;
    assert_eq!(code(empty), ErrorCode::InvalidRequest);
    let longest = u32::try_from(MAX_REQUEST_BYTES + 2).unwrap().to_be_bytes();
    let huge = refusal(longest.to_vec(), &room).await;
    assert_eq!(code(huge), ErrorCode::InvalidRequest);
    let mut long = request();
    long.prompt = Some(Prompt::Text("x".repeat(1 << 20)));
    let crowded = refusal(framed(&[long]), &RequestRoom::with_bytes(1 << 19)).await;
    assert_eq!(code(crowded), ErrorCode::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn a_client_hears_a_refusal_while_it_still_writes() {
    let mut long = request();
    long.prompt = Some(Prompt::Text("x".repeat(1 << 20)));
    let (ours, theirs) = pipe(1024);
    let room = RequestRoom::with_bytes(0);
    let serving = serve_generate(theirs, &room, |_| {
        future::pending::<Result<stream::Empty<_>, _>>()
    });
    let mut answer = Answer::new(ours, &long).unwrap();
    let (served, event) = future::join(serving, answer.next()).await;
    served.unwrap();
    let Event::Failed(failure) = event.unwrap().unwrap().event.unwrap() else {
        panic!("not refused");
    };
    assert_eq!(failure.code(), ErrorCode::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn requests_that_do_not_come_or_are_none_end_the_stream() {
    let room = RequestRoom::default();
    let whole = framed(&[request()]);
    let (late, served) = refusal(whole[..9].to_vec(), &room).await;
    assert!(late.is_none() && matches!(served, Err(ServeError::Late)));
    let more = [whole.clone(), vec![0]].concat();
    for wrong in [
        vec![0; 4],
        vec![0, 0, 0, 1, 2],
        vec![0, 0, 0, 2, 1, 255],
        vec![255, 255, 255, 255, 1],
        more,
    ] {
        let (said, served) = refusal(wrong, &room).await;
        assert!(said.is_none() && served.is_err_and(|error| error.is_violation()));
    }
    let mut gone = Script {
        ends: true,
        ..Script::default()
    };
    let served = serve_generate(&mut gone, &room, |_| async { Ok(stream::empty()) }).await;
    assert!(matches!(served, Err(ServeError::Gone)));
    assert!(REQUEST_TIMEOUT > REPLY_HEARTBEAT);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_more_is_cut_off() {
    let mut io = Script {
        pieces: [framed(&[request()]), vec![7]].into(),
        ..Script::default()
    };
    let room = RequestRoom::default();
    let (_hand, events) = engine();
    let served = serve_generate(&mut io, &room, |_| future::ready(Ok(events))).await;
    assert!(served.is_err_and(|error| error.is_violation()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up() {
    let (mut ours, theirs) = pipe(64);
    let room = RequestRoom::default();
    let events = stream::iter([started()]).chain(stream::repeat(delta("on and on")));
    let asked = framed(&[request()]);
    let asking = ours.write_all(&asked);
    let serving = serve_generate(theirs, &room, |_| future::ready(Ok(events)));
    let (asked, served) = future::join(asking, serving).await;
    asked.unwrap();
    assert!(matches!(served, Err(ServeError::Stalled)));
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_too_large_is_a_failure_and_not_a_cut() {
    let mut io = Script {
        pieces: [framed(&[request()])].into(),
        ..Script::default()
    };
    let huge = delta(&"x".repeat(GenerateEvent::MAX_BYTES));
    let events = stream::iter([started(), huge, finished()]);
    let room = RequestRoom::default();
    serve_generate(&mut io, &room, |_| future::ready(Ok(events)))
        .await
        .unwrap();
    let message = "a part of the answer is too large to be sent";
    let failed = EventOrder::failed(Failure::new(ErrorCode::Internal, message));
    assert_eq!(io.written, framed(&[started(), failed]));
}

fn embed_request() -> EmbedRequest {
    EmbedRequest {
        request_id: "r-2".into(),
        model: "m".into(),
        inputs: vec![EmbedInput {
            input: Some(embed_input::Input::Text("hello".into())),
        }],
        ..EmbedRequest::default()
    }
}

fn embed_response(values: Vec<f32>) -> EmbedResponse {
    EmbedResponse {
        embeddings: vec![Embedding { values }],
        ..EmbedResponse::default()
    }
}

#[tokio::test(start_paused = true)]
async fn embeddings_are_asked_for_and_waited_for() {
    let (ours, theirs) = pipe(16);
    let room = RequestRoom::default();
    let serving = serve_embed(theirs, &room, |asked| async move {
        assert_eq!(asked, embed_request());
        tokio::time::sleep(10 * MAX_REPLY_SILENCE).await;
        Ok(embed_response(vec![0.6, 0.8]))
    });
    let request = embed_request();
    let (served, embedded) = future::join(serving, embed(ours, &request)).await;
    served.unwrap();
    assert_eq!(embedded.unwrap(), embed_response(vec![0.6, 0.8]));
}

#[tokio::test(start_paused = true)]
async fn embeddings_that_do_not_fit_are_refused() {
    let heard = async |reply: EmbedReply| {
        let io = Script {
            pieces: [framed(&[EmbedOrder::default().heartbeat(), reply])].into(),
            ends: true,
            ..Script::default()
        };
        embed(io, &embed_request()).await
    };
    let response = |response| EmbedReply {
        reply: Some(Reply::Response(response)),
    };
    let none = heard(response(EmbedResponse::default())).await;
    let not_a_number = heard(response(embed_response(vec![f32::NAN]))).await;
    for wrong in [none, not_a_number] {
        assert!(matches!(wrong, Err(EmbedError::Call(error)) if error.is_violation()));
    }
    let failure = Failure::new(ErrorCode::Unsupported, "no embeddings");
    let failed = heard(EmbedOrder::failed(failure.clone())).await;
    assert!(matches!(failed, Err(EmbedError::Failed(heard)) if heard == failure));
    let cut = heard(EmbedReply::default()).await;
    assert!(matches!(cut, Err(EmbedError::Call(CallError::Cut))));
}

#[test]
fn futures_can_run_anywhere() {
    fn check<T: Send>(_: &T) {}
    let room = RequestRoom::default();
    let (_hand, events) = engine();
    check(&serve_generate(Script::default(), &room, |_| {
        future::ready(Ok(events)).boxed()
    }));
    check(&embed(Script::default(), &embed_request()));
}
