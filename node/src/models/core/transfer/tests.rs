//! Every answer a server can give, in every order.

use proptest::prelude::*;

use super::*;

const SIZE: u64 = 1 << 20;

fn digest() -> Sha256 {
    Sha256::new([7; 32])
}

fn transfer(have: u64) -> Transfer {
    let expect = Expect {
        size: SIZE,
        sha256: Some(digest()),
        etag: None,
    };
    Transfer::new(expect, Patience::default(), have)
}

fn tagged(etag: Option<&str>, have: u64) -> Transfer {
    let expect = Expect {
        size: SIZE,
        sha256: None,
        etag: etag.map(Into::into),
    };
    Transfer::new(expect, Patience::default(), have)
}

fn status(status: u16) -> Head {
    Head {
        status,
        ..Head::default()
    }
}

fn partial(start: u64, total: Option<u64>) -> Head {
    let content_range = Some(ContentRange { start, total });
    Head {
        content_range,
        ..status(206)
    }
}

#[test]
fn content_ranges_are_read_strictly() {
    let range = |start, total| Some(ContentRange { start, total });
    assert_eq!(ContentRange::parse("bytes 5-9/10"), range(5, Some(10)));
    assert_eq!(ContentRange::parse("bytes 0-0/*"), range(0, None));
    for bad in [
        "",
        "bytes */10",
        "bytes 9-5/10",
        "bytes 5-10/10",
        "bytes -1-5/9",
        "items 1-2/3",
    ] {
        assert_eq!(ContentRange::parse(bad), None, "{bad}");
    }
}

#[test]
fn it_resumes_where_it_stopped() {
    let mut t = transfer(100);
    assert_eq!(
        t.next(),
        Step::Ask {
            from: 100,
            if_range: None
        }
    );
    assert_eq!(
        t.on_head(&partial(100, Some(SIZE)), 0.0),
        Step::Read { from: 100 }
    );
    t.on_bytes(SIZE - 100).unwrap();
    assert_eq!(t.on_end(0.0), Step::Check);
    assert_eq!(t.on_digest(digest()), None);
    assert_eq!(
        transfer(SIZE).next(),
        Step::Check,
        "all there: nothing is asked"
    );
}

#[test]
fn a_server_without_ranges_starts_anew() {
    let mut t = transfer(100);
    let head = Head {
        content_length: Some(SIZE),
        ..status(200)
    };
    assert_eq!(t.on_head(&head, 0.0), Step::Read { from: 0 });
    assert_eq!(t.have(), 0);
    assert_eq!(
        transfer(9).on_head(&status(200), 0.0),
        Step::Read { from: 0 }
    );
}

#[test]
fn without_a_digest_the_tag_decides() {
    assert_eq!(tagged(None, 100).next(), Step::Scratch);
    let mut t = tagged(Some("\"a\""), 100);
    let if_range = Some("\"a\"".to_owned());
    assert_eq!(
        t.next(),
        Step::Ask {
            from: 100,
            if_range
        }
    );
    let mut same = partial(100, Some(SIZE));
    assert_eq!(
        t.on_head(&same, 0.0),
        Step::Scratch,
        "no tag is another tag"
    );
    same.etag = Some("\"a\"".into());
    assert_eq!(
        tagged(Some("\"a\""), 100).on_head(&same, 0.0),
        Step::Read { from: 100 }
    );
}

#[test]
fn wrong_sizes_and_ranges_are_no_resume() {
    let lie = Head {
        content_length: Some(5),
        ..status(200)
    };
    let mut t = transfer(0);
    assert_eq!(t.on_head(&lie, 0.0), Step::Scratch);
    let given_up = Step::GiveUp(Trouble::Size { want: SIZE, got: 5 });
    assert_eq!(t.on_head(&lie, 0.0), given_up);
    assert_eq!(
        transfer(9).on_head(&partial(9, Some(5)), 0.0),
        Step::Scratch
    );
    for odd in [partial(8, Some(SIZE)), status(206), status(416)] {
        let mut t = transfer(9);
        assert!(matches!(t.on_head(&odd, 0.0), Step::Wait(_)), "{odd:?}");
    }
    let mut t = transfer(9);
    t.on_head(&status(416), 0.0);
    assert_eq!(t.have(), 0, "the offset was refused");
    let mut t = transfer(SIZE - 1);
    assert_eq!(
        t.on_bytes(2),
        Err(Step::Scratch),
        "more bytes than the file has"
    );
}

