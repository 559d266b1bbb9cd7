//! The README's commands, word for word, against a real node: each `sh` block is run line by
//! line with the node's address in place of the default one.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::process::{Node, fixture, shoal_binary};

/// The README's model; the test serves it when the set-up fetched it, else a fixture in its name.
const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1";

fn commands(readme: &str) -> Vec<&str> {
    let blocks = readme.split("```sh\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    blocks.flat_map(str::lines).collect()
}

#[test]
fn the_readmes_commands_work() -> Result<()> {
    let readme = include_str!("../../README.md");
    let commands = commands(readme);
    ensure!(commands.len() >= 8, "the README's commands are gone");
    let data = tempfile::tempdir()?;
    let model = data.path().join(format!("{MODEL}.gguf"));
    match std::env::var_os("TEST_MODEL") {
        Some(real) => std::os::unix::fs::symlink(real, &model)?,
        None => {
            std::fs::copy(fixture("tiny-moe-q8_0.gguf"), &model)?;
        }
    }
    let binary = shoal_binary()?;
    let home = data.path().join("node");
    let node = Node::start(
        &binary,
        &home,
        &["--offline", "--model", &model.to_string_lossy()],
    )?;
    let address = node.url.trim_start_matches("http://");
    let folder = binary.parent().context("the binary's folder")?;
    let path = format!(
        "{}:{}",
        folder.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    for command in commands {
        let line = command.replace("localhost:9337", address);
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &line])
            .env("PATH", &path)
            .env("SHOAL_DATA_DIR", &home)
            .output()?;
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        ensure!(
            output.status.success() && !out.trim().is_empty(),
            "`{line}` gave {}:\n{out}\n{err}",
            output.status
        );
        ensure!(!out.contains("\"error\""), "`{line}` gave {out}");
    }
    Ok(())
}
