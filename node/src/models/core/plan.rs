//! What a pull will fetch, and what of an earlier attempt is still good for it. It fetches and
//! deletes nothing.

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::digest::Sha256;
use super::record::Source;

/// One model to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The name that it shall have.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// Its files in order.
    pub files: Vec<PlannedFile>,
}

/// One file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// From where.
    pub url: Url,
    /// What it must be.
    pub file: StagedFile,
}

/// What is written down beside a partial file, so that a later attempt knows what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Its name on disk, a plain file name.
    pub name: String,
    /// Its size, bytes.
    pub size: u64,
    /// Its digest, where one is published.
    pub sha256: Option<Sha256>,
    /// Its strong entity tag, for files without a digest.
    pub etag: Option<String>,
}

/// What is written down of a pull that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedPlan {
    /// The model's name.
    pub name: String,
    /// Its files.
    pub files: Vec<StagedFile>,
}

impl Plan {
    /// Bytes of all files.
    #[must_use]
    pub fn size(&self) -> u64 {
        let sizes = self.files.iter().map(|planned| planned.file.size);
        sizes.fold(0, u64::saturating_add)
    }

    /// What is written down of it.
    #[must_use]
    pub fn staged(&self) -> StagedPlan {
        StagedPlan {
            name: self.name.clone(),
            files: self
                .files
                .iter()
                .map(|planned| planned.file.clone())
                .collect(),
        }
    }
}

impl StagedPlan {
    /// Whether bytes that an earlier attempt left under this file's name belong to it: the same
    /// size, and the same digest, or without digests the same entity tag.
    #[must_use]
    pub fn vouches_for(&self, wanted: &StagedFile) -> bool {
        self.files.iter().any(|old| {
            let same_content = match (old.sha256, wanted.sha256) {
                (None, None) => old.etag.is_some() && old.etag == wanted.etag,
                (old, wanted) => old == wanted,
            };
            old.name == wanted.name && old.size == wanted.size && same_content
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64, sha: Option<u8>, etag: Option<&str>) -> StagedFile {
        StagedFile {
            name: "m.gguf".into(),
            size,
            sha256: sha.map(|byte| Sha256::new([byte; 32])),
            etag: etag.map(Into::into),
        }
    }

    #[test]
    fn only_the_same_content_is_resumed() {
        let vouches = |old: StagedFile, new: &StagedFile| {
            StagedPlan {
                name: "m".into(),
                files: vec![old],
            }
            .vouches_for(new)
        };
        let sha = file(5, Some(1), None);
        assert!(
            vouches(file(5, Some(1), Some("a")), &sha),
            "the digest decides"
        );
        assert!(!vouches(file(6, Some(1), None), &sha));
        assert!(!vouches(file(5, Some(2), None), &sha));
        assert!(!vouches(file(5, None, Some("a")), &sha));
        let tag = file(5, None, Some("a"));
        assert!(vouches(tag.clone(), &tag));
        assert!(!vouches(file(5, None, Some("b")), &tag));
        assert!(!vouches(file(5, None, None), &file(5, None, None)));
    }
}
