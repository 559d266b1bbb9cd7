//! `shoal demand`: what the swarm asks for, as the running node estimates it.

use web::manage::{DemandReport, ModelDemand};

use super::args::StatusArgs;
use super::connect::{client, wait};
use super::{CliError, Exit, Terminal, text};

/// `shoal demand`.
pub(super) fn run(args: &StatusArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    let report = wait(async { Ok(client.demand().await?) })?;
    match args.json {
        true => terminal.json(&report)?,
        false => terminal.text(&describe(&report))?,
    }
    Ok(Exit::Done)
}

fn describe(report: &DemandReport) -> String {
    if report.models.is_empty() {
        return "Nobody asks for anything, as far as this node has heard.\n".into();
    }
    let rows: Vec<_> = report.models.iter().map(row).collect();
    let heading = ["MODEL", "ASKED", "UNMET", "WAIT", "BY", "SERVED BY"];
    format!(
        "{}\nRequests a minute, with the error of the estimate; a request counts half after {} s.\n",
        text::table(heading, &rows),
        report.half_life_seconds
    )
}

/// A peer may ask for anything: only what can be printed is.
fn row(demand: &ModelDemand) -> [String; 6] {
    [
        text::printable(&demand.model),
        rate(demand.arrivals_per_second, demand.arrivals_error),
        rate(demand.unmet_per_second, demand.unmet_error),
        match demand.waiting_ms > 0.0 {
            true => format!("{:.1} s", demand.waiting_ms / 1e3),
            false => "-".into(),
        },
        format!("{} nodes", demand.authors),
        match demand.heads {
            0 => "nobody".into(),
            1 => "1 head".into(),
            heads => format!("{heads} heads"),
        },
    ]
}

/// A minute, which is the scale of people's questions.
fn rate(per_second: f64, error: f64) -> String {
    let (rate, error) = (per_second * 60.0, error * 60.0);
    match error > 0.0 {
        true => format!("{rate:.1} \u{b1} {error:.1}"),
        false => format!("{rate:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shown_with_their_errors_and_nothing_escapes() {
        let demand = ModelDemand {
            model: "org/big\x1b[31m".into(),
            arrivals_per_second: 0.5,
            arrivals_error: 0.05,
            unmet_per_second: 0.25,
            unmet_error: 0.0,
            waiting_ms: 1540.0,
            authors: 12,
            heads: 0,
        };
        let report = DemandReport {
            half_life_seconds: 120,
            models: vec![demand],
        };
        let expected = "\
MODEL         ASKED       UNMET  WAIT   BY        SERVED BY
org/big [31m  30.0 \u{b1} 3.0  15.0   1.5 s  12 nodes  nobody

Requests a minute, with the error of the estimate; a request counts half after 120 s.
";
        assert_eq!(describe(&report), expected);
        assert!(describe(&DemandReport::default()).contains("Nobody asks"));
    }
}
