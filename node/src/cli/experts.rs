//! `shoal experts`: which experts of a mixture are used, and how good it is with some of them only.
//! The work is done in this process, beside a running node or without one; the node, if there is one,
//! is asked where the model's file is.

use std::path::{Path, PathBuf};

use llama_sys::gguf::{ExpertSets, Usage};
use serde_json::json;
use web::manage::StoredModel;

use super::args::{ClientArgs, CutArgs, ExpertsCommand, RankArgs, ScoreArgs};
use super::connect::{configuration, wait};
use super::{CliError, Exit, Terminal, text};
use crate::api_client::Client;
use crate::config::{Config, Effective};
use crate::core::shards::reference::Reference;
use crate::core::shards::score::{Bar, Score, TextScore};
use crate::data_dir::{DataDir, Layout};
use crate::experts::{ExpertsError, Mixture, Records, Texts};
use crate::models::{causes, owned_file};
use crate::shelf;
use crate::store::Store;

/// How many of a layer's experts are named.
const NAMED: usize = 8;

/// Runs one of the commands.
pub(super) fn run(command: &ExpertsCommand, terminal: &mut Terminal) -> Result<Exit, CliError> {
    match command {
        ExpertsCommand::Rank(args) => rank(args, terminal),
        ExpertsCommand::Score(args) => score(args, terminal),
        ExpertsCommand::Cut(args) => cut(args, terminal),
    }
}

fn rank(args: &RankArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let (mixture, records) = open(&args.model, &args.client)?;
    let texts = Texts::of_files(&args.texts).map_err(failed)?;
    let known = mixture.rank(&texts, &mut reading).map_err(failed)?;
    records.keep(&known).map_err(failed)?;
    let overall = known.overall().ok_or(ExpertsError::NotRanked);
    let overall = overall.map_err(failed)?;
    match args.json {
        true => terminal.json(&ranked_json(&known, &overall))?,
        false => terminal.text(&ranked_text(&known, &overall))?,
    }
    Ok(Exit::Done)
}