#[test]
fn wrong_bytes_are_fetched_again_once() {
    let mut t = transfer(SIZE);
    let wrong = Sha256::new([8; 32]);
    assert_eq!(t.on_digest(wrong), Some(Step::Scratch));
    assert_eq!(t.have(), 0);
    let trouble = Trouble::Digest {
        want: digest(),
        got: wrong,
    };
    assert_eq!(t.on_digest(wrong), Some(Step::GiveUp(trouble)));
}

#[test]
fn waits_double_are_capped_and_end() {
    let mut t = transfer(0);
    let mut waits = Vec::new();
    while let Step::Wait(wait) = t.on_head(&status(503), 1.0) {
        waits.push(wait.as_millis());
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000]);
    let asked = Head {
        retry_after: Some(Duration::from_secs(9)),
        ..status(429)
    };
    assert_eq!(
        transfer(0).on_head(&asked, 0.0),
        Step::Wait(Duration::from_secs(9))
    );
    let asked = Head {
        retry_after: Some(Duration::from_secs(1 << 40)),
        ..status(429)
    };
    assert_eq!(
        transfer(0).on_head(&asked, 0.0),
        Step::Wait(MAX_RETRY_AFTER)
    );
}

#[test]
fn hopeless_answers_end_at_once() {
    for (code, trouble) in [
        (401, Trouble::Denied(401)),
        (404, Trouble::Missing(404)),
        (418, Trouble::Status(418)),
    ] {
        assert_eq!(
            transfer(0).on_head(&status(code), 0.0),
            Step::GiveUp(trouble)
        );
    }
}

/// Cuts after each `bytes` until the end: how many there were, and whether it got there.
fn cut_every(bytes: u64) -> (u32, bool) {
    let mut t = transfer(0);
    for cuts in 0.. {
        let step = t
            .on_bytes(bytes)
            .map_or_else(|step| step, |()| t.on_end(0.0));
        match step {
            Step::Check => return (cuts, true),
            Step::Wait(_) => {}
            _ => return (cuts, false),
        }
    }
    unreachable!("the loop has no end of its own")
}

#[test]
fn progress_renews_the_tries_but_a_trickle_does_not() {
    assert_eq!(cut_every(PROGRESS_BYTES), (15, true));
    assert_eq!(cut_every(1), (7, false));
}

fn any_head() -> impl Strategy<Value = Head> {
    let code = proptest::sample::select(vec![200, 206, 206, 206, 416, 429, 500, 503, 404, 302]);
    let size = prop_oneof![Just(None), Just(Some(SIZE)), (0..2 * SIZE).prop_map(Some)];
    (code, size, 0..SIZE, any::<bool>()).prop_map(|(status, total, start, tag)| Head {
        status,
        content_length: total,
        content_range: Some(ContentRange { start, total }),
        etag: tag.then(|| "\"a\"".to_owned()),
        ..Head::default()
    })
}

proptest! {
    #[test]
    fn it_ends_and_never_holds_more_than_the_file(
        heads in proptest::collection::vec((any_head(), 0..2 * SIZE, any::<bool>()), 1..200),
        have in 0..2 * SIZE,
        by_tag in any::<bool>(),
    ) {
        let mut t = if by_tag { tagged(Some("\"a\""), have) } else { transfer(have) };
        let mut step = t.next();
        for (head, bytes, aligned) in heads {
            step = match step {
                Step::Ask { from, .. } => {
                    let mut head = head;
                    if let (true, Some(range)) = (aligned, head.content_range.as_mut()) {
                        *range = ContentRange { start: from, total: Some(SIZE) };
                    }
                    t.on_head(&head, 0.5)
                }
                Step::Read { from } => {
                    prop_assert_eq!(from, t.have());
                    match t.on_bytes(bytes) {
                        Ok(()) => t.on_end(0.5),
                        Err(step) => step,
                    }
                }
                Step::Check => break,
                Step::Wait(wait) => {
                    prop_assert!(wait <= MAX_RETRY_AFTER);
                    t.next()
                }
                Step::Scratch => {
                    t.scratch();
                    t.next()
                }
                Step::GiveUp(_) => break,
            };
            prop_assert!(t.have() <= SIZE.max(have));
        }
    }
}
