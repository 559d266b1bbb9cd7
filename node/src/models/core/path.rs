//! File names and relative paths that a hub or an URL told us, checked so that they can only
//! name a file inside the folder we choose. It never touches the disk.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest file name, bytes: file systems allow 255, and we append to it.
pub const MAX_FILE_NAME: usize = 200;
/// Longest path in a repository, bytes.
pub const MAX_REPO_PATH: usize = 512;
/// Deepest path in a repository: real ones have one or two folders.
pub const MAX_DEPTH: usize = 8;
/// The extension of model files.
const EXTENSION: &str = ".gguf";

/// A path inside a repository: relative, `/` between plain components, nothing that climbs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoPath(String);

/// A path that could name something outside its folder, or that no sane repository has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a plain relative path")]
pub struct UnsafePath;

impl RepoPath {
    /// Checks a path.
    ///
    /// # Errors
    /// [`UnsafePath`] unless it is relative, at most [`MAX_REPO_PATH`] bytes and [`MAX_DEPTH`]
    /// components, each a [plain file name](is_plain_file_name).
    pub fn new(path: &str) -> Result<Self, UnsafePath> {
        let safe = path.len() <= MAX_REPO_PATH
            && path.split('/').count() <= MAX_DEPTH
            && path.split('/').all(is_plain_file_name);
        if safe {
            Ok(Self(path.to_owned()))
        } else {
            Err(UnsafePath)
        }
    }

    /// The whole path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The file name without `.gguf`.
    #[must_use]
    pub fn stem(&self) -> &str {
        stem(self.file_name())
    }

    /// Whether it ends in `.gguf`, in any case.
    #[must_use]
    pub fn is_gguf(&self) -> bool {
        has_gguf_extension(&self.0)
    }

    /// The same folder, another file name.
    ///
    /// # Errors
    /// [`UnsafePath`] as for [`RepoPath::new`].
    pub fn sibling(&self, file_name: &str) -> Result<Self, UnsafePath> {
        match self.0.rsplit_once('/') {
            Some((folder, _)) => Self::new(&format!("{folder}/{file_name}")),
            None => Self::new(file_name),
        }
    }
}

impl TryFrom<String> for RepoPath {
    type Error = UnsafePath;

    fn try_from(path: String) -> Result<Self, UnsafePath> {
        Self::new(&path)
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> Self {
        path.0
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a name is one component that every file system takes literally: printable ASCII
/// without separators, quotes, globs or shell signs, not beginning with a dot, a dash or a
/// space (`.`, `..`, hidden files, options), not ending with a dot or a space.
#[must_use]
pub fn is_plain_file_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-+=@~,()[]".contains(c);
    !name.is_empty()
        && name.len() <= MAX_FILE_NAME
        && name.chars().all(allowed)
        && !name.starts_with(['.', '-', ' ', '~'])
        && !name.ends_with(['.', ' '])
}

/// Whether a name ends in `.gguf`, in any case.
#[must_use]
pub fn has_gguf_extension(name: &str) -> bool {
    name.len() > EXTENSION.len()
        && name
            .get(name.len() - EXTENSION.len()..)
            .is_some_and(|end| end.eq_ignore_ascii_case(EXTENSION))
}

/// A file name without its `.gguf`, if it has one.
#[must_use]
pub fn stem(file_name: &str) -> &str {
    if has_gguf_extension(file_name) {
        &file_name[..file_name.len() - EXTENSION.len()]
    } else {
        file_name
    }
}

/// The place of a file in a split model: `STEM-00002-of-00005.gguf`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The name before the numbers.
    pub base: String,
    /// Which part, from 1.
    pub index: u32,
    /// Parts in all.
    pub count: u32,
}

/// Most parts of one model: llama.cpp's field for it is 16 bits wide, real models stay below 100.
pub const MAX_PARTS: u32 = 512;

impl Part {
    /// Reads the numbers of a split model's file name; `None`: a file by itself.
    #[must_use]
    pub fn parse(file_name: &str) -> Option<Self> {
        const DIGITS: usize = 5;
        let number = |text: &str| -> Option<u32> {
            let digits = text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let (rest, count) = stem(file_name).rsplit_once("-of-")?;
        let (base, index) = rest.rsplit_once('-')?;
        let (index, count) = (number(index)?, number(count)?);
        let sound = !base.is_empty() && (1..=count).contains(&index) && count <= MAX_PARTS;
        sound.then(|| Self {
            base: base.to_owned(),
            index,
            count,
        })
    }

    /// The file name of the part `index` of the same model.
    #[must_use]
    pub fn file_name(&self, index: u32) -> String {
        format!("{}-{index:05}-of-{:05}{EXTENSION}", self.base, self.count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn climbing_and_odd_paths_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "a/../b.gguf",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "C:x",
            "a\0b",
            "a\nb",
            "~/x",
            "a/.hidden",
            "-rf",
            "a b /c",
            "é.gguf",
            "a;b",
            "$(x)",
            "a%2e",
        ] {
            assert_eq!(RepoPath::new(bad), Err(UnsafePath), "{bad:?}");
        }
        assert!(RepoPath::new(&"a/".repeat(9)).is_err());
        assert!(RepoPath::new(&"a".repeat(MAX_FILE_NAME + 1)).is_err());
    }

    #[test]
    fn parts_are_read() {
        let part = Part::parse("m-Q4_K_M-00002-of-00005.gguf").unwrap();
        assert_eq!(
            (part.base.as_str(), part.index, part.count),
            ("m-Q4_K_M", 2, 5)
        );
        assert_eq!(part.file_name(5), "m-Q4_K_M-00005-of-00005.gguf");
        for none in [
            "m.gguf",
            "m-00000-of-00002.gguf",
            "m-00003-of-00002.gguf",
            "m-2-of-5.gguf",
            "-00001-of-00002.gguf",
            "m-00001-of-99999.gguf",
            "m-+0001-of-00002.gguf",
        ] {
            assert_eq!(Part::parse(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_below_its_folder(path in ".{0,80}") {
            if let Ok(path) = RepoPath::new(&path) {
                let joined = std::path::Path::new("/base").join(path.as_str());
                prop_assert!(joined.starts_with("/base"));
                prop_assert!(joined.components().all(|c| c != std::path::Component::ParentDir));
                prop_assert!(is_plain_file_name(path.file_name()));
            }
        }

        #[test]
        fn part_names_round_trip(base in "[A-Za-z0-9._-]{1,30}", index in 1u32..=MAX_PARTS, more in 0u32..9) {
            let part = Part { base, index, count: (index + more).min(MAX_PARTS) };
            prop_assert_eq!(Part::parse(&part.file_name(index)), Some(part));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = (Part::parse(&text), stem(&text), RepoPath::new(&text));
        }
    }
}
