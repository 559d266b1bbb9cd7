//! A plan, or what is missing for one, in the words of the management API. It only translates.

use std::time::Duration;

use protocol::NodeId;
use web::manage::{LeftOut, PlanPrediction, PlanReport, PlannedStage};

use super::Planned;
use crate::core::planner::{MAX_RTT, NoPlan, Obstacle, Prediction, Stage, Verdict};

/// What a person or a page is shown.
pub(super) fn of(planned: &Planned, here: NodeId) -> PlanReport {
    let report = PlanReport {
        model: planned.model.to_string(),
        layers: planned.shape.count(),
        context_length: planned.size.context,
        parallel: planned.size.parallel,
        head: here.to_string(),
        ..PlanReport::default()
    };
    match &planned.outcome {
        Ok(plan) => PlanReport {
            kind: if plan.is_whole() { "whole" } else { "chain" }.into(),
            stages: plan.stages.iter().map(|s| stage(s, here)).collect(),
            prediction: Some(prediction(&plan.prediction)),
            out: out(&plan.out, here),
            ..report
        },
        Err(none) => PlanReport {
            kind: "none".into(),
            missing_bytes: none.missing_bytes(),
            cause: Some(cause(none)),
            out: out(&none.out, here),
            ..report
        },
    }
}

fn stage(stage: &Stage, here: NodeId) -> PlannedStage {
    PlannedStage {
        peer: stage.peer.to_string(),
        is_here: stage.peer == here,
        first_layer: stage.layers.start,
        last_layer: stage.layers.end,
        memory_bytes: stage.bytes,
        fetch_bytes: stage.fetch_bytes,
        token_ms: millis(stage.time),
    }
}

fn prediction(prediction: &Prediction) -> PlanPrediction {
    PlanPrediction {
        tokens_per_second: prediction.tokens_per_second(),
        token_ms: millis(prediction.token),
        compute_ms: millis(prediction.compute),
        network_ms: millis(prediction.network),
        prefill_tokens_per_second: prediction.prefill,
        streams: prediction.streams,
        streams_tokens_per_second: prediction.together,
        is_assumed: prediction.is_assumed,
    }
}

/// What is in the way, and what to do.
fn cause(none: &NoPlan) -> String {
    match none.obstacle {
        Obstacle::Head { needed, free } => format!(
            "this node needs {} for the model's embedding table and may use {}; close other \
             programs, or raise --max-memory",
            size(needed),
            size(free)
        ),
        Obstacle::Memory { needed, usable } => format!(
            "{} of memory are missing: the layers need {}, the machines within {} ms have room \
             for {}; add a machine nearby, raise --max-memory, or take a smaller quantization",
            size(none.missing_bytes()),
            size(needed),
            MAX_RTT.as_millis(),
            size(usable)
        ),
        _ => "there is memory enough in all, but not in pieces that the model can be cut into; \
              free memory on one of the machines"
            .into(),
    }
}

fn out(out: &[(NodeId, Verdict)], here: NodeId) -> Vec<LeftOut> {
    let left = out.iter().map(|(node, verdict)| LeftOut {
        peer: node.to_string(),
        is_here: *node == here,
        code: code(verdict).into(),
        reason: reason(verdict),
    });
    left.collect()
}

fn code(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::NotAllowed => "not_allowed",
        Verdict::Unmeasured => "unmeasured",
        Verdict::TooFar { .. } => "too_far",
        Verdict::Apart { .. } => "apart",
        Verdict::NoMemory { .. } => "no_memory",
        Verdict::SlowsDown { .. } => "slows_down",
        Verdict::NotNeeded => "not_needed",
        Verdict::Outranked => "outranked",
        Verdict::NotEnough { .. } => "not_enough",
    }
}

