//! The known name most like a mistyped one. It knows no setting.

/// Names longer than this are not compared: the work is the product of the lengths.
const MAX_COMPARED_LEN: usize = 64;

/// The candidate with the fewest edits to `name`, if these are few for its length.
pub(super) fn closest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    if name.len() > MAX_COMPARED_LEN {
        return None;
    }
    let ranked = candidates.map(|candidate| (edits(name, &candidate), candidate));
    let (edits, candidate) = ranked.min()?;
    (edits * 3 <= name.chars().count()).then_some(candidate)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_nonsense_finds_none() {
        let known = || ["ctx_size", "threads"].map(String::from).into_iter();
        assert_eq!(closest("ctxsize", known()), Some("ctx_size".into()));
        assert_eq!(closest("thread", known()), Some("threads".into()));
        assert_eq!(closest("zebra", known()), None);
        assert_eq!(closest(&"x".repeat(1000), known()), None);
    }

    #[test]
    fn edits_are_levenshteins() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
    }
}
