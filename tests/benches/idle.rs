//! A node without a model: how soon it answers, and how much memory it takes.

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Result, ensure};
use tests::process::Node;

/// Medians over several starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    /// Between the process's start and the first answer of `/v1/models`, seconds.
    pub(crate) first_answer_seconds: f64,
    /// Resident bytes of the node and its children after it.
    pub(crate) memory_bytes: f64,
}

/// Starts the node `rounds` times in a fresh folder.
pub(crate) fn measure(shoal: &Path, rounds: usize) -> Result<Idle> {
    let (mut seconds, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let data = tempfile::tempdir()?;
        let start = Instant::now();
        let node = Node::start(shoal, data.path(), &["--offline"])?;
        let url = format!("{}/v1/models", node.url);
        let answer = Command::new("curl").args(["-sf", &url]).output()?;
        seconds.push(start.elapsed().as_secs_f64());
        ensure!(answer.status.success(), "{}", node.log_tail());
        bytes.push(node.memory_bytes() as f64);
    }
    Ok(Idle {
        first_answer_seconds: median(seconds),
        memory_bytes: median(bytes),
    })
}

/// The middle value; of an even number, the lower one of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}
