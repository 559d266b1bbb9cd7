//! The curated list of models that have a short name, compiled in, and which of them fits a
//! machine. It knows no machine and fetches nothing; sizes are for choosing, the hub's count.

use std::sync::OnceLock;

use serde::Deserialize;

use super::choose::quant_label;
use super::name::{RepoId, Selector};
use super::record::{Record, Source};

const BUILTIN: &str = include_str!("../catalog.toml");

/// One model of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The short name, `family:size`.
    pub name: String,
    /// The repository with the files.
    pub repo: RepoId,
    /// The quantization.
    pub quant: String,
    /// The file's name, where files that came here another way shall answer to the short name.
    pub file: Option<String>,
    /// Size of the files, decimal megabytes, rounded.
    pub size_mb: u64,
    /// Memory to run it with a context of 8192 tokens, decimal megabytes: the files, KV cache
    /// and buffers.
    pub memory_mb: u64,
    /// SPDX identifier of the weights' licence, or its name where there is none.
    pub licence: String,
    /// What it is good for, one line.
    pub purpose: String,
    /// Whether it embeds text rather than writing any.
    #[serde(default)]
    pub embeds: bool,
}

impl Entry {
    /// Memory to run it, bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_mb.saturating_mul(1_000_000)
    }

    /// What of the repository is meant.
    #[must_use]
    pub fn selector(&self) -> Selector {
        Selector::Quant(self.quant.clone())
    }

    /// Whether a stored model is this one: the same repository and quantization, or the very
    /// file by its name.
    #[must_use]
    pub fn is_of(&self, record: &Record) -> bool {
        let label =
            |file: &str| quant_label(file).is_some_and(|l| l.eq_ignore_ascii_case(&self.quant));
        let by_source = match &record.source {
            Source::Hub { repo, file } => *repo == self.repo && label(file.file_name()),
            Source::Url { .. } | Source::File { .. } => false,
        };
        let by_file = |file: &str| record.files[0].name.eq_ignore_ascii_case(file);
        by_source || (!record.files.is_empty() && self.file.as_deref().is_some_and(by_file))
    }
}

/// The catalog.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    #[serde(rename = "model")]
    entries: Vec<Entry>,
}

impl Catalog {
    /// The one that is compiled in.
    #[must_use]
    pub fn builtin() -> &'static Self {
        static CATALOG: OnceLock<Catalog> = OnceLock::new();
        CATALOG
            .get_or_init(|| toml::from_str(BUILTIN).expect("a test reads the compiled-in catalog"))
    }

    /// All entries, the smallest need of memory first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of this name, in any case; `family` alone means its smallest.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        let named = |entry: &&Entry| entry.name.eq_ignore_ascii_case(name);
        let family = |entry: &&Entry| {
            let family = entry.name.split(':').next().unwrap_or_default();
            family.eq_ignore_ascii_case(name)
        };
        self.entries
            .iter()
            .find(named)
            .or_else(|| self.entries.iter().find(family))
    }

    /// The most capable model that writes text and runs in this memory: the one that needs the
    /// most of it. `None`: none fits.
    #[must_use]
    pub fn best_fit(&self, memory_bytes: u64) -> Option<&Entry> {
        let fits = |entry: &&Entry| !entry.embeds && entry.memory_bytes() <= memory_bytes;
        self.entries
            .iter()
            .filter(fits)
            .max_by_key(|entry| entry.memory_mb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_catalog_is_sound() {
        let entries = Catalog::builtin().entries();
        assert!((15..=25).contains(&entries.len()));
        let mut names: Vec<_> = entries.iter().map(|e| e.name.clone()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), entries.len(), "names are unique");
        assert!(entries.is_sorted_by_key(|e| e.memory_mb), "smallest first");
        for entry in entries {
            let label = format!("m-{}.gguf", entry.quant);
            assert!(
                quant_label(&label).is_some(),
                "{}: a known quantization",
                entry.name
            );
            assert!(entry.name == entry.name.to_lowercase() && entry.name.contains(':'));
            assert!(entry.memory_mb > entry.size_mb, "{}", entry.name);
            assert!(!entry.licence.is_empty() && !entry.purpose.is_empty());
        }
    }

    #[test]
    fn the_starter_is_there_and_names_are_lenient() {
        let catalog = Catalog::builtin();
        let starter = catalog.entry("SmolLM2:135m").unwrap();
        assert_eq!(starter.licence, "Apache-2.0");
        assert_eq!(catalog.entry("smollm2"), Some(starter));
        assert_eq!(catalog.entry("nothing:1b"), None);
    }

    #[test]
    fn the_best_fit_grows_with_the_memory() {
        let catalog = Catalog::builtin();
        assert_eq!(catalog.best_fit(0), None);
        let mut last = 0;
        for gigabytes in 1..=256u64 {
            let memory = gigabytes * 1_000_000_000;
            let Some(best) = catalog.best_fit(memory) else {
                continue;
            };
            assert!(!best.embeds && best.memory_bytes() <= memory && best.memory_mb >= last);
            last = best.memory_mb;
        }
        assert_eq!(catalog.best_fit(u64::MAX).unwrap().memory_mb, last);
    }
}
