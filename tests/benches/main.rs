//! `make bench`: Shoal beside llama.cpp's own server on the same machine, model and threads, in
//! one run, interleaved; writes `tests/benches/RESULTS.md`. It asserts nothing: figures are for
//! people, and a figure that falls short is reported as it is.

#![expect(clippy::print_stdout, reason = "a benchmark talks to the terminal")]

mod boards;
#[cfg(target_os = "linux")]
mod chains;
mod experts;
mod idle;
mod measure;
#[cfg(target_os = "linux")]
mod nat;
mod report;
mod sides;
mod siege;
mod swarm;

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
    /// One part of it: `one-node`, `peers`, `crowd`, `siege`, `experts` or `chains`.
    only: Option<String>,
    /// One part of that: of `chains` only.
    part: Option<String>,
    /// Rounds, if they were named.
    rounds: Option<usize>,
    /// Runs of the part with faults, if they were named.
    faults: Option<usize>,
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
        let mut named = None;
        if let Ok(rounds) = path("--rounds") {
            plan.rounds = rounds.to_string_lossy().parse().context("--rounds N")?;
            named = Some(plan.rounds);
        }
        if let Ok(streams) = path("--streams") {
            let numbers = streams.to_string_lossy().into_owned();
            plan.streams = numbers
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .context("--streams N,N…")?;
        }
        let name = |flag: &str| {
            let part = path(flag).ok();
            part.map(|part| part.to_string_lossy().into_owned())
        };
        Ok(Self {
            only: name("--only"),
            part: name("--part"),
            rounds: named,
            faults: name("--faults")
                .map(|runs| runs.parse().context("--faults N"))
                .transpose()?,
            plan,
            print_only: given.iter().any(|argument| argument == "--print-only"),
            shoal: path("--shoal")?,
            llama_server: path("--llama-server")?,
            model: path("--model")?,
        })
    }
}

impl Arguments {
    fn is_wanted(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }

    /// Shows a section, and puts it into the report.
    fn put(&self, title: &str, text: &str) -> Result<()> {
        println!("{text}");
        if !self.print_only {
            report::replace_section(RESULTS.as_ref(), title, text)?;
        }
        Ok(())
    }
}

/// Whether something by a name of its own was asked for, and done.
async fn is_command() -> Result<bool> {
    if boards::count().await? {
        return Ok(true);
    }
    if let Some(text) = boards::run().await? {
        println!("{text}");
        report::replace_section(RESULTS.as_ref(), "Blackboard: how notes spread", &text)?;
        return Ok(true);
    }
    if let Some(report) = siege::run()? {
        println!("{report}");
        return Ok(true);
    }
    #[cfg(target_os = "linux")]
    if let Some(answers) = chains::run().await? {
        println!("{answers}");
        return Ok(true);
    }
    Ok(false)
}

#[tokio::main]
async fn main() -> Result<()> {
    #[cfg(target_os = "linux")]
    if let Some((tries, only)) = asked_of_nat()? {
        let rows = nat::measure(tries, only.as_deref())?;
        let text = format!("{}\n{rows}", report::host("`make bench-nat`"));
        println!("{text}");
        return match only {
            Some(_) => Ok(()),
            None => Ok(report::replace_section(
                RESULTS.as_ref(),
                "Behind NATs",
                &text,
            )?),
        };
    }
    if is_command().await? {
        return Ok(());
    }
    let arguments = Arguments::parse()?;
    if arguments.is_wanted("one-node") {
        one_node(&arguments).await?;
    }
    if arguments.is_wanted("peers") {
        let rounds = arguments.plan.rounds;
        let rows = swarm::measure(&arguments.shoal, &arguments.model, rounds).await?;
        let text = format!("{}\n{}{rows}", report::machine(), swarm_text(rounds));
        arguments.put("Peers on one machine", &text)?;
    }
    if arguments.is_wanted("crowd") {
        let rows = swarm::idle(&arguments.shoal).await?;
        arguments.put(
            "One of two hundred",
            &format!("{}\n{rows}", report::machine()),
        )?;
    }
    if arguments.is_wanted("siege") {
        let tables = siege::measure(&arguments.shoal, &arguments.model).await?;
        let host = report::host("`make bench BENCH=\"--only siege\"`");
        arguments.put("Under attack", &format!("{host}\n{tables}"))?;
    }
    if arguments.is_wanted("experts") {
        shards(&arguments).await?;
    }
    #[cfg(target_os = "linux")]
    if arguments.is_wanted("chains") {
        chains::measure(&arguments).await?;
    }
    Ok(())
}

/// What the section's figures are of.
fn swarm_text(rounds: usize) -> String {
    format!(
        "SmolLM2-135M-Instruct Q4_1; every process on this machine, over loopback, so a round trip is \
         0.1 ms and all share the cores; medians of {rounds} rounds (questions in turns: four times as \
         many).\n\n"
    )
}

async fn shards(arguments: &Arguments) -> Result<()> {
    let tables = experts::measure(&arguments.shoal, arguments.plan.rounds).await?;
    let host = report::host("`make bench BENCH=\"--only experts\"`");
    arguments.put("Shards of experts", &format!("{host}\n{tables}"))
}

async fn one_node(arguments: &Arguments) -> Result<()> {
    let plan = &arguments.plan;
    let idle = idle::measure(&arguments.shoal, plan.rounds)?;
    println!("idle node: {idle:?}");
    let sides = Sides::start(arguments)?;
    let before = sides.memory();
    let figures = measure(&sides, plan).await?;
    let memory = [before, sides.memory()];
    drop(sides);
    let text = report::render(plan, &figures, memory, &idle);
    arguments.put("One node", &text)
}

/// `bench nat [TRIES [PAIR]]`: how many, and of which pair alone (which is only shown), if that is
/// what is asked for.
#[cfg(target_os = "linux")]
fn asked_of_nat() -> Result<Option<(usize, Option<String>)>> {
    let given: Vec<String> = std::env::args().skip(1).take(3).collect();
    let number = |tries: &str| tries.parse().context("nat TRIES");
    Ok(
        match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["nat"] => Some((nat::TRIES, None)),
            ["nat", tries] => Some((number(tries)?, None)),
            ["nat", tries, pair] => Some((number(tries)?, Some(pair.to_owned()))),
            _ => None,
        },
    )
}
