//! One hash for everything that peers must agree on: SHA-256 under a label.
//!
//! It does not know what is hashed; the callers own their labels.

use sha2::{Digest, Sha256};

/// SHA-256 of `label ‖ 0` and each part with its length before it (8 bytes, big-endian). A label
/// has no zero byte, so no two inputs give the same bytes.
pub fn digest(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(label.as_bytes());
    hash.update([0]);
    for part in parts {
        let length = u64::try_from(part.len()).expect("a length in memory fits 64 bits");
        hash.update(length.to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-256 of the bytes alone, where others chose the form.
pub(crate) fn plain(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            hex::encode(plain(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let by_hand = [b"l\0".as_slice(), &[0, 0, 0, 0, 0, 0, 0, 2], b"xy"].concat();
        assert_eq!(digest("l", &[b"xy"]), plain(&by_hand));
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(digest("l", &[b"ab", b"c"]), digest("l", &[b"a", b"bc"]));
        assert_ne!(digest("l", &[b"ab"]), digest("l", &[b"ab", b""]));
        assert_ne!(digest("l", &[]), digest("m", &[]));
    }
}
