//! The texts that experts are ranked by and shards are scored on: some of ours, of many sorts, or
//! files of the owner's. It knows no model.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use llama_sys::local::Chunks;

use super::ExpertsError;
use crate::core::shards::MAX_TEXTS;

/// Bytes of a text: some ten times what is read of one.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Ours: prose, conversation, programs, data, mathematics, in several languages.
const BUILT_IN: [(&str, &str); 10] = [
    ("conversation", include_str!("texts/conversation.txt")),
    ("data", include_str!("texts/data.txt")),
    ("english", include_str!("texts/english.txt")),
    ("french", include_str!("texts/french.txt")),
    ("german", include_str!("texts/german.txt")),
    ("mathematics", include_str!("texts/mathematics.txt")),
    ("python", include_str!("texts/python.txt")),
    ("rust", include_str!("texts/rust.txt")),
    ("spanish", include_str!("texts/spanish.txt")),
    ("web", include_str!("texts/web.txt")),
];

/// Texts by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts(Vec<(String, String)>);

impl Texts {
    /// The texts that come with the program.
    #[must_use]
    pub fn built_in() -> Self {
        let owned = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
        Self(BUILT_IN.map(owned).into())
    }

    /// These files, each a text that is called as the file without its ending; none: the built-in
    /// ones.
    ///
    /// # Errors
    /// [`ExpertsError`] if one cannot be read, is no text or too long, or if two have one name.
    pub fn of_files(paths: &[PathBuf]) -> Result<Self, ExpertsError> {
        if paths.is_empty() {
            return Ok(Self::built_in());
        }
        if paths.len() > MAX_TEXTS {
            let message = format!("{} texts are more than {MAX_TEXTS}", paths.len());
            return Err(ExpertsError::Texts(message));
        }
        let mut texts: Vec<(String, String)> = Vec::new();
        for path in paths {
            let text = read(path).map_err(|cause| ExpertsError::Text {
                path: path.clone(),
                cause,
            })?;
            let name = path.file_stem().unwrap_or(path.as_os_str());
            let name = name.to_string_lossy().into_owned();
            if texts.iter().any(|(known, _)| *known == name) {
                let message = format!("two texts are called `{name}`");
                return Err(ExpertsError::Texts(message));
            }
            texts.push((name, text));
        }
        Ok(Self(texts))
    }

    /// Names and texts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Of all names and texts, and how they are cut.
    pub(super) fn digest(&self, chunks: Chunks) -> String {
        let mut hasher = blake3::Hasher::new();
        let Chunks { tokens, most } = chunks;
        hasher.update(&tokens.to_le_bytes());
        hasher.update(&most.to_le_bytes());
        for part in self.iter().flat_map(|(name, text)| [name, text]) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    // One more than may be, so that a longer one is noticed.
    file.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        let message = format!("the text is longer than {MAX_TEXT_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKS: Chunks = Chunks {
        tokens: 512,
        most: 20,
    };

    #[test]
    fn files_are_texts_with_names() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let paths = [file("a.txt", "one"), file("b.md", "two")];
        let texts = Texts::of_files(&paths).unwrap();
        assert_eq!(
            texts.iter().collect::<Vec<_>>(),
            [("a", "one"), ("b", "two")]
        );
        let twice = Texts::of_files(&[file("a.txt", "one"), file("a.md", "two")]);
        assert!(matches!(twice, Err(ExpertsError::Texts(_))));
        let none = Texts::of_files(&[dir.path().join("none")]);
        assert!(matches!(none, Err(ExpertsError::Text { .. })));
        let long = "x".repeat(usize::try_from(MAX_TEXT_BYTES).unwrap() + 1);
        let long = Texts::of_files(&[file("long", &long)]);
        assert!(matches!(long, Err(ExpertsError::Text { .. })));
        assert!(Texts::of_files(&vec![paths[0].clone(); MAX_TEXTS + 1]).is_err());
        assert_eq!(Texts::of_files(&[]).unwrap(), Texts::built_in());
    }

    #[test]
    fn a_digest_tells_texts_apart() {
        let texts = |pairs: &[(&str, &str)]| {
            let owned = |(name, text): &(&str, &str)| ((*name).into(), (*text).into());
            Texts(pairs.iter().map(owned).collect()).digest(CHUNKS)
        };
        let digests = [
            texts(&[("a", "bc")]),
            texts(&[("ab", "c")]),
            texts(&[("a", "bd")]),
            texts(&[("a", "bc"), ("", "")]),
            Texts(vec![("a".into(), "bc".into())]).digest(Chunks { most: 2, ..CHUNKS }),
        ];
        for (index, digest) in digests.iter().enumerate() {
            assert!(!digests[..index].contains(digest), "{index}");
        }
        assert_eq!(texts(&[("a", "bc")]), digests[0]);
    }
}
