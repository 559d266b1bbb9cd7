//! Both sides over pipes, with the clock paused: answers, refusals, cuts, silence, hostile bytes.

use std::{future, io};

use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt, stream};
use protocol::{
    ManifestId,
    frame::{encode_data, encode_end},
    limits::MAX_WEIGHTS_FRAME_BYTES,
    weights::{
        ChunkHash, Layout, Manifest, Refusal, RefusalCode, Span, WeightsReply, WeightsRequest,
    },
};
use tokio::{io::DuplexStream, task::JoinHandle};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;

const ID: ManifestId = ManifestId::new([7; 32]);

type Pipe = Compat<DuplexStream>;

/// It holds so few bytes that every frame comes in pieces.
fn pipe() -> (Pipe, Pipe) {
    let (ours, theirs) = tokio::io::duplex(1000);
    (ours.compat(), theirs.compat())
}

fn span(length: u64) -> Span {
    Span {
        file: 1,
        offset: 300,
        length,
    }
}

fn pieces(bytes: &[u8]) -> Pieces {
    let pieces = bytes.chunks(MAX_WEIGHTS_FRAME_BYTES);
    let pieces: Vec<_> = pieces
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    stream::iter(pieces).boxed()
}

type Pieces = stream::BoxStream<'static, io::Result<Bytes>>;

/// A server that gives this for whatever is asked.
fn server(given: Given<Pieces>) -> (Pipe, JoinHandle<Result<(), ServeError>>) {
    let (ours, theirs) = pipe();
    let serving = tokio::spawn(serve_weights(theirs, |_| future::ready(given)));
    (ours, serving)
}

/// A server that writes these bytes and ends.
fn script(bytes: &[u8]) -> Pipe {
    let (ours, mut theirs) = pipe();
    let bytes = bytes.to_vec();
    tokio::spawn(async move {
        let mut request = [0; 64];
        let _ = theirs.read(&mut request).await;
        let _ = theirs.write_all(&bytes).await;
    });
    ours
}

fn frames(reply: &WeightsReply, data: &[&[u8]], ends: bool) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_data(&reply.encode(), 1 << 20, &mut out).unwrap();
    for data in data {
        encode_data(data, 1 << 20, &mut out).unwrap();
    }
    if ends {
        encode_end(&mut out);
    }
    out.to_vec()
}

