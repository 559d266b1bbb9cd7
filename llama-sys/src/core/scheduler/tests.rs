//! The scheduler against a cache that only obeys, with jobs that come, pause, end and vanish.

use proptest::prelude::*;

use super::*;
use crate::core::session::{Lexicon, SessionParams};
use crate::core::slots::Reuse;
use crate::engine::Delta;

struct Silent;

impl Lexicon for Silent {
    fn append_bytes(&self, _: u32, bytes: &mut Vec<u8>) {
        bytes.push(b'x');
    }

    fn ends_answer(&self, _: u32) -> bool {
        false
    }
}

const CONTEXT: u32 = 60;

fn limits(cells: u32, parallel: u32, batch_tokens: usize) -> Limits {
    Limits {
        parallel,
        sequences: parallel + 2,
        cells,
        parked_tokens: 50,
        batch_tokens,
        prompts: Cut::Full,
        batch_outputs: parallel as usize + 3,
        queue: 8,
        reuse: Reuse::Any,
    }
}

fn session(prompt: Vec<u32>, answer: u32) -> Session {
    session_within(CONTEXT, prompt, answer)
}

fn session_within(context_length: u32, prompt: Vec<u32>, answer: u32) -> Session {
    let params = SessionParams {
        prompt,
        max_tokens: Some(answer),
        context_length,
        ..SessionParams::default()
    };
    Session::new(params, &Silent, &mut Delta::default()).unwrap()
}

const PLAIN: Manner = Manner {
    reuse_cache: true,
    all_outputs: false,
};

/// A scheduler with the cache that it directs.
struct Bench {
    scheduler: Scheduler,
    limits: Limits,
    sequences: Vec<Vec<u32>>,
    parked: BTreeMap<ParkId, Vec<u32>>,
    finished: Vec<JobId>,
    plan: Plan,
    /// Drafts for each session in each round; every third is wrong.
    drafts: usize,
    /// Of the last round, for the next.
    ops: Vec<KvOp>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self {
            scheduler: Scheduler::new(limits),
            limits,
            sequences: vec![Vec::new(); limits.sequences as usize],
            parked: BTreeMap::new(),
            finished: Vec::new(),
            plan: Plan::default(),
            drafts: 0,
            ops: Vec::new(),
        }
    }

    /// Does to the sequences what the plan says.
    fn operate(&mut self) {
        for op in &self.plan.ops {
            match *op {
                KvOp::Cut { slot, keep } => self.sequences[slot.0 as usize].truncate(keep),
                KvOp::Share { from, to, len } => {
                    let shared = self.sequences[from.0 as usize][..len].to_vec();
                    self.sequences[to.0 as usize] = shared;
                }
                KvOp::Park { slot, id } => {
                    let tokens = self.sequences[slot.0 as usize].clone();
                    self.parked.insert(id, tokens);
                }
                KvOp::Unpark { id, slot } => {
                    assert!(self.sequences[slot.0 as usize].is_empty());
                    self.sequences[slot.0 as usize] = self.parked[&id].clone();
                }
                KvOp::Discard { id } => assert!(self.parked.remove(&id).is_some()),
            }
        }
    }

    /// One round. Checks all that must hold of it; answers how many tokens were computed.
    fn round(&mut self) -> usize {
        self.draft();
        self.scheduler.plan(&mut self.plan);
        self.plan.ops.splice(..0, self.ops.drain(..));
        self.operate();
        assert!(self.parked.values().map(Vec::len).sum::<usize>() <= self.limits.parked_tokens);
        let work = self.plan.work.clone();
        let tokens: usize = work.iter().map(|w| w.step.n).sum();
        assert!(tokens <= self.limits.batch_tokens);
        assert!(self.scheduler.running() <= self.limits.parallel as usize);
        let outputs = |w: &Work| {
            if w.all_outputs {
                w.step.n
            } else {
                usize::from(w.step.wants_sample) + w.step.judged()
            }
        };
        assert!(work.iter().map(outputs).sum::<usize>() <= self.limits.batch_outputs);
        for part in &work {
            let session = self.scheduler.session(part.job).unwrap();
            let sequence = &mut self.sequences[part.slot.0 as usize];
            // Positions are consecutive, and what the sequence holds is the job's history.
            assert_eq!(sequence.len(), part.step.keep_n);
            assert_eq!(sequence[..], session.text()[..part.step.keep_n]);
            sequence.extend(session.tokens(part.step));
        }
        assert!(self.scheduler.used_cells() <= self.limits.cells as usize);
        self.scheduler.dispatched(&work);
        for part in work.iter().filter(|w| w.step.wants_sample) {
            let session = self.scheduler.session_mut(part.job).unwrap();
            let judged = session.tokens(part.step)[part.step.n - part.step.judged()..].to_vec();
            for draft in judged.into_iter().map(Some).chain([None]) {
                let token = u32::try_from(session.answer().len()).unwrap();
                session.sampled(token, None, &Silent, &mut Delta::default());
                if draft != Some(token) {
                    break;
                }
            }
            self.scheduler.settled(part.job, &mut self.ops);
            let session = self.scheduler.session(part.job).unwrap();
            if session.ending().is_some() {
                self.scheduler.remove(part.job);
                self.finished.push(part.job);
            }
        }
        tokens
    }

    fn draft(&mut self) {
        let jobs: Vec<JobId> = self.scheduler.draftable().collect();
        for job in jobs {
            let n = self.drafts.min(self.scheduler.draft_room());
            let session = self.scheduler.session_mut(job).unwrap();
            let next = session.answer().len();
            let tokens = (next..next + n).map(|token| token + usize::from(token % 3 == 0));
            let tokens: Vec<u32> = tokens.map(|token| u32::try_from(token).unwrap()).collect();
            session.draft(&tokens, &Silent);
        }
    }
}

