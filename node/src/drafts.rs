//! What models draft with: the owner's choice, and the draft model's file. A draft model makes
//! answers faster and nothing else, so whatever is wrong with one is said in a line, and answers go
//! on without it.

use std::path::{Path, PathBuf};

use llama_sys::engine::Speculate;

use crate::config::EngineConfig;
use crate::models::{Hold, Models};

/// Memory that a draft model takes, in bytes for each of its file: its weights, and its cache.
const MEMORY_PER_BYTE: u64 = 2;

/// The owner's choice.
#[derive(Debug, Clone)]
pub struct Drafts {
    /// Where drafts come from.
    pub speculate: Speculate,
    /// The draft model: a name or a path.
    name: Option<String>,
}

/// What one model drafts with. It stays in the store for as long as this is held.
#[derive(Default)]
pub struct Draft {
    /// Where drafts come from.
    pub speculate: Speculate,
    /// The draft model's file.
    pub file: Option<PathBuf>,
    /// Memory that it takes, bytes.
    pub memory_bytes: u64,
    /// Keeps it in the store.
    pub held: Option<Hold>,
    /// Why there is none although one is wanted, in one line for people.
    pub trouble: Option<String>,
}

impl Drafts {
    /// The choice of a configuration.
    pub fn of(config: &EngineConfig) -> Self {
        Self {
            speculate: config.speculate,
            name: config.draft.clone(),
        }
    }

    /// What the model of this full name drafts with.
    pub async fn find(&self, model: &str, models: &Models) -> Draft {
        let mut draft = Draft {
            speculate: self.speculate,
            ..Draft::default()
        };
        let Some(name) = self.name.as_ref().filter(|_| self.speculate.uses_model()) else {
            return draft;
        };
        if Path::new(name).is_file() {
            draft.file = Some(name.into());
        } else {
            // Held before it is looked up: what is found then is not removed.
            let held = models.full_name(name).map(|name| models.hold(&name));
            match models.resolve(name).await {
                // A model that drafts for itself saves nothing.
                Ok(found) if found.name == model => return draft,
                Ok(found) => draft.file = found.files.first().cloned(),
                Err(error) => {
                    let trouble = format!(
                        "no draft model: {error}; `shoal pull {name}` may fetch it, and answers \
                         go on without"
                    );
                    draft.trouble = Some(trouble);
                    return draft;
                }
            }
            draft.held = held.ok();
        }
        let size = draft.file.as_ref().and_then(|file| file.metadata().ok());
        let bytes = size.map_or(0, |size| size.len());
        draft.memory_bytes = bytes.saturating_mul(MEMORY_PER_BYTE);
        draft
    }
}
