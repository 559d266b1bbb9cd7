//! An envelope of a stranger: decoded and checked, it is refused or carried on byte for byte.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use protocol::{Payload, Signed, UnixMillis};

/// A payload; what it holds does not matter here.
#[derive(Clone, PartialEq, prost::Message)]
struct Word {
    #[prost(string, tag = "1")]
    text: String,
}

impl Payload for Word {
    const LABEL: &'static str = "shoal/test-word/1";
    const MAX_BYTES: usize = 4096;
    const MAX_LIFETIME: Duration = Duration::from_secs(3600);
}

/// Before the expiry of the seed in `seeds/envelope`.
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fuzz_target!(|bytes: &[u8]| {
    let Ok(signed) = Signed::<Word>::decode(bytes) else {
        return;
    };
    let Ok(verified) = signed.clone().verify(NOW) else {
        return;
    };
    assert!(verified.expires() > NOW);
    let again = Signed::<Word>::decode(&verified.signed().encode());
    assert_eq!(again.as_ref(), Ok(&signed), "an envelope survives a hop");
});
