//! `shoal plan`: how a model would be spread over peers, by the running node.

use web::manage::{LeftOut, PlanPrediction, PlanReport, PlannedStage};

use super::args::PlanArgs;
use super::connect::{client, wait};
use super::{CliError, Exit, Terminal, text};

/// `shoal plan`. Without a plan it fails, after it said why.
pub(super) fn run(args: &PlanArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    let report = wait(async { Ok(client.plan(&args.model).await?) })?;
    match args.json {
        true => terminal.json(&report)?,
        false => terminal.text(&describe(&report))?,
    }
    Ok(match report.stages.is_empty() {
        true => Exit::Failed,
        false => Exit::Done,
    })
}

fn describe(report: &PlanReport) -> String {
    let mut lines = vec![
        format!("model    {}", text::printable(&report.model)),
        format!(
            "size     {} layers, {} sequences of up to {} tokens",
            report.layers, report.parallel, report.context_length
        ),
        format!("plan     {}", verdict(report)),
    ];
    if let Some(prediction) = &report.prediction {
        lines.extend(speed(prediction));
    }
    let mut shown = format!("{}\n", lines.join("\n"));
    if !report.stages.is_empty() {
        shown = format!("{shown}\n{}", stages(&report.stages));
    }
    if !report.out.is_empty() {
        shown = format!("{shown}\n{}", out(&report.out));
    }
    shown
}

fn verdict(report: &PlanReport) -> String {
    match report.stages.as_slice() {
        [] => match &report.cause {
            Some(cause) => format!("none: {}", text::printable(cause)),
            None => "none".into(),
        },
        [one] if one.is_here => "this machine alone: the model fits on it".into(),
        [_] => "one machine: the model fits on it".into(),
        several => format!("a chain of {} machines", several.len()),
    }
}

fn speed(prediction: &PlanPrediction) -> Vec<String> {
    let mut lines = vec![format!(
        "speed    {:.1} tokens/s, {:.1} ms a token ({:.1} computing, {:.1} on the way)",
        prediction.tokens_per_second,
        prediction.token_ms,
        prediction.compute_ms,
        prediction.network_ms
    )];
    if let Some(prefill) = prediction.prefill_tokens_per_second {
        lines.push(format!("prompt   {prefill:.0} tokens/s"));
    }
    if prediction.streams > 1 {
        lines.push(format!(
            "in all   {:.1} tokens/s of {} sessions",
            prediction.streams_tokens_per_second, prediction.streams
        ));
    }
    if prediction.is_assumed {
        lines.push("note     a machine's speed is assumed: `shoal bench` on it measures it".into());
    }
    lines
}

fn stages(stages: &[PlannedStage]) -> String {
    let rows: Vec<_> = stages.iter().map(stage).collect();
    text::table(["STAGE", "LAYERS", "MEMORY", "TO FETCH", "A TOKEN"], &rows)
}

fn stage(stage: &PlannedStage) -> [String; 5] {
    [
        peer(&stage.peer, stage.is_here),
        format!(
            "{}-{}",
            stage.first_layer,
            stage.last_layer.saturating_sub(1)
        ),
        text::bytes(stage.memory_bytes),
        text::bytes(stage.fetch_bytes),
        format!("{:.1} ms", stage.token_ms),
    ]
}

fn out(out: &[LeftOut]) -> String {
    let rows: Vec<_> = out
        .iter()
        .map(|left| {
            [
                peer(&left.peer, left.is_here),
                text::printable(&left.reason),
            ]
        })
        .collect();
    text::table(["NOT IN IT", "WHY"], &rows)
}

fn peer(id: &str, is_here: bool) -> String {
    let here = if is_here { " (this node)" } else { "" };
    format!("{}{here}", text::printable(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(peer: &str, layers: std::ops::Range<u32>) -> PlannedStage {
        PlannedStage {
            peer: peer.into(),
            is_here: peer == "me",
            first_layer: layers.start,
            last_layer: layers.end,
            memory_bytes: 3 << 30,
            fetch_bytes: 0,
            token_ms: 30.0,
        }
    }

    fn chain() -> PlanReport {
        PlanReport {
            model: "org/big".into(),
            layers: 40,
            context_length: 8192,
            parallel: 16,
            kind: "chain".into(),
            head: "me".into(),
            stages: vec![stage("me", 0..24), stage("friend", 24..40)],
            prediction: Some(PlanPrediction {
                tokens_per_second: 12.5,
                token_ms: 80.0,
                compute_ms: 60.0,
                network_ms: 20.0,
                prefill_tokens_per_second: Some(250.0),
                streams: 16,
                streams_tokens_per_second: 100.0,
                is_assumed: true,
            }),
            out: vec![LeftOut {
                peer: "slow\x1b[31m".into(),
                is_here: false,
                code: "slows_down".into(),
                reason: "a token would take 5.0 ms longer with it".into(),
            }],
            ..PlanReport::default()
        }
    }

    #[test]
    fn a_chain_is_shown_with_its_speed_and_who_is_out() {
        let shown = describe(&chain());
        let expected = "\
model    org/big
size     40 layers, 16 sequences of up to 8192 tokens
plan     a chain of 2 machines
speed    12.5 tokens/s, 80.0 ms a token (60.0 computing, 20.0 on the way)
prompt   250 tokens/s
in all   100.0 tokens/s of 16 sessions
note     a machine's speed is assumed: `shoal bench` on it measures it

STAGE           LAYERS  MEMORY   TO FETCH  A TOKEN
me (this node)  0-23    3.0 GiB  0 B       30.0 ms
friend          24-39   3.0 GiB  0 B       30.0 ms

NOT IN IT  WHY
slow [31m  a token would take 5.0 ms longer with it
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn one_machine_is_no_chain() {
        let mut report = chain();
        report.stages.truncate(1);
        assert!(describe(&report).contains("this machine alone"));
        report.stages[0].is_here = false;
        assert!(describe(&report).contains("one machine: the model fits on it"));
    }

    #[test]
    fn without_a_plan_it_says_what_is_missing() {
        let report = PlanReport {
            model: "org/big".into(),
            kind: "none".into(),
            cause: Some("2.0 GiB of memory are missing".into()),
            ..PlanReport::default()
        };
        let shown = describe(&report);
        assert!(shown.contains("plan     none: 2.0 GiB of memory are missing"));
        assert!(!shown.contains("STAGE") && !shown.contains("speed"));
    }
}
