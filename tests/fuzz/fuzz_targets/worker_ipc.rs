//! What a worker process (or a node) that went mad may send over their socket pair.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use llama_sys::worker::ipc::{decode, encode, take};

fuzz_target!(|bytes: &[u8]| {
    let mut stream = BytesMut::from(bytes);
    while let Ok(Some(_)) = take(&mut stream) {}
    let Ok(message) = decode(bytes) else {
        return;
    };
    let mut frame = BytesMut::new();
    encode(message, &mut frame).expect("what came in a frame fits one");
    let again = take(&mut frame.clone())
        .expect("it is a frame")
        .expect("it is whole");
    let mut once_more = BytesMut::new();
    encode(again, &mut once_more).expect("it fitted before");
    // Compared as bytes: a NaN is unequal to itself.
    assert_eq!(once_more, frame, "a message has one form");
});
