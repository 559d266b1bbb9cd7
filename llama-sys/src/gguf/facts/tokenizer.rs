//! Tokenizer, special tokens and chat templates of a model, as the header names them. It neither
//! tokenizes nor renders.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::header::Header;

/// Named templates that are kept; real models have up to three (`tool_use`, `rag`).
const MAX_NAMED_TEMPLATES: usize = 16;

/// A tokenizer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tokenizer {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `llama` (SentencePiece), `bert`, ….
    pub kind: Option<String>,
    /// `tokenizer.ggml.pre`: how text is split before BPE.
    pub pre: Option<String>,
    /// Begin of text.
    pub bos: Option<Token>,
    /// End of text.
    pub eos: Option<Token>,
    /// End of a turn, where the file names it; llama.cpp also knows such tokens by their text.
    pub eot: Option<Token>,
    /// Padding.
    pub pad: Option<Token>,
    /// Whether text begins with [`Tokenizer::bos`], where the file says it.
    pub add_bos: Option<bool>,
    /// Tokens for filling gaps.
    pub fim: FimTokens,
}

/// A token with a meaning of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its id, below the size of the vocabulary.
    pub id: u32,
    /// Its text in the vocabulary.
    pub text: String,
}

/// Tokens for filling gaps in text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FimTokens {
    /// Before the text before the gap.
    pub prefix: Option<Token>,
    /// Before the text after the gap.
    pub suffix: Option<Token>,
    /// Before what fills the gap.
    pub middle: Option<Token>,
}

impl Tokenizer {
    pub(super) fn read(header: &Header) -> Self {
        let text = |key| header.text(key).map(str::to_owned);
        let kind = text("tokenizer.ggml.model");
        // llama.cpp's own ids where the file names none (llama-vocab.cpp, `load`).
        let (bos, eos) = match kind.as_deref() {
            Some("llama" | "plamo2") => (Some(1), Some(2)),
            Some("gpt2") => (Some(11), Some(11)),
            Some("bert") => (Some(101), None),
            Some("t5") => (None, Some(1)),
            _ => (None, None),
        };
        Self {
            kind,
            pre: text("tokenizer.ggml.pre"),
            bos: token(header, &["bos"], bos),
            eos: token(header, &["eos"], eos),
            eot: token(header, &["eot"], None),
            pad: token(header, &["padding"], None),
            add_bos: header.flag("tokenizer.ggml.add_bos_token"),
            fim: FimTokens {
                // The second names are the older ones.
                prefix: token(header, &["fim_pre", "prefix"], None),
                suffix: token(header, &["fim_suf", "suffix"], None),
                middle: token(header, &["fim_mid", "middle"], None),
            },
        }
    }
}

/// The token that the first of these keys names; one that is not in the vocabulary is none.
fn token(header: &Header, names: &[&str], usual: Option<u32>) -> Option<Token> {
    let id = |name: &&str| header.unsigned(&format!("tokenizer.ggml.{name}_token_id"));
    let id = match names.iter().find_map(id) {
        Some(found) => u32::try_from(found).ok()?,
        None => usual?,
    };
    let text = header.named_token(id)?.to_owned();
    Some(Token { id, text })
}

/// Chat templates, in the language Jinja.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ChatTemplates {
    /// `tokenizer.chat_template`.
    pub default: Option<String>,
    /// `tokenizer.chat_template.NAME`, such as `tool_use`.
    pub named: BTreeMap<String, String>,
}

impl ChatTemplates {
    pub(super) fn read(header: &Header) -> Self {
        let prefix = "tokenizer.chat_template.";
        let named: BTreeMap<String, String> = header
            .entries()
            .filter_map(|(key, _)| {
                let name = key.strip_prefix(prefix)?;
                Some((name.to_owned(), header.text(key)?.to_owned()))
            })
            .take(MAX_NAMED_TEMPLATES)
            .collect();
        let default = header.text("tokenizer.chat_template").map(str::to_owned);
        Self {
            default: default.or_else(|| named.get("default").cloned()),
            named,
        }
    }
}
