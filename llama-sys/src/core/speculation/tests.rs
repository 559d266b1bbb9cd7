//! The decisions over whole answers, in virtual time: a machine that computes windows one after
//! another and sends results back later, a text that is known beforehand, and all parts of a head
//! that speculates. Compared with the same machine that does not.

use std::collections::VecDeque;

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::core::ngram::NGrams;
use crate::core::session::Step;

/// Tokens of an answer.
const ANSWER: usize = 2_000;

/// A machine: seconds of a step of one row, what each further row adds in parts of it, seconds
/// around the ring, and what drafting one token with a model takes.
#[derive(Debug, Clone, Copy)]
struct Machine {
    step: f64,
    row: f64,
    ring: f64,
    draft: f64,
}

/// Two cores; the same as a chain at 40 ms; a graphics card.
const CORES: Machine = Machine {
    step: 0.01,
    row: 0.2,
    ring: 0.0,
    draft: 0.001,
};
const CHAIN: Machine = Machine {
    ring: 0.04,
    ..CORES
};
const CARD: Machine = Machine { row: 0.02, ..CORES };

impl Machine {
    fn takes(self, rows: usize) -> f64 {
        self.step * (1.0 + self.row * (rows - 1) as f64)
    }

    fn plain(self, tokens: usize) -> f64 {
        (self.takes(1) + self.ring) * tokens as f64
    }
}

/// How drafts come to be: looked up in the text, or by a model that guesses right so often.
#[derive(Debug, Clone, Copy)]
enum Drafter {
    LookUp,
    Model(fn(usize) -> f64),
}

struct Flying {
    id: WindowId,
    start: usize,
    rows: usize,
    back_at: f64,
}

/// One answer: the text is `truth`, of which the prompt and the tokens so far are known.
struct Head<'t> {
    machine: Machine,
    drafter: Drafter,
    truth: &'t [u32],
    known: usize,
    now: f64,
    machine_free: f64,
    ngrams: NGrams,
    shadow: Shadow,
    speculation: Speculation,
    costs: Costs,
    windows: Windows,
    flying: VecDeque<Flying>,
    /// Drafts under way that may yet count.
    ahead: Vec<u32>,
    rng: StdRng,
}

impl<'t> Head<'t> {
    fn new(machine: Machine, drafter: Drafter, truth: &'t [u32], prompt: usize) -> Self {
        Self {
            machine,
            drafter,
            truth,
            known: prompt,
            now: 0.0,
            machine_free: 0.0,
            ngrams: NGrams::new(truth.len()),
            shadow: Shadow::default(),
            speculation: Speculation::default(),
            costs: Costs::default(),
            windows: Windows::default(),
            flying: VecDeque::new(),
            ahead: Vec::new(),
            rng: StdRng::seed_from_u64(7),
        }
    }

    fn conditions(&self) -> Conditions {
        Conditions {
            latency: Duration::from_secs_f64(self.machine.ring),
            others: 0,
            room: 64,
            ahead: self.windows.ahead(),
            windows: self.windows.live(),
        }
    }

    /// Seconds until all of the text is known.
    fn run(mut self) -> f64 {
        while self.known < self.truth.len() {
            while self.send() {}
            self.receive();
        }
        self.now
    }

    fn text(&self) -> Vec<u32> {
        [&self.truth[..self.known], &self.ahead].concat()
    }

    /// Sends what there is to send: the last token with drafts, or drafts ahead.
    fn send(&mut self) -> bool {
        if self.windows.is_full() {
            return false;
        }
        let leads = self.windows.live() == 0;
        let mut drafts = Vec::new();
        let source = self.draft(leads, &mut drafts);
        if !leads && source.is_none() {
            return false;
        }
        let certain = usize::from(leads);
        let step = Step {
            keep_n: self.known + self.ahead.len() - certain,
            n: drafts.len() + certain,
            wants_sample: true,
            drafted: drafts.len(),
        };
        let id = self.windows.on_sent(step, &drafts, source).unwrap();
        let begin = self.now.max(self.machine_free);
        self.machine_free = begin + self.machine.takes(step.n);
        self.flying.push_back(Flying {
            id,
            start: step.keep_n,
            rows: step.n,
            back_at: self.machine_free + self.machine.ring,
        });
        self.ahead.extend(drafts);
        true
    }

