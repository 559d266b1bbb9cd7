//! One turn of the thread: a batch planned and sent on its way, or computed at once.

use std::time::Instant;

use super::{Buffers, Runner};
use crate::core::scheduler::{Plan, Work};
use crate::core::session::{Session, Step};
use crate::local::chain::{Departure, Flown};
use crate::local::ring::Ring;
use crate::local::stage::Rows;
use crate::stage::{MAX_IN_FLIGHT, Opening, Part, Wanted};

impl Runner {
    /// Plans batches as long as there is something to compute and room for it. False if there was
    /// nothing.
    pub(super) fn generate(&mut self) -> bool {
        let mut worked = false;
        while !self.tasks.is_empty() && self.ring.has_room() && self.turn() {
            worked = true;
            if matches!(self.ring, Ring::Whole(_)) {
                // Whoever came or went meanwhile is looked at before the next batch.
                break;
            }
        }
        worked
    }

    /// Plans a batch and has it computed. False if there was nothing to compute.
    fn turn(&mut self) -> bool {
        let mut plan = std::mem::take(&mut self.buffers.plan);
        self.draft();
        self.scheduler
            .spread(self.pace.batches().min(MAX_IN_FLIGHT));
        self.scheduler.plan(&mut plan);
        for (position, id) in (0u32..).zip(self.scheduler.waiting()) {
            if let Some(task) = self.tasks.get_mut(&id) {
                task.report_position(position);
            }
        }
        let now = Instant::now();
        for part in &plan.work {
            if let Some(task) = self.tasks.get_mut(&part.job) {
                task.begin(now);
            }
        }
        let worked = !plan.work.is_empty() || !plan.ops.is_empty();
        if worked {
            self.fill(&plan.work);
            self.scheduler.dispatched(&plan.work);
            self.dispatch(&mut plan);
        }
        self.buffers.plan = plan;
        worked
    }

    /// Writes the parts of a batch and their tokens into the buffers.
    fn fill(&mut self, work: &[Work]) {
        let Buffers { parts, tokens, .. } = &mut self.buffers;
        parts.clear();
        tokens.clear();
        for part in work {
            let Some(session) = self.scheduler.session(part.job) else {
                continue;
            };
            tokens.extend_from_slice(session.tokens(part.step));
            let wanted = wanted(session, part.step, part.all_outputs);
            parts.push(Part {
                job: part.job,
                slot: part.slot,
                keep_n: part.step.keep_n,
                n: part.step.n,
                wanted,
            });
        }
    }

    fn dispatch(&mut self, plan: &mut Plan) {
        // What earlier batches lost is settled before this one.
        plan.ops.splice(..0, self.buffers.ops.drain(..));
        if let Ring::Whole(stage) = &mut self.ring {
            let mut outcome = std::mem::take(&mut self.buffers.outcome);
            let Buffers { parts, tokens, .. } = &self.buffers;
            stage.run(&plan.ops, parts, Rows::Tokens(tokens), &mut outcome);
            let flown: Vec<Flown> = plan.work.iter().filter_map(|w| self.flown(w)).collect();
            self.on_computed(&flown, outcome.spent, &outcome.failures);
            self.on_outcome(&flown, outcome.given.drain(..), &outcome.failures);
            self.buffers.outcome = outcome;
            return;
        }
        let flown: Vec<Flown> = plan.work.iter().filter_map(|w| self.flown(w)).collect();
        let open = flown.iter().filter_map(|part| self.opening(part)).collect();
        let Ring::Chain(chain) = &mut self.ring else {
            return;
        };
        let departure = Departure {
            ops: std::mem::take(&mut plan.ops),
            parts: std::mem::take(&mut self.buffers.parts),
            tokens: &self.buffers.tokens,
            flown,
            open,
        };
        if let Err(error) = chain.dispatch(departure) {
            self.break_off(&error);
        }
    }

    fn flown(&mut self, work: &Work) -> Option<Flown> {
        let epoch = self.scheduler.epoch(work.job)?;
        let session = self.scheduler.session(work.job)?;
        let drafter = &mut self.tasks.get_mut(&work.job)?.drafter;
        drafter.follow(epoch);
        let tokens = session.tokens(work.step);
        let drafts = &tokens[tokens.len() - work.step.drafted..];
        let window = if work.step.wants_sample {
            drafter.on_sent(work.step, drafts)
        } else {
            None
        };
        Some(Flown {
            work: *work,
            epoch,
            window,
        })
    }

    /// What the last stage must know of a job before it chooses a token for it, unless it knows.
    fn opening(&mut self, part: &Flown) -> Option<Opening> {
        let job = part.work.job;
        let Ring::Chain(chain) = &mut self.ring else {
            return None;
        };
        let speaks = part.work.step.wants_sample || part.work.all_outputs;
        if !speaks || !chain.must_open(job, part.epoch) {
            return None;
        }
        Some(Opening {
            job,
            voice: self.tasks.get(&job)?.voice.clone(),
            answer: self.scheduler.session(job)?.answer().to_vec(),
        })
    }
}

/// What is wanted of a step's rows.
fn wanted(session: &Session, step: Step, all_outputs: bool) -> Wanted {
    let judged = step.judged();
    // The first token that is wanted follows the row before the drafts that are judged.
    let first = step.keep_n + step.n - judged;
    let position = step.wants_sample.then(|| first - session.prompt_tokens());
    let position = position.map(|position| position as u64);
    if all_outputs {
        let prompt = &session.history()[..session.prompt_tokens()];
        let from = (step.keep_n + 1).min(prompt.len());
        let to = (from + step.n).min(prompt.len());
        let next = prompt[from..to].to_vec();
        return Wanted::Prompt { next, position };
    }
    let tokens = session.tokens(step);
    match position {
        None => Wanted::Nothing,
        Some(position) if step.drafted == 0 => Wanted::Token { position },
        Some(position) => Wanted::Window {
            position,
            assumed: step.assumes().then(|| tokens[0]),
            drafts: tokens[step.n - judged..].to_vec(),
        },
    }
}
