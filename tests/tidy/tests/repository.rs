//! This repository keeps the house rules.

use std::path::Path;

#[test]
fn the_repository_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = tidy::check(&root).expect("the working tree can be read");
    let list: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(
        found.is_empty(),
        "{} broken rules:\n{}\n",
        found.len(),
        list.join("\n")
    );
}
