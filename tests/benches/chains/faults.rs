//! Answers over a chain of three machines beside which one waits: in the middle of each, a machine
//! with a stage is killed or stops, by a seed. Each has a chain of its own, since whoever failed is
//! left out for a while.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Result, ensure};
use tests::chain::{Chain, FOR_THREE, Fault, Outcome, QUIC, Question, Shape, Swarm, ask};

use super::figures::Values;

/// Faults, unless told otherwise.
pub(super) const RUNS: usize = 50;

/// What happens to the machine, in turns.
const FAULTS: [(Fault, &str); 2] = [
    (Fault::KillNode, "killed"),
    (Fault::StopNode, "stopped (SIGSTOP)"),
];

/// What may pass beside the replay.
const BOUND: Duration = Duration::from_secs(1);

/// A head, three machines with a stage each, and one more.
const SHAPE: Shape = Shape {
    memory: FOR_THREE,
    others: 4,
    listen: QUIC,
};

/// What came of all faults of one sort.
#[derive(Default)]
struct Sort {
    runs: usize,
    good: usize,
    in_time: usize,
    pauses: Values,
    bad: Vec<String>,
}

/// The section's text.
pub(super) async fn measure(runs: usize, first_seed: u64) -> Result<String> {
    let swarm = Swarm::start()?;
    let expected = ask(&swarm.large()?, &Question::default(), |_| {})
        .await?
        .text;
    let mut sorts: [Sort; FAULTS.len()] = Default::default();
    for run in 0..runs {
        let at = run % FAULTS.len();
        let seed = first_seed.wrapping_add(run as u64);
        let outcome = attempt(seed, FAULTS[at].0).await;
        println!("{run}: {seed} {outcome:?}");
        sorts[at].take(seed, outcome, &expected);
    }
    Ok(table(&sorts))
}

async fn attempt(seed: u64, fault: Fault) -> Result<Outcome> {
    let mut chain = Chain::form(Swarm::start()?, SHAPE).await?;
    chain.until_spares(1).await?;
    let stages = chain.ring().len();
    ensure!(stages == 3, "a chain of {stages}");
    chain
        .ask_through_a_fault(&Question::default(), seed, fault)
        .await
}

impl Sort {
    fn take(&mut self, seed: u64, outcome: Result<Outcome>, expected: &str) {
        self.runs += 1;
        match outcome {
            Ok(outcome) if outcome.text == expected => {
                self.good += 1;
                self.in_time += usize::from(outcome.pause <= BOUND);
                self.pauses.add(outcome.pause.as_secs_f64());
            }
            Ok(_) => self.bad.push(format!("{seed}: another text")),
            Err(error) => {
                let text = format!("{error:#}");
                let cause: String = text.lines().next().unwrap_or_default().into();
                self.bad.push(format!("{seed}: {cause}"));
            }
        }
    }
}

fn table(sorts: &[Sort]) -> String {
    let mut text = String::from(
        "| a machine with a stage is | complete and identical | pause, s | up to 1 s | to reach |\n|---|---:|---:|---:|---|\n",
    );
    for ((_, name), sort) in FAULTS.iter().zip(sorts) {
        let _ = writeln!(
            text,
            "| {name} | {}/{} | {} | {}/{} | all; ≤ 1 s + replay |",
            sort.good,
            sort.runs,
            sort.pauses.shown(2),
            sort.in_time,
            sort.good
        );
    }
    text.push_str(
        "\n`tiny-moe` over three machines beside the head's, one more that is ready for one of the stages; 1 thread each, over QUIC on loopback; answers of \
         200 tokens at temperature 0, the fault after 1 to 149 characters; the pause is the longest time without text \
         from then on, the replay in it.\n",
    );
    for bad in sorts.iter().flat_map(|sort| &sort.bad) {
        let _ = writeln!(text, "- failed, seed {bad}");
    }
    text
}
