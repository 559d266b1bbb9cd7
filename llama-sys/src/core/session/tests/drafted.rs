//! Answers with drafts are answers without: any windows, right or wrong, further ones under way,
//! chains lost in between. The verifier is a toy model over a cache of tokens.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::core::speculation::{Expectation, Judged, Sampled, Source, WindowId, Windows, verdict};

/// What the head does next.
#[derive(Debug, Clone)]
enum Act {
    /// Drafts tokens: right ones, but for those whose bit is set.
    Draft(usize, u32),
    /// Sends a step of so many tokens at most.
    Send(usize),
    /// The first result under way comes.
    Receive,
    /// The chain is lost, but for so many tokens of its cache.
    Fail(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0usize..7, prop_oneof![Just(0), 0u32..128]).prop_map(|(n, wrong)| Act::Draft(n, wrong)),
        4 => (1usize..9).prop_map(Act::Send),
        4 => Just(Act::Receive),
        1 => (0usize..60).prop_map(Act::Fail),
    ]
}

/// The next token is a function of the text and its noise, which is its length.
fn model(text: &[u32]) -> u32 {
    let mix = |h: u64, t: &u32| (h ^ u64::from(*t)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 3;
    let hash = text.iter().rev().take(3).fold(text.len() as u64 / 2, mix);
    match hash % 61 {
        0 => 99,
        1 => 50,
        token => u32::try_from(token % 7).unwrap(),
    }
}

fn sampled(text: &[u32]) -> Sampled {
    match model(text) {
        99 => Sampled::Last(99),
        token => Sampled::Token(token),
    }
}

/// A last stage: it computes steps in the order in which they were sent.
#[derive(Default)]
struct Stage {
    cache: Vec<u32>,
    expectation: Expectation,
}

impl Stage {
    fn compute(&mut self, step: Step, tokens: &[u32]) -> Vec<u32> {
        assert!(step.keep_n <= self.cache.len());
        self.cache.truncate(step.keep_n);
        self.cache.extend(tokens);
        if !step.wants_sample {
            return Vec::new();
        }
        let assumes = step.drafted == step.n;
        if assumes && !self.expectation.holds(step.keep_n, tokens[0]) {
            return Vec::new();
        }
        let end = self.cache.len();
        let drafts = &tokens[tokens.len() - step.drafted..];
        let judged = &drafts[usize::from(assumes)..];
        let first = end - judged.len();
        let mut said = Vec::new();
        let cache = &self.cache;
        let verdict = verdict(judged, &mut said, |row| sampled(&cache[..first + row]));
        self.expectation.on_verdict(first - 1, &said, verdict);
        said
    }
}

struct Head {
    session: Session,
    stage: Stage,
    windows: Windows,
    results: VecDeque<(WindowId, Vec<u32>)>,
    delta: Delta,
}

impl Head {
    fn act(&mut self, act: &Act) {
        match *act {
            Act::Draft(n, wrong) => self.draft(n, wrong),
            Act::Send(most) => self.send(most),
            Act::Receive => self.receive(),
            Act::Fail(keep) => {
                let keep = keep.min(self.stage.cache.len());
                self.stage.cache.truncate(keep);
                // What the cache holds of rejected drafts is no part of the history.
                let history = self.session.history();
                let pairs = history.iter().zip(&self.stage.cache);
                let same = pairs.take_while(|(a, b)| a == b).count();
                self.session.rewind(same);
                self.windows.clear();
            }
        }
    }

    fn draft(&mut self, n: usize, wrong: u32) {
        let mut text = self.session.text().to_vec();
        let before = text.len();
        for i in 0..n {
            let right = model(&text);
            text.push(if wrong >> i & 1 == 1 {
                right % 7 + 1
            } else {
                right
            });
        }
        let taken = self.session.draft(&text[before..], &Letters);
        assert_eq!(
            self.session.drafts().len() + self.session.history().len(),
            before + taken
        );
    }

    fn send(&mut self, most: usize) {
        let Some(step) = self.session.step(most) else {
            return;
        };
        let tokens = self.session.tokens(step).to_vec();
        if step.wants_sample {
            let drafts = &tokens[step.n - step.drafted..];
            let source = Some(Source::Model).filter(|_| step.drafted > 0);
            let Some(id) = self.windows.on_sent(step, drafts, source) else {
                return;
            };
            let result = self.stage.compute(step, &tokens);
            self.results.push_back((id, result));
        } else {
            assert_eq!(step.drafted, 0);
            self.stage.compute(step, &tokens);
        }
        self.session.computed(step);
    }

    fn receive(&mut self) {
        let Some((id, tokens)) = self.results.pop_front() else {
            return;
        };
        let Judged::Live { keep_n, .. } = self.windows.on_result(id, &tokens).unwrap() else {
            return;
        };
        let computed = self.session.computed_tokens();
        for token in tokens {
            self.session.sampled(token, None, &Letters, &mut self.delta);
        }
        if self.session.ending().is_none() {
            assert!(self.session.computed_tokens() <= computed);
            assert_eq!(self.session.computed_tokens(), keep_n);
        }
    }
}

/// The answer without drafts.
fn undrafted(params: SessionParams) -> (Delta, Session) {
    let (mut session, mut delta) = begin(params);
    while session.ending().is_none() {
        let step = session.step(usize::MAX).unwrap();
        assert_eq!((step.drafted, step.wants_sample), (0, true));
        session.computed(step);
        let token = model(session.history());
        session.sampled(token, None, &Letters, &mut delta);
    }
    (delta, session)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn drafts_change_nothing(
        prompt in prop::collection::vec(0u32..7, 1..20),
        max_tokens in 1u32..60,
        stop in prop::sample::select(vec!["bab", "e", "zz", "ccd"]),
        acts in prop::collection::vec(act(), 0..400),
    ) {
        let params = SessionParams {
            prompt,
            max_tokens: Some(max_tokens),
            context_length: 64,
            stop: vec![stop.to_owned()],
            ..SessionParams::default()
        };
        let (expected, whole) = undrafted(params.clone());
        let (session, delta) = begin(params);
        let mut head = Head {
            session,
            stage: Stage::default(),
            windows: Windows::default(),
            results: VecDeque::new(),
            delta,
        };
        // In the end, whatever was done before: to the answer's end.
        let rest = [Act::Send(64), Act::Receive].into_iter().cycle().take(1_000);
        for act in acts.into_iter().chain(rest) {
            head.act(&act);
        }
        prop_assert_eq!(&head.delta.text, &expected.text);
        prop_assert_eq!(&head.delta.tokens, &expected.tokens);
        prop_assert_eq!(head.session.ending(), whole.ending());
        prop_assert_eq!(head.session.history(), whole.history());
        prop_assert_eq!((head.session.uncomputed(), head.session.drafts().len()), (0, 0));
    }
}

#[test]
fn drafts_are_bounded_and_end_before_the_answer_does() {
    let (mut session, _) = begin(SessionParams {
        prompt: vec![1, 2],
        max_tokens: Some(4),
        context_length: 64,
        ..SessionParams::default()
    });
    assert_eq!(session.draft(&[3, 99, 4], &Letters), 1);
    assert_eq!(session.draft(&[4, 5, 6, 7], &Letters), 2);
    assert_eq!(
        (session.drafts(), session.draft_room()),
        (&[3, 4, 5][..], 0)
    );
    let step = session.step(4).unwrap();
    let expected = Step {
        keep_n: 0,
        n: 4,
        wants_sample: true,
        drafted: 2,
    };
    assert_eq!(step, expected);
    session.computed(step);
    assert_eq!((session.pending(), session.uncomputed()), (0, 1));
    session.sampled(3, None, &Letters, &mut Delta::default());
    session.sampled(6, None, &Letters, &mut Delta::default());
    assert_eq!((session.drafts(), session.computed_tokens()), (&[][..], 3));
    assert_eq!(session.pending(), 1);
}
