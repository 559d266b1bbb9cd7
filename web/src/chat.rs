//! `POST /v1/chat/completions`: the request, and how it is answered whole or streamed.

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
mod request;
mod stream;
mod whole;

use stream::ChatTranscript;
pub(crate) use stream::write_failure;

/// Answers whole or as a stream.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    mut fields: Fields,
) -> Result<Response, ApiError> {
    let (params, request) = request::parse(&mut fields, &caller, &app.config)?;
    app.check(&request).await?;
    let requests = params.spread(vec![request], &caller, &app.config)?;
    let choices = requests.len();
    let mut answers = app.answer(requests);
    let grace = params.stream.then_some(app.config.stream_grace);
    if let Err(failure) = answers.settle(grace).await {
        return Err(app.refusal(failure).await);
    }
    let served_by = answers.served_by().map(str::to_owned);
    let mut response = if params.stream {
        let envelope = Envelope::new("chatcmpl", "chat.completion.chunk", params.model);
        let transcript = ChatTranscript::new(envelope, choices, params.include_usage);
        sse::respond(answers, transcript, app.config.keep_alive)
    } else {
        let envelope = Envelope::new("chatcmpl", "chat.completion", params.model);
        match whole::collect(answers, envelope, choices).await {
            Ok(completion) => Json(completion).into_response(),
            Err(failure) => return Err(app.refusal(failure).await),
        }
    };
    note_server(&mut response, served_by.as_deref());
    Ok(response)
}