fn reason(verdict: &Verdict) -> String {
    let bound = MAX_RTT.as_millis();
    match verdict {
        Verdict::NotAllowed => {
            "it may not: its role, its owner's settings or this node's `privacy` forbid it, or it \
             has not said what it is"
                .into()
        }
        Verdict::Unmeasured => {
            "its round trip was not measured: there is no direct connection to it".into()
        }
        Verdict::TooFar { rtt } => format!(
            "it is {:.1} ms away; a chain takes {bound} ms at most",
            millis(*rtt)
        ),
        Verdict::Apart { from, rtt } => match rtt {
            Some(rtt) => format!(
                "it is {:.1} ms away from {from}, which is in the chain; {bound} ms at most",
                millis(*rtt)
            ),
            None => format!("nobody measured how far it is from {from}, which is in the chain"),
        },
        Verdict::NoMemory { needed, free } => format!(
            "it has {} for layers; the smallest piece takes {}",
            size(*free),
            size(*needed)
        ),
        Verdict::SlowsDown { by } => {
            format!("a token would take {:.1} ms longer with it", millis(*by))
        }
        Verdict::NotNeeded => "the plan is as good without it".into(),
        Verdict::Outranked => "the group is large, and others promise more".into(),
        Verdict::NotEnough { room } => {
            format!("it has room for {}, which is not enough", size(*room))
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    match mib < 1024.0 {
        true => format!("{mib:.1} MiB"),
        false => format!("{:.1} GiB", mib / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::core::planner::{Plan, Shape};
    use crate::core::sizing::Size;

    fn node(number: u8) -> NodeId {
        NodeId::from(&SigningKey::from_bytes(&[number; 32]))
    }

    fn planned(outcome: Result<Plan, NoPlan>) -> Planned {
        Planned {
            model: "org/big".parse().unwrap(),
            shape: Shape {
                layers: vec![crate::core::planner::Layer::default(); 4],
                output: crate::core::planner::Weights::default(),
                output_buffer_bytes: 0,
                stage_bytes: 0,
                head_bytes: 0,
                whole_bytes: 0,
                hidden_bytes: 0,
            },
            size: Size {
                context: 4096,
                parallel: 4,
                cells: 4096,
                need_bytes: 0,
            },
            outcome,
        }
    }

    fn with(stages: Vec<Stage>) -> Plan {
        let out = vec![
            (node(3), Verdict::Unmeasured),
            (
                node(4),
                Verdict::Apart {
                    from: node(2),
                    rtt: Some(Duration::from_micros(90_500)),
                },
            ),
        ];
        Plan {
            head: node(1),
            stages,
            prediction: Prediction {
                token: Duration::from_millis(50),
                compute: Duration::from_millis(30),
                network: Duration::from_millis(20),
                prefill: None,
                streams: 4,
                together: 80.0,
                is_assumed: true,
            },
            out,
        }
    }

    fn stage(number: u8, layers: std::ops::Range<u32>) -> Stage {
        Stage {
            peer: node(number),
            layers,
            bytes: 5,
            fetch_bytes: 3,
            time: Duration::from_millis(15),
        }
    }

    #[test]
    fn a_chain_is_reported_with_everybody() {
        let plan = with(vec![stage(1, 0..2), stage(2, 2..4)]);
        let report = of(&planned(Ok(plan)), node(1));
        assert_eq!((report.kind.as_str(), report.layers), ("chain", 4));
        assert!(report.stages[0].is_here);
        assert_eq!(report.stages[1].peer, node(2).to_string());
        assert_eq!(
            (report.stages[1].first_layer, report.stages[1].last_layer),
            (2, 4)
        );
        let prediction = report.prediction.unwrap();
        assert!((prediction.tokens_per_second - 20.0).abs() < 1e-9);
        assert!((prediction.token_ms - 50.0).abs() < 1e-9);
        let codes: Vec<_> = report.out.iter().map(|left| left.code.as_str()).collect();
        assert_eq!(codes, ["unmeasured", "apart"]);
        assert!(report.out[1].reason.contains("90.5 ms"));
        assert_eq!((report.missing_bytes, report.cause), (0, None));
    }

    #[test]
    fn without_a_plan_the_cause_says_what_to_do() {
        let none = |obstacle| {
            let outcome = Err(NoPlan {
                obstacle,
                out: Vec::new(),
            });
            of(&planned(outcome), node(1))
        };
        let memory = none(Obstacle::Memory {
            needed: 5 << 30,
            usable: 3 << 30,
        });
        assert_eq!(memory.missing_bytes, 2 << 30);
        let cause = memory.cause.unwrap();
        assert!(
            cause.starts_with("2.0 GiB of memory are missing"),
            "{cause}"
        );
        let head = none(Obstacle::Head {
            needed: 300 << 20,
            free: 0,
        });
        assert!(head.cause.unwrap().contains("300.0 MiB"));
        assert!(none(Obstacle::Pieces).cause.unwrap().contains("pieces"));
    }
}