    fn draft(&mut self, leads: bool, drafts: &mut Vec<u32>) -> Option<Source> {
        let at = self.conditions();
        let text = self.text();
        match self.drafter {
            Drafter::LookUp => {
                self.ngrams.extend(&self.truth[..self.known]);
                let found = self.ngrams.find(&text)?;
                let source = Source::NGram {
                    agreeing: found.agreeing,
                };
                let choice = self.speculation.choose(&[source], &self.costs, &at);
                let wanted = choice.map_or(SHADOW_TOKENS, |c| c.tokens);
                NGrams::copy(&text, found, wanted, drafts);
                if choice.is_none() {
                    if leads {
                        self.shadow.begin(source, drafts);
                    }
                    drafts.clear();
                }
                choice.map(|c| c.source)
            }
            Drafter::Model(chance) => {
                let choice = self
                    .speculation
                    .choose(&[Source::Model], &self.costs, &at)?;
                for i in text.len()..text.len() + choice.tokens {
                    let right = self.rng.random_bool(chance(i));
                    let token = self.truth.get(i).copied().unwrap_or(0);
                    drafts.push(if right { token } else { token + 1 });
                }
                let took = self.machine.draft * choice.tokens as f64;
                self.now += took;
                let took = Duration::from_secs_f64(took);
                self.costs.on_draft(choice.tokens, took);
                Some(choice.source)
            }
        }
    }

    fn receive(&mut self) {
        let flying = self.flying.pop_front().unwrap();
        self.now = self.now.max(flying.back_at);
        let took = Duration::from_secs_f64(self.machine.takes(flying.rows));
        self.costs.on_step(flying.rows, took);
        let text = self.text();
        let assumes = flying.start >= self.known;
        // The verifier goes on while rows hold what it sampled.
        let mut tokens = Vec::new();
        for position in flying.start + 1..=flying.start + flying.rows {
            let sampled = self.truth.get(position).copied().unwrap_or(u32::MAX);
            tokens.push(sampled);
            if text.get(position) != Some(&sampled) {
                break;
            }
        }
        let at = self.conditions();
        match self.windows.on_result(flying.id, &tokens).unwrap() {
            Judged::Live { trial, voided, .. } => {
                assert!(!assumes);
                self.speculation.on_result(&trial, &self.costs, &at);
                self.known += tokens.len();
                let confirmed = tokens.len().min(self.ahead.len());
                if self.windows.live() == 0 || voided > 0 {
                    self.ahead.clear();
                } else {
                    self.ahead.drain(..confirmed);
                }
                for token in tokens {
                    if let Some((source, tried, accepted)) = self.shadow.on_token(token) {
                        self.speculation.on_shadow(source, tried, accepted);
                    }
                }
            }
            Judged::Void { trial } => self.speculation.on_result(&trial, &self.costs, &at),
            Judged::Late => panic!("nothing was cleared"),
        }
        self.known = self.known.min(self.truth.len());
    }
}

/// How much faster than without drafts.
fn speedup(machine: Machine, drafter: Drafter, truth: &[u32], prompt: usize) -> f64 {
    let head = Head::new(machine, drafter, truth, prompt);
    machine.plain(truth.len() - prompt) / head.run()
}

fn with_model(machine: Machine, chance: fn(usize) -> f64) -> f64 {
    let truth: Vec<u32> = (0..u32::try_from(ANSWER + 10).unwrap())
        .map(|i| i * 2)
        .collect();
    speedup(machine, Drafter::Model(chance), &truth, 10)
}

