//! Envelopes: golden bytes, what is refused, and that nothing else gets through.

use proptest::prelude::*;

use super::*;

/// A payload for these tests.
#[derive(Clone, PartialEq, prost::Message)]
struct Word {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(uint32, tag = "2")]
    count: u32,
}

impl Payload for Word {
    const LABEL: &'static str = "shoal/test-word/1";
    const MAX_BYTES: usize = 64;
    const MAX_LIFETIME: Duration = Duration::from_secs(3600);
}

/// The same shape under another label, with an older field list.
#[derive(Clone, PartialEq, prost::Message)]
struct Other {
    #[prost(string, tag = "1")]
    text: String,
}

impl Payload for Other {
    const LABEL: &'static str = "shoal/test-other/1";
    const MAX_BYTES: usize = 64;
    const MAX_LIFETIME: Duration = Duration::from_secs(3600);
}

/// `Word` as a version knew it that had no `count`.
#[derive(Clone, PartialEq, prost::Message)]
struct OldWord {
    #[prost(string, tag = "1")]
    text: String,
}

impl Payload for OldWord {
    const LABEL: &'static str = Word::LABEL;
    const MAX_BYTES: usize = 64;
    const MAX_LIFETIME: Duration = Duration::from_secs(3600);
}

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn expires() -> UnixMillis {
    NOW.saturating_add(Duration::from_secs(600))
}

fn word() -> Word {
    Word {
        text: "hello".into(),
        count: 3,
    }
}

fn signed() -> Signed<Word> {
    Signed::sign(&key(), Sequence(42), expires(), &word()).unwrap()
}

fn altered(change: impl FnOnce(&mut wire::Envelope)) -> Result<Verified<Word>, VerifyError> {
    let mut signed = signed();
    change(&mut signed.envelope);
    signed.verify(NOW)
}

#[test]
fn a_signed_message_verifies() {
    let verified = Signed::<Word>::decode(&signed().encode())
        .unwrap()
        .verify(NOW)
        .unwrap();
    assert_eq!(verified.author(), NodeId::from(&key()));
    assert_eq!(verified.sequence(), Sequence(42));
    assert_eq!(verified.expires(), expires());
    assert_eq!(verified.message(), &word());
    assert_eq!(verified.signed(), &signed());
}

#[test]
fn bytes_are_golden() {
    assert_eq!(
        hex::encode(signed().encode()),
        include_str!("golden.hex").trim()
    );
}

#[test]
fn what_is_signed_is_golden() {
    let bytes = signed_bytes("a/1", &signed().envelope);
    assert_eq!(
        hex::encode(bytes),
        concat!(
            "612f3100",
            "000000000000002a",
            "000001a3186577c0",
            "0000000000000009",
            "0a0568656c6c6f1003"
        )
    );
}

#[test]
fn another_label_is_another_signature() {
    let bytes = signed().encode();
    let as_other = Signed::<Other>::decode(&bytes).unwrap();
    assert_eq!(as_other.verify(NOW), Err(VerifyError::Signature));
}

#[test]
fn nobody_speaks_for_another() {
    let other = NodeId::from(&SigningKey::from_bytes(&[8; 32]));
    let result = altered(|e| e.public_key = other.as_bytes().to_vec());
    assert_eq!(result, Err(VerifyError::Signature));
}

#[test]
fn every_part_is_under_the_signature() {
    let refused = Err(VerifyError::Signature);
    assert_eq!(altered(|e| e.sequence += 1), refused);
    assert_eq!(altered(|e| e.expires_unix_millis += 1), refused);
    assert_eq!(altered(|e| e.payload[2] ^= 1), refused);
    assert_eq!(altered(|e| e.payload.push(0)), refused);
    assert_eq!(altered(|e| e.signature[0] ^= 1), refused);
    assert_eq!(altered(|e| e.signature.truncate(63)), refused);
    assert_eq!(altered(|e| e.signature.clear()), refused);
}

