//! The search for secrets over any text: places within the text, as many as there may be.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// The module alone: the node around it is much to build.
#[path = "../../../node/src/core/board/scrub.rs"]
mod scrub;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let found = scrub::scrub(&text);
    assert!(found.len() <= scrub::MAX_FINDINGS);
    let lines: Vec<&str> = text.split('\n').collect();
    for finding in found {
        let line = usize::try_from(finding.line).expect("fits") - 1;
        let column = usize::try_from(finding.column).expect("fits");
        let characters = lines.get(line).map_or(0, |line| line.chars().count());
        assert!((1..=characters).contains(&column), "{finding:?}");
        assert!(!finding.what.is_empty());
        let _ = finding.is_warning;
    }
});