/// A text that goes back to an earlier place of itself and copies on from there: a token is new
/// with the chance `fresh`, and where it is, with the chance `jump` the copy goes on elsewhere.
fn text(fresh: f64, jump: f64, words: u32) -> Vec<u32> {
    let mut rng = StdRng::seed_from_u64(3);
    let mut text: Vec<u32> = (0..300).map(|_| rng.random_range(0..words)).collect();
    let mut from = 0;
    while text.len() < 300 + ANSWER {
        if rng.random_bool(fresh) {
            text.push(rng.random_range(0..words));
            if rng.random_bool(jump) {
                from = rng.random_range(0..text.len() - 1);
                continue;
            }
        } else {
            text.push(text[from]);
        }
        from += 1;
    }
    text
}

/// A text whose endings come again and again, and never go on as the lookup says.
fn contrary() -> Vec<u32> {
    let mut rng = StdRng::seed_from_u64(5);
    let mut ngrams = NGrams::new(300 + ANSWER);
    let (mut text, mut draft) = (Vec::new(), Vec::new());
    while text.len() < 300 + ANSWER {
        ngrams.extend(&text);
        draft.clear();
        if let Some(found) = ngrams.find(&text) {
            NGrams::copy(&text, found, 1, &mut draft);
        }
        let token = rng.random_range(0..4);
        let proposed = draft.first() == Some(&token);
        text.push(if proposed { 4 } else { token });
    }
    text
}

fn looked_up(machine: Machine, truth: &[u32]) -> f64 {
    speedup(machine, Drafter::LookUp, truth, 300)
}

#[test]
fn text_that_repeats_itself_comes_faster() {
    let code = text(0.08, 0.5, 5_000);
    let (chain, cores, card) = (
        looked_up(CHAIN, &code),
        looked_up(CORES, &code),
        looked_up(CARD, &code),
    );
    println!("code, looked up: chain {chain:.2} cores {cores:.2} card {card:.2}");
    assert!(chain >= 1.5 && cores >= 1.15 && card >= 1.5);
}

#[test]
fn a_model_that_is_often_right_pays() {
    let rates: Vec<f64> = [CHAIN, CORES, CARD]
        .map(|machine| with_model(machine, |_| 0.85))
        .into();
    println!("model, 0.85: {rates:.2?}");
    assert!(rates[0] >= 2.0 && rates[1] >= 1.3 && rates[2] >= 2.0);
}

#[test]
fn prose_gains_where_the_ring_is_slow_and_loses_nothing_elsewhere() {
    let prose = text(0.45, 0.9, 400);
    let rates: Vec<f64> = [CHAIN, CORES, CARD]
        .map(|machine| looked_up(machine, &prose))
        .into();
    let model: Vec<f64> = [CHAIN, CORES, CARD]
        .map(|machine| with_model(machine, |_| 0.2))
        .into();
    println!("prose, looked up: {rates:.3?}; model, 0.2: {model:.3?}");
    // With one of five accepted, one window of one draft gives 1.2 / 1.06: there is no more to have.
    assert!(rates[0] >= 1.1 && model[0] >= 1.1);
    assert!(rates.iter().chain(&model).all(|rate| *rate >= 0.98));
}

#[test]
fn what_defeats_it_costs_little() {
    for machine in [CHAIN, CORES, CARD] {
        let model = with_model(machine, |_| 0.0);
        let noise = text(1.0, 0.0, 12);
        let (looked_up, noise) = (looked_up(machine, &contrary()), looked_up(machine, &noise));
        println!("defeat: model {model:.3} contrary {looked_up:.3} noise {noise:.3}");
        assert!(model >= 0.98 && looked_up >= 0.98 && noise >= 0.98);
    }
}

