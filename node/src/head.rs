//! The head of a model: it owns the model's template and tokenizer, turns requests into the
//! engine's jobs, and the engine's events into the answer's.
//!
//! It is what serves a request wherever it came from; it knows neither HTTP nor peers nor how
//! the engine does its work.

use std::sync::Arc;

use llama_sys::engine::{Engine, Grammar, Job, Prompt, Resume};
use llama_sys::gguf::{ModelFacts, SamplingDefaults};
use protocol::generate::generate_request::Prompt as Asked;
use protocol::generate::{
    EmbedRequest, EmbedResponse, Embedding, ErrorCode, Failure, GenerateEvent, GenerateRequest,
    embed_input,
};
use tokio::sync::mpsc;

pub mod core;
mod stream;
#[cfg(test)]
mod tests;

use self::core::failure;
use self::core::measure::Measure;
use self::core::prompt::{self, Constraint, Dialect, PromptError};
use self::core::sampling;
use self::core::session::{Opening, Session};
use crate::core::speed::Answered;

/// Events that wait for a slow reader before the engine is held back.
const EVENT_CHANNEL: usize = 64;

/// Inputs of one request for embeddings, as OpenAI limits them.
const MAX_EMBED_INPUTS: usize = 2048;

/// What a head must know of its model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeadFacts {
    /// The model's full name.
    pub model: String,
    /// Its chat template; `None`: ChatML is taken.
    pub template: Option<String>,
    /// Its template for requests with tools, where it has one of its own.
    pub tool_template: Option<String>,
    /// Text of the token that begins a text; empty: none.
    pub bos: String,
    /// Text of the token that ends one; empty: none.
    pub eos: String,
    /// What its makers advise.
    pub sampling: SamplingDefaults,
}

impl HeadFacts {
    /// The facts of a model's file.
    pub fn of(model: &str, facts: &ModelFacts) -> Self {
        let text = |token: &Option<llama_sys::gguf::Token>| {
            token.as_ref().map(|t| t.text.clone()).unwrap_or_default()
        };
        Self {
            model: model.to_owned(),
            template: facts.chat_templates.default.clone(),
            tool_template: facts.chat_templates.named.get("tool_use").cloned(),
            bos: text(&facts.tokenizer.bos),
            eos: text(&facts.tokenizer.eos),
            sampling: facts.sampling,
        }
    }
}

/// What a head takes from outside: the seed of requests that bring none, and the date.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// Draws a seed.
    pub seed: fn() -> u64,
    /// Unix time in seconds.
    pub now: fn() -> u64,
}

impl Default for Surroundings {
    /// The operating system's random numbers and clock.
    fn default() -> Self {
        Self {
            seed: || getrandom::u64().unwrap_or_default(),
            now: || {
                let now = std::time::SystemTime::now();
                let since = now.duration_since(std::time::UNIX_EPOCH);
                since.map_or(0, |elapsed| elapsed.as_secs())
            },
        }
    }
}

/// What a head prepares once for a model: its facts, its templates compiled and probed.
#[derive(Debug)]
pub struct Profile {
    facts: HeadFacts,
    /// A template that cannot be compiled is told to whoever wants to chat.
    dialect: Result<Dialect, PromptError>,
}

impl Profile {
    /// Compiles and probes the model's templates: some milliseconds of work.
    pub fn new(facts: HeadFacts) -> Self {
        let dialect = Dialect::new(
            facts.template.as_deref(),
            facts.tool_template.as_deref(),
            (&facts.bos, &facts.eos),
        );
        Self { facts, dialect }
    }
}

/// What keeps an answer's engine loaded until the answer is over, and hears how fast it was.
pub trait Hold: Send + 'static {
    /// The answer was given to its end. Not called for answers that were begun elsewhere.
    fn on_answered(&self, answered: &Answered);
}

/// The head of one loaded model.
#[derive(Clone)]
pub struct Head {
    profile: Arc<Profile>,
    engine: Arc<dyn Engine>,
    surroundings: Surroundings,
}

impl Head {
    /// A head over a model's engine.
    pub fn new(profile: Arc<Profile>, engine: Arc<dyn Engine>, surroundings: Surroundings) -> Self {
        Self {
            profile,
            engine,
            surroundings,
        }
    }

    /// Begins an answer; dropping the receiver cancels it. `hold` is kept until the answer is
    /// over.
    ///
    /// # Errors
    /// A [`Failure`] when the request is wrong or the engine refuses it.
    pub async fn generate(
        &self,
        request: GenerateRequest,
        hold: impl Hold,
    ) -> Result<mpsc::Receiver<GenerateEvent>, Failure> {
        let measure = Measure::new(request.resume.is_some());
        let (job, session) = self.prepare(request).await?;
        let field = session.prompt_field();
        let events = self.engine.generate(job).await;
        let events = events.map_err(|e| failure::of_job(e, field))?;
        let (sender, receiver) = mpsc::channel(EVENT_CHANNEL);
        let answer = stream::Answer {
            session,
            measure,
            hold,
        };
        tokio::spawn(stream::run(events, answer, sender));
        Ok(receiver)
    }

