//! Frames: golden bytes, every cut, every refusal.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 16;

fn decode_all(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new(LIMIT);
    let mut buffer = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.decode(&mut buffer)? {
        frames.push(frame);
    }
    decoder.finish()?;
    Ok(frames)
}

fn stream(payloads: &[Vec<u8>]) -> BytesMut {
    let mut out = BytesMut::new();
    for payload in payloads {
        encode_data(payload, LIMIT, &mut out).unwrap();
    }
    encode_end(&mut out);
    out
}

#[test]
fn bytes_are_golden() {
    let bytes = stream(&[b"ab".to_vec(), Vec::new()]);
    assert_eq!(
        hex::encode(&bytes),
        "00000003016162000000010100000001".to_owned() + "02"
    );
}

#[test]
fn a_cut_at_every_byte_is_noticed() {
    let bytes = stream(&[b"abc".to_vec(), b"d".to_vec()]);
    for cut in 0..bytes.len() {
        assert_eq!(
            decode_all(&bytes[..cut]),
            Err(FrameError::Cut),
            "cut at {cut}"
        );
    }
    assert_eq!(decode_all(&bytes).unwrap().len(), 3);
}

#[test]
fn hostile_frames_are_refused() {
    let too_large = |bytes| FrameError::TooLarge {
        bytes,
        limit: LIMIT,
    };
    let refused: [(&[u8], FrameError); 7] = [
        (&[0, 0, 0, 0], FrameError::Empty),
        (&[0, 0, 0, 18], too_large(17)),
        (&[0xff; 4], too_large(u64::from(u32::MAX) - 1)),
        (&[0, 0, 0, 9, 0], FrameError::Kind(0)),
        (&[0, 0, 0, 1, 3], FrameError::Kind(3)),
        (&[0, 0, 0, 2, 2], FrameError::EndWithPayload),
        (&[0, 0, 0, 1, 2, 0], FrameError::AfterEnd),
    ];
    for (bytes, error) in refused {
        assert_eq!(decode_all(bytes), Err(error), "{bytes:?}");
    }
}

#[test]
fn a_failed_decoder_stays_failed() {
    let mut decoder = Decoder::new(LIMIT);
    let mut buffer = BytesMut::from(&[0, 0, 0, 0][..]);
    assert_eq!(decoder.decode(&mut buffer), Err(FrameError::Empty));
    let mut good = stream(&[]);
    assert_eq!(decoder.decode(&mut good), Err(FrameError::Empty));
    assert_eq!(decoder.finish(), Err(FrameError::Empty));
}

#[test]
fn nothing_is_reserved_for_an_announced_length() {
    let mut decoder = Decoder::new(MAX_FRAME_BYTES);
    let mut buffer = BytesMut::new();
    let length = u32::try_from(MAX_FRAME_BYTES).unwrap();
    buffer.put_u32(length);
    buffer.put_u8(KIND_DATA);
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    assert!(buffer.capacity() < 4096);
}

#[test]
fn what_is_too_large_is_not_written() {
    let mut out = BytesMut::new();
    let error = encode_data(&[0; LIMIT + 1], LIMIT, &mut out).unwrap_err();
    assert_eq!(
        error,
        FrameError::TooLarge {
            bytes: 17,
            limit: LIMIT
        }
    );
    let error = encode_data(&vec![0; MAX_FRAME_BYTES + 1], usize::MAX, &mut out).unwrap_err();
    assert!(matches!(
        error,
        FrameError::TooLarge {
            limit: MAX_FRAME_BYTES,
            ..
        }
    ));
    assert!(out.is_empty());
}

#[test]
fn a_message_is_a_frame() {
    let message = crate::generate::Queued { position: 5 };
    let mut out = BytesMut::new();
    encode_message(&message, LIMIT, &mut out).unwrap();
    assert_eq!(hex::encode(&out), "00000003010805");
    assert!(encode_message(&message, 1, &mut out).is_err());
}

proptest! {
    #[test]
    fn round_trip_in_any_pieces(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=LIMIT), 0..8),
        piece in 1..20_usize,
    ) {
        let bytes = stream(&payloads);
        let mut decoder = Decoder::new(LIMIT);
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for chunk in bytes.chunks(piece) {
            buffer.extend_from_slice(chunk);
            while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                frames.push(frame);
            }
        }
        prop_assert_eq!(decoder.finish(), Ok(()));
        let expected: Vec<_> = payloads
            .into_iter()
            .map(|payload| Frame::Data(payload.into()))
            .chain([Frame::End])
            .collect();
        prop_assert_eq!(frames, expected);
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _ = decode_all(&bytes);
    }
}
