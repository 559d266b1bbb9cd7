//! From the events of an answer to a response and its events: a state machine.
//!
//! Begun → items, one open at a time (reasoning, message, calls in the order in which they
//! come) → ended. Each event's number is one more than the last one's. It knows no transport.

use protocol::generate::{
    Delta, Failure, FinishReason, Finished, Started, TokenLogprob, ToolCallDelta,
    generate_event::Event,
};
use serde_json::{Map, Value, json};

use super::object::{Echo, Identity, Item, ResponseEvent, Status, Usage, response, text_part};
use crate::{envelope::Servers, error::ApiError};

/// The name by which a request leaves its model open.
const AUTO: &str = "auto";

/// The response so far.
#[derive(Debug)]
pub(super) struct Assembler {
    identity: Identity,
    echo: Echo,
    status: Status,
    usage: Usage,
    /// Every item so far; only the last may be open.
    items: Vec<Item>,
    open: bool,
    /// The answer's index of the call that is the open item.
    call: Option<u32>,
    announced: bool,
    next_number: u64,
    servers: Servers,
}

impl Assembler {
    /// Before the answer's first event.
    pub(super) fn new(echo: Echo, identity: Identity) -> Self {
        Self {
            identity,
            echo,
            status: Status::InProgress,
            usage: Usage::default(),
            items: Vec::new(),
            open: false,
            call: None,
            announced: false,
            next_number: 0,
            servers: Servers::default(),
        }
    }

    /// Takes one event of the answer and appends the response's events that it gives.
    pub(super) fn handle(&mut self, event: Event, out: &mut Vec<ResponseEvent>) {
        self.announce(out);
        match event {
            Event::Queued(_) => {}
            Event::Started(started) => self.on_started(&started),
            Event::Delta(delta) => self.on_delta(delta, out),
            Event::Finished(finished) => self.on_finished(&finished, out),
            Event::Failed(failure) => self.on_failed(failure, out),
        }
    }

    /// The response object as it stands.
    pub(super) fn into_response(self) -> Value {
        self.snapshot()
    }

    fn announce(&mut self, out: &mut Vec<ResponseEvent>) {
        if std::mem::replace(&mut self.announced, true) {
            return;
        }
        for kind in ["response.created", "response.in_progress"] {
            let response = self.snapshot();
            self.emit(kind, [("response", response)], out);
        }
    }

    fn on_started(&mut self, started: &Started) {
        // Which model it is was left open; what was announced before cannot be taken back.
        if self.echo.model == AUTO && !started.model.is_empty() {
            started.model.clone_into(&mut self.echo.model);
        }
        self.usage.input = started.prompt_tokens;
        self.usage.cached = started.cached_tokens;
    }

    fn on_delta(&mut self, delta: Delta, out: &mut Vec<ResponseEvent>) {
        let tokens = u32::try_from(delta.tokens.len()).unwrap_or(u32::MAX);
        self.usage.output = self.usage.output.saturating_add(tokens);
        if !delta.reasoning.is_empty() {
            if delta.text.is_empty() && delta.tool_calls.is_empty() {
                self.usage.reasoning = self.usage.reasoning.saturating_add(tokens);
            }
            self.on_reasoning(&delta.reasoning, out);
        }
        if !delta.text.is_empty() {
            self.on_text(&delta.text, &delta.logprobs, out);
        }
        for call in delta.tool_calls {
            self.on_call(call, out);
        }
    }

    fn on_reasoning(&mut self, fragment: &str, out: &mut Vec<ResponseEvent>) {
        if !(self.open && matches!(self.items.last(), Some(Item::Reasoning { .. }))) {
            self.open_item(
                Item::Reasoning {
                    text: String::new(),
                },
                out,
            );
        }
        if let Some(Item::Reasoning { text }) = self.items.last_mut() {
            text.push_str(fragment);
        }
        let fields = [("content_index", json!(0)), ("delta", json!(fragment))];
        self.emit_of_item("response.reasoning_text.delta", fields, out);
    }

    fn on_text(&mut self, fragment: &str, tokens: &[TokenLogprob], out: &mut Vec<ResponseEvent>) {
        if !(self.open && matches!(self.items.last(), Some(Item::Message { .. }))) {
            let (text, logprobs) = (String::new(), Vec::new());
            self.open_item(Item::Message { text, logprobs }, out);
            let fields = [("content_index", json!(0)), ("part", text_part("", &[]))];
            self.emit_of_item("response.content_part.added", fields, out);
        }
        let new: Vec<Value> = tokens.iter().map(logprob).collect();
        if let Some(Item::Message { text, logprobs }) = self.items.last_mut() {
            text.push_str(fragment);
            logprobs.extend_from_slice(&new);
        }
        let fields = [
            ("content_index", json!(0)),
            ("delta", json!(fragment)),
            ("logprobs", json!(new)),
        ];
        self.emit_of_item("response.output_text.delta", fields, out);
    }

    fn on_call(&mut self, delta: ToolCallDelta, out: &mut Vec<ResponseEvent>) {
        if !(self.open && self.call == Some(delta.index)) {
            let call = Item::Call {
                call_id: delta.id,
                name: delta.name,
                arguments: String::new(),
            };
            self.open_item(call, out);
            self.call = Some(delta.index);
        }
        if delta.arguments.is_empty() {
            return;
        }
        if let Some(Item::Call { arguments, .. }) = self.items.last_mut() {
            arguments.push_str(&delta.arguments);
        }
        let fields = [("delta", json!(delta.arguments))];
        self.emit_of_item("response.function_call_arguments.delta", fields, out);
    }

