//! A stranger's message about a board: refused, or one that its own encoding gives back; and its
//! messages of set reconciliation, to either side of one, as the node takes them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{
    UnixMillis,
    board::NoteId,
    digest::digest,
    limits::{MAX_LISTED_NOTES, MAX_ROUND_BYTES},
    reconcile::{BoardsReply, BoardsRequest},
};

// The core alone: the rest of `dht` is libp2p, which nothing here needs.
#[path = "../../../dht/src/core/board/session.rs"]
#[allow(dead_code, reason = "the node uses the rest")]
mod session;

use session::{Initiator, Item, MOST_LACKED, Responder};

fn items(numbers: std::ops::Range<u64>) -> Vec<Item> {
    let item = |n: u64| Item {
        written: UnixMillis(n / 3),
        id: NoteId::from_bytes(&digest("fuzz", &[&n.to_be_bytes()])).expect("32 bytes"),
    };
    let mut items: Vec<Item> = numbers.map(item).collect();
    items.sort_unstable();
    items
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = BoardsRequest::decode(bytes) {
        assert_eq!(BoardsRequest::decode(&request.encode()), Ok(request));
    }
    if let Ok(reply) = BoardsReply::decode(bytes) {
        assert_eq!(BoardsReply::decode(&reply.encode()).as_ref(), Ok(&reply));
        if let BoardsReply::Entries { answered, entries } = reply {
            assert!(answered <= MAX_LISTED_NOTES && entries.len() <= answered);
        }
    }
    // One message, and then another: the first byte says where one ends.
    let (at, rest) = bytes
        .split_first()
        .map_or((0, bytes), |(at, rest)| (*at, rest));
    let (first, second) = rest.split_at(usize::from(at).min(rest.len()));
    let mut responder = Responder::new(&items(0..200));
    let (mut initiator, _) = Initiator::begin(&items(100..300));
    for message in [first, second] {
        let message = [&[0x61], message].concat();
        if let Ok(answer) = responder.on_round(&message) {
            assert!(answer.len() <= MAX_ROUND_BYTES);
        }
        if let Ok(Some(next)) = initiator.on_round(&message) {
            assert!(next.len() <= MAX_ROUND_BYTES);
        }
    }
    let found = initiator.end();
    assert!(found.lacking.len() <= MOST_LACKED && found.surplus.len() <= MOST_LACKED);
});
