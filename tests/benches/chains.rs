//! `bench --only chains`: models that are cut over several machines, as real processes on loopback and
//! on hosts of an internet with delays. It needs root for the latter. Each part stands by itself
//! (`--part loopback`) and has a section of its own in the results.

mod deep;
mod door;
mod faults;
mod figures;
mod links;
mod loopback;
mod member;
mod rpc;
mod slices;
mod speculation;

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use rand::{SeedableRng, rngs::StdRng};
use tests::seed;

pub(crate) use self::door::run;
use self::member::{Ground, Product, Wish, whole};
use crate::{Arguments, report};

/// The parts, and their titles in the results.
const PARTS: [(&str, &str); 7] = [
    ("loopback", "Chains on one machine"),
    ("deep", "Chains of a larger model on one machine"),
    ("links", "Chains at a distance"),
    ("rpc", "Chains beside llama.cpp's RPC backend"),
    ("speculation", "Chains that guess"),
    ("faults", "Chains that lose a machine"),
    ("slices", "Slices from other machines"),
];

/// Turns of each figure, unless told otherwise.
const ROUNDS: usize = 3;

/// What all parts share.
struct Setting<'a> {
    product: Product<'a>,
    llama_server: &'a Path,
    rounds: usize,
    /// Bytes that the whole model takes on one machine.
    whole_bytes: u64,
}

impl Setting<'_> {
    /// A chain with one thread for each stage, that does not guess.
    fn chain_of(&self, stages: usize) -> Wish<'static> {
        Wish {
            stages,
            spares: 0,
            is_head_bare: false,
            threads: 1,
            head_args: self.product.plain,
            whole_bytes: self.whole_bytes,
        }
    }

    /// The section's text with machine, versions and command.
    fn section(&self, part: &str, table: &str) -> String {
        let command = format!("`make bench BENCH=\"--only chains --part {part}\"`");
        format!("{}\n{}\n\n{table}", report::host(&command), self.what(part))
    }

    /// What a part's figures are of.
    fn what(&self, part: &str) -> String {
        match part {
            "faults" => "Real processes; medians, the lowest and the highest in brackets.".into(),
            "slices" => "SmolLM2-135M-Instruct Q4_1; real processes; one run.".into(),
            _ => format!(
                "SmolLM2-135M-Instruct Q4_1, cut where the machines' `--max-memory` make it; real processes; \
                 medians of {} turns, the lowest and the highest in brackets.",
                self.rounds
            ),
        }
    }
}

/// All parts, or the one that is asked for.
pub(crate) async fn measure(arguments: &Arguments) -> Result<()> {
    let measured = tempfile::tempdir()?;
    let product = Product {
        shoal: &arguments.shoal,
        model: &arguments.model,
        plain: plain(&arguments.shoal)?,
        measured: measured.path(),
    };
    for threads in [1, 2] {
        product.measure(threads)?;
    }
    let setting = Setting {
        product,
        llama_server: &arguments.llama_server,
        rounds: arguments.rounds.unwrap_or(ROUNDS),
        whole_bytes: whole_bytes(product)?,
    };
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let wanted = arguments.part.as_deref();
    if wanted.is_some_and(|wanted| PARTS.iter().all(|(part, _)| *part != wanted)) {
        bail!("--part is one of {:?}", PARTS.map(|(part, _)| part));
    }
    let mut failed = Vec::new();
    for (part, title) in PARTS {
        if wanted.is_some_and(|wanted| wanted != part) {
            continue;
        }
        let runs = arguments.faults.unwrap_or(faults::RUNS);
        let table = match part {
            "loopback" => loopback::measure(&setting, &mut rng).await,
            "deep" => deep::measure(&setting, &mut rng).await,
            "links" => links::measure(&setting, &mut rng).await,
            "rpc" => rpc::measure(&setting, &mut rng).await,
            "faults" => faults::measure(runs, seed).await,
            "slices" => slices::measure(&setting).await,
            _ => speculation::measure(&setting, &mut rng).await,
        };
        // The others do not depend on it.
        match table {
            Ok(table) => arguments.put(title, &setting.section(part, &table))?,
            Err(error) => failed.push(format!("{part}: {error:#}")),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// What the planner says that the model takes, on a machine that holds it.
fn whole_bytes(product: Product<'_>) -> Result<u64> {
    let mut ground = Ground::loopback()?;
    let member = whole(product, &mut ground, 1)?;
    let plan = member.plan(product)?;
    let bytes = plan["stages"][0]["memory_bytes"].as_u64();
    bytes.with_context(|| format!("no plan: {plan:#}"))
}

/// What keeps a node from guessing tokens: nothing in a build from before it could.
fn plain(shoal: &Path) -> Result<&'static [&'static str]> {
    let output = Command::new(shoal).args(["up", "--help"]).output()?;
    let help = String::from_utf8_lossy(&output.stdout);
    Ok(match help.contains("--speculate") {
        true => &["--speculate", "off"],
        false => &[],
    })
}