#[derive(Debug, Clone)]
enum Action {
    Submit(Vec<u32>, u32, bool),
    Rounds(u8),
    Pause(usize, bool),
    Cancel(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let prompt = prop::collection::vec(0u32..2, 1..40);
    prop_oneof![
        4 => (prompt, 1u32..40, prop::bool::weighted(0.2)).prop_map(|(p, a, o)| Action::Submit(p, a, o)),
        4 => (1u8..12).prop_map(Action::Rounds),
        1 => (0usize..20, any::<bool>()).prop_map(|(i, p)| Action::Pause(i, p)),
        1 => (0usize..20).prop_map(Action::Cancel),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_job_is_answered_within_the_limits(
        actions in prop::collection::vec(action(), 1..40),
        cells in CONTEXT..200, parallel in 1u32..6, batch in 8usize..64, drafts in 0usize..5,
        prompts in prop::sample::select(vec![Cut::Full, Cut::Parts]), batches in 1_usize..5,
    ) {
        let mut bench = Bench::new(Limits { prompts, ..limits(cells, parallel, batch) });
        bench.drafts = drafts;
        bench.scheduler.spread(batches);
        let mut open: Vec<JobId> = Vec::new();
        let mut next = 0;
        for action in actions {
            match action {
                Action::Submit(prompt, answer, all_outputs) => {
                    let manner = Manner { reuse_cache: !all_outputs, all_outputs };
                    if bench.scheduler.submit(JobId(next), session(prompt, answer), manner).is_ok() {
                        open.push(JobId(next));
                    }
                    next += 1;
                }
                Action::Rounds(n) => for _ in 0..n {
                    bench.round();
                },
                Action::Pause(i, paused) if !open.is_empty() => {
                    bench.scheduler.set_paused(open[i % open.len()], paused);
                }
                Action::Cancel(i) if !open.is_empty() => {
                    bench.scheduler.remove(open.swap_remove(i % open.len()));
                }
                _ => {}
            }
            open.retain(|id| !bench.finished.contains(id));
        }
        // Readers read again: everything ends, in a bounded number of rounds.
        for &id in &open {
            bench.scheduler.set_paused(id, false);
        }
        let mut rounds = 0;
        while bench.scheduler.jobs().next().is_some() {
            prop_assert!(bench.round() > 0, "nothing moves");
            rounds += 1;
            prop_assert!(rounds < 20_000);
        }
        prop_assert_eq!(bench.scheduler.running(), 0);
        for id in open {
            prop_assert!(bench.finished.contains(&id));
        }
    }
}

#[test]
fn running_answers_go_on_beside_a_long_prompt() {
    let mut bench = Bench::new(limits(200, 2, 8));
    bench
        .scheduler
        .submit(JobId(0), session(vec![7], 30), PLAIN)
        .unwrap();
    bench.round();
    let long = session((0..40).collect(), 5);
    bench.scheduler.submit(JobId(1), long, PLAIN).unwrap();
    for _ in 0..5 {
        let before = bench.scheduler.session(JobId(0)).unwrap().answer().len();
        assert_eq!(bench.round(), 8);
        let after = bench.scheduler.session(JobId(0)).unwrap().answer().len();
        assert_eq!(after, before + 1);
    }
}

#[test]
fn a_prompt_for_several_machines_comes_in_parts_that_they_compute_at_once() {
    let parts = Limits {
        prompts: Cut::Parts,
        ..limits(1000, 2, 512)
    };
    let mut bench = Bench::new(parts);
    let long = session_within(1000, vec![7; 700], 1);
    bench.scheduler.submit(JobId(0), long, PLAIN).unwrap();
    let mut sizes = Vec::new();
    while bench.finished.is_empty() {
        sizes.push(bench.round());
    }
    assert_eq!(sizes, [175, 132, 128, 128, 128, 9]);
}

#[test]
fn decoding_jobs_are_spread_over_batches_that_are_under_way_at_once() {
    let mut scheduler = Scheduler::new(limits(200, 5, 64));
    for id in 0..5 {
        let prompt = vec![u32::try_from(id).unwrap() + 1; 2];
        scheduler
            .submit(JobId(id), session(prompt, 9), PLAIN)
            .unwrap();
    }
    let mut plan = Plan::default();
    // Prompts are not held back: whoever waits for a first token goes at once.
    scheduler.plan(&mut plan);
    assert_eq!(plan.work.len(), 5);
    scheduler.dispatched(&plan.work);
    for id in 0..5 {
        let session = scheduler.session_mut(JobId(id)).unwrap();
        session.sampled(0, None, &Silent, &mut Delta::default());
        scheduler.settled(JobId(id), &mut Vec::new());
    }
    scheduler.spread(3);
    let mut sizes = Vec::new();
    loop {
        scheduler.plan(&mut plan);
        if plan.work.is_empty() {
            break;
        }
        scheduler.dispatched(&plan.work);
        sizes.push(plan.work.len());
    }
    assert_eq!(sizes, [2, 2, 1]);
}

#[test]
fn the_youngest_gives_way_and_is_answered_later() {
    // Two answers of 50 tokens do not fit in 60 cells.
    let mut bench = Bench::new(limits(CONTEXT, 2, 16));
    for (id, first) in [(0, 100), (1, 200)] {
        let prompt = (first..first + 8).collect();
        bench
            .scheduler
            .submit(JobId(id), session(prompt, 42), PLAIN)
            .unwrap();
    }
    while bench.finished.len() < 2 {
        assert!(bench.round() > 0);
    }
    assert_eq!(bench.finished, [JobId(0), JobId(1)]);
}

#[test]
fn a_paused_job_makes_room_for_those_that_wait() {
    let mut bench = Bench::new(limits(200, 1, 32));
    bench
        .scheduler
        .submit(JobId(0), session((0..20).collect(), 20), PLAIN)
        .unwrap();
    bench.round();
    bench.scheduler.set_paused(JobId(0), true);
    assert_eq!(bench.round(), 0);
    bench
        .scheduler
        .submit(JobId(1), session(vec![4, 5, 6], 3), PLAIN)
        .unwrap();
    for _ in 0..3 {
        assert!(bench.round() > 0);
    }
    assert_eq!(bench.finished, [JobId(1)]);
    bench.scheduler.set_paused(JobId(0), false);
    // Its tokens were parked: only the newest is computed.
    assert_eq!(bench.round(), 1);
    assert_eq!(bench.scheduler.cached_tokens(JobId(0)), Some(0));
}

#[test]
fn the_queue_is_bounded() {
    let mut bench = Bench::new(limits(200, 1, 16));
    let accepted = (0..20)
        .filter(|&i| {
            bench
                .scheduler
                .submit(JobId(i), session(vec![1], 5), PLAIN)
                .is_ok()
        })
        .count();
    assert_eq!(accepted, 9);
}