    fn on_finished(&mut self, finished: &Finished, out: &mut Vec<ResponseEvent>) {
        let complete = finished.reason() != FinishReason::Length;
        self.usage.output = finished.completion_tokens;
        self.servers.add(&finished.served_by);
        self.status = match complete {
            true => Status::Completed,
            false => Status::Incomplete,
        };
        self.close_item(self.status.name(), out);
        let kind = match complete {
            true => "response.completed",
            false => "response.incomplete",
        };
        let response = self.snapshot();
        self.emit(kind, [("response", response)], out);
    }

    fn on_failed(&mut self, failure: Failure, out: &mut Vec<ResponseEvent>) {
        let error = ApiError::from(failure);
        let code = error.code().unwrap_or("server_error").to_owned();
        self.status = Status::Failed(code, error.message().to_owned());
        let response = self.snapshot();
        self.emit("response.failed", [("response", response)], out);
    }

    fn open_item(&mut self, item: Item, out: &mut Vec<ResponseEvent>) {
        self.close_item("completed", out);
        self.items.push(item);
        self.open = true;
        let fields = [("item", self.last_item("in_progress"))];
        self.emit_of_place("response.output_item.added", fields, out);
    }

    /// Ends the open item, if there is one: its text's end, its part's, its own.
    fn close_item(&mut self, status: &str, out: &mut Vec<ResponseEvent>) {
        if !std::mem::replace(&mut self.open, false) {
            return;
        }
        self.call = None;
        match self.items.last().cloned() {
            Some(Item::Message { text, logprobs }) => {
                let part = text_part(&text, &logprobs);
                let text = [
                    ("content_index", json!(0)),
                    ("text", json!(text)),
                    ("logprobs", json!(logprobs)),
                ];
                self.emit_of_item("response.output_text.done", text, out);
                let part = [("content_index", json!(0)), ("part", part)];
                self.emit_of_item("response.content_part.done", part, out);
            }
            Some(Item::Call {
                arguments, name, ..
            }) => {
                let fields = [("name", json!(name)), ("arguments", json!(arguments))];
                self.emit_of_item("response.function_call_arguments.done", fields, out);
            }
            Some(Item::Reasoning { text }) => {
                let fields = [("content_index", json!(0)), ("text", json!(text))];
                self.emit_of_item("response.reasoning_text.done", fields, out);
            }
            None => {}
        }
        let fields = [("item", self.last_item(status))];
        self.emit_of_place("response.output_item.done", fields, out);
    }

    fn last_index(&self) -> usize {
        self.items.len().saturating_sub(1)
    }

    fn item_id(&self, index: usize) -> String {
        self.identity.item(self.items[index].prefix(), index)
    }

    fn last_item(&self, status: &str) -> Value {
        let index = self.last_index();
        self.items[index].json(&self.item_id(index), status)
    }

    fn snapshot(&self) -> Value {
        let last = self.last_index();
        let ended = self.status != Status::InProgress;
        let status = |index| match (index == last, &self.status) {
            (true, Status::Incomplete | Status::Failed(..)) => "incomplete",
            (true, Status::InProgress) if self.open => "in_progress",
            _ => "completed",
        };
        let items = self.items.iter().enumerate();
        let items = items.map(|(at, item)| item.json(&self.item_id(at), status(at)));
        let output: Vec<Value> = items.collect();
        let usage = ended.then_some(self.usage);
        let mut shown = response(&self.identity, &self.echo, &self.status, &output, usage);
        if !self.servers.is_empty() {
            shown["shoal"] = json!(self.servers);
        }
        shown
    }

    /// An event about the last item by id and place.
    fn emit_of_item<const N: usize>(
        &mut self,
        kind: &'static str,
        fields: [(&str, Value); N],
        out: &mut Vec<ResponseEvent>,
    ) {
        let id = json!(self.item_id(self.last_index()));
        self.emit_of_place(kind, fields, out);
        if let Some(event) = out.last_mut() {
            event.fields.insert("item_id".to_owned(), id);
        }
    }

    /// An event about the last item by place.
    fn emit_of_place<const N: usize>(
        &mut self,
        kind: &'static str,
        fields: [(&str, Value); N],
        out: &mut Vec<ResponseEvent>,
    ) {
        let place = json!(self.last_index());
        self.emit(kind, fields, out);
        if let Some(event) = out.last_mut() {
            event.fields.insert("output_index".to_owned(), place);
        }
    }

    fn emit<const N: usize>(
        &mut self,
        kind: &'static str,
        fields: [(&str, Value); N],
        out: &mut Vec<ResponseEvent>,
    ) {
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        out.push(ResponseEvent {
            kind,
            sequence_number: self.next_number,
            fields: Map::from_iter(fields),
        });
        self.next_number += 1;
    }
}

fn logprob(token: &TokenLogprob) -> Value {
    let one = |token: &TokenLogprob| {
        json!({
            "token": String::from_utf8_lossy(&token.text),
            "bytes": token.text,
            "logprob": token.logprob,
        })
    };
    let mut shown = one(token);
    shown["top_logprobs"] = token.top.iter().map(one).collect();
    shown
}
