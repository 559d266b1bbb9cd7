//! A stranger's stream: however it is cut into pieces, the same frames and the same end come out.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use protocol::frame::{Decoder, Frame, FrameError, encode_data, encode_end};

const LIMIT: usize = 512;

fn decode(bytes: &[u8], piece: usize) -> (Vec<Frame>, Result<(), FrameError>) {
    let mut decoder = Decoder::new(LIMIT);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for chunk in bytes.chunks(piece) {
        buffer.extend_from_slice(chunk);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, decoder.finish())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, stream)) = bytes.split_first() else {
        return;
    };
    let whole = decode(stream, usize::MAX);
    assert_eq!(decode(stream, usize::from(piece).max(1)), whole);
    if whole.1.is_ok() {
        let mut again = BytesMut::new();
        for frame in &whole.0 {
            match frame {
                Frame::Data(payload) => encode_data(payload, LIMIT, &mut again).expect("it fitted"),
                Frame::End => encode_end(&mut again),
            }
        }
        assert_eq!(again, stream, "a stream has one form");
    }
});
