//! What the owner lets other peers do here: who is served, which models, how large a request. It
//! knows neither queues nor engines.

use std::collections::BTreeSet;

use protocol::ModelName;
use protocol::generate::generate_request::Prompt;
use protocol::generate::{EmbedRequest, GenerateRequest, embed_input};

/// Bytes of a peer's prompt, tools and templates: a context of 64 Ki tokens with room to spare.
/// Longer ones cost their tokenization before anything can be told.
pub const MAX_PROMPT_BYTES: usize = 512 << 10;

/// Tokens that are generated for one request of a peer: longer than any answer of a chat, and an
/// end to one that repeats itself.
pub const MAX_ANSWER_TOKENS: u32 = 16_384;

/// Texts in a peer's request for embeddings.
pub const MAX_EMBED_INPUTS: usize = 256;

/// Bytes of text that a token stands for, as a rule.
const BYTES_PER_TOKEN: u64 = 4;

/// What a token of an answer costs beside one of a prompt: prompts are computed in batches. The
/// weights of Sheng et al., "Fairness in Serving Large Language Models" (2024).
pub const ANSWER_TOKEN_COST: u64 = 2;

/// Tokens of an answer where the request sets no limit: a usual one.
const USUAL_ANSWER_TOKENS: u32 = 256;

/// Which models peers may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Offer {
    /// Those that are loaded already, and those that the owner keeps loaded. Peers cause no other
    /// load.
    #[default]
    Loaded,
    /// These, by full name. Peers may have one loaded, where memory is free.
    Named(BTreeSet<ModelName>),
}

/// How a model is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// It is loaded, or being loaded.
    pub is_loaded: bool,
    /// The owner keeps it loaded.
    pub is_pinned: bool,
}

/// What the owner allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether peers that the owner does not know are served.
    pub serves_strangers: bool,
    /// Which models.
    pub offer: Offer,
}

/// Why a peer is not served. It is told no more than that: not what is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// Only peers that the owner knows are served.
    #[error("this peer serves only peers that its owner knows")]
    Stranger,
    /// The model is not here, or not for peers.
    #[error("this peer does not serve the model now")]
    Model,
    /// More text than is taken.
    #[error("this peer takes prompts of at most {MAX_PROMPT_BYTES} bytes")]
    PromptTooLarge,
    /// More texts than are taken.
    #[error("this peer embeds at most {MAX_EMBED_INPUTS} texts at a time")]
    TooManyInputs,
}

impl Rules {
    /// Whether this peer is served at all.
    ///
    /// # Errors
    /// [`Denial::Stranger`].
    pub fn check_peer(&self, is_trusted: bool) -> Result<(), Denial> {
        let served = is_trusted || self.serves_strangers;
        served.then_some(()).ok_or(Denial::Stranger)
    }

    /// Whether peers may use this model as it is here.
    ///
    /// # Errors
    /// [`Denial::Model`].
    pub fn check_model(&self, model: &ModelName, presence: Presence) -> Result<(), Denial> {
        let offered = match &self.offer {
            Offer::Loaded => presence.is_loaded || presence.is_pinned,
            Offer::Named(models) => models.contains(model),
        };
        offered.then_some(()).ok_or(Denial::Model)
    }
}

/// Cuts a peer's request to what is given: where it asks for more tokens it ends by length, and
/// its answer says so.
///
/// # Errors
/// [`Denial::PromptTooLarge`].
pub fn fit(request: &mut GenerateRequest) -> Result<(), Denial> {
    if prompt_bytes(request) > MAX_PROMPT_BYTES {
        return Err(Denial::PromptTooLarge);
    }
    // The limit counts an answer's tokens from its beginning, wherever that was.
    let resumed = request.resume.as_ref().map_or(0, |r| r.tokens.len());
    let most = u32::try_from(resumed).unwrap_or(u32::MAX);
    let most = most.saturating_add(MAX_ANSWER_TOKENS);
    request.max_tokens = Some(request.max_tokens.map_or(most, |wanted| wanted.min(most)));
    Ok(())
}

/// Whether a peer's request for embeddings is small enough.
///
/// # Errors
/// [`Denial::PromptTooLarge`], [`Denial::TooManyInputs`].
pub fn check_embed(request: &EmbedRequest) -> Result<(), Denial> {
    if request.inputs.len() > MAX_EMBED_INPUTS {
        return Err(Denial::TooManyInputs);
    }
    let fits = embed_bytes(request) <= MAX_PROMPT_BYTES;
    fits.then_some(()).ok_or(Denial::PromptTooLarge)
}

/// What an answer will cost, roughly: the prompt's tokens, and twice the answer's.
pub fn estimate(request: &GenerateRequest) -> u64 {
    let answer = request.max_tokens.unwrap_or(USUAL_ANSWER_TOKENS);
    let answer = u64::from(answer.min(USUAL_ANSWER_TOKENS)) * ANSWER_TOKEN_COST;
    (prompt_bytes(request) as u64 / BYTES_PER_TOKEN).saturating_add(answer)
}

