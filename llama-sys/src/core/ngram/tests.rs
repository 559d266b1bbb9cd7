//! Lookups in texts small enough to be read, and over random ones.

use proptest::prelude::*;

use super::*;

fn proposed(history: &[u32], ahead: &[u32], n: usize) -> Option<Vec<u32>> {
    let mut ngrams = NGrams::new(64);
    ngrams.extend(history);
    let text = [history, ahead].concat();
    let found = ngrams.find(&text)?;
    let mut draft = Vec::new();
    NGrams::copy(&text, found, n, &mut draft);
    Some(draft)
}

#[test]
fn the_longest_ending_wins_and_then_the_last() {
    assert_eq!(
        proposed(&[1, 2, 3, 9, 2, 3, 8, 1, 2, 3], &[], 2),
        Some(vec![9, 2])
    );
    assert_eq!(
        proposed(&[5, 2, 3, 9, 6, 2, 3, 8, 7, 2, 3], &[], 3),
        Some(vec![8, 7, 2])
    );
    assert_eq!(proposed(&[1, 2, 3, 4, 3], &[], 3), None);
    assert_eq!(proposed(&[1], &[], 3), None);
    assert_eq!(proposed(&[], &[], 3), None);
}

#[test]
fn a_repetition_goes_on_as_long_as_it_is_wanted() {
    assert_eq!(proposed(&[7, 7, 7], &[], 5), Some(vec![7; 5]));
    assert_eq!(
        proposed(&[1, 2, 3, 1, 2, 3, 1], &[], 7),
        Some(vec![2, 3, 1, 2, 3, 1, 2])
    );
}

#[test]
fn drafts_ahead_are_taken_for_granted() {
    assert_eq!(
        proposed(&[1, 2, 3, 4, 5, 6, 1, 2], &[3, 4], 2),
        Some(vec![5, 6])
    );
    // Beyond the end of the history, too.
    assert_eq!(proposed(&[1, 2, 1, 2], &[1, 2, 1], 3), Some(vec![2, 1, 2]));
}

#[test]
fn a_long_copy_goes_on_though_its_last_tokens_came_again_since() {
    let passage: Vec<u32> = (10..30).collect();
    let mut ngrams = NGrams::new(64);
    // A fragment of the passage comes again, with another end.
    let mut history = [&passage[..], &[13, 14, 15, 16, 99, 10, 11, 12, 13]].concat();
    ngrams.extend(&history);
    let begun = ngrams.find(&history);
    assert_eq!(begun, Some(Match { at: 4, agreeing: 4 }));
    for token in 14..=16 {
        history.push(token);
        ngrams.extend(&history);
        ngrams.find(&history);
    }
    assert_eq!(ngrams.find(&history), Some(Match { at: 7, agreeing: 7 }));
    history.push(5);
    ngrams.extend(&history);
    assert_eq!(ngrams.find(&history), None);
}

proptest! {
    /// What is proposed follows an ending that is truly there, in steps of any size, with a
    /// table that is far too small.
    #[test]
    fn proposals_copy_the_text(
        text in prop::collection::vec(0u32..6, 0..600),
        cuts in prop::collection::vec(1usize..40, 1..40),
        ahead in prop::collection::vec(0u32..6, 0..9),
        n in 0usize..20,
    ) {
        let mut ngrams = NGrams::new(0);
        let (mut end, mut draft) = (0, Vec::new());
        for cut in cuts {
            end = (end + cut).min(text.len());
            ngrams.extend(&text[..end]);
            for ahead in [&[], &ahead[..]] {
                let shown = [&text[..end], ahead].concat();
                let Some(found) = ngrams.find(&shown) else { continue };
                prop_assert!(found.agreeing >= SHORTEST && found.at < shown.len());
                let (here, there) = (shown.len() - found.agreeing, found.at - found.agreeing);
                prop_assert_eq!(&shown[here..], &shown[there..found.at]);
                NGrams::copy(&shown, found, n, &mut draft);
                prop_assert_eq!(draft.len(), n);
                let whole = [&shown[..], &draft].concat();
                prop_assert_eq!(&whole[found.at..found.at + n], &draft[..]);
            }
        }
    }
}
