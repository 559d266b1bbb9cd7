//! Framing, comments and ends, under paused time.

use std::time::Duration;

use futures::StreamExt;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::*;

/// Writes each word as an event; `end` ends the stream.
struct Words;

impl Transcript for Words {
    type Item = &'static str;

    fn write(&mut self, item: Option<&'static str>, out: &mut Events) -> Flow {
        match item {
            Some("end") => {
                out.done();
                Flow::End
            }
            Some("") => Flow::Continue,
            Some(word) => {
                out.data(word);
                Flow::Continue
            }
            None => {
                out.named("cut", &1);
                Flow::Continue
            }
        }
    }
}

const TEN: Duration = Duration::from_secs(10);

fn stream() -> (
    mpsc::Sender<&'static str>,
    EventStream<ReceiverStream<&'static str>, Words>,
) {
    let (send, receive) = mpsc::channel(16);
    let stream = EventStream::new(ReceiverStream::new(receive), Words, TEN);
    (send, stream)
}

async fn next(stream: &mut EventStream<ReceiverStream<&'static str>, Words>) -> String {
    let bytes = stream.next().await.unwrap().unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn silence_gets_a_comment_every_ten_seconds() {
    let (send, mut stream) = stream();
    let began = Instant::now();
    for i in 1..=3 {
        assert_eq!(next(&mut stream).await, ": keep-alive\n\n");
        assert_eq!(began.elapsed(), TEN * i);
    }
    send.send("hi").await.unwrap();
    assert_eq!(next(&mut stream).await, "data: \"hi\"\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_write_puts_the_comment_off() {
    let (send, mut stream) = stream();
    tokio::time::advance(Duration::from_secs(9)).await;
    send.send("hi").await.unwrap();
    assert_eq!(next(&mut stream).await, "data: \"hi\"\n\n");
    let wrote = Instant::now();
    assert_eq!(next(&mut stream).await, ": keep-alive\n\n");
    assert_eq!(wrote.elapsed(), TEN);
}

#[tokio::test(start_paused = true)]
async fn items_that_write_nothing_do_not_hide_the_silence() {
    let (send, mut stream) = stream();
    send.send("").await.unwrap();
    let began = Instant::now();
    assert_eq!(next(&mut stream).await, ": keep-alive\n\n");
    assert_eq!(began.elapsed(), TEN);
}

#[tokio::test]
async fn what_is_ready_together_goes_out_together_and_the_end_ends() {
    let (send, mut stream) = stream();
    for word in ["a", "b", "end", "after"] {
        send.send(word).await.unwrap();
    }
    assert_eq!(
        next(&mut stream).await,
        "data: \"a\"\n\ndata: \"b\"\n\ndata: [DONE]\n\n"
    );
    assert!(stream.next().await.is_none());
    assert!(send.is_closed(), "the source is dropped at the end");
}

#[tokio::test]
async fn a_source_that_ends_is_told_to_the_transcript() {
    let (send, mut stream) = stream();
    drop(send);
    assert_eq!(next(&mut stream).await, "event: cut\ndata: 1\n\n");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn the_buffer_is_reused_once_the_last_write_is_gone() {
    let (send, mut stream) = stream();
    send.send("a").await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    let at = first.as_ptr() as usize;
    drop(first);
    let mut reused = false;
    for _ in 0..64 {
        send.send("a").await.unwrap();
        let chunk = stream.next().await.unwrap().unwrap();
        reused |= chunk.as_ptr() as usize == at;
    }
    assert!(reused);
}
