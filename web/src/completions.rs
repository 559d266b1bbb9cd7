//! `POST /v1/completions`: the legacy API, which evaluation tools and fill-in-the-middle need.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use crate::{
    caller::{Caller, note_server},
    envelope::Envelope,
    error::ApiError,
    fields::Fields,
    sse,
    state::App,
};

mod logprobs;
mod piece;
mod request;
mod stream;
mod whole;

use piece::Layout;

/// The kind of every answer and chunk.
const OBJECT: &str = "text_completion";

/// Answers whole or as a stream.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    mut fields: Fields,
) -> Result<Response, ApiError> {
    let asked = request::parse(&mut fields, &caller, &app.config)?;
    for prompt in &asked.prompts {
        app.check(prompt).await?;
    }
    let params = asked.params;
    let requests = params.spread(asked.prompts, &caller, &app.config)?;
    let layout = Layout {
        choices: requests.len(),
        choices_per_prompt: params.choices,
        echo: asked.echo,
        logprobs: asked.logprobs,
    };
    let mut answers = app.answer(requests);
    let grace = params.stream.then_some(app.config.stream_grace);
    if let Err(failure) = answers.settle(grace).await {
        return Err(app.refusal(failure).await);
    }
    let served_by = answers.served_by().map(str::to_owned);
    let envelope = Envelope::new("cmpl", OBJECT, params.model);
    let mut response = if params.stream {
        let transcript = stream::Transcript::new(envelope, layout, params.include_usage);
        sse::respond(answers, transcript, app.config.keep_alive)
    } else {
        match whole::collect(answers, envelope, layout).await {
            Ok(completion) => Json(completion).into_response(),
            Err(failure) => return Err(app.refusal(failure).await),
        }
    };
    note_server(&mut response, served_by.as_deref());
    Ok(response)
}
