//! A model for a request that names none (`auto`): what can be served, here and by peers, is looked at
//! and chosen from (`core::auto`). It decides nothing.

use std::collections::BTreeSet;

use protocol::ModelName;
use protocol::generate::generate_request::Prompt;
use protocol::generate::{EmbedRequest, ErrorCode, Failure, GenerateRequest};

use super::{Router, embed};
use crate::core::abilities;
use crate::core::auto::{AUTO, NoModel, Servable, Wish, choose};
use crate::core::ranking::{Level, PromptSize};
use crate::models::core::catalog::Catalog;

impl Router {
    /// Names the model that answers, where the request leaves it open.
    pub(super) async fn name_model(&self, request: &mut GenerateRequest) -> Result<(), Failure> {
        if request.model == AUTO {
            let level = self.level(request.privacy());
            let tools = match &request.prompt {
                Some(Prompt::Chat(chat)) => !chat.tools_json.is_empty(),
                _ => false,
            };
            let wish = Wish {
                prompt: PromptSize::of(request),
                max_tokens: request.max_tokens,
                tools,
                embeds: false,
            };
            request.model = self.fitting(&wish, level).await?;
        }
        Ok(())
    }

    /// The same for embeddings.
    pub(super) async fn name_embedder(&self, request: &mut EmbedRequest) -> Result<(), Failure> {
        if request.model == AUTO {
            let level = self.level(request.privacy());
            let wish = Wish {
                prompt: embed::size(request),
                max_tokens: None,
                tools: false,
                embeds: true,
            };
            request.model = self.fitting(&wish, level).await?;
        }
        Ok(())
    }

    async fn fitting(&self, wish: &Wish, level: Level) -> Result<String, Failure> {
        let mut models = self.own_models(level).await;
        // A model of that very name is meant.
        if let Some(named) = models.iter().find(|model| model.model.as_str() == AUTO) {
            return Ok(named.model.to_string());
        }
        if level > Level::Local {
            models.extend(self.peers_models(level));
        }
        let chosen = choose(wish, &models);
        chosen.map(ToString::to_string).map_err(refusal)
    }

    /// What is on the disk, loaded or not, and may be asked at this level.
    async fn own_models(&self, level: Level) -> Vec<Servable> {
        let residency = self.own.residency();
        let loaded = residency.view().borrow().clone();
        let mut models = Vec::new();
        for stored in self.shelf.stored().await {
            let Ok(model) = stored.name.parse::<ModelName>() else {
                continue;
            };
            let Ok(examined) = residency.examine(&model).await else {
                continue;
            };
            let seen = loaded.models.get(&examined.name).filter(|seen| seen.ready);
            let trained = examined.facts.context_length;
            let context = seen.map_or(trained, |seen| seen.context_tokens);
            let may = examined.seen_by <= level;
            models.extend(may.then(|| Servable {
                model: examined.name,
                abilities: abilities::of(&examined.facts),
                context_tokens: (context > 0).then_some(context),
                is_loaded: seen.is_some(),
                has_room: seen.is_none_or(|seen| seen.leases < seen.parallel),
                is_own: true,
                bytes: examined.facts.tensor_bytes,
            }));
        }
        models
    }

    /// What peers say that they serve to this level: of each model the one with the most room.
    fn peers_models(&self, level: Level) -> Vec<Servable> {
        let models: BTreeSet<ModelName> = self.heads.models().into_iter().collect();
        let served = models.into_iter().filter_map(|model| {
            let heads = self.heads.heads(&model);
            let allowed = heads.iter().filter(|head| {
                let is_trusted = head.is_member || self.privacy.trusted.contains(&head.node);
                level == Level::Swarm || is_trusted
            });
            let best = allowed.max_by_key(|head| {
                let has_room = head.running < head.parallel && head.queued == 0;
                (has_room, head.context_tokens)
            })?;
            let mut entries = Catalog::builtin().entries().iter();
            let known = entries.find(|entry| entry.name == model.as_str());
            Some(Servable {
                abilities: best.abilities,
                context_tokens: Some(best.context_tokens),
                is_loaded: true,
                has_room: best.running < best.parallel && best.queued == 0,
                is_own: false,
                bytes: known.map_or(0, |entry| entry.size_mb.saturating_mul(1_000_000)),
                model,
            })
        });
        served.collect()
    }
}

fn refusal(none: NoModel) -> Failure {
    let (code, todo) = match none {
        NoModel::TooLong(_) => (ErrorCode::ContextLengthExceeded, "Shorten the request."),
        _ => (
            ErrorCode::ModelNotFound,
            "Name a model, or `shoal pull` one that fits.",
        ),
    };
    let text = format!("`auto` finds no model: {none}. {todo}");
    Failure::new(code, text).with_param("model")
}
