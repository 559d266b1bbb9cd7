//! Both sides over a pipe, with the clock paused, and hostile bytes.

use std::future;

use bytes::BytesMut;
use futures::{AsyncReadExt, future::join};
use proptest::prelude::*;
use protocol::{
    LeaseId,
    chain::{Granted, Phase, Refused, StageState},
    frame::encode_data,
    limits::LEASE_LIFETIME,
};
use tokio::io::DuplexStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;

const RENEW: LeaseRequest = LeaseRequest::Renew(LeaseId(7));

fn pipe(bytes: usize) -> (Compat<DuplexStream>, Compat<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(bytes);
    (ours.compat(), theirs.compat())
}

fn ready() -> LeaseReply {
    LeaseReply::State(StageState {
        phase: Phase::Ready,
        progress: 1.0,
        lapses_in: LEASE_LIFETIME,
        cause: String::new(),
        decode_seconds: None,
        slowness: None,
    })
}

fn framed(message: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_data(message, 4096, &mut bytes).unwrap();
    bytes
}

/// What a head makes of these bytes.
async fn heard(bytes: &[u8]) -> Result<LeaseReply, LeaseError> {
    let (ours, mut theirs) = pipe(4096);
    theirs.write_all(bytes).await.unwrap();
    theirs.close().await.unwrap();
    ask(ours, &RENEW).await
}

/// What a peer that always says that it is ready makes of these bytes, and answers.
async fn served(bytes: &[u8]) -> (Result<(), ServeLeaseError>, Vec<u8>) {
    let (mut ours, theirs) = pipe(4096);
    ours.write_all(bytes).await.unwrap();
    let result = serve(theirs, |_| future::ready(ready())).await;
    let mut said = Vec::new();
    ours.read_to_end(&mut said).await.unwrap();
    (result, said)
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_in_pieces_of_any_size() {
    for bytes in [1, 7, 4096] {
        let (ours, theirs) = pipe(bytes);
        let serving = serve(theirs, |request| {
            assert_eq!(request, RENEW);
            future::ready(ready())
        });
        let (asked, served) = join(ask(ours, &RENEW), serving).await;
        assert_eq!(asked.unwrap(), ready());
        served.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_keeps_what_it_says() {
    let refused = LeaseReply::Refused(Refused {
        needed_bytes: 3 << 30,
        free_bytes: 1 << 30,
        ..Refusal::NoRoom.into()
    });
    assert_eq!(heard(&framed(&refused.encode())).await.unwrap(), refused);
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_given_up() {
    let (ours, theirs) = pipe(4096);
    let late = serve(theirs, |_| future::pending());
    let asked = tokio::select! {
        asked = ask(ours, &RENEW) => asked,
        _ = late => unreachable!("it never answers"),
    };
    assert!(matches!(asked, Err(LeaseError::Late)));

    let (_ours, theirs) = pipe(4096);
    let served = serve(theirs, |_| future::ready(ready())).await;
    assert!(matches!(served, Err(ServeLeaseError::Late)));
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_a_cut_at_both_ends() {
    let whole = framed(&ready().encode());
    for cut in 0..whole.len() {
        let heard = heard(&whole[..cut]).await;
        assert!(matches!(heard, Err(LeaseError::Cut)), "cut at {cut}");
    }
    let (ours, theirs) = pipe(4096);
    drop(ours);
    let served = serve(theirs, |_| future::ready(ready())).await;
    assert!(matches!(served, Err(ServeLeaseError::Gone)));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_reply_is_a_violation() {
    let granted = LeaseReply::Granted(Granted {
        lease: LeaseId(1),
        channel: protocol::ChannelId(1),
        lapses_in: LEASE_LIFETIME,
        memory_bytes: 0,
    });
    let wrong = [
        framed(&granted.encode()),
        framed(&[0xff]),
        BytesMut::from(&[0xff; 5][..]),
        BytesMut::from(&[0; 4][..]),
    ];
    for wrong in wrong {
        assert!(heard(&wrong).await.is_err_and(|error| error.is_violation()));
    }
    // Of a later version, or beyond the limits of this one.
    for other in [
        &[0xa2, 0x06, 0x00][..],
        &[0x12, 0x04, 0x18, 0xff, 0xff, 0x7f][..],
    ] {
        let heard = heard(&framed(other)).await;
        assert!(heard.is_err_and(|error| !error.is_violation()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_refused_or_a_violation() {
    for wrong in [&framed(&[0xff])[..], &[0xff; 5], &[0; 4]] {
        let (served, said) = served(wrong).await;
        assert!(served.is_err_and(|error| error.is_violation()) && said.is_empty());
    }
    let refused = |code: Refusal| framed(&LeaseReply::Refused(code.into()).encode()).to_vec();
    // A request of a later version; a link to nobody.
    let (later, said) = served(&framed(&[0xa2, 0x06, 0x00])).await;
    assert!(later.is_ok() && said == refused(Refusal::Unsupported));
    let (invalid, said) = served(&framed(&[0x12, 0x00])).await;
    assert!(invalid.is_ok() && said == refused(Refusal::Invalid));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_ends_both_sides(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let _ = heard(&bytes).await;
            let _ = served(&bytes).await;
            let _ = heard(&framed(&bytes)).await;
            let _ = served(&framed(&bytes)).await;
        });
    }
}
