//! The assembler against a plain reference on the whole text.

#![expect(clippy::cast_possible_truncation, reason = "few tokens")]

use proptest::prelude::*;

use super::*;

/// What the module's first lines promise, in the plainest way.
fn reference(bytes: &[u8], stops: &[String]) -> (String, Option<String>) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    for end in 0..=text.len() {
        let longest = stops
            .iter()
            .filter(|s| !s.is_empty() && text.as_bytes()[..end].ends_with(s.as_bytes()))
            .max_by_key(|s| s.len());
        if let Some(stop) = longest {
            return (text[..end - stop.len()].to_owned(), Some(stop.clone()));
        }
    }
    (text, None)
}

/// Feeds `bytes` cut at `cuts`; answers the text, the tokens shown and the stop.
fn assemble(bytes: &[u8], cuts: &[usize], stops: &[String]) -> (String, Vec<u32>, Option<String>) {
    let mut assembler = Assembler::new(stops.to_vec());
    let (mut text, mut tokens) = (String::new(), Vec::new());
    let mut from = 0;
    let ends = cuts.iter().copied().chain([bytes.len()]);
    for (token, to) in (0u32..).zip(ends) {
        if assembler.push(token, &bytes[from..to], &mut text, &mut tokens) {
            return (text, tokens, assembler.stop().map(str::to_owned));
        }
        from = to;
    }
    assembler.finish(&mut text, &mut tokens);
    (text, tokens, None)
}

/// Bytes that are mostly text of few letters, with many-byte characters and broken ones.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "[abc]{1,4}".prop_map(String::into_bytes),
        2 => "[é€😀]".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|p| p.concat())
}

fn cut_bytes() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    bytes().prop_flat_map(|bytes| {
        let cuts = prop::collection::vec(0..=bytes.len(), 0..12).prop_map(|mut c| {
            c.sort_unstable();
            c
        });
        (Just(bytes), cuts)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_cut_gives_the_text_of_the_whole(
        (bytes, cuts) in cut_bytes(),
        stops in prop::collection::vec("[abc]{0,3}|[é€]a?", 0..4),
    ) {
        let (text, stop) = reference(&bytes, &stops);
        let (got, tokens, got_stop) = assemble(&bytes, &cuts, &stops);
        prop_assert_eq!(got, text);
        prop_assert_eq!(&got_stop, &stop);
        // Tokens come out in order, each once; without a stop string all of them.
        let n = if stop.is_none() { cuts.len() + 1 } else { tokens.len() };
        prop_assert_eq!(tokens, (0..n as u32).collect::<Vec<_>>());
    }

    #[test]
    fn no_token_comes_before_its_text((bytes, cuts) in cut_bytes(), stop in "[abc]{1,3}") {
        let mut assembler = Assembler::new(vec![stop]);
        let (mut text, mut tokens) = (String::new(), Vec::new());
        let mut from = 0;
        for (token, to) in (0u32..).zip(cuts.iter().copied()) {
            if assembler.push(token, &bytes[from..to], &mut text, &mut tokens) {
                break;
            }
            from = to;
            if tokens.last() == Some(&token) {
                prop_assert_eq!(&text, &*String::from_utf8_lossy(&bytes[..to]));
            }
        }
    }
}

#[test]
fn text_that_was_no_stop_string_is_released() {
    let mut assembler = Assembler::new(vec!["<end>".into()]);
    let (mut text, mut tokens) = (String::new(), Vec::new());
    assert!(!assembler.push(1, b"a<e", &mut text, &mut tokens));
    assert_eq!((text.as_str(), tokens.as_slice()), ("a", &[][..]));
    assert!(!assembler.push(2, b"n", &mut text, &mut tokens));
    assert!(!assembler.push(3, b"x", &mut text, &mut tokens));
    assert_eq!(
        (text.as_str(), tokens.as_slice()),
        ("a<enx", &[1, 2, 3][..])
    );
    assert!(!assembler.push(4, b"<", &mut text, &mut tokens));
    assembler.finish(&mut text, &mut tokens);
    assert_eq!(
        (text.as_str(), tokens.as_slice()),
        ("a<enx<", &[1, 2, 3, 4][..])
    );
}

#[test]
fn a_character_over_three_tokens_comes_whole() {
    let mut assembler = Assembler::new(vec![]);
    let (mut text, mut tokens) = (String::new(), Vec::new());
    for (token, bytes) in [(1, &b"\xf0\x9f"[..]), (2, b""), (3, b"\x98\x80!")] {
        assert!(text.is_empty() && tokens.is_empty());
        assembler.push(token, bytes, &mut text, &mut tokens);
    }
    assert_eq!((text.as_str(), tokens.as_slice()), ("😀!", &[1, 2, 3][..]));
}

#[test]
fn tokens_of_the_stop_string_do_not_show() {
    let mut assembler = Assembler::new(vec!["STOP".into()]);
    let (mut text, mut tokens) = (String::new(), Vec::new());
    assembler.push(1, b"go", &mut text, &mut tokens);
    assembler.push(2, b" S", &mut text, &mut tokens);
    assembler.push(3, b"TO", &mut text, &mut tokens);
    assert!(assembler.push(4, b"P and", &mut text, &mut tokens));
    assert_eq!((text.as_str(), tokens.as_slice()), ("go ", &[1, 2][..]));
    assert_eq!(assembler.stop(), Some("STOP"));
}
