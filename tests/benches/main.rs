//! `make bench`: Shoal beside llama.cpp's own server on the same machine, model and threads, in
//! one run, interleaved; writes `tests/benches/RESULTS.md`. It asserts nothing: figures are for
//! people, and a figure that falls short is reported as it is.

#![expect(clippy::print_stdout, reason = "a benchmark talks to the terminal")]

mod idle;
mod measure;
#[cfg(target_os = "linux")]
mod nat;
mod report;
mod sides;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    measure::{Plan, measure},
    sides::Sides,
};

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md");

/// What the command line names.
struct Arguments {
    shoal: PathBuf,
    llama_server: PathBuf,
    model: PathBuf,
    plan: Plan,
    /// A look in between: nothing is written.
    print_only: bool,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let given: Vec<String> = std::env::args().collect();
        let path = |name: &str| {
            let at = given.iter().position(|argument| argument == name);
            at.and_then(|at| given.get(at + 1))
                .map(PathBuf::from)
                .with_context(|| format!("{name} PATH is missing: run `make bench`"))
        };
        let mut plan = Plan::default();
        if let Ok(rounds) = path("--rounds") {
            plan.rounds = rounds.to_string_lossy().parse().context("--rounds N")?;
        }
        if let Ok(streams) = path("--streams") {
            let numbers = streams.to_string_lossy().into_owned();
            plan.streams = numbers
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .context("--streams N,N…")?;
        }
        Ok(Self {
            plan,
            print_only: given.iter().any(|argument| argument == "--print-only"),
            shoal: path("--shoal")?,
            llama_server: path("--llama-server")?,
            model: path("--model")?,
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    #[cfg(target_os = "linux")]
    if let Some(tries) = tries_of_nat()? {
        let text = format!(
            "{}\n{}",
            report::host("`make bench-nat`"),
            nat::measure(tries)?
        );
        println!("{text}");
        return Ok(report::replace_section(
            RESULTS.as_ref(),
            "Behind NATs",
            &text,
        )?);
    }
    let arguments = Arguments::parse()?;
    let plan = &arguments.plan;
    let idle = idle::measure(&arguments.shoal, plan.rounds)?;
    println!("idle node: {idle:?}");
    let sides = Sides::start(&arguments)?;
    let before = sides.memory();
    let figures = measure(&sides, plan).await?;
    let memory = [before, sides.memory()];
    drop(sides);
    let text = report::render(plan, &figures, memory, &idle);
    println!("{text}");
    if !arguments.print_only {
        report::replace_section(RESULTS.as_ref(), "One node", &text)?;
    }
    Ok(())
}

/// `bench nat [TRIES]`: how many, if that is what is asked for.
#[cfg(target_os = "linux")]
fn tries_of_nat() -> Result<Option<usize>> {
    let given: Vec<String> = std::env::args().skip(1).take(2).collect();
    match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["nat"] => Ok(Some(nat::TRIES)),
        ["nat", tries] => Ok(Some(tries.parse().context("nat TRIES")?)),
        _ => Ok(None),
    }
}
