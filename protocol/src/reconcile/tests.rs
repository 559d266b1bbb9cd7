//! Golden bytes, there and back, and what is refused.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    board::NoteId,
    ids::UnixMillis,
    limits::{MAX_BOARDS_MESSAGE_BYTES, MAX_ENTRY_BYTES, MAX_LISTED_NOTES, MAX_ROUND_BYTES},
};

fn id(n: u8) -> NoteId {
    NoteId::from_bytes(&[n; 32]).unwrap()
}

fn requests() -> Vec<BoardsRequest> {
    vec![
        BoardsRequest::Open("rust-tips".parse().unwrap(), UnixMillis(1_700_000_000_000)),
        BoardsRequest::Round(Bytes::from_static(b"\x61\0\0\x02\0")),
        BoardsRequest::Want(vec![id(1), id(2)]),
        BoardsRequest::Offer(vec![id(3)]),
        BoardsRequest::Give(vec![Bytes::from_static(b"entry"), Bytes::new()]),
        BoardsRequest::Attachment([7; 32]),
    ]
}

fn replies() -> Vec<BoardsReply> {
    vec![
        BoardsReply::Opened(UnixMillis(5)),
        BoardsReply::Round(Bytes::from_static(b"\x61")),
        BoardsReply::Entries {
            answered: 2,
            entries: vec![Bytes::from_static(b"entry")],
        },
        BoardsReply::Lacking(Vec::new()),
        BoardsReply::Lacking(vec![id(9)]),
        BoardsReply::Taken,
        BoardsReply::Attachment(Bytes::from_static(b"text")),
        BoardsReply::Refused(RefusalCode::Busy),
    ]
}

#[test]
fn messages_are_golden() {
    let open = requests()[0].encode();
    assert_eq!(
        hex::encode(open),
        "0a120a09727573742d746970731080d095ffbc31"
    );
    assert_eq!(hex::encode(replies()[1].encode()), "12030a0161");
    assert_eq!(hex::encode(replies()[7].encode()), "3a020802");
}

#[test]
fn messages_go_there_and_back() {
    for request in requests() {
        assert_eq!(BoardsRequest::decode(&request.encode()), Ok(request));
    }
    for reply in replies() {
        assert_eq!(BoardsReply::decode(&reply.encode()), Ok(reply));
    }
}

#[test]
fn what_no_peer_says_is_refused() {
    use BoardsMessageError as E;
    let request = |request: &BoardsRequest| BoardsRequest::decode(&request.encode()).unwrap_err();
    let reply = |reply: &BoardsReply| BoardsReply::decode(&reply.encode()).unwrap_err();
    assert_eq!(request(&BoardsRequest::Want(Vec::new())), E::Ids);
    let many = vec![id(1); MAX_LISTED_NOTES + 1];
    assert_eq!(request(&BoardsRequest::Offer(many)), E::Ids);
    let long = Bytes::from(vec![0; MAX_ENTRY_BYTES + 1]);
    assert_eq!(request(&BoardsRequest::Give(vec![long])), E::Part);
    let round = Bytes::from(vec![0; MAX_ROUND_BYTES + 1]);
    assert_eq!(request(&BoardsRequest::Round(round.clone())), E::Part);
    assert_eq!(reply(&BoardsReply::Round(round)), E::Part);
    for (answered, entries, error) in [(0, 0, E::Ids), (1, 2, E::Part), (1 << 20, 0, E::Ids)] {
        let entries = vec![Bytes::new(); entries];
        assert_eq!(reply(&BoardsReply::Entries { answered, entries }), error);
    }
    let huge = vec![0; MAX_BOARDS_MESSAGE_BYTES + 1];
    assert_eq!(BoardsReply::decode(&huge), Err(E::TooLarge(huge.len())));
    assert_eq!(BoardsRequest::decode(b""), Err(E::Empty));
    assert_eq!(
        BoardsRequest::decode(&[0x0a, 2, 0x0a, 0]),
        Err(E::Board),
        "a board without a name"
    );
    assert_eq!(
        BoardsRequest::decode(&[0x32, 3, 0x0a, 1, 7]),
        Err(E::Digest)
    );
    assert_eq!(
        BoardsRequest::decode(&[0x1a, 3, 0x0a, 1, 7]),
        Err(E::Ids),
        "part of an id"
    );
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _ = BoardsRequest::decode(&bytes);
        let _ = BoardsReply::decode(&bytes);
    }
}
