//! Text of a stranger as a name or an id: what is accepted reads back as itself, and no model's
//! name leads out of a folder.

#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use protocol::{ModelName, NodeId, RequestId, names::SwarmName};

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<ModelName>() {
        assert_eq!(name.to_string(), text);
        for part in [Some(name.base()), name.variant()].into_iter().flatten() {
            let mut components = Path::new(part).components();
            assert!(components.all(|component| matches!(component, Component::Normal(_))));
        }
    }
    let _ = ModelName::from_file_name(text);
    if let Ok(id) = text.parse::<NodeId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = text.parse::<RequestId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(name) = text.parse::<SwarmName>() {
        assert_eq!(name.to_string(), text);
    }
    let _ = NodeId::from_bytes(text.as_bytes());
});