    /// Embeds each input, normalised to length 1.
    ///
    /// # Errors
    /// A [`Failure`] when the request is wrong or the engine refuses it.
    pub async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse, Failure> {
        if request.inputs.is_empty() || request.inputs.len() > MAX_EMBED_INPUTS {
            return Err(invalid("input", "needs 1 to 2048 texts"));
        }
        let inputs = request
            .inputs
            .into_iter()
            .map(|input| match input.input {
                Some(embed_input::Input::Text(text)) => Ok(Prompt::Text {
                    text,
                    parse_special: false,
                }),
                Some(embed_input::Input::Tokens(prompt)) => Ok(Prompt::Tokens(prompt.tokens)),
                None => Err(invalid("input", "one of the inputs is missing")),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (vectors, prompt_tokens) = self
            .engine
            .embed(inputs)
            .await
            .map_err(|e| failure::of_job(e, "input"))?;
        if let Some(wanted) = request.dimensions
            && vectors.iter().any(|v| v.len() != wanted as usize)
        {
            let width = vectors.first().map_or(0, Vec::len);
            let text = format!("this model's embeddings have {width} dimensions and no other");
            return Err(invalid("dimensions", &text));
        }
        Ok(EmbedResponse {
            embeddings: vectors
                .into_iter()
                .map(|values| Embedding { values })
                .collect(),
            prompt_tokens,
            model: self.profile.facts.model.clone(),
            served_by: String::new(),
        })
    }

    /// The job and the session of a request.
    async fn prepare(&self, mut request: GenerateRequest) -> Result<(Job, Session), Failure> {
        let asked = request
            .prompt
            .take()
            .ok_or_else(|| invalid("prompt", "the request has no prompt"))?;
        let seed = request.sampling.as_ref().and_then(|s| s.seed);
        let seed = seed.unwrap_or_else(self.surroundings.seed);
        let prepared = self.prepare_prompt(asked, &mut request).await?;
        let resume = request.resume.take();
        let opening = Opening {
            model: self.profile.facts.model.clone(),
            seed,
            prompt_text: prepared.echo,
            prompt_field: prepared.field,
            parser: prepared.parser,
            sent_bytes: resume.as_ref().map_or(0, |r| clamp(r.sent_text_bytes)),
        };
        let job = Job {
            request_id: request.request_id,
            prompt: prepared.prompt,
            sampling: sampling::resolve(request.sampling.as_ref(), &self.profile.facts.sampling),
            seed,
            max_tokens: request.max_tokens,
            stop: request.stop.into_iter().filter(|s| !s.is_empty()).collect(),
            grammar: prepared.grammar,
            logprobs: request
                .top_logprobs
                .map(|n| u8::try_from(n).unwrap_or(u8::MAX)),
            prompt_logprobs: request.prompt_logprobs,
            show_special: prepared.show_special,
            // All its text is read again, for calls and reasoning are only told from the start.
            resume: resume.map(|r| Resume {
                tokens: r.tokens,
                sent_text_bytes: 0,
            }),
        };
        Ok((job, Session::new(opening)))
    }

    async fn prepare_prompt(
        &self,
        asked: Asked,
        request: &mut GenerateRequest,
    ) -> Result<Prepared, Failure> {
        if let Asked::Chat(chat) = asked {
            return self.prepare_chat(chat, request).await;
        }
        let constraint = prompt::constraint(request.format.as_ref())?;
        let mut echo = String::new();
        let prompt = match asked {
            Asked::Text(text) => Prompt::Text {
                text,
                parse_special: true,
            },
            Asked::Tokens(prompt) => {
                let text = self.engine.detokenize(prompt.tokens.clone()).await;
                echo = text.map_err(|e| failure::of_job(e, "prompt"))?;
                Prompt::Tokens(prompt.tokens)
            }
            Asked::Infill(infill) => Prompt::Infill {
                prefix: infill.prefix,
                suffix: infill.suffix,
            },
            Asked::Chat(_) => return Err(invalid("messages", "a chat has no plain prompt")),
        };
        Ok(Prepared {
            prompt,
            grammar: grammar(constraint),
            show_special: false,
            parser: None,
            echo,
            field: "prompt",
        })
    }

    /// Renders off the executor's threads: a template may run for as long as its limits let it.
    async fn prepare_chat(
        &self,
        chat: protocol::generate::ChatPrompt,
        request: &mut GenerateRequest,
    ) -> Result<Prepared, Failure> {
        let profile = self.profile.clone();
        let format = request.format.take();
        let now = (self.surroundings.now)();
        let render = move || match &profile.dialect {
            Ok(dialect) => dialect.plan(&chat, format.as_ref(), now),
            Err(error) => Err(error.clone()),
        };
        let plan = tokio::task::spawn_blocking(render)
            .await
            .map_err(|_| Failure::new(ErrorCode::Internal, "the chat template could not run"))??;
        Ok(Prepared {
            prompt: Prompt::Text {
                text: plan.text,
                parse_special: true,
            },
            grammar: grammar(plan.constraint),
            show_special: plan.show_special,
            parser: Some(plan.parser),
            echo: String::new(),
            field: "messages",
        })
    }
}

/// A prompt ready for the engine, and how its answer is read.
struct Prepared {
    prompt: Prompt,
    grammar: Grammar,
    show_special: bool,
    parser: Option<core::answer::AnswerParser>,
    echo: String,
    field: &'static str,
}

fn grammar(constraint: Constraint) -> Grammar {
    match constraint {
        Constraint::Free => Grammar::None,
        Constraint::JsonObject => Grammar::JsonObject,
        Constraint::Schema(schema) => Grammar::JsonSchema(schema.to_string()),
        Constraint::Grammar(text) => Grammar::Gbnf(text),
    }
}

fn clamp(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn invalid(param: &str, text: &str) -> Failure {
    Failure::new(ErrorCode::InvalidRequest, format!("{param}: {text}")).with_param(param)
}
