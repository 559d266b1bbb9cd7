//! Stage frames: golden bytes, every cut, every refusal, nothing copied or kept for a promise.

use proptest::prelude::*;

use super::*;
use crate::limits::{MAX_STAGE_FRAME_BYTES, STAGE_WINDOW_BYTES};

const CHANNEL: ChannelId = ChannelId(0x0102_0304_0506_0708);

fn payload(kind: StageKind, bytes: &'static [u8]) -> StageFrame {
    StageFrame::Payload {
        channel: CHANNEL,
        kind,
        payload: Bytes::from_static(bytes),
    }
}

fn closed(code: CloseCode) -> StageFrame {
    let channel = CHANNEL;
    StageFrame::Closed { channel, code }
}

fn encoded(frames: &[StageFrame]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        frame.encode(&mut out).unwrap();
    }
    out
}

fn decode_all(bytes: &[u8]) -> Result<Vec<StageFrame>, StageFrameError> {
    let mut buffer = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = StageFrame::decode(&mut buffer)? {
        frames.push(frame);
    }
    Ok(frames)
}

/// A header of this length and kind, and what follows it.
fn raw(length: u32, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(&CHANNEL.0.to_le_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

#[test]
fn bytes_are_golden() {
    let credit = StageFrame::Credit {
        channel: CHANNEL,
        bytes: 0x0080_0000,
    };
    let cases = [
        (
            payload(StageKind::Forward, b"ab"),
            "0b0000000108070605040302016162",
        ),
        (payload(StageKind::Back, b""), "09000000020807060504030201"),
        (credit, "0d0000000308070605040302 0100008000"),
        (closed(CloseCode::Done), "0a000000040807060504030201 01"),
        (closed(CloseCode::Unknown), "0a000000040807060504030201 02"),
        (closed(CloseCode::Gone), "0a000000040807060504030201 03"),
        (closed(CloseCode::TooMany), "0a000000040807060504030201 04"),
    ];
    for (frame, golden) in cases {
        let bytes = encoded(std::slice::from_ref(&frame));
        assert_eq!(hex::encode(&bytes), golden.replace(' ', ""));
        assert_eq!(decode_all(&bytes), Ok(vec![frame]));
    }
}

#[test]
fn hostile_frames_are_refused_as_soon_as_they_are_certain() {
    let most = u32::try_from(MAX_STAGE_PAYLOAD_BYTES).unwrap() + 9;
    let refused = [
        (vec![0; 4], StageFrameError::Length(0)),
        (vec![8, 0, 0, 0], StageFrameError::Length(8)),
        (
            (most + 1).to_le_bytes().to_vec(),
            StageFrameError::TooLarge(u64::from(most) + 1 - 9),
        ),
        (
            vec![0xff; 4],
            StageFrameError::TooLarge(u64::from(u32::MAX) - 9),
        ),
        (vec![9, 0, 0, 0, 0], StageFrameError::Kind(0)),
        (vec![9, 0, 0, 0, 5], StageFrameError::Kind(5)),
        (vec![12, 0, 0, 0, 3], StageFrameError::Length(12)),
        (vec![9, 0, 0, 0, 4], StageFrameError::Length(9)),
        (raw(13, 3, &[0; 4]), StageFrameError::NoCredit),
    ];
    for (bytes, error) in refused {
        assert_eq!(decode_all(&bytes), Err(error), "{bytes:?}");
    }
    assert_eq!(decode_all(&most.to_le_bytes()), Ok(Vec::new()));
}

#[test]
fn a_code_of_a_later_version_closes_too() {
    assert_eq!(
        decode_all(&raw(10, 4, &[200])),
        Ok(vec![closed(CloseCode::Done)])
    );
}

#[test]
fn a_payload_is_cut_out_of_the_buffer_and_not_copied() {
    let mut buffer = encoded(&[payload(StageKind::Forward, &[7; 1000])]);
    let at = buffer[StageHeader::BYTES..].as_ptr();
    let Ok(Some(StageFrame::Payload { payload, .. })) = StageFrame::decode(&mut buffer) else {
        panic!("a whole frame");
    };
    assert_eq!(payload.as_ptr(), at);
}

#[test]
fn what_is_too_large_is_not_written() {
    let frame = StageFrame::Payload {
        channel: CHANNEL,
        kind: StageKind::Forward,
        payload: vec![0; MAX_STAGE_PAYLOAD_BYTES + 1].into(),
    };
    let mut out = BytesMut::new();
    let too_large = StageFrameError::TooLarge(MAX_STAGE_PAYLOAD_BYTES as u64 + 1);
    assert_eq!(frame.encode(&mut out), Err(too_large));
    assert!(out.is_empty());
}

#[test]
fn a_window_holds_two_of_the_longest_frames() {
    let longest = stage_cost(MAX_STAGE_PAYLOAD_BYTES);
    assert_eq!(longest as usize, MAX_STAGE_FRAME_BYTES);
    assert_eq!(STAGE_WINDOW_BYTES, 2 * longest);
    assert_eq!(stage_cost(0), MIN_STAGE_FRAME_COST);
    assert_eq!(stage_cost(usize::MAX), u32::MAX);
}

fn any_frame() -> impl Strategy<Value = StageFrame> {
    let channel = || any::<u64>().prop_map(ChannelId);
    let kind = prop_oneof![Just(StageKind::Forward), Just(StageKind::Back)];
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    let code = prop_oneof![
        Just(CloseCode::Done),
        Just(CloseCode::Unknown),
        Just(CloseCode::Gone),
        Just(CloseCode::TooMany),
    ];
    prop_oneof![
        (channel(), kind, bytes).prop_map(|(channel, kind, bytes)| StageFrame::Payload {
            channel,
            kind,
            payload: bytes.into(),
        }),
        (channel(), 1..=u32::MAX)
            .prop_map(|(channel, bytes)| StageFrame::Credit { channel, bytes }),
        (channel(), code).prop_map(|(channel, code)| StageFrame::Closed { channel, code }),
    ]
}

proptest! {
    #[test]
    fn round_trip_in_any_pieces(
        frames in prop::collection::vec(any_frame(), 0..8),
        piece in 1..30_usize,
    ) {
        let mut buffer = BytesMut::new();
        let mut decoded = Vec::new();
        for chunk in encoded(&frames).chunks(piece) {
            buffer.extend_from_slice(chunk);
            while let Some(frame) = StageFrame::decode(&mut buffer).unwrap() {
                decoded.push(frame);
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(decoded, frames);
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>, frame in any_frame(), at: prop::sample::Index) {
        let _ = decode_all(&bytes);
        let mut damaged = encoded(&[frame]);
        let at = at.index(damaged.len());
        damaged[at] ^= 1;
        let _ = decode_all(&damaged);
    }
}
