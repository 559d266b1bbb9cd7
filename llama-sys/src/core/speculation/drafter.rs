//! One session's speculation put together: what is looked up, what is drafted, the windows under
//! way, and what their results teach. It knows neither who computes them nor how a draft model
//! comes to its tokens.
//!
//! Windows are of one epoch of the session: when it is computed anew, those before are forgotten.

use super::{
    Conditions, Costs, Judged, ResultError, SHADOW_TOKENS, Shadow, Source, Speculation, WindowId,
    Windows,
};
use crate::core::ngram::{Match, NGrams};
use crate::core::session::{Session, Step};

/// Where drafts may come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sources {
    /// The session's own text.
    pub lookup: bool,
    /// A draft model.
    pub model: bool,
}

impl Sources {
    /// From nowhere.
    #[must_use]
    pub fn is_empty(self) -> bool {
        !self.lookup && !self.model
    }
}

/// What is to be put behind the session's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proposal<'d> {
    /// Nothing.
    Nothing,
    /// These tokens.
    Tokens(&'d [u32]),
    /// So many tokens of the draft model.
    OfModel(usize),
}

/// The speculation of one session.
#[derive(Debug, Clone, Default)]
pub struct Drafter {
    /// Made when it is first wanted: most answers of a busy engine never are.
    ngrams: Option<NGrams>,
    shadow: Shadow,
    speculation: Speculation,
    windows: Windows,
    epoch: Option<u32>,
    /// Of the drafts that were proposed last.
    source: Option<Source>,
    draft: Vec<u32>,
}

impl Drafter {
    /// The session is in this epoch now.
    pub fn follow(&mut self, epoch: u32) {
        if self.epoch.replace(epoch) != Some(epoch) {
            self.windows.clear();
        }
    }

    /// No step can be sent before a result comes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.windows.is_full()
    }

    /// What to draft now: for the step that is sent next, or, where the session's last token is
    /// under way, as a further window. Of `at` the session's own part is filled in here.
    pub fn propose(
        &mut self,
        session: &Session,
        from: Sources,
        costs: &Costs,
        at: &Conditions,
    ) -> Proposal<'_> {
        let at = self.conditions(&Conditions {
            room: at.room.min(session.draft_room()),
            ..*at
        });
        let leads = session.pending() > 0;
        self.source = None;
        if at.room == 0 || self.is_full() || leads != (at.windows == 0) {
            return Proposal::Nothing;
        }
        let found = if from.lookup {
            self.find(session)
        } else {
            None
        };
        let looked_up = found.map(|found| Source::NGram {
            agreeing: found.agreeing,
        });
        let model = from.model.then_some(Source::Model);
        let sources: Vec<Source> = looked_up.into_iter().chain(model).collect();
        let choice = self.speculation.choose(&sources, costs, &at);
        self.source = choice.map(|choice| choice.source);
        if let Some((found, source)) = found.zip(looked_up) {
            let is_chosen = choice.is_some_and(|choice| choice.source == source);
            let wanted = choice.filter(|_| is_chosen);
            let wanted = wanted.map_or(SHADOW_TOKENS, |choice| choice.tokens);
            NGrams::copy(session.text(), found, wanted, &mut self.draft);
            if is_chosen {
                return Proposal::Tokens(&self.draft);
            }
            if leads {
                self.shadow.begin(source, &self.draft);
            }
        }
        choice.map_or(Proposal::Nothing, |choice| Proposal::OfModel(choice.tokens))
    }

    fn find(&mut self, session: &Session) -> Option<Match> {
        let history = session.history();
        let ngrams = self
            .ngrams
            .get_or_insert_with(|| NGrams::new(history.len() + session.room()));
        ngrams.extend(history);
        ngrams.find(session.text())
    }

    fn conditions(&self, at: &Conditions) -> Conditions {
        Conditions {
            ahead: self.windows.ahead(),
            windows: self.windows.live(),
            ..*at
        }
    }

    /// A step was sent that wants a sample and ends with `drafts`. Its result is told under the
    /// answered name. `None`: no result of it can count.
    pub fn on_sent(&mut self, step: Step, drafts: &[u32]) -> Option<WindowId> {
        let source = self.source.take().filter(|_| step.drafted > 0);
        self.windows.on_sent(step, drafts, source)
    }

    /// What came of a step.
    ///
    /// # Errors
    /// [`ResultError`]: nobody who verifies says this.
    pub fn on_result(
        &mut self,
        id: WindowId,
        tokens: &[u32],
        costs: &Costs,
        at: &Conditions,
    ) -> Result<Judged, ResultError> {
        let at = self.conditions(at);
        let judged = self.windows.on_result(id, tokens)?;
        match &judged {
            Judged::Live { trial, .. } => {
                self.speculation.on_result(trial, costs, &at);
                for token in tokens {
                    if let Some((source, tried, accepted)) = self.shadow.on_token(*token) {
                        self.speculation.on_shadow(source, tried, accepted);
                    }
                }
            }
            Judged::Void { trial } => self.speculation.on_result(trial, costs, &at),
            Judged::Late => {}
        }
        Ok(judged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::session::{Lexicon, SessionParams};
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

    const LOOKUP: Sources = Sources {
        lookup: true,
        model: false,
    };

    const ROOM: Conditions = Conditions {
        latency: std::time::Duration::from_millis(40),
        others: 0,
        room: 64,
        ahead: 0,
        windows: 0,
    };

    fn session() -> Session {
        let params = SessionParams {
            prompt: [1, 2, 3, 4, 5, 6].repeat(4),
            context_length: 100,
            ..SessionParams::default()
        };
        let mut session = Session::new(params, &Silent, &mut Delta::default()).unwrap();
        session.rewind(23);
        session
    }

    /// Sends what is proposed; the step and its name.
    fn send(drafter: &mut Drafter, session: &mut Session) -> (Step, WindowId) {
        let costs = Costs::default();
        if let Proposal::Tokens(tokens) = drafter.propose(session, LOOKUP, &costs, &ROOM) {
            let tokens = tokens.to_vec();
            assert_eq!(session.draft(&tokens, &Silent), tokens.len());
        }
        let step = session.step(64).unwrap();
        let tokens = session.tokens(step).to_vec();
        let id = drafter.on_sent(step, &tokens[step.n - step.drafted..]);
        session.computed(step);
        (step, id.unwrap())
    }

    #[test]
    fn what_repeats_is_drafted_and_further_windows_go_on_from_there() {
        let (mut drafter, mut session) = (Drafter::default(), session());
        drafter.follow(0);
        let (first, id) = send(&mut drafter, &mut session);
        assert!(first.drafted > 1 && first.n == first.drafted + 1);
        let right: Vec<u32> = (1..=6).cycle().take(first.drafted + 1).collect();
        assert_eq!(session.drafts(), &right[..first.drafted]);
        let judged = drafter.on_result(id, &right, &Costs::default(), &ROOM);
        let Ok(Judged::Live { trial, .. }) = judged else {
            panic!("{judged:?}");
        };
        assert_eq!(trial.accepted, first.drafted);
    }

    #[test]
    fn results_of_another_epoch_are_late_and_impossible_ones_are_refused() {
        let (mut drafter, mut session) = (Drafter::default(), session());
        drafter.follow(0);
        let (_, id) = send(&mut drafter, &mut session);
        let wrong = drafter.on_result(id, &[9, 9, 9], &Costs::default(), &ROOM);
        assert_eq!(wrong, Err(ResultError::Impossible));
        drafter.follow(1);
        let late = drafter.on_result(id, &[1], &Costs::default(), &ROOM);
        assert_eq!(late, Ok(Judged::Late));
    }
}
