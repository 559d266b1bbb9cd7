//! A model's name, as requests, the store and the swarm use it.
//!
//! ```text
//! name    = base [ ":" variant ]
//! base    = part [ "/" part ]          catalog name, file name, or org/repo
//! variant = part *( "/" part )         quantization, or a file's path inside the repository
//! part    = ( letter | digit ) *( letter | digit | "." | "_" | "-" | "+" )
//! ```
//! Letters and digits are ASCII. A part never begins with a dot, so no name leads out of a
//! folder; what a name stands for, and whether there is such a model, is not known here.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::limits::MAX_MODEL_NAME_BYTES;

/// A checked name of a model. Comparison is exact: upper and lower case differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

/// Why a text is no model's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelNameError {
    /// Empty, or an empty part (`a//b`, `a:`).
    #[error("a model's name, or a part of it, is empty")]
    Empty,
    /// Over the limit.
    #[error("a model's name has {0} bytes, the limit is {MAX_MODEL_NAME_BYTES}")]
    TooLong(usize),
    /// A character that no name has.
    #[error("a model's name has letters, digits and . _ - + / : only, not {0:?}")]
    Character(char),
    /// A part that begins with something else than a letter or a digit (`../x`, `.hidden`).
    #[error("each part of a model's name begins with a letter or a digit")]
    PartStart,
    /// More than `org/repo` before the colon.
    #[error("a model's name has one slash at most before the colon")]
    TooManyParts,
}

impl ModelName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text can be a model's name.
    ///
    /// # Errors
    /// Every [`ModelNameError`].
    pub fn check(text: &str) -> Result<(), ModelNameError> {
        if text.len() > MAX_MODEL_NAME_BYTES {
            return Err(ModelNameError::TooLong(text.len()));
        }
        let (base, variant) = split(text);
        if base.matches('/').count() > 1 {
            return Err(ModelNameError::TooManyParts);
        }
        base.split('/')
            .chain(variant.into_iter().flat_map(|v| v.split('/')))
            .try_for_each(check_part)
    }

    /// The nearest name to a file's name without its folder: other characters become `-`.
    ///
    /// # Errors
    /// When nothing is left of it, or it is too long.
    pub fn from_file_name(file: &str) -> Result<Self, ModelNameError> {
        let safe = |c: char| if is_part_character(c) { c } else { '-' };
        let name: String = file.chars().map(safe).collect();
        name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric())
            .parse()
    }

    /// `org` and `repo`, where the name has both.
    pub fn repository(&self) -> Option<(&str, &str)> {
        self.base().split_once('/')
    }

    /// What stands before the colon.
    pub fn base(&self) -> &str {
        split(&self.0).0
    }

    /// What stands after the colon: a quantization, or a file of the repository.
    pub fn variant(&self) -> Option<&str> {
        split(&self.0).1
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((base, variant)) => (base, Some(variant)),
        None => (text, None),
    }
}

fn check_part(part: &str) -> Result<(), ModelNameError> {
    if let Some(bad) = part.chars().find(|&c| !is_part_character(c)) {
        return Err(ModelNameError::Character(bad));
    }
    match part.bytes().next() {
        None => Err(ModelNameError::Empty),
        Some(first) if !first.is_ascii_alphanumeric() => Err(ModelNameError::PartStart),
        Some(_) => Ok(()),
    }
}

fn is_part_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+')
}

impl FromStr for ModelName {
    type Err = ModelNameError;

    fn from_str(text: &str) -> Result<Self, ModelNameError> {
        Self::check(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ModelName {
    type Error = ModelNameError;

    fn try_from(text: String) -> Result<Self, ModelNameError> {
        Self::check(&text)?;
        Ok(Self(text))
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_every_kind() {
        for name in [
            "smollm2:135m",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "unsloth/gpt-oss-20b-GGUF",
            "bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M",
            "org/repo:Q8_0/model-00001-of-00002.gguf",
        ] {
            assert_eq!(name.parse::<ModelName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_fall_into_their_parts() {
        let name: ModelName = "org/repo:sub/file.gguf".parse().unwrap();
        assert_eq!(name.repository(), Some(("org", "repo")));
        assert_eq!(name.variant(), Some("sub/file.gguf"));
        let name: ModelName = "tiny".parse().unwrap();
        assert_eq!(
            (name.base(), name.repository(), name.variant()),
            ("tiny", None, None)
        );
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        use ModelNameError as E;
        let refused = [
            ("", E::Empty),
            ("a//b", E::TooManyParts),
            ("a/", E::Empty),
            ("a:", E::Empty),
            ("a:b//c", E::Empty),
            ("..", E::PartStart),
            ("../etc", E::PartStart),
            ("a/..", E::PartStart),
            ("a:../../b", E::PartStart),
            ("/etc", E::Empty),
            (".hidden", E::PartStart),
            ("-rf", E::PartStart),
            ("a\\b", E::Character('\\')),
            ("a b", E::Character(' ')),
            ("a\0", E::Character('\0')),
            ("modèle", E::Character('è')),
            ("a:b:c", E::Character(':')),
            ("a/b/c", E::TooManyParts),
        ];
        for (text, error) in refused {
            assert_eq!(text.parse::<ModelName>(), Err(error), "{text:?}");
        }
        let long = "x".repeat(MAX_MODEL_NAME_BYTES + 1);
        assert_eq!(long.parse::<ModelName>(), Err(E::TooLong(257)));
    }

    #[test]
    fn file_names_become_names() {
        let name = |file| ModelName::from_file_name(file).map(String::from);
        assert_eq!(name("tiny-moe-q8_0.gguf"), Ok("tiny-moe-q8_0.gguf".into()));
        assert_eq!(name("my model (1).gguf"), Ok("my-model--1-.gguf".into()));
        assert_eq!(name("../x"), Ok("x".into()));
        assert_eq!(name("…"), Err(ModelNameError::Empty));
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_in_its_folder(text in "[a-z./:\\\\ -]{0,12}") {
            if let Ok(name) = text.parse::<ModelName>() {
                for part in [Some(name.base()), name.variant()].into_iter().flatten() {
                    let normal = |c| matches!(c, Component::Normal(_));
                    prop_assert!(Path::new(part).components().all(normal));
                }
            }
        }

        #[test]
        fn garbage_never_panics(text: String) {
            let _ = text.parse::<ModelName>();
            let _ = ModelName::from_file_name(&text);
        }
    }
}