#[test]
fn changes_of_the_text_are_followed() {
    let regimes: fn(usize) -> f64 = |i| if i / 250 % 2 == 0 { 0.9 } else { 0.0 };
    let rates: Vec<f64> = [CHAIN, CORES, CARD]
        .map(|machine| with_model(machine, regimes))
        .into();
    println!("regimes, model: {rates:.2?}");
    // Half of the text could come in no time at best.
    assert!(rates[0] >= 1.4 && rates[1] >= 1.15 && rates[2] >= 1.4);
    let mut turning = text(0.05, 0.5, 5_000);
    turning.extend(text(1.0, 0.0, 5_000));
    turning.extend_from_within(100..1_000);
    let rates: Vec<f64> = [CHAIN, CORES, CARD]
        .map(|machine| looked_up(machine, &turning))
        .into();
    println!("regimes, looked up: {rates:.2?}");
    assert!(rates.iter().all(|rate| *rate >= 1.15));
}

#[test]
fn a_full_batch_leaves_no_room_and_many_others_no_gain() {
    let mut costs = Costs::default();
    for rows in 1..=40 {
        let took = Duration::from_secs_f64(CORES.takes(rows));
        costs.on_step(rows, took);
    }
    let speculation = Speculation::default();
    let choose = |others, room| {
        let at = Conditions {
            others,
            room,
            ..Conditions::default()
        };
        speculation.choose(&[Source::Model], &costs, &at)
    };
    assert!(choose(0, 8).is_some_and(|d| (1..=8).contains(&d.tokens)));
    assert_eq!(choose(0, 0), None);
    // At 32 rows a row more takes as much as it gives.
    let expensive = Costs::default();
    let at = Conditions {
        others: 31,
        room: 8,
        ..Conditions::default()
    };
    let weak = Source::NGram { agreeing: 2 };
    assert_eq!(
        speculation
            .choose(&[weak], &expensive, &at)
            .map(|d| d.source),
        None
    );
}

#[test]
fn a_fast_ring_has_one_window_under_way() {
    let costs = Costs::default();
    let at = |latency| Conditions {
        latency: Duration::from_millis(latency),
        room: 8,
        ahead: 3,
        windows: 1,
        ..Conditions::default()
    };
    let sure = Source::NGram { agreeing: 16 };
    let mut speculation = Speculation::default();
    for _ in 0..20 {
        speculation.on_shadow(sure, 8, 8);
    }
    let choose = |at| speculation.choose(&[sure], &costs, &at);
    assert_eq!(choose(at(0)), None);
    assert!(choose(at(200)).is_some());
    let full = Conditions {
        windows: MAX_WINDOWS,
        ..at(200)
    };
    assert_eq!(choose(full), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is reported, and in whatever order, the account keeps within its bounds and what is
    /// chosen within the conditions.
    #[test]
    fn choices_keep_within_bounds(
        reports in prop::collection::vec((0usize..17, 0usize..17, 0usize..40, any::<bool>()), 0..300),
        (others, room, latency, row) in (0usize..40, 0usize..20, 0u64..200, 0u64..20),
    ) {
        let (mut speculation, mut costs) = (Speculation::default(), Costs::default());
        for (tried, accepted, ahead, void) in reports {
            let at = Conditions {
                latency: Duration::from_millis(latency), others, room,
                ahead: ahead % 7, windows: ahead % 5,
            };
            let choice = speculation.choose(&[Source::NGram { agreeing: ahead }, Source::Model], &costs, &at);
            let Some(choice) = choice else { continue };
            prop_assert!((1..=room.min(MAX_WINDOW)).contains(&choice.tokens));
            prop_assert!(at.windows < MAX_WINDOWS);
            let tried = if void { 0 } else { tried.min(choice.tokens) };
            let trial = Trial {
                source: Some(choice.source), ahead, drafted: choice.tokens,
                tried, accepted: accepted.min(tried),
            };
            speculation.on_result(&trial, &costs, &at);
            prop_assert!(speculation.account <= MOST_STEPS);
            costs.on_step(choice.tokens + 1, Duration::from_millis(10 + row * choice.tokens as u64));
        }
    }
}
