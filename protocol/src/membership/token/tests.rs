//! Tokens: golden text, what a person may have done to one, and what they are told.

use proptest::prelude::*;

use super::*;
use crate::membership::armour::crc32;
use crate::membership::tests::{NOW, invite_chain};

fn text() -> String {
    JoinToken(invite_chain()).to_string()
}

fn error(text: &str) -> TokenError {
    text.parse::<JoinToken>().unwrap_err()
}

#[test]
fn text_is_golden() {
    assert_eq!(text(), include_str!("golden.txt").trim());
    assert!(text().len() < 700, "a line that can be pasted");
}

#[test]
fn a_token_reads_back() {
    let token: JoinToken = text().parse().unwrap();
    assert_eq!(token, JoinToken(invite_chain()));
    let invite = token.verify(NOW).unwrap();
    assert_eq!(invite.content.uses, 3);
    assert_eq!(invite.content.swarm.name.as_str(), "lab");
}

#[test]
fn the_checksum_is_the_standard_one() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    assert_eq!(crc32(b""), 0);
}

#[test]
fn spaces_and_line_breaks_do_no_harm() {
    let text = text();
    let (first, second) = text.split_at(80);
    let broken = format!("  {first}\r\n   {second}\n");
    assert_eq!(broken.parse::<JoinToken>(), text.parse());
}

#[test]
fn each_mistake_is_told_as_that() {
    assert_eq!(error(" \n"), TokenError::Empty);
    assert_eq!(error("https://example.org"), TokenError::NoToken);
    assert_eq!(error("shoal9_AAAA"), TokenError::Newer);
    assert_eq!(error("shoal"), TokenError::Cut(1));
    assert_eq!(error(TOKEN_PREFIX), TokenError::Cut(1));
    assert_eq!(error(&"x".repeat(20_000)), TokenError::TooLong);
    assert_eq!(error(&format!("{}AAAA", text())), TokenError::Trailing);
    assert_eq!(error(&text().replace('_', "!")), TokenError::NoToken);
    let middle = text().len() / 2;
    let mut typed = text();
    typed.replace_range(middle..=middle, "?");
    assert_eq!(error(&typed), TokenError::Mistyped);
    let missing = error(&text()[..text().len() - 8]);
    assert!(matches!(missing, TokenError::Cut(8..=12)), "{missing:?}");
    assert_eq!(
        TokenError::Cut(8).to_string(),
        "the join token is cut short: about 8 characters are missing at its end; copy the whole line again"
    );
}

#[test]
fn a_whole_token_without_an_invite_is_told_as_that() {
    let text = armour::write(&FORM, &[]);
    assert!(matches!(error(&text), TokenError::Contents(_)));
}

#[test]
fn every_error_is_one_line() {
    let errors = [
        TokenError::Empty,
        TokenError::NoToken,
        TokenError::Newer,
        TokenError::TooLong,
        TokenError::Cut(4),
        TokenError::Trailing,
        TokenError::Mistyped,
        TokenError::Contents(ChainDecodeError::Missing),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(!text.contains('\n') && text.contains(';') || text.contains(':'));
    }
}

proptest! {
    #[test]
    fn a_cut_token_is_told_as_cut(at in 1_usize..600) {
        let text = text();
        let at = at.min(text.len() - 1);
        prop_assert!(matches!(error(&text[..at]), TokenError::Cut(_)), "cut at {}", at);
    }

    #[test]
    fn a_mistyped_character_is_noticed(at: prop::sample::Index, with in "[A-Za-z0-9_-]") {
        let text = text();
        let at = at.index(text.len() - TOKEN_PREFIX.len()) + TOKEN_PREFIX.len();
        let mut typed = text.clone();
        typed.replace_range(at..=at, &with);
        prop_assert!(typed == text || typed.parse::<JoinToken>().is_err());
    }

    #[test]
    fn garbage_never_panics(text: String) {
        let _ = text.parse::<JoinToken>();
        let _ = format!("{TOKEN_PREFIX}{text}").parse::<JoinToken>();
    }
}
