//! `POST /v1/embeddings`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use protocol::generate::{
    EmbedInput, EmbedRequest, EmbedResponse, Failure, TokenPrompt, embed_input::Input,
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    caller::{Caller, note_server},
    error::ApiError,
    fields::{Fields, missing, whole_number, wrong},
    params::clamp,
    state::App,
};

/// How the numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Float,
    /// Little-endian `f32`, as base64.
    Base64,
}

/// Embeds every input.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    mut fields: Fields,
) -> Result<Response, ApiError> {
    let (request, encoding) = parse(&mut fields, &caller)?;
    if let Err(error) = request.validate() {
        return Err(app.refusal(error.into()).await);
    }
    let named = request.model.clone();
    match embed(&app, request).await {
        Ok(answer) => {
            let served_by = answer.served_by.clone();
            let mut response = Json(whole(answer, named, encoding)).into_response();
            note_server(&mut response, Some(&served_by));
            Ok(response)
        }
        Err(failure) => Err(app.refusal(failure).await),
    }
}

async fn embed(app: &App, request: EmbedRequest) -> Result<EmbedResponse, Failure> {
    let _place = app.admission.enter().await?;
    app.backend.embed(request).await
}

fn parse(fields: &mut Fields, caller: &Caller) -> Result<(EmbedRequest, Encoding), ApiError> {
    let model = fields.required_string("model")?;
    let input = fields.take("input").ok_or_else(|| missing("input"))?;
    let inputs = inputs(input)?
        .into_iter()
        .map(|input| EmbedInput { input: Some(input) });
    let encoding = match fields.string("encoding_format")?.as_deref() {
        None | Some("float") => Encoding::Float,
        Some("base64") => Encoding::Base64,
        Some(_) => return Err(wrong("encoding_format", "float or base64")),
    };
    let dimensions = fields.integer("dimensions", 1..=i64::from(u32::MAX))?;
    let request = EmbedRequest {
        request_id: caller.request_id.generation(0),
        model,
        inputs: inputs.collect(),
        dimensions: dimensions.map(clamp),
        privacy: caller.privacy.into(),
    };
    Ok((request, encoding))
}

/// A text, texts, token ids, or lists of token ids.
fn inputs(input: Value) -> Result<Vec<Input>, ApiError> {
    let items = match input {
        Value::String(text) => return Ok(vec![Input::Text(text)]),
        Value::Array(items) if !items.is_empty() => items,
        _ => return Err(refusal()),
    };
    if items[0].is_number() {
        return Ok(vec![tokens(&items)?]);
    }
    let one = |item| match item {
        Value::String(text) => Ok(Input::Text(text)),
        Value::Array(ids) => tokens(&ids),
        _ => Err(refusal()),
    };
    items.into_iter().map(one).collect()
}

fn tokens(ids: &[Value]) -> Result<Input, ApiError> {
    let id = |id: &Value| whole_number(id).and_then(|id| u32::try_from(id).ok());
    let tokens: Option<Vec<u32>> = ids.iter().map(id).collect();
    tokens
        .map(|tokens| Input::Tokens(TokenPrompt { tokens }))
        .ok_or_else(refusal)
}

fn refusal() -> ApiError {
    let wanted = "a text, a list of texts, a list of token ids, or a list of such lists, not empty";
    wrong("input", wanted)
}

/// The whole answer. Written straight from the vectors: as JSON values they would take ten times
/// their memory.
#[derive(Debug, Serialize)]
pub(crate) struct EmbeddingList {
    object: &'static str,
    data: Vec<EmbeddingJson>,
    model: String,
    usage: EmbedUsage,
}

#[derive(Debug, Serialize)]
struct EmbeddingJson {
    object: &'static str,
    index: usize,
    embedding: Encoded,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Encoded {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize)]
struct EmbedUsage {
    prompt_tokens: u32,
    total_tokens: u32,
}

fn whole(answer: EmbedResponse, named: String, encoding: Encoding) -> EmbeddingList {
    let numbered = answer.embeddings.into_iter().enumerate();
    let data = numbered.map(|(index, embedding)| EmbeddingJson {
        object: "embedding",
        index,
        embedding: encoding.apply(embedding.values),
    });
    EmbeddingList {
        object: "list",
        data: data.collect(),
        model: match answer.model.is_empty() {
            true => named,
            false => answer.model,
        },
        usage: EmbedUsage {
            prompt_tokens: answer.prompt_tokens,
            total_tokens: answer.prompt_tokens,
        },
    }
}

impl Encoding {
    fn apply(self, values: Vec<f32>) -> Encoded {
        if self == Self::Float {
            return Encoded::Float(values);
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Encoded::Base64(STANDARD.encode(bytes))
    }
}
