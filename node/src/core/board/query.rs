//! What is searched for: words that must all be there, and phrases.
//!
//! A chunk between spaces that holds several words (`copy_file_range`, `llama.cpp`, Chinese) is a
//! phrase of its own, so what an author wrote without spaces is found as it stands.

use super::words::split;

/// Bytes of a query, at most: more than a person types.
pub const MAX_QUERY_BYTES: usize = 1024;

/// Words and phrases of a query, at most.
pub const MAX_PHRASES: usize = 32;

/// The words and phrases that a note must hold, all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Each is one word or several in a row; none is empty.
    pub phrases: Vec<Vec<String>>,
}

/// Why a text cannot be searched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Over a limit.
    #[error("a search has up to {MAX_QUERY_BYTES} bytes and {MAX_PHRASES} words and phrases")]
    TooLong,
    /// It holds no letter and no digit.
    #[error("a search needs a word: `{0}` has none")]
    NoWords(String),
}

impl Query {
    /// Reads what a person typed: words, and phrases "in quotes"; a quote that is not closed goes
    /// to the end. Empty text asks for nothing.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(QueryError::TooLong);
        }
        let mut phrases: Vec<Vec<String>> = Vec::new();
        for (n, part) in text.split('"').enumerate() {
            let is_quoted = n % 2 == 1;
            let chunks: Vec<&str> = match is_quoted {
                true => vec![part],
                false => part.split_whitespace().collect(),
            };
            let words = chunks
                .into_iter()
                .map(|chunk| split(chunk).collect::<Vec<_>>());
            phrases.extend(words.filter(|words| !words.is_empty()));
        }
        phrases.sort();
        phrases.dedup();
        match phrases.len() {
            0 if !text.trim().is_empty() => Err(QueryError::NoWords(text.trim().to_owned())),
            n if n > MAX_PHRASES => Err(QueryError::TooLong),
            _ => Ok(Self { phrases }),
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.phrases.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases(text: &str) -> Vec<String> {
        let query = Query::parse(text).unwrap();
        query.phrases.iter().map(|words| words.join(" ")).collect()
    }

    #[test]
    fn words_and_phrases_are_told_apart() {
        assert_eq!(phrases("Rust  borrow"), ["borrow", "rust"]);
        assert_eq!(phrases("\"Hole punch\" NAT"), ["hole punch", "nat"]);
        assert_eq!(phrases("copy_file_range"), ["copy file range"]);
        assert_eq!(phrases("\"not closed"), ["not closed"]);
        assert_eq!(phrases("a a \"a\""), ["a"]);
        assert!(phrases("").is_empty() && phrases("  ").is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Query::parse("?!"), Err(QueryError::NoWords("?!".into())));
        assert_eq!(
            Query::parse("\"\""),
            Err(QueryError::NoWords("\"\"".into()))
        );
        let long = "x".repeat(MAX_QUERY_BYTES + 1);
        assert_eq!(Query::parse(&long), Err(QueryError::TooLong));
        let many: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        assert_eq!(Query::parse(&many.join(" ")), Err(QueryError::TooLong));
    }
}