/// Under the bar it fails, after it said so.
fn score(args: &ScoreArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let (mixture, records) = open(&args.model, &args.client)?;
    let texts = Texts::of_files(&args.texts).map_err(failed)?;
    let known = records.find(mixture.fingerprint()).map_err(failed)?;
    let kept = args.experts.map(|count| mixture.most_used(&known, count));
    let kept = kept.transpose().map_err(failed)?;
    let scored = match (&kept, &args.shard) {
        (Some(kept), _) => mixture.score(&known, kept, &texts, &mut reading),
        (None, Some(file)) => mixture.score_shard(&known, file, &texts, &mut reading),
        (None, None) => return Err(CliError::Argument("--experts or --shard is wanted".into())),
    };
    let scored = scored.map_err(failed)?;
    let shard = kept.as_ref().map(|kept| Kept::of(&known, kept));
    match args.json {
        true => terminal.json(&scored_json(&known, shard, &scored, args.bar))?,
        false => terminal.text(&scored_text(&known, shard, &scored, args.bar))?,
    }
    Ok(match args.bar.admits(&scored) {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn cut(args: &CutArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let (mixture, records) = open(&args.model, &args.client)?;
    let known = records.find(mixture.fingerprint()).map_err(failed)?;
    let kept = mixture.most_used(&known, args.experts).map_err(failed)?;
    let bytes = mixture.cut(&kept, &args.to).map_err(failed)?;
    terminal.line(format!(
        "wrote {}: {} of {} experts, {}",
        text::printable(&args.to.display().to_string()),
        kept.kept(),
        kept.experts(),
        text::bytes(bytes)
    ))?;
    Ok(Exit::Done)
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn failed(error: ExpertsError) -> CliError {
    CliError::Experts(causes(&error))
}

fn reading(name: &str) {
    Terminal::remark(&format!("reading {}", text::printable(name)));
}

fn open(model: &str, args: &ClientArgs) -> Result<(Mixture, Records), CliError> {
    let effective = configuration(args)?;
    let (name, file) = find(model, args, &effective)?;
    let config = &effective.config;
    let mixture = Mixture::open(name, &file, config.engine.threads).map_err(failed)?;
    let records = Records::new(Layout::new(&config.data_dir).experts());
    Ok((mixture, records))
}

/// The name and the first file of a model: a path, or a name that the node or the store knows.
fn find(
    model: &str,
    args: &ClientArgs,
    effective: &Effective,
) -> Result<(String, PathBuf), CliError> {
    let path = Path::new(model);
    if path.is_file() {
        let name = path.file_stem().unwrap_or(path.as_os_str());
        return Ok((name.to_string_lossy().into_owned(), path.to_owned()));
    }
    match ask(args, effective) {
        // With an address of its own, the question is for that node only.
        Err(CliError::Client(error)) if error.is_no_node() && args.api.is_none() => {
            in_store(model, &effective.config)
        }
        answered => of_node(model, &answered?, &effective.config),
    }
}

fn ask(args: &ClientArgs, effective: &Effective) -> Result<Vec<StoredModel>, CliError> {
    let client = Client::find(args.api.as_deref(), effective)?;
    wait(async { Ok(client.stored().await?) })
}

/// As the running node has it; its database is its own, its folder of models may be looked at.
fn of_node(
    model: &str,
    stored: &[StoredModel],
    config: &Config,
) -> Result<(String, PathBuf), CliError> {
    let absent = || {
        CliError::NoModel(format!(
            "no model `{model}` here: `shoal models` lists them"
        ))
    };
    let found = stored.iter().find(|stored| stored.name == model);
    let found = found.ok_or_else(absent)?;
    let file = match &found.external_path {
        Some(path) => Some(path.clone()),
        None => owned_file(&config.models_dir(), model).map_err(|cause| {
            let path = config.models_dir();
            failed(ExpertsError::File { path, cause })
        })?,
    };
    Ok((model.to_owned(), file.ok_or_else(absent)?))
}

fn in_store(model: &str, config: &Config) -> Result<(String, PathBuf), CliError> {
    let absent = || CliError::NoModel(format!("no model `{model}` here: pull it first"));
    if !config.data_dir.is_dir() {
        return Err(absent());
    }
    let dir = DataDir::claim(&config.data_dir)?;
    let store = Store::open(&dir.layout().state())?;
    let models = shelf::open(config, &store)?;
    let found = wait(async {
        let found = models.resolve(model).await;
        found.map_err(|error| CliError::NoModel(error.to_string()))
    })?;
    let first = found.files.into_iter().next();
    Ok((found.name, first.ok_or_else(absent)?))
}

fn ranked_json(known: &Reference, overall: &Usage) -> serde_json::Value {
    let texts = known.texts.iter().map(|text| {
        json!({
            "name": text.sample.name,
            "perplexity": text.sample.perplexity(),
            "tokens": text.sample.tokens,
            "usage": text.usage.shares(),
        })
    });
    json!({
        "model": known.model,
        "fingerprint": known.fingerprint,
        "experts": overall.experts(),
        "used": known.used,
        "texts": texts.collect::<Vec<_>>(),
        "usage": overall,
        "ranking": overall.ranking(),
    })
}

fn ranked_text(known: &Reference, overall: &Usage) -> String {
    let experts = overall.experts();
    let parts = [1, 2, 3].map(|quarters| (experts * quarters / 4).max(1));
    let covers = |usage: &Usage, count: u32| {
        let sets = usage.top(count).ok();
        sets.map_or(String::new(), |sets| percent(usage.retained(&sets)))
    };
    let row = |name: String, perplexity: f64, usage: &Usage| {
        let [a, b, c] = parts.map(|count| covers(usage, count));
        [name, format!("{perplexity:.2}"), a, b, c]
    };
    let mut rows: Vec<_> = known
        .texts
        .iter()
        .map(|text| {
            let name = text::printable(&text.sample.name);
            row(name, text.sample.perplexity(), &text.usage)
        })
        .collect();
    let logarithms = known.texts.iter().map(|text| text.sample.perplexity().ln());
    let mean = logarithms.sum::<f64>() / known.texts.len().max(1) as f64;
    rows.push(row("together".into(), mean.exp(), overall));
    let [a, b, c] = parts.map(|count| format!("TOP {count}"));
    let heading = ["TEXT", "PERPLEXITY", &a, &b, &c];
    let layers = overall.ranking().into_iter().enumerate();
    let layers: Vec<_> = layers
        .map(|(layer, order)| named(overall, layer, &order))
        .collect();
    format!(
        "model    {}\nexperts  {experts} in each of {} layers, {} used by a token\n\n{}\n{}",
        text::printable(&known.model),
        overall.layers().len(),
        known.used,
        text::table(heading, &rows),
        text::table(["LAYER", "MOST USED"], &layers)
    )
}

fn named(overall: &Usage, layer: usize, order: &[u32]) -> [String; 2] {
    let first = order.iter().take(NAMED);
    let first = first.map(|expert| format!("{expert} ({})", percent(overall.of(layer, *expert))));
    [layer.to_string(), first.collect::<Vec<_>>().join(", ")]
}

/// What a shard keeps, in figures.
#[derive(Debug, Clone, Copy)]
struct Kept {
    experts: u32,
    retained: f64,
}

impl Kept {
    fn of(known: &Reference, kept: &ExpertSets) -> Self {
        Self {
            experts: kept.kept(),
            retained: known.overall().map_or(0.0, |usage| usage.retained(kept)),
        }
    }
}

fn scored_json(
    known: &Reference,
    kept: Option<Kept>,
    score: &Score,
    bar: Bar,
) -> serde_json::Value {
    json!({
        "model": known.model,
        "experts": known.texts.first().map(|text| text.usage.experts()),
        "kept": kept.map(|kept| kept.experts),
        "retained_mass": kept.map(|kept| kept.retained),
        "bar": bar.ratio(),
        "admitted": bar.admits(score),
        "score": score,
    })
}

fn scored_text(known: &Reference, kept: Option<Kept>, score: &Score, bar: Bar) -> String {
    let experts = known.texts.first().map_or(0, |text| text.usage.experts());
    let shard = kept.map_or(String::new(), |kept| {
        let share = percent(kept.retained);
        format!(
            "experts     {} of {experts}, {share} of the routed mass\n",
            kept.experts
        )
    });
    let verdict = match bar.admits(score) {
        true => "good enough to be served under the model's name",
        false => "not to be served under the model's name",
    };
    let rows: Vec<_> = score.texts.iter().map(scored_row).collect();
    format!(
        "model       {}\n{shard}perplexity  {:.2}, the whole model's {:.2}: {:.3} times\n\
         same token  {}\nverdict     {verdict}: the bar is {:.2}\n\n{}",
        text::printable(&known.model),
        score.perplexity,
        score.whole_perplexity,
        score.ratio,
        percent(score.agreement),
        bar.ratio(),
        text::table(
            ["TEXT", "PERPLEXITY", "WHOLE", "TIMES", "SAME TOKEN"],
            &rows
        )
    )
}

fn scored_row(text: &TextScore) -> [String; 5] {
    [
        text::printable(&text.name),
        format!("{:.2}", text.perplexity),
        format!("{:.2}", text.whole_perplexity),
        format!("{:.3}", text.ratio),
        percent(text.agreement),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::shards::reference::Measured;
    use crate::core::shards::score::{Sample, score};

    fn sample(perplexity: f64, likeliest: &[u32]) -> Sample {
        Sample {
            name: "prose".into(),
            tokens: likeliest.len() as u64,
            nats: likeliest.len() as f64 * f64::ln(perplexity),
            likeliest: likeliest.to_vec(),
        }
    }

    fn known() -> Reference {
        Reference {
            model: "org/mixture".into(),
            fingerprint: "f".into(),
            texts_digest: "t".into(),
            used: 1,
            texts: vec![Measured {
                sample: sample(5.0, &[1, 2, 3, 4]),
                usage: Usage::try_from(vec![vec![1.0, 4.0, 3.0, 2.0]; 2]).unwrap(),
            }],
        }
    }

    #[test]
    fn what_is_used_most_is_shown() {
        let known = known();
        let shown = ranked_text(&known, &known.overall().unwrap());
        let expected = "\
model    org/mixture
experts  4 in each of 2 layers, 1 used by a token

TEXT      PERPLEXITY  TOP 1   TOP 2   TOP 3
prose     5.00        40.0 %  70.0 %  90.0 %
together  5.00        40.0 %  70.0 %  90.0 %

LAYER  MOST USED
0      1 (40.0 %), 2 (30.0 %), 3 (20.0 %), 0 (10.0 %)
1      1 (40.0 %), 2 (30.0 %), 3 (20.0 %), 0 (10.0 %)
";
        assert_eq!(shown, expected);
        let json = ranked_json(&known, &known.overall().unwrap());
        assert_eq!(json["ranking"][1][0], 1);
        assert_eq!(json["experts"], 4);
    }

    #[test]
    fn a_verdict_is_shown_with_its_bar() {
        let known = known();
        let scored = score(&known.samples(), &[sample(6.0, &[1, 2, 3, 0])]).unwrap();
        let kept = Some(Kept {
            experts: 3,
            retained: 0.9,
        });
        let shown = scored_text(&known, kept, &scored, Bar::default());
        let expected = "\
model       org/mixture
experts     3 of 4, 90.0 % of the routed mass
perplexity  6.00, the whole model's 5.00: 1.200 times
same token  75.0 %
verdict     not to be served under the model's name: the bar is 1.10

TEXT   PERPLEXITY  WHOLE  TIMES  SAME TOKEN
prose  6.00        5.00   1.200  75.0 %
";
        assert_eq!(shown, expected);
        let bar = Bar::new(1.3).unwrap();
        let json = scored_json(&known, None, &scored, bar);
        assert_eq!(json["admitted"], true);
        assert!(scored_text(&known, None, &scored, bar).contains("good enough"));
    }
}