/// What embeddings will cost, roughly.
pub fn estimate_embed(request: &EmbedRequest) -> u64 {
    embed_bytes(request) as u64 / BYTES_PER_TOKEN
}

/// Bytes of everything that is tokenized or rendered; a token id counts as its text.
fn prompt_bytes(request: &GenerateRequest) -> usize {
    let prompt = match &request.prompt {
        None => 0,
        Some(Prompt::Chat(chat)) => {
            chat.messages_json.len() + chat.tools_json.len() + chat.template_kwargs_json.len()
        }
        Some(Prompt::Text(text)) => text.len(),
        Some(Prompt::Tokens(prompt)) => token_bytes(prompt.tokens.len()),
        Some(Prompt::Infill(infill)) => infill.prefix.len() + infill.suffix.len(),
    };
    let resumed = request.resume.as_ref().map_or(0, |r| r.tokens.len());
    prompt.saturating_add(token_bytes(resumed))
}

fn embed_bytes(request: &EmbedRequest) -> usize {
    let inputs = request.inputs.iter().map(|input| match &input.input {
        None => 0,
        Some(embed_input::Input::Text(text)) => text.len(),
        Some(embed_input::Input::Tokens(prompt)) => token_bytes(prompt.tokens.len()),
    });
    inputs.fold(0, usize::saturating_add)
}

fn token_bytes(tokens: usize) -> usize {
    tokens.saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use protocol::generate::{EmbedInput, Resume, TokenPrompt};

    use super::*;

    fn named(name: &str) -> Rules {
        Rules {
            serves_strangers: true,
            offer: Offer::Named([name.parse().unwrap()].into()),
        }
    }

    fn text(bytes: usize) -> GenerateRequest {
        GenerateRequest {
            prompt: Some(Prompt::Text("x".repeat(bytes))),
            ..GenerateRequest::default()
        }
    }

    #[test]
    fn strangers_are_served_if_the_owner_says_so_and_the_known_always() {
        let closed = Rules::default();
        assert_eq!(closed.check_peer(false), Err(Denial::Stranger));
        assert_eq!(closed.check_peer(true), Ok(()));
        assert_eq!(named("m").check_peer(false), Ok(()));
    }

    #[test]
    fn models_are_offered_as_the_owner_says() {
        let m = "m".parse().unwrap();
        let presence = |is_loaded, is_pinned| Presence {
            is_loaded,
            is_pinned,
        };
        let loaded = Rules::default();
        assert_eq!(loaded.check_model(&m, presence(true, false)), Ok(()));
        assert_eq!(loaded.check_model(&m, presence(false, true)), Ok(()));
        let absent = loaded.check_model(&m, presence(false, false));
        assert_eq!(absent, Err(Denial::Model));
        let absent = presence(false, false);
        assert_eq!(named("m").check_model(&m, absent), Ok(()));
        let other = named("other").check_model(&m, presence(true, true));
        assert_eq!(other, Err(Denial::Model));
    }

    #[test]
    fn requests_are_cut_to_what_is_given() {
        let mut request = text(MAX_PROMPT_BYTES);
        assert_eq!(fit(&mut request), Ok(()));
        assert_eq!(request.max_tokens, Some(MAX_ANSWER_TOKENS));
        request.max_tokens = Some(7);
        assert_eq!(fit(&mut request), Ok(()));
        assert_eq!(request.max_tokens, Some(7));
        let resume = Some(Resume {
            tokens: vec![1],
            sent_text_bytes: 0,
        });
        request.resume = resume.clone();
        assert_eq!(fit(&mut request), Err(Denial::PromptTooLarge));
        let mut resumed = GenerateRequest { resume, ..text(1) };
        assert_eq!(fit(&mut resumed), Ok(()));
        assert_eq!(resumed.max_tokens, Some(MAX_ANSWER_TOKENS + 1));
        let input = |bytes: usize| EmbedInput {
            input: Some(embed_input::Input::Text("x".repeat(bytes))),
        };
        let tokens = EmbedInput {
            input: Some(embed_input::Input::Tokens(TokenPrompt {
                tokens: vec![0; 10],
            })),
        };
        let mut embed = EmbedRequest {
            inputs: vec![input(40), tokens],
            ..EmbedRequest::default()
        };
        assert_eq!(check_embed(&embed), Ok(()));
        assert_eq!(estimate_embed(&embed), 20);
        embed.inputs = vec![input(MAX_PROMPT_BYTES / 2 + 1); 2];
        assert_eq!(check_embed(&embed), Err(Denial::PromptTooLarge));
        embed.inputs = vec![input(0); MAX_EMBED_INPUTS + 1];
        assert_eq!(check_embed(&embed), Err(Denial::TooManyInputs));
    }

    #[test]
    fn estimates_grow_with_the_work() {
        let mut request = text(400);
        assert_eq!(estimate(&request), 100 + 512);
        request.max_tokens = Some(10);
        assert_eq!(estimate(&request), 100 + 20);
    }
}
