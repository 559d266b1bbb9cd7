//! A stranger's manifest: refused, or one whose bytes are the only ones, and whose chunks cover its files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::weights::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::decode(bytes) else {
        return;
    };
    assert_eq!(manifest.encode(), bytes);
    assert_eq!(Manifest::read(manifest.id(), bytes).as_ref(), Ok(&manifest));
    let layout = manifest.layout();
    let mut covered = 0;
    for chunk in 0..layout.chunk_count() {
        let span = layout.span(chunk).expect("a chunk has its place");
        assert_eq!(layout.chunks_of(span), Some(chunk..chunk + 1));
        covered += span.length;
    }
    assert_eq!(covered, layout.bytes());
});
