//! A person's text as a join token: what is accepted reads back as itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{UnixMillis, membership::JoinToken};

/// Before the expiry of the seed in `seeds/join_token`.
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fuzz_target!(|text: &str| {
    match text.parse::<JoinToken>() {
        Ok(token) => {
            assert_eq!(token.to_string().parse(), Ok(token.clone()));
            let _ = token.verify(NOW);
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
