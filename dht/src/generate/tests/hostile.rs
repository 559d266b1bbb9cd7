//! Bytes that nobody promised anything about, in pieces of any size, at both sides.

use proptest::prelude::*;

use super::*;

/// Runs to the end on a clock that jumps over every wait.
fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

fn in_pieces(bytes: &[u8], sizes: &[usize]) -> VecDeque<Vec<u8>> {
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    std::iter::from_fn(|| {
        let size = (*sizes.next()?).min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        (!piece.is_empty()).then(|| piece.to_vec())
    })
    .collect()
}

/// What a client makes of these bytes.
fn hear(bytes: &[u8], sizes: &[usize], ends: bool) -> Vec<Result<GenerateEvent, CallError>> {
    run(async {
        let io = Script {
            pieces: in_pieces(bytes, sizes),
            ends,
            ..Script::default()
        };
        Answer::new(io, &request()).unwrap().collect().await
    })
}

fn any_event() -> impl Strategy<Value = GenerateEvent> {
    prop_oneof![
        (0..3_u32).prop_map(queued),
        Just(started()),
        "[a-z]{0,40}".prop_map(|text| delta(&text)),
        Just(finished()),
        Just(EventOrder::failed(Failure::new(ErrorCode::Internal, "x"))),
        Just(GenerateEvent::default()),
    ]
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..70_usize, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn events_come_out_as_the_order_allows_whatever_the_pieces(
        events in prop::collection::vec(any_event(), 0..10),
        sizes in sizes(),
    ) {
        let mut order = EventOrder::default();
        let mut expected = Vec::new();
        let mut is_wrong = false;
        for event in &events {
            if order.is_ended() {
                break;
            }
            match order.check(event) {
                Ok(protocol::generate::Weight::News) => expected.push(event.clone()),
                Ok(_) => {}
                Err(_) => {
                    is_wrong = true;
                    break;
                }
            }
        }
        let mut heard = hear(&framed(&events), &sizes, true);
        if !order.is_ended() {
            let end = heard.pop();
            prop_assert!(matches!(&end, Some(Err(error)) if error.is_violation() == is_wrong));
            prop_assert!(is_wrong || matches!(end, Some(Err(CallError::Cut))));
        }
        let heard: Vec<_> = heard.into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(heard, expected);
    }

    #[test]
    fn an_answer_cut_anywhere_is_cut(at: prop::sample::Index, sizes in sizes()) {
        let whole = framed(&answer_events());
        let heard = hear(&whole[..at.index(whole.len())], &sizes, true);
        prop_assert!(matches!(heard.last(), Some(Err(CallError::Cut))));
    }

    #[test]
    fn garbage_ends_a_call_with_one_error(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        good in 0..4_usize,
        sizes in sizes(),
        ends: bool,
    ) {
        let bytes = [framed(&answer_events()[..good]), bytes].concat();
        let heard = hear(&bytes, &sizes, ends);
        let errors = heard.iter().filter(|event| event.is_err()).count();
        let is_answered = errors == 0;
        prop_assert!(errors <= 1);
        prop_assert!(is_answered || matches!(heard.last(), Some(Err(_))));
    }

    #[test]
    fn garbage_ends_serving_and_never_reaches_the_engine(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        damaged: Option<prop::sample::Index>,
        sizes in sizes(),
        ends: bool,
    ) {
        let bytes = match damaged {
            None => bytes,
            Some(at) => {
                let mut whole = framed(&[request()]);
                let at = at.index(whole.len());
                whole[at] ^= 1;
                whole
            }
        };
        run(async {
            let io = Script { pieces: in_pieces(&bytes, &sizes), ends, ..Script::default() };
            let _ = serve_generate(io, &RequestRoom::default(), |request| async move {
                assert!(request.validate().is_ok());
                Ok(stream::iter(answer_events()))
            })
            .await;
        });
    }

    #[test]
    fn a_huge_frame_is_refused_before_it_comes(bytes in 1..u32::MAX) {
        let most = u32::try_from(GenerateEvent::MAX_BYTES).unwrap();
        let length = most.saturating_add(1).saturating_add(bytes).to_be_bytes();
        let heard = hear(&length, &[4], false);
        prop_assert!(matches!(&heard[..], [Err(error)] if error.is_violation()));
    }
}

#[test]
fn a_peer_that_only_beats_is_never_news_and_holds_nobody_up() {
    let beats = vec![delta(""); 10_000];
    let heard = hear(
        &framed(&[vec![started()], beats].concat()),
        &[usize::MAX],
        true,
    );
    assert!(matches!(&heard[..], [Ok(_), Err(CallError::Cut)]));
}
