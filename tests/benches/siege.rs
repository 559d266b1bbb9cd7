//! What a hostile peer costs a node: the latency of its API while nobody attacks, while somebody
//! burns as much processor time as the attacker does, and under attack; its memory and processor
//! time; and how soon it cuts the attacker off. What the attacker does is the attacker's.
//!
//! All share one machine, so the attacker's own computing slows the victim as well. Burning the same
//! beside it, for nothing, tells that from harm: what the victim spends on an attack is still counted.

mod attacker;

use std::{
    fmt::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tests::{
    api::{self, Outcome},
    process::{Node, cpu_time_of},
    swarm::{PATIENCE, until, until_it_lists},
};

pub(crate) use self::attacker::run;
use self::attacker::{ATTACKS, Attack};
use crate::{
    idle::median,
    swarm::{Processes, QUIC, TCP},
};

/// How long the API is measured at a time.
const TURN: Duration = Duration::from_secs(8);

/// Each attack so many times; a first time before them only says how much it computes.
const ROUNDS: usize = 3;

/// What is asked, one after another: so many lists of models, then one short answer.
const REQUESTS: [&str; 2] = ["`GET /v1/models`", "8 tokens"];
const LISTS_PER_ANSWER: usize = 5;
const TOKENS: u32 = 8;

/// How often the victim's memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// After an attack, until its memory is looked at for the last time.
const REST: Duration = Duration::from_secs(5);

/// Turns of one sort.
#[derive(Default)]
struct Turns {
    /// Milliseconds, by [`REQUESTS`]; a request that failed never ended.
    times: [Vec<f64>; 2],
    /// Cores' worth that the victim and its engine took, and whoever ran beside them.
    shares: [Vec<f64>; 2],
}

/// All turns about one attack.
struct Figures {
    attack: &'static Attack,
    /// What the attacker takes of a core.
    share: f64,
    /// Quiet, burning, attacked.
    turns: [Turns; 3],
    /// MiB before an attack, at most during it, and after it.
    memory: [Vec<f64>; 3],
    reports: Vec<Value>,
}

/// A node that serves a model in a swarm of its own.
struct Victim<'a> {
    node: Node,
    _swarm: Processes<'a>,
    client: reqwest::Client,
    model: String,
    address: String,
}

impl<'a> Victim<'a> {
    async fn start(shoal: &'a Path, model: &'a Path) -> Result<Self> {
        let mut swarm = Processes::start(shoal, model)?;
        let node = swarm.server(&[QUIC, TCP])?;
        let model = swarm.name();
        until_it_lists(&node, &model, true).await?;
        let is_in = |status: &Value| status["state"] == "joined" && tcp_address(status).is_some();
        let status = until(&node, "/api/peers", is_in).await?;
        let address = tcp_address(&status).context("an address")?;
        let victim = Self {
            client: api::client()?,
            address: address.to_owned(),
            _swarm: swarm,
            node,
            model,
        };
        victim.answer().await?;
        Ok(victim)
    }

    async fn list(&self) -> Result<()> {
        let url = format!("{}/v1/models", self.node.url);
        let response = self.client.get(url).send().await?;
        response.error_for_status()?.bytes().await?;
        Ok(())
    }

    async fn answer(&self) -> Result<()> {
        let url = format!("{}/v1/completions", self.node.url);
        let body = json!({
            "model": self.model, "prompt": "Count the birds on the lake:", "max_tokens": TOKENS,
            "temperature": 0,
        });
        match api::stream(&self.client, &url, body).await? {
            Outcome::Answered(_) => Ok(()),
            Outcome::Refused => bail!("refused"),
        }
    }

    fn cpu_time(&self) -> Duration {
        let all = self.node.children().into_iter().chain([self.node.pid()]);
        all.map(cpu_time_of).sum()
    }

    fn memory_mib(&self) -> f64 {
        self.node.memory_bytes() as f64 / f64::from(1 << 20)
    }

