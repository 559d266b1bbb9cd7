//! What is gained by asking the shard that suits a prompt, on the fixture and its ten texts: shards as
//! they are planned for a group, a prompt at the beginning of each text, and the perplexity of what
//! follows.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use llama_sys::gguf::Usage;
use protocol::NodeId;
use serde::Deserialize;

use super::*;
use crate::core::shards::route::{Candidate, order};
use crate::core::shards::{Member, Plan, Question, plan};

/// Tokens of a prompt.
const PROMPT: Chunks = Chunks {
    tokens: 256,
    most: 1,
};

/// Fewer than the reference figures are made of, and enough to compare.
const REST: Chunks = Chunks {
    tokens: 512,
    most: 8,
};

#[derive(Deserialize)]
struct Figures {
    domains: Vec<String>,
    usage_calibration: BTreeMap<String, Usage>,
}

/// A group of so many peers, each with room for so many of the 16 experts.
fn group(figures: &Figures, peers: u8, kept: u32) -> Plan {
    let model = Model::open(fixture()).unwrap();
    let mixture = Sliceable::of(&model.headers).unwrap().mixture().unwrap();
    let member = |number: u8| Member {
        node: NodeId::from(&SigningKey::from_bytes(&[number + 1; 32])),
        room_bytes: mixture.shard_bytes(kept),
        held: None,
    };
    let members: Vec<Member> = (0..peers).map(member).collect();
    let usage = figures.domains.iter();
    let usage: Vec<Usage> = usage
        .map(|d| figures.usage_calibration[d].clone())
        .collect();
    plan(&Question {
        mixture: &mixture,
        usage: &usage,
        members: &members,
        core: None,
    })
    .unwrap()
}

/// Logarithms of perplexities.
#[derive(Debug, Default, Clone, Copy)]
struct Logarithms {
    whole: f64,
    /// The mean over the shards: a session goes to any of them.
    hash: f64,
    /// By the shard that retains most of the prompt's routed mass.
    by_mass: f64,
    /// By the shard that foresees the prompt best, which needs no router of the whole model.
    by_prompt: f64,
    /// By the shard that is best in the end.
    best: f64,
}

struct Readers {
    prompt: Examiner,
    rest: Examiner,
}

impl Readers {
    fn read(&mut self, text: &str, kept: Option<&ExpertSets>) -> (Reading, f64) {
        self.prompt.hold_back(kept).unwrap();
        self.rest.hold_back(kept).unwrap();
        let prompt = self.prompt.read(text).unwrap();
        (prompt, self.rest.read(text).unwrap().perplexity().ln())
    }

    fn text(&mut self, text: &str, plan: &Plan) -> Logarithms {
        let (whole_prompt, whole) = self.read(text, None);
        let (mut candidates, mut read) = (Vec::new(), Vec::new());
        for shard in &plan.shards {
            let (prompt, rest) = self.read(text, Some(&shard.kept));
            let retained = Some(whole_prompt.usage.retained(&shard.kept));
            let node = shard.node;
            candidates.push(Candidate { node, retained });
            read.push((node, prompt.perplexity(), rest));
        }
        let chosen = order(text.as_bytes(), &candidates)[0];
        let by_mass = read.iter().find(|(node, ..)| *node == chosen);
        let by_prompt = read.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let rests = || read.iter().map(|(_, _, rest)| *rest);
        Logarithms {
            whole,
            hash: rests().sum::<f64>() / read.len() as f64,
            by_mass: by_mass.unwrap().2,
            by_prompt: by_prompt.unwrap().2,
            best: rests().fold(f64::INFINITY, f64::min),
        }
    }
}

#[test]
fn a_prompts_own_routing_finds_a_better_shard_than_chance() {
    let folder = fixture().parent().unwrap().to_owned();
    let figures = std::fs::read_to_string(folder.join("tiny-moe-experts.json")).unwrap();
    let figures: Figures = serde_json::from_str(&figures).unwrap();
    let mut readers = Readers {
        prompt: Examiner::load(&fixture(), PROMPT, None).unwrap(),
        rest: Examiner::load(&fixture(), REST, None).unwrap(),
    };
    for (peers, kept) in [(2, 12), (4, 8)] {
        let plan = group(&figures, peers, kept);
        let mut sum = Logarithms::default();
        println!("{peers} shards of {kept}, core {}:", plan.core);
        for domain in &figures.domains {
            let text = folder.join(format!("eval/{domain}.txt"));
            let found = readers.text(&std::fs::read_to_string(text).unwrap(), &plan);
            print(domain, found, 1.0);
            sum.whole += found.whole;
            sum.hash += found.hash;
            sum.by_mass += found.by_mass;
            sum.by_prompt += found.by_prompt;
            sum.best += found.best;
        }
        print("together", sum, figures.domains.len() as f64);
        assert!(sum.by_mass < sum.hash && sum.by_prompt < sum.hash);
        // Most of what there is to gain.
        let gained = |by: f64| (sum.hash - by) / (sum.hash - sum.best);
        assert!(gained(sum.by_mass) > 0.5, "{}", gained(sum.by_mass));
        assert!(gained(sum.by_prompt) > 0.5, "{}", gained(sum.by_prompt));
    }
}

fn print(name: &str, found: Logarithms, count: f64) {
    let Logarithms {
        whole,
        hash,
        by_mass,
        by_prompt,
        best,
    } = found;
    let figures = [whole, hash, by_mass, by_prompt, best].map(|sum| (sum / count).exp());
    println!("  {name}: whole, hash, by mass, by prompt, best {figures:.2?}");
}