#[test]
fn a_signature_has_one_form() {
    // s + L verifies under loose rules (RFC 8032 section 8.4): the same message with other bytes.
    let order =
        hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let result = altered(|e| {
        let mut carry = 0;
        for (s, l) in e.signature[32..].iter_mut().zip(order) {
            let sum = u16::from(*s) + u16::from(l) + carry;
            *s = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
    });
    assert_eq!(result, Err(VerifyError::Signature));
}

#[test]
fn a_small_order_key_is_no_author() {
    let mut neutral = vec![0; 32];
    neutral[0] = 1;
    let result = altered(|e| e.public_key = neutral);
    assert_eq!(result, Err(VerifyError::Author(NodeIdError::Key)));
    let result = altered(|e| e.public_key.clear());
    assert_eq!(result, Err(VerifyError::Author(NodeIdError::Length(0))));
}

#[test]
fn time_is_bounded_on_both_sides() {
    let at = |now| signed().verify(now).map(|_| ());
    assert_eq!(at(expires()), Err(VerifyError::Expired));
    assert_eq!(at(UnixMillis(u64::MAX)), Err(VerifyError::Expired));
    assert_eq!(at(UnixMillis(expires().0 - 1)), Ok(()));

    let until = |expires| {
        let signed = Signed::sign(&key(), Sequence(1), expires, &word()).unwrap();
        signed.verify(NOW).map(|_| ())
    };
    let longest = NOW.saturating_add(Word::MAX_LIFETIME + MAX_CLOCK_SKEW);
    assert_eq!(until(longest), Ok(()));
    assert_eq!(
        until(UnixMillis(longest.0 + 1)),
        Err(VerifyError::TooLongLived)
    );
    assert_eq!(until(UnixMillis(u64::MAX)), Err(VerifyError::TooLongLived));
}

#[test]
fn size_is_bounded_before_decoding() {
    let long = Word {
        text: "x".repeat(64),
        count: 0,
    };
    let error = Signed::sign(&key(), Sequence(1), expires(), &long).unwrap_err();
    assert_eq!(
        error,
        SignError::TooLarge {
            bytes: 66,
            limit: 64
        }
    );

    let limit = Word::MAX_BYTES + MAX_ENVELOPE_OVERHEAD_BYTES;
    let error = Signed::<Word>::decode(&vec![0xff; limit + 1]).unwrap_err();
    assert_eq!(
        error,
        EnvelopeError::TooLarge {
            bytes: 321,
            limit: 320
        }
    );

    let result = altered(|e| e.payload = vec![0; 65]);
    assert_eq!(
        result,
        Err(VerifyError::TooLarge {
            bytes: 65,
            limit: 64
        })
    );
}

#[test]
fn the_largest_payload_fits_its_envelope() {
    let largest = Word {
        text: "x".repeat(62),
        count: 0,
    };
    let far = NOW.saturating_add(Word::MAX_LIFETIME);
    let signed = Signed::sign(&key(), Sequence(u64::MAX), far, &largest).unwrap();
    let decoded = Signed::<Word>::decode(&signed.encode()).unwrap();
    assert_eq!(decoded.verify(NOW).unwrap().message(), &largest);
}

#[test]
fn a_signed_payload_of_another_shape_is_refused() {
    let mut signed = signed();
    signed.envelope.payload = vec![0x0a, 0xff];
    let signature = key().sign(&signed_bytes(Word::LABEL, &signed.envelope));
    signed.envelope.signature = signature.to_bytes().to_vec();
    assert!(matches!(signed.verify(NOW), Err(VerifyError::Payload(_))));
}

#[test]
fn an_older_version_passes_new_fields_on() {
    let bytes = signed().encode();
    let old = Signed::<OldWord>::decode(&bytes).unwrap();
    let verified = old.verify(NOW).unwrap();
    assert_eq!(verified.message().text, "hello");
    assert_eq!(verified.signed().encode(), bytes);
}

proptest! {
    #[test]
    fn round_trip(secret: [u8; 32], sequence: u64, text in "\\PC{0,10}", count: u32) {
        let key = SigningKey::from_bytes(&secret);
        let word = Word { text, count };
        let signed = Signed::sign(&key, Sequence(sequence), expires(), &word).unwrap();
        let verified = Signed::<Word>::decode(&signed.encode()).unwrap().verify(NOW).unwrap();
        prop_assert_eq!(verified.author(), NodeId::from(&key));
        prop_assert_eq!(verified.message(), &word);
    }

    #[test]
    fn any_flipped_bit_is_noticed(at: prop::sample::Index, bit in 0..8_u32) {
        let mut bytes = signed().encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let accepted = Signed::<Word>::decode(&bytes).ok().and_then(|s| s.verify(NOW).ok());
        prop_assert_eq!(accepted, None);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(signed) = Signed::<Word>::decode(&bytes) {
            prop_assert!(signed.verify(NOW).is_err());
        }
    }
}
