//! What a build's features come to, asked of cargo without building: each graphics feature of
//! `node` reaches llama.cpp, alone, and without features no llama.cpp is there at all.

use std::process::Command;

const LLAMA_CPP: &str = "llama-cpp-sys-2";

/// The features by which llama.cpp computes on a graphics card; `node` calls them the same.
const GRAPHICS: [&str; 4] = ["cuda", "rocm", "metal", "vulkan"];

/// The features of `package` in a build of `node` with these flags; `None`: it is no part of it.
fn features(package: &str, flags: &[&str]) -> Option<Vec<String>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    cargo.args(["tree", "--offline", "--locked", "--package", "node"]);
    cargo.args(["--edges", "normal", "--prefix", "none"]);
    cargo.args(["--format", "{p}|{f}"]).args(flags);
    let output = cargo.output().expect("cargo runs");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree {flags:?}: {problem}");
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(package))?;
    let (_, features) = line.split_once('|').expect("the format has a bar");
    Some(features.split(',').map(str::to_owned).collect())
}

/// Which graphics features llama.cpp has in that build.
fn graphics(flags: &[&str]) -> Vec<String> {
    let mut found = features(LLAMA_CPP, flags).expect("llama.cpp is part of the build");
    found.retain(|feature| GRAPHICS.contains(&feature.as_str()));
    found
}

#[test]
fn each_graphics_feature_reaches_llama_cpp() {
    assert!(graphics(&[]).is_empty(), "a plain build needs no drivers");
    for feature in GRAPHICS {
        assert_eq!(graphics(&["--features", feature]), [feature]);
        // It brings the engine along.
        let alone = ["--no-default-features", "--features", feature];
        assert_eq!(graphics(&alone), [feature]);
    }
}

#[test]
fn without_default_features_there_is_no_llama_cpp() {
    let flags = ["--no-default-features"];
    assert!(features("llama-sys", &flags).is_some());
    assert_eq!(features(LLAMA_CPP, &flags), None);
}
