//! The session over a toy vocabulary: token `t` is the letter `a + t % 26`, 99 ends the answer.

use proptest::prelude::*;

use super::*;

mod drafted;

const END: u32 = 99;

struct Letters;

impl Lexicon for Letters {
    fn append_bytes(&self, token: u32, bytes: &mut Vec<u8>) {
        if token == 50 {
            // Half a character.
            bytes.push(0xC3);
        } else {
            bytes.push(b'a' + (token % 26) as u8);
        }
    }

    fn ends_answer(&self, token: u32) -> bool {
        token == END
    }
}

fn params(stop: &[&str]) -> SessionParams {
    SessionParams {
        prompt: vec![1, 2, 3],
        max_tokens: Some(1000),
        context_length: 4096,
        stop: stop.iter().map(|s| (*s).to_owned()).collect(),
        ..SessionParams::default()
    }
}

fn logprob(token: u32) -> TokenLogprob {
    TokenLogprob {
        token,
        bytes: Vec::new(),
        logprob: Some(-1.0),
        top: Vec::new(),
    }
}

/// Runs a session over the tokens that a model would choose; the answer's deltas.
fn run(mut session: Session, first: Delta, model: &[u32]) -> (Vec<Delta>, Session) {
    let mut deltas = vec![first];
    while session.ending().is_none() {
        let step = session.step(usize::MAX).unwrap();
        assert!(step.wants_sample);
        session.computed(step);
        let Some(&token) = model.get(session.answer().len()) else {
            break;
        };
        let mut delta = Delta::default();
        session.sampled(token, Some(logprob(token)), &Letters, &mut delta);
        deltas.push(delta);
    }
    (deltas, session)
}

fn begin(params: SessionParams) -> (Session, Delta) {
    let mut delta = Delta::default();
    let session = Session::new(params, &Letters, &mut delta).unwrap();
    (session, delta)
}

fn text(deltas: &[Delta]) -> String {
    deltas.iter().map(|d| d.text.as_str()).collect()
}

fn tokens(deltas: &[Delta]) -> Vec<u32> {
    deltas.iter().flat_map(|d| d.tokens.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whoever has the first deltas and asks for the rest gets exactly the rest.
    #[test]
    fn resuming_after_any_delta_gives_the_rest(
        mut model in prop::collection::vec(prop_oneof![4 => 0u32..3, 1 => Just(50), 1 => 0u32..26], 1..30),
        stop in prop::collection::vec("[abc]{1,3}", 0..3),
        limit in 1u32..40,
        cut in any::<prop::sample::Index>(),
    ) {
        model.push(END);
        let mut all = params(&stop.iter().map(String::as_str).collect::<Vec<_>>());
        all.max_tokens = Some(limit);
        let (session, first) = begin(all.clone());
        let (deltas, whole) = run(session, first, &model);

        let n = cut.index(deltas.len());
        let resume = tokens(&deltas[..n]);
        let (session, first) = begin(SessionParams {
            sent_text_bytes: text(&deltas[..n]).len(),
            resume: resume.clone(),
            ..all
        });
        let (rest, again) = run(session, first, &model);
        prop_assert_eq!(text(&deltas[..n]) + &text(&rest), text(&deltas));
        prop_assert_eq!([resume, tokens(&rest)].concat(), tokens(&deltas));
        prop_assert_eq!(again.ending(), whole.ending());
        for delta in &rest {
            let told: Vec<u32> = delta.logprobs.iter().map(|l| l.token).collect();
            prop_assert_eq!(&told, &delta.tokens);
        }
    }

    /// Steps cover the history without gaps, whatever their size and whenever it is rewound.
    #[test]
    fn steps_follow_one_another(
        sizes in prop::collection::vec((1usize..9, prop::option::of(0usize..50)), 1..60)
    ) {
        let (mut session, _) = begin(SessionParams { prompt: (0..30).collect(), ..params(&[]) });
        let mut held = 0;
        for (most, rewind) in sizes {
            if let Some(keep) = rewind {
                session.rewind(keep.min(held));
                held = held.min(session.computed_tokens());
            }
            let step = session.step(most).unwrap();
            prop_assert!(step.keep_n <= held && step.n <= most && step.n > 0);
            prop_assert_eq!(step.wants_sample, step.keep_n + step.n == session.history().len());
            prop_assert_eq!(session.tokens(step).len(), step.n);
            session.computed(step);
            held = step.keep_n + step.n;
            if step.wants_sample {
                session.sampled(4, None, &Letters, &mut Delta::default());
            }
        }
    }
}

#[test]
fn an_end_token_is_neither_shown_nor_counted() {
    let (session, first) = begin(params(&[]));
    let (deltas, session) = run(session, first, &[0, 1, END, 2]);
    assert_eq!(text(&deltas), "ab");
    let ending = session.ending().unwrap();
    assert_eq!(
        (ending.reason, ending.completion_tokens),
        (FinishReason::Stop, 2)
    );
    assert_eq!((session.pending(), session.step(9)), (0, None));
}

#[test]
fn held_text_comes_out_when_the_limit_ends_the_answer() {
    let (session, first) = begin(SessionParams {
        max_tokens: Some(2),
        ..params(&["abc"])
    });
    let (deltas, session) = run(session, first, &[0, 1, 2]);
    assert_eq!(
        (text(&deltas).as_str(), tokens(&deltas)),
        ("ab", vec![0, 1])
    );
    assert_eq!(session.ending().unwrap().reason, FinishReason::Length);
}

#[test]
fn the_context_limits_the_answer() {
    let tight = SessionParams {
        context_length: 4,
        max_tokens: None,
        ..params(&[])
    };
    let (session, first) = begin(tight.clone());
    let (deltas, session) = run(session, first, &[0, 1, 2]);
    assert_eq!(text(&deltas), "a");
    assert_eq!(session.ending().unwrap().reason, FinishReason::Length);
    let full = SessionParams {
        context_length: 3,
        ..tight
    };
    let refused = Session::new(full, &Letters, &mut Delta::default());
    assert_eq!(
        refused.unwrap_err(),
        JobError::ContextLengthExceeded {
            prompt_tokens: 3,
            context_length: 3
        }
    );
}

#[test]
fn what_is_complete_ends_at_once() {
    let (session, delta) = begin(SessionParams {
        resume: vec![0, 1, END, 4],
        sent_text_bytes: 1,
        ..params(&[])
    });
    assert_eq!(session.ending().unwrap().completion_tokens, 2);
    assert_eq!((delta.text.as_str(), delta.tokens.len()), ("b", 0));
    let (session, _) = begin(SessionParams {
        max_tokens: Some(0),
        ..params(&[])
    });
    assert_eq!(session.ending().unwrap().reason, FinishReason::Length);
}

#[test]
fn an_empty_prompt_is_refused() {
    let empty = SessionParams {
        prompt: Vec::new(),
        ..params(&[])
    };
    let refused = Session::new(empty, &Letters, &mut Delta::default());
    assert!(matches!(refused, Err(JobError::Invalid(_))));
}
