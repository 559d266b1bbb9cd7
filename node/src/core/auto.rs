//! Which model answers a request that names `auto`: of those that can be served, the one that fits it
//! best. Pure; it knows no peer and loads nothing.
//!
//! A model must do what is asked (write, or embed) and may be seen by whom the request allows; whoever
//! chose those that are given has seen to the latter. Of these, in this order: one that surely holds
//! the prompt; one whose template shows tools, if the request brings some; one that is loaded, here or
//! on a peer; one with a free sequence; the most capable, as far as its size is known; this node's own.
//! Images are refused by the API before: no model here sees any.

use std::cmp::Reverse;

use protocol::ModelName;
use protocol::advert::Abilities;

use super::ranking::{EXPECTED_ANSWER, PromptSize};

/// The name that asks for a choice.
pub const AUTO: &str = "auto";

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// How long its prompt is.
    pub prompt: PromptSize,
    /// Tokens of the answer at most.
    pub max_tokens: Option<u32>,
    /// It brings tools.
    pub tools: bool,
    /// It wants embeddings, and no text.
    pub embeds: bool,
}

/// A model that could answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servable {
    /// Its full name.
    pub model: ModelName,
    /// What it can do.
    pub abilities: Abilities,
    /// Tokens that one session can hold; `None`: unknown.
    pub context_tokens: Option<u32>,
    /// It is loaded.
    pub is_loaded: bool,
    /// A sequence is free.
    pub has_room: bool,
    /// This node has it.
    pub is_own: bool,
    /// Bytes of its weights; 0: unknown.
    pub bytes: u64,
}

/// Why no model can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoModel {
    /// None can be served that does what is asked.
    #[error("no model can be served now that {0}")]
    Able(&'static str),
    /// The prompt is longer than the longest context, in tokens.
    #[error("the longest context of the models that can be served now holds {0} tokens")]
    TooLong(u32),
}

/// The model that fits best.
///
/// # Errors
/// [`NoModel`].
pub fn choose<'a>(wish: &Wish, models: &'a [Servable]) -> Result<&'a ModelName, NoModel> {
    let able = models
        .iter()
        .filter(|model| model.abilities.embeds == wish.embeds);
    let able: Vec<&Servable> = able.collect();
    let what = match wish.embeds {
        true => "embeds text",
        false => "writes text",
    };
    let longest = able
        .iter()
        .map(|model| model.context_tokens.unwrap_or(u32::MAX));
    let longest = longest.max().ok_or(NoModel::Able(what))?;
    let fitting = able
        .into_iter()
        .filter(|model| holds(wish, model) != Fit::No);
    let best = fitting.min_by_key(|model| {
        (
            holds(wish, model),
            wish.tools && !model.abilities.tools,
            !model.is_loaded,
            !model.has_room,
            Reverse(model.bytes),
            !model.is_own,
            &model.model,
        )
    });
    best.map(|model| &model.model)
        .ok_or(NoModel::TooLong(longest))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Surely,
    Perhaps,
    No,
}

fn holds(wish: &Wish, model: &Servable) -> Fit {
    let context = model.context_tokens.unwrap_or(u32::MAX);
    let answer = match wish.embeds {
        true => 0,
        false => wish.max_tokens.unwrap_or(u32::MAX).min(EXPECTED_ANSWER),
    };
    let least = wish.prompt.least.saturating_add(answer.min(1));
    let most = wish.prompt.most.saturating_add(answer);
    match context {
        context if context < least => Fit::No,
        context if context < most => Fit::Perhaps,
        _ => Fit::Surely,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Wish = Wish {
        prompt: PromptSize {
            least: 100,
            most: 300,
        },
        max_tokens: None,
        tools: false,
        embeds: false,
    };

    fn servable(name: &str, bytes: u64) -> Servable {
        Servable {
            model: name.parse().unwrap(),
            abilities: Abilities::default(),
            context_tokens: Some(8192),
            is_loaded: true,
            has_room: true,
            is_own: false,
            bytes,
        }
    }

    fn chosen(wish: &Wish, models: &[Servable]) -> Result<String, NoModel> {
        choose(wish, models).map(ToString::to_string)
    }

    #[test]
    fn the_most_capable_that_is_loaded_and_has_room() {
        let stored = Servable {
            is_loaded: false,
            ..servable("stored", 100)
        };
        let busy = Servable {
            has_room: false,
            ..servable("busy", 50)
        };
        let models = [stored, busy, servable("small", 5), servable("large", 9)];
        assert_eq!(chosen(&PLAIN, &models).as_deref(), Ok("large"));
        assert_eq!(chosen(&PLAIN, &models[..2]).as_deref(), Ok("busy"));
        assert_eq!(chosen(&PLAIN, &models[..1]).as_deref(), Ok("stored"));
    }

    #[test]
    fn tools_go_before_size_and_a_sure_context_before_tools() {
        let tools = Servable {
            abilities: Abilities {
                tools: true,
                embeds: false,
            },
            ..servable("tools", 1)
        };
        let short = Servable {
            context_tokens: Some(400),
            ..tools.clone()
        };
        let wish = Wish {
            tools: true,
            ..PLAIN
        };
        let models = [servable("large", 9), tools];
        assert_eq!(chosen(&wish, &models).as_deref(), Ok("tools"));
        assert_eq!(chosen(&PLAIN, &models).as_deref(), Ok("large"));
        let models = [servable("large", 9), short];
        assert_eq!(chosen(&wish, &models).as_deref(), Ok("large"));
    }

    #[test]
    fn what_embeds_does_not_write_and_the_other_way_round() {
        let embeds = Servable {
            abilities: Abilities {
                embeds: true,
                tools: false,
            },
            ..servable("embeds", 50)
        };
        let wish = Wish {
            embeds: true,
            ..PLAIN
        };
        let models = [embeds, servable("writes", 5)];
        assert_eq!(chosen(&wish, &models).as_deref(), Ok("embeds"));
        assert_eq!(chosen(&PLAIN, &models).as_deref(), Ok("writes"));
        assert_eq!(
            chosen(&wish, &models[1..]),
            Err(NoModel::Able("embeds text"))
        );
    }

    #[test]
    fn a_prompt_that_no_context_holds_is_refused_with_the_longest() {
        let long = Wish {
            prompt: PromptSize::exactly(9000),
            ..PLAIN
        };
        let models = [servable("one", 1)];
        assert_eq!(chosen(&long, &models), Err(NoModel::TooLong(8192)));
        let unknown = Servable {
            context_tokens: None,
            ..servable("unknown", 1)
        };
        assert_eq!(chosen(&long, &[unknown]).as_deref(), Ok("unknown"));
        assert!(chosen(&PLAIN, &[]).is_err());
    }
}
