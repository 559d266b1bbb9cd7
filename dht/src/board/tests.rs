//! Two ledgers over a pipe; and a peer that is none.

use std::collections::BTreeSet;

use bytes::BytesMut;
use ed25519_dalek::SigningKey;
use protocol::{
    frame::{encode_data, encode_end},
    limits::MAX_BOARDS_MESSAGE_BYTES,
    reconcile::{BoardsReply, BoardsRequest, RefusalCode},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::{
    error::SILENCE,
    fixture::{Shelf, board, note, notes},
    *,
};
use crate::core::board::Poison;

/// Bytes under way, as in a socket.
const PIPE: usize = 64 << 10;

fn node(seed: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[seed; 32]))
}

fn clerk(shelf: &Arc<Shelf>) -> Clerk {
    Clerk::start(Arc::clone(shelf) as Arc<dyn Ledger>).0
}

type Called = (Result<(), CallError>, Reconciled);
type Answered = (Result<(), ServeError>, Served);

async fn call(io: DuplexStream, shelf: &Arc<Shelf>) -> Called {
    let mut came = Reconciled::default();
    let clerk = clerk(shelf);
    let ended = reconcile(io.compat(), &clerk, node(2), board(), &mut came).await;
    (ended, came)
}

async fn answer(io: DuplexStream, shelf: &Arc<Shelf>) -> Answered {
    let mut came = Served::default();
    let (clerk, followed) = (clerk(shelf), BTreeSet::from([board()]));
    let ended = serve_boards(io.compat(), &clerk, node(1), &followed, &mut came).await;
    (ended, came)
}

async fn both(ours: &Arc<Shelf>, theirs: &Arc<Shelf>) -> (Called, Answered) {
    let (here, there) = duplex(PIPE);
    tokio::join!(call(here, ours), answer(there, theirs))
}

#[tokio::test]
async fn both_have_all_afterwards() {
    let all = notes(7, 600);
    let ours = Shelf::with(&all[..400]);
    let theirs = Shelf::with(&all[250..]);
    let ((called, came), (served, gone)) = both(&ours, &theirs).await;
    called.unwrap();
    served.unwrap();
    assert_eq!((came.news, came.given, came.is_whole), (200, 250, true));
    assert_eq!((gone.news, gone.board), (250, Some(board())));
    assert_eq!(ours.ids(), theirs.ids());
    assert_eq!(ours.len(), 600);
    // Again, it is nothing.
    let ((called, came), _) = both(&theirs, &ours).await;
    called.unwrap();
    assert_eq!((came.news, came.given, came.is_whole), (0, 0, true));
}

#[tokio::test]
async fn the_longest_notes_come_in_several_messages() {
    let body = "x".repeat(4096);
    let long = |n: u64| note(7, &format!("{n:04}{}", &body[4..]), n);
    let all: Vec<_> = (0..300).map(long).collect();
    let (ours, theirs) = (Shelf::new(), Shelf::with(&all[..150]));
    let ((called, came), _) = both(&ours, &theirs).await;
    called.unwrap();
    assert_eq!(came.news, 150);
    let (ours, theirs) = (Shelf::with(&all), Shelf::new());
    let ((called, came), (_, gone)) = both(&ours, &theirs).await;
    called.unwrap();
    assert_eq!((came.given, gone.news), (300, 300));
}

#[tokio::test]
async fn a_board_that_is_not_followed_is_refused() {
    let shelf = Shelf::with(&notes(7, 3));
    let (here, there) = duplex(PIPE);
    let serving = async {
        let clerk = clerk(&shelf);
        let mut came = Served::default();
        let none = BTreeSet::new();
        serve_boards(there.compat(), &clerk, node(1), &none, &mut came).await
    };
    let (called, served) = tokio::join!(call(here, &shelf), serving);
    assert!(matches!(
        called.0,
        Err(CallError::Refused(RefusalCode::NotFollowed))
    ));
    assert!(matches!(served, Err(ServeError::Gone)));
}

#[tokio::test]
async fn notes_that_are_not_there_are_noticed() {
    let (ours, theirs) = (Shelf::new(), Shelf::with(&notes(7, 5)));
    theirs.pretend(200);
    let ((called, came), _) = both(&ours, &theirs).await;
    assert!(matches!(
        called,
        Err(CallError::Violation(Violation::Phantom))
    ));
    assert_eq!(came.news, 5, "what is true counts");
    // A few may be gone meanwhile.
    theirs.pretend(20);
    let ((called, came), _) = both(&ours, &theirs).await;
    called.unwrap();
    assert!(came.is_whole);
}

fn frame(message: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    encode_data(message, MAX_BOARDS_MESSAGE_BYTES, &mut frame).unwrap();
    frame
}

/// What a client that begins says, against replies that are given whatever it says.
async fn against(replies: Vec<Vec<u8>>, shelf: &Arc<Shelf>) -> Called {
    let (here, mut there) = duplex(PIPE);
    let replying = async {
        for reply in replies {
            let mut length = [0; 4];
            if there.read_exact(&mut length).await.is_err() {
                return there;
            }
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            there.read_exact(&mut request).await.unwrap();
            let _ = there.write_all(&frame(&reply)).await;
        }
        let _ = there.shutdown().await;
        there
    };
    let (called, _) = tokio::join!(call(here, shelf), replying);
    called
}

fn opened() -> Vec<u8> {
    BoardsReply::Opened(UnixMillis(0)).encode()
}

fn round(message: &[u8]) -> Vec<u8> {
    BoardsReply::Round(Bytes::copy_from_slice(message)).encode()
}

