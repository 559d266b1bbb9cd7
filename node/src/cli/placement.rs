//! What the node hosts for the swarm, as `shoal status` shows it.

use web::manage::PlacementReport;

use super::text;

/// Nothing where there is nothing to say: no swarm lacks anything here.
pub(super) fn describe(report: &PlacementReport) -> String {
    let mut shown = String::new();
    if let Some(fetching) = &report.fetching {
        let of = match fetching.total_bytes {
            0 => String::new(),
            total => format!(" of {}", text::bytes(total)),
        };
        let model = text::printable(&fetching.model);
        let done = text::bytes(fetching.done_bytes);
        shown.push_str(&format!("\nfetching {model} for the swarm: {done}{of}\n"));
    }
    if report.models.is_empty() {
        return shown;
    }
    let rows: Vec<_> = report
        .models
        .iter()
        .map(|model| {
            [
                text::printable(&model.model),
                model.state.clone(),
                text::printable(&model.why),
            ]
        })
        .collect();
    shown.push('\n');
    shown.push_str(&text::table(["FOR THE SWARM", "STATE", "WHY"], &rows));
    shown
}

#[cfg(test)]
mod tests {
    use web::manage::{Fetching, PlacedModel};

    use super::*;

    #[test]
    fn what_is_hosted_is_told_with_its_reason() {
        assert_eq!(describe(&PlacementReport::default()), "");
        let report = PlacementReport {
            closed: None,
            fetching: Some(Fetching {
                model: "org/m".into(),
                done_bytes: 1 << 20,
                total_bytes: 4 << 20,
            }),
            models: vec![PlacedModel {
                model: "org/m\x1b".into(),
                state: "loading".into(),
                why: "the swarm asks for it".into(),
            }],
        };
        let shown = describe(&report);
        assert!(shown.contains("fetching org/m for the swarm: 1.0 MiB of 4.0 MiB\n"));
        assert!(shown.contains("loading  the swarm asks for it"), "{shown}");
        assert!(!shown.contains('\x1b'));
    }
}
