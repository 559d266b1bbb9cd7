//! A stranger's stream between stages: however it is cut into pieces, the same frames and the same
//! end come out.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use protocol::chain::{StageFrame, StageFrameError};

fn decode(bytes: &[u8], piece: usize) -> (Vec<StageFrame>, Option<StageFrameError>, usize) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for chunk in bytes.chunks(piece) {
        buffer.extend_from_slice(chunk);
        loop {
            match StageFrame::decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error), 0),
            }
        }
    }
    (frames, None, buffer.len())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, stream)) = bytes.split_first() else {
        return;
    };
    let whole = decode(stream, usize::MAX);
    assert_eq!(decode(stream, usize::from(piece).max(1)), whole);
    let mut again = BytesMut::new();
    for frame in &whole.0 {
        frame.encode(&mut again).expect("it fitted");
    }
    // Codes of later versions are read as one, so only the length is the same.
    if whole.1.is_none() {
        assert_eq!(again.len() + whole.2, stream.len());
    }
    assert_eq!(decode(&again, usize::MAX), (whole.0, None, 0));
});
