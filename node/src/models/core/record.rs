//! What the store remembers of a model, as it is written down. It knows neither where the
//! store's folder is nor how records are kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::digest::Sha256;
use super::name::RepoId;
use super::path::{RepoPath, is_plain_file_name};

/// Longest readable part of a folder's name, bytes: leaves room for the digest behind it.
const MAX_READABLE: usize = 120;

/// Where a model came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// Files of a repository on the hub.
    Hub {
        /// The repository.
        repo: RepoId,
        /// The first (or only) file's path in it.
        file: RepoPath,
    },
    /// An address.
    Url {
        /// Without its query, which may hold a signature.
        url: String,
    },
    /// A file of this machine, used in place.
    File {
        /// Its absolute path.
        path: PathBuf,
    },
}

impl Source {
    /// Whether the files are not the store's own.
    #[must_use]
    pub fn is_external(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// The name of the folder for the model's files: readable, safe, the same for the same
    /// source and different for different ones, whatever the case of the file system.
    #[must_use]
    pub fn folder(&self) -> String {
        let text = match self {
            Self::Hub { repo, file } => format!("{repo}/{}", file.stem()),
            Self::Url { url } => url.rsplit('/').next().unwrap_or_default().to_owned(),
            Self::File { .. } => "external".to_owned(),
        };
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        };
        let readable: String = text.chars().map(plain).take(MAX_READABLE).collect();
        let identity = serde_json::to_vec(self).unwrap_or_default();
        let digest = blake3::hash(&identity).to_hex();
        format!("m-{readable}-{}", &digest[..16])
    }
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its name in the model's folder; for an external model in the folder of its path.
    pub name: String,
    /// Its size, bytes.
    pub size: u64,
    /// The digest that it was verified against.
    pub sha256: Option<Sha256>,
}

/// One model, as the store remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The name that requests use.
    pub name: String,
    /// Where it came from.
    pub source: Source,
    /// Its files in order, the one that is loaded first.
    pub files: Vec<StoredFile>,
    /// `general.architecture` of its header.
    pub architecture: String,
    /// The quantization of most of its bytes.
    pub quantization: String,
    /// The context that it was trained for, tokens.
    pub context_length: u64,
    /// Unix seconds at which it came here.
    pub added: u64,
    /// Unix seconds of its last use.
    pub last_used: u64,
}

impl Record {
    /// Bytes of all files.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// Bytes that it takes of the store: none if it is external.
    #[must_use]
    pub fn owned_size(&self) -> u64 {
        if self.source.is_external() {
            0
        } else {
            self.size()
        }
    }

    /// Whether the record can be believed after it was read back: it has files, and owned ones
    /// have names that stay in their folder.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let plain = |file: &StoredFile| self.source.is_external() || is_plain_file_name(&file.name);
        !self.name.is_empty() && !self.files.is_empty() && self.files.iter().all(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(repo: &str, file: &str) -> Source {
        Source::Hub {
            repo: RepoId::new(repo).unwrap(),
            file: RepoPath::new(file).unwrap(),
        }
    }

    #[test]
    fn folders_are_plain_stable_and_distinct() {
        let a = hub("org/repo", "Q4/m-Q4_0.gguf").folder();
        assert_eq!(a, hub("org/repo", "Q4/m-Q4_0.gguf").folder());
        assert!(a.starts_with("m-org-repo-m-Q4_0-"), "{a}");
        let long = "x".repeat(150) + ".gguf";
        let url = Source::Url {
            url: "http://h/../a b?.gguf".into(),
        };
        let others = [
            hub("org/repo", "Q8/m-Q4_0.gguf").folder(),
            hub("org-repo/m", "Q4_0.gguf").folder(),
            hub("ORG/repo", "Q4/m-Q4_0.gguf").folder(),
            hub("a/b", &long).folder(),
            url.folder(),
        ];
        for other in others {
            assert!(is_plain_file_name(&other), "{other}");
            assert_ne!(a.to_lowercase(), other.to_lowercase());
        }
    }
}
