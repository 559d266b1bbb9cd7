//! `make bench`: Shoal beside llama.cpp's own server on the same machine, model and threads, in
//! one run, interleaved; writes `tests/benches/RESULTS.md`. It asserts nothing: figures are for
//! people, and a figure that falls short is reported as it is.

#![expect(clippy::print_stdout, reason = "a benchmark talks to the terminal")]

mod idle;
mod measure;
mod report;
mod sides;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    measure::{Plan, measure},
    sides::Sides,
};

/// What the command line names.
struct Arguments {
    shoal: PathBuf,
    llama_server: PathBuf,
    model: PathBuf,
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
        Ok(Self {
            shoal: path("--shoal")?,
            llama_server: path("--llama-server")?,
            model: path("--model")?,
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let plan = Plan::default();
    let idle = idle::measure(&arguments.shoal, plan.rounds)?;
    println!("idle node: {idle:?}");
    let sides = Sides::start(&arguments)?;
    let figures = measure(&sides, &plan).await?;
    let memory = sides.memory();
    drop(sides);
    let text = report::render(&plan, &figures, memory, &idle);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md");
    report::replace_section(path.as_ref(), "One node", &text)?;
    println!("{text}");
    Ok(())
}