    /// Measures the API, beside a process of this benchmark if one is named; what that reported,
    /// and the most memory that was seen, MiB.
    async fn turn(&self, turns: &mut Turns, beside: &[&str]) -> Result<(Value, f64)> {
        let beside = (!beside.is_empty()).then(|| start(beside)).transpose()?;
        let (before, began) = (self.cpu_time(), Instant::now());
        let (mut most, mut looked) = (0_f64, began);
        while began.elapsed() < TURN {
            for _ in 0..LISTS_PER_ANSWER {
                turns.times[0].push(timed(self.list()).await);
            }
            turns.times[1].push(timed(self.answer()).await);
            if looked.elapsed() > LOOK {
                most = most.max(self.memory_mib());
                looked = Instant::now();
            }
        }
        let spent = self.cpu_time().saturating_sub(before);
        let share = spent.as_secs_f64() / began.elapsed().as_secs_f64();
        turns.shares[0].push(share);
        let report = beside.map(end).transpose()?.unwrap_or_default();
        turns.shares[1].push(report["share"].as_f64().unwrap_or(0.0));
        Ok((report, most))
    }
}

impl Figures {
    fn new(attack: &'static Attack) -> Self {
        Self {
            attack,
            share: 0.0,
            turns: Default::default(),
            memory: Default::default(),
            reports: Vec::new(),
        }
    }

    /// One attack on a fresh victim, that the one before left nothing with.
    async fn round(&mut self, victim: &Victim<'_>, is_counted: bool) -> Result<()> {
        let [quiet, burning, attacked] = &mut self.turns;
        let mut uncounted = Turns::default();
        let attacked = if is_counted { attacked } else { &mut uncounted };
        if is_counted {
            victim.turn(quiet, &[]).await?;
            let share = self.share.to_string();
            victim.turn(burning, &["burn", &share]).await?;
        }
        let before = victim.memory_mib();
        let attack = ["attack", self.attack.name, &victim.address];
        let (report, most) = victim.turn(attacked, &attack).await?;
        self.share = report["share"].as_f64().context("the attacker's share")?;
        if is_counted {
            tokio::time::sleep(REST).await;
            let memory = [before, most, victim.memory_mib()];
            let all = self.memory.iter_mut().zip(memory);
            all.for_each(|(values, value)| values.push(value));
            self.reports.push(report);
        }
        // It is still one of the swarm.
        let is_in = |status: &Value| status["state"] == "joined";
        until(&victim.node, "/api/peers", is_in).await?;
        Ok(())
    }
}

/// Every attack in turn, in rounds; the section's tables.
pub(crate) async fn measure(shoal: &Path, model: &Path) -> Result<String> {
    let mut all: Vec<Figures> = ATTACKS.iter().map(Figures::new).collect();
    for round in 0..=ROUNDS {
        for figures in &mut all {
            let victim = Victim::start(shoal, model).await?;
            figures.round(&victim, round > 0).await?;
        }
    }
    let mut text = explained();
    latencies(&mut text, &all);
    costs(&mut text, &all);
    Ok(text)
}

fn tcp_address(status: &Value) -> Option<&str> {
    let addresses = status["listening"].as_array()?.iter();
    let mut texts = addresses.filter_map(Value::as_str);
    texts.find(|address| address.contains("/tcp/"))
}

/// Milliseconds that a request takes; without end when it fails.
async fn timed(request: impl Future<Output = Result<()>>) -> f64 {
    let sent = Instant::now();
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(())) => sent.elapsed().as_secs_f64() * 1000.0,
        _ => f64::INFINITY,
    }
}

fn start(args: &[&str]) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let command = command.args(args).stdin(Stdio::null());
    Ok(command.stdout(Stdio::piped()).spawn()?)
}

fn end(child: Child) -> Result<Value> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the attacker failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100);
    let value = values.get(rank.saturating_sub(1));
    value.copied().unwrap_or(f64::NAN)
}