async fn range<IO: AsyncRead + futures::AsyncWrite + Unpin>(
    io: IO,
    length: u64,
) -> Result<Vec<u8>, CallError> {
    let Answer::Bytes(mut incoming) = ask(io, &WeightsRequest::Range(ID, span(length))).await?
    else {
        panic!("no bytes");
    };
    let mut bytes = Vec::new();
    while let Some(piece) = incoming.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_range_comes_whole() {
    let bytes: Vec<u8> = (0..50_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (ours, theirs) = pipe();
    let given = bytes.clone();
    let serving = tokio::spawn(serve_weights(theirs, move |request| {
        assert_eq!(request, WeightsRequest::Range(ID, span(50_000)));
        future::ready(Given::Bytes(50_000, pieces(&given)))
    }));
    assert_eq!(range(ours, 50_000).await.unwrap(), bytes);
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_held_and_manifests_come_too() {
    let (ours, _) = server(Given::Have(vec![0..3, 7..9]));
    assert_eq!(ask_have(ours, ID).await.unwrap(), [0..3, 7..9]);
    let layout = Layout::new(&[4096]).unwrap();
    let manifest = Manifest::new(layout, vec![ChunkHash::of(&[1; 4096])]).unwrap();
    let bytes = manifest.encode();
    let given = || Given::Bytes(bytes.len() as u64, pieces(&bytes));
    let (ours, _) = server(given());
    assert_eq!(ask_manifest(ours, manifest.id()).await.unwrap(), manifest);
    let (ours, _) = server(given());
    let wrong = ask_manifest(ours, ID).await.unwrap_err();
    assert!(matches!(
        wrong,
        CallError::Violation(Violation::Manifest(_))
    ));
}

#[tokio::test]
async fn a_refusal_is_told() {
    let refusal = Refusal::from(RefusalCode::NotHeld);
    let (ours, serving) = server(Given::Refused(refusal));
    let refused = range(ours, 9).await.unwrap_err();
    assert!(matches!(refused, CallError::Refused(said) if said == refusal));
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_cut_is_no_end() {
    let whole = frames(&WeightsReply::Data(6), &[b"abc", b"def"], true);
    assert_eq!(range(script(&whole), 6).await.unwrap(), b"abcdef");
    for length in 0..whole.len() {
        let cut = range(script(&whole[..length]), 6).await.unwrap_err();
        assert!(matches!(cut, CallError::Cut), "{length}: {cut}");
    }
}

#[tokio::test]
async fn what_does_not_fit_the_request_is_a_violation() {
    let data = WeightsReply::Data(6);
    let long = vec![0; MAX_WEIGHTS_FRAME_BYTES + 1];
    let scripts = [
        frames(&data, &[b"abc"], true),
        frames(&data, &[b"abcdefg"], true),
        frames(&data, &[b"abcdef", b"g"], true),
        frames(&data, &[b"", b"abcdef"], true),
        frames(&WeightsReply::Data(7), &[b"abcdefg"], true),
        frames(&WeightsReply::Have(Vec::new()), &[], true),
        frames(&data, &[&long], true),
        vec![0; 20],
        vec![0xff; 20],
    ];
    for script_bytes in scripts {
        let error = range(script(&script_bytes), 6).await.unwrap_err();
        assert!(error.is_violation(), "{error}");
    }
    let have = frames(&WeightsReply::Data(6), &[b"abcdef"], true);
    assert!(
        ask_have(script(&have), ID)
            .await
            .unwrap_err()
            .is_violation()
    );
}

#[tokio::test(start_paused = true)]
async fn silence_is_an_end_on_both_sides() {
    let (ours, theirs) = pipe();
    let silent = range(ours, 9).await.unwrap_err();
    assert!(matches!(silent, CallError::Silent));
    drop(theirs);
    // A client that says nothing, and one that takes nothing.
    let (ours, theirs) = pipe();
    let given = |_| future::ready(Given::<Pieces>::Have(Vec::new()));
    let slow = serve_weights(theirs, given).await;
    assert!(matches!(slow, Err(ServeError::Slow)));
    drop(ours);
    let bytes = vec![1; 50_000];
    let (mut ours, serving) = server(Given::Bytes(50_000, pieces(&bytes)));
    let mut frame = BytesMut::new();
    let request = WeightsRequest::Range(ID, span(50_000));
    encode_data(&request.encode(), 1000, &mut frame).unwrap();
    ours.write_all(&frame).await.unwrap();
    assert!(matches!(serving.await.unwrap(), Err(ServeError::Slow)));
}

#[tokio::test]
async fn a_client_that_goes_ends_the_sending() {
    let (ours, theirs) = pipe();
    let endless = stream::pending::<io::Result<Bytes>>();
    let given = |_| future::ready(Given::Bytes(9, endless));
    let serving = tokio::spawn(serve_weights(theirs, given));
    let Answer::Bytes(mut incoming) = ask(ours, &WeightsRequest::Range(ID, span(9)))
        .await
        .unwrap()
    else {
        panic!("no bytes");
    };
    assert!(incoming.next().now_or_never().is_none());
    drop(incoming);
    assert!(matches!(serving.await.unwrap(), Err(ServeError::Gone)));
}

#[tokio::test]
async fn hostile_requests_are_violations() {
    let mut twice = BytesMut::new();
    let request = WeightsRequest::Have(ID).encode();
    encode_data(&request, 1000, &mut twice).unwrap();
    encode_data(&request, 1000, &mut twice).unwrap();
    let mut end = BytesMut::new();
    encode_end(&mut end);
    for bytes in [
        twice.to_vec(),
        end.to_vec(),
        vec![0; 9],
        vec![0xff; 9],
        vec![0, 0, 0, 1, 1],
    ] {
        let (mut ours, serving) = server(Given::Have(Vec::new()));
        ours.write_all(&bytes).await.unwrap();
        let ended = serving.await.unwrap().unwrap_err();
        assert!(ended.is_violation(), "{bytes:?}: {ended}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_a_cut_for_the_client() {
    let broken = stream::iter([
        Ok(Bytes::from_static(b"abc")),
        Err(io::ErrorKind::Other.into()),
    ]);
    let (ours, serving) = server(Given::Bytes(6, broken.boxed()));
    assert!(matches!(range(ours, 6).await, Err(CallError::Cut)));
    assert!(matches!(
        serving.await.unwrap(),
        Err(ServeError::Unreadable(_))
    ));
    for wrong in [b"abc".as_slice(), b"abcdefg"] {
        let (ours, serving) = server(Given::Bytes(6, pieces(wrong)));
        assert!(range(ours, 6).await.is_err());
        assert!(matches!(
            serving.await.unwrap(),
            Err(ServeError::Unreadable(_))
        ));
    }
}
