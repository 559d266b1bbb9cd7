//! `POST /v1/responses`, stateless: nothing is stored, so nothing earlier can be referred to.
//! It maps the request to the same generation as chat completions, and the events to the
//! Responses API's (OpenAI API reference, "Responses" and "Streaming events").

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use protocol::generate::generate_event::Event;
use uuid::Uuid;

use crate::{
    answers::{Answers, ChoiceEvent},
    caller::{Caller, note_server},
    error::ApiError,
    fields::Fields,
    sse::{self, Events, Flow, Transcript},
    state::App,
};

mod assembler;
mod input;
mod object;
mod request;

use assembler::Assembler;
use object::ResponseEvent;

/// Answers whole or as a stream.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    mut fields: Fields,
) -> Result<Response, ApiError> {
    let asked = request::parse(&mut fields, &caller)?;
    let mut answers = app.answer(vec![asked.generate]);
    let grace = asked.stream.then_some(app.config.stream_grace);
    if let Err(failure) = answers.settle(grace).await {
        return Err(app.refusal(failure).await);
    }
    let assembler = Assembler::new(asked.echo, identity());
    let served_by = answers.served_by().map(str::to_owned);
    let mut response = if asked.stream {
        let transcript = ResponseTranscript { assembler };
        sse::respond(answers, transcript, app.config.keep_alive)
    } else {
        whole(&app, answers, assembler).await?
    };
    note_server(&mut response, served_by.as_deref());
    Ok(response)
}

/// Ids and time of one response.
fn identity() -> object::Identity {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    object::Identity {
        suffix: Uuid::new_v4().simple().to_string(),
        created_at: now.map_or(0, |now| now.as_secs()),
    }
}

async fn whole(
    app: &App,
    mut answers: Answers,
    mut assembler: Assembler,
) -> Result<Response, ApiError> {
    let mut ignored = Vec::new();
    while let Some(ChoiceEvent { event, .. }) = answers.next().await {
        if let Event::Failed(failure) = event {
            return Err(app.refusal(failure).await);
        }
        assembler.handle(event, &mut ignored);
        ignored.clear();
    }
    Ok(axum::Json(assembler.into_response()).into_response())
}

/// Writes a response's events; the first two come before any of the answer's.
struct ResponseTranscript {
    assembler: Assembler,
}

impl Transcript for ResponseTranscript {
    type Item = ChoiceEvent;

    fn write(&mut self, item: Option<ChoiceEvent>, out: &mut Events) -> Flow {
        let Some(ChoiceEvent { event, .. }) = item else {
            return Flow::End;
        };
        let ended = matches!(event, Event::Finished(_) | Event::Failed(_));
        let mut events: Vec<ResponseEvent> = Vec::new();
        self.assembler.handle(event, &mut events);
        for event in &events {
            out.named(event.kind, event);
        }
        if ended { Flow::End } else { Flow::Continue }
    }
}

#[cfg(test)]
mod tests;