fn explained() -> String {
    format!(
        "SmolLM2-135M-Instruct Q4_1; the victim, its bootstrap server, the attacker and the client on this \
         machine, over loopback (the attack over TCP). One client asks for {LISTS_PER_ANSWER} lists of models and \
         an answer of {TOKENS} tokens in turns, without a pause; {ROUNDS} rounds of {} s each without an attack, \
         beside a process that burns as much of a core as the attacker took the time before, and under attack, on \
         a new victim each; all rounds' requests together. A request that fails counts as one without end. The \
         attacker has one thread, and is a new peer 100 ms after each cut. At most, a second: garbage, 1,000 \
         messages and 62 streams; huge frames, 64 MB on 32 streams, which say that they hold 4 GiB or 8 MiB; \
         streams, 8,000, 128 of them open at once; one author and made-up authors, 10,000 valid adverts.\n\n",
        TURN.as_secs()
    )
}

fn latencies(text: &mut String, all: &[Figures]) {
    text.push_str(
        "| attack | request | quiet, p50 / p99, ms | burning | attacked | requests, failed | p99, of quiet | p99, of \
         burning | to reach |\n|---|---|---:|---:|---:|---:|---:|---:|---|\n",
    );
    for figures in all {
        for (at, request) in REQUESTS.iter().enumerate() {
            let of = |turns: &Turns, percent| percentile(turns.times[at].clone(), percent);
            let both = |turns| format!("{:.1} / {:.1}", of(turns, 50), of(turns, 99));
            let [quiet, burning, attacked] = &figures.turns;
            let times = &attacked.times[at];
            let failed = times.iter().filter(|time| time.is_infinite()).count();
            let _ = writeln!(
                text,
                "| {} | {request} | {} | {} | {} | {}, {failed} | {:.2} | {:.2} | ≤ 1.2 |",
                figures.attack.name,
                both(quiet),
                both(burning),
                both(attacked),
                times.len(),
                of(attacked, 99) / of(quiet, 99),
                of(attacked, 99) / of(burning, 99),
            );
        }
    }
}

fn costs(text: &mut String, all: &[Figures]) {
    text.push_str(
        "\n| attack | victim's memory before, at most, after, MiB | its cores' worth quiet, burning, attacked | the \
         burner's, the attacker's | sent a second | cut off | connected until then, median s | longest s | not let \
         in |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for figures in all {
        let [before, most, after] = &figures.memory;
        let [quiet, burning, attacked] = &figures.turns;
        let share = |turns: &Turns, of: usize| median(turns.shares[of].clone());
        let numbers = |name: &str| -> Vec<f64> {
            let lists = figures.reports.iter().map(|report| &report[name]);
            let values = lists.flat_map(|list| list.as_array().into_iter().flatten());
            values.filter_map(Value::as_f64).collect()
        };
        let sum = |name: &str| -> f64 {
            let reports = figures.reports.iter();
            reports.filter_map(|report| report[name].as_f64()).sum()
        };
        let (cut, uncut) = (numbers("cut"), numbers("uncut"));
        let seconds = TURN.as_secs_f64() * figures.reports.len() as f64;
        let _ = writeln!(
            text,
            "| {} | {:.0}, {:.0}, {:.0} | {:.2}, {:.2}, {:.2} | {:.2}, {:.2} | {:.0} {} | {} of {} | {:.2} | {:.2} | {:.0} |",
            figures.attack.name,
            median(before.clone()),
            most.iter().copied().fold(0.0, f64::max),
            median(after.clone()),
            share(quiet, 0),
            share(burning, 0),
            share(attacked, 0),
            share(burning, 1),
            share(attacked, 1),
            sum("sent") / seconds,
            figures.attack.unit,
            cut.len(),
            cut.len() + uncut.len(),
            median(cut.clone()),
            cut.iter().chain(&uncut).copied().fold(0.0, f64::max),
            sum("refused"),
        );
    }
    text.push_str(
        "\nWho is not cut off when a turn ends counts in the longest, not in the median.\n",
    );
}
