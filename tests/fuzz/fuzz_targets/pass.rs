//! A person's text as a pass: what is accepted reads back as itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::membership::Pass;

fuzz_target!(|text: &str| {
    match text.parse::<Pass>() {
        Ok(pass) => {
            assert_eq!(pass.to_string().parse(), Ok(pass.clone()));
            let _ = pass.claimed_swarm();
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