/// The whole range, with these ids.
fn listing(ids: &[NoteId]) -> Vec<u8> {
    let mut message = vec![0x61, 0, 0, 2, u8::try_from(ids.len()).unwrap()];
    message.extend(ids.iter().flat_map(|id| *id.as_bytes()));
    round(&message)
}

#[tokio::test]
async fn answers_that_are_none_are_violations() {
    let shelf = Shelf::with(&notes(7, 100));
    let endless: Vec<Vec<u8>> = {
        // The whole range differs, whatever is asked.
        let differs = [&[0x61, 0, 0, 1][..], &[9; 16]].concat();
        let rounds = std::iter::repeat_n(round(&differs), 200);
        [opened()].into_iter().chain(rounds).collect()
    };
    let cases: [(Vec<Vec<u8>>, Violation); 4] = [
        (vec![round(b"\x61")], Violation::Unfitting),
        (
            vec![opened(), round(b"garbage")],
            Violation::Poison(Poison::Malformed),
        ),
        (
            vec![opened(), BoardsReply::Taken.encode()],
            Violation::Unfitting,
        ),
        (endless, Violation::Poison(Poison::Endless)),
    ];
    for (replies, expected) in cases {
        let (called, came) = against(replies, &shelf).await;
        let Err(CallError::Violation(violation)) = called else {
            panic!("{called:?} and not {expected:?}")
        };
        assert_eq!(violation, expected);
        assert_eq!(came, Reconciled::default());
    }
    let (called, _) = against(vec![b"garbage".to_vec()], &shelf).await;
    assert!(called.unwrap_err().is_violation());
    let (called, _) = against(vec![opened()], &shelf).await;
    assert!(matches!(called, Err(CallError::Cut)));
    assert_eq!(shelf.len(), 100);
}

#[tokio::test]
async fn forged_entries_are_not_taken() {
    let shelf = Shelf::new();
    let real = note(7, "real", 1000);
    let mut forged = real.bytes.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let entries = vec![real.bytes.clone(), forged.into()];
    let ids = [real.id, note(7, "another", 2000).id];
    let reply = BoardsReply::Entries {
        answered: 2,
        entries,
    };
    let replies = vec![opened(), listing(&ids), reply.encode()];
    let (called, came) = against(replies, &shelf).await;
    assert!(matches!(
        called,
        Err(CallError::Violation(Violation::Forged))
    ));
    assert_eq!((came.news, shelf.len()), (1, 1));
    assert_eq!(shelf.forgers(), BTreeSet::from([node(2)]));
}

#[tokio::test]
async fn requests_that_are_none_are_violations() {
    let shelf = Shelf::with(&notes(7, 100));
    let open = BoardsRequest::Open(board(), UnixMillis(0));
    let entry = note(8, "unasked", 0);
    let offer = BoardsRequest::Offer(vec![entry.id]);
    let give = BoardsRequest::Give(vec![entry.bytes.clone(), entry.bytes.clone()]);
    let garbage = BoardsRequest::Round(Bytes::from_static(b"garbage"));
    let cases = [
        vec![BoardsRequest::Want(vec![entry.id])],
        vec![open.clone(), open.clone()],
        vec![open.clone(), garbage],
        vec![open.clone(), BoardsRequest::Give(vec![entry.bytes])],
        vec![open, offer, give],
    ];
    for requests in cases {
        let (mut here, there) = duplex(PIPE);
        let mut bytes = BytesMut::new();
        for request in &requests {
            bytes.extend_from_slice(&frame(&request.encode()));
        }
        encode_end(&mut bytes);
        here.write_all(&bytes).await.unwrap();
        let (served, came) = answer(there, &shelf).await;
        assert!(
            served.as_ref().is_err_and(ServeError::is_violation),
            "{served:?} to {requests:?}"
        );
        assert_eq!(came.news, 0);
    }
    assert_eq!(shelf.len(), 100);
}

#[tokio::test]
async fn who_says_nothing_is_waited_for_no_longer() {
    let shelf = Shelf::new();
    // The ledger's thread keeps a paused clock from going by itself.
    let pass = async |open: &mut DuplexStream| {
        open.read_u32().await.unwrap();
        tokio::task::yield_now().await;
        tokio::time::pause();
        tokio::time::advance(SILENCE).await;
        tokio::time::resume();
    };
    let (here, mut there) = duplex(PIPE);
    let ((called, _), ()) = tokio::join!(call(here, &shelf), pass(&mut there));
    assert!(matches!(called, Err(CallError::Silent)));
    let (mut here, there) = duplex(PIPE);
    let open = BoardsRequest::Open(board(), UnixMillis(0)).encode();
    here.write_all(&frame(&open)).await.unwrap();
    let ((served, _), ()) = tokio::join!(answer(there, &shelf), pass(&mut here));
    assert!(matches!(served, Err(ServeError::Slow)));
}

#[tokio::test]
async fn an_attachment_is_the_one_that_was_asked_for() {
    let shelf = Shelf::new();
    let bytes = vec![7; 200 << 10];
    let digest = shelf.attach(&bytes);
    let length = u32::try_from(bytes.len()).unwrap();
    let ask = |digest, length| {
        let (here, there) = duplex(PIPE);
        let shelf = &shelf;
        async move {
            let asking = ask_attachment(here.compat(), digest, length);
            tokio::join!(asking, answer(there, shelf)).0
        }
    };
    assert_eq!(ask(digest, length).await.unwrap(), bytes);
    assert!(matches!(
        ask([0; 32], length).await,
        Err(CallError::Refused(RefusalCode::NotHeld))
    ));
    assert!(matches!(
        ask(digest, length - 1).await,
        Err(CallError::Violation(Violation::Attachment))
    ));
}
