//! A streamed chat answer. Each choice: a chunk with the role, chunks with deltas, one with an
//! empty delta and the reason; then the usage, if asked for, and `[DONE]`. One delta is one
//! chunk, written straight into the stream's buffer.

use bytes::{BufMut, BytesMut};
use protocol::generate::{Delta, Failure, Finished, Started, ToolCallDelta, generate_event::Event};
use serde::Serialize;

use super::logprobs::Logprobs;
use crate::{
    answers::ChoiceEvent,
    envelope::{ChunkUsage, Envelope},
    error::ApiError,
    sse::{Events, Flow, Transcript, write_json},
    usage::{Usage, finish_reason},
};

/// Writes the chunks.
#[derive(Debug)]
pub(super) struct ChatTranscript {
    envelope: Envelope,
    include_usage: bool,
    usage: Usage,
    /// Whether each choice's role is out.
    begun: Vec<bool>,
    running: usize,
}

/// What a delta says; absent rather than `null`: clients break on nulls here.
#[derive(Debug, Default, Serialize)]
struct DeltaJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallJson<'a>>,
}

#[derive(Debug, Serialize)]
struct CallJson<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionJson<'a>,
}

#[derive(Debug, Serialize)]
struct FunctionJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
}

fn present(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl<'a> From<&'a Delta> for DeltaJson<'a> {
    fn from(delta: &'a Delta) -> Self {
        Self {
            role: None,
            content: present(&delta.text),
            reasoning_content: present(&delta.reasoning),
            tool_calls: delta.tool_calls.iter().map(CallJson::from).collect(),
        }
    }
}

impl<'a> From<&'a ToolCallDelta> for CallJson<'a> {
    fn from(call: &'a ToolCallDelta) -> Self {
        let first = !call.id.is_empty();
        Self {
            index: call.index,
            id: present(&call.id),
            kind: first.then_some("function"),
            function: FunctionJson {
                name: present(&call.name),
                // The first delta has the field even when it is empty: clients add to it.
                arguments: present(&call.arguments).or(first.then_some("")),
            },
        }
    }
}

impl DeltaJson<'_> {
    fn is_empty(&self) -> bool {
        self.content.is_none() && self.reasoning_content.is_none() && self.tool_calls.is_empty()
    }
}

/// One entry of `choices`.
struct ChunkChoice<'a> {
    index: u32,
    delta: DeltaJson<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

impl ChunkChoice<'_> {
    fn write(&self, out: &mut BytesMut) {
        out.put_slice(b"{\"index\":");
        write_json(out, &self.index);
        out.put_slice(b",\"delta\":");
        write_json(out, &self.delta);
        if let Some(logprobs) = &self.logprobs {
            out.put_slice(b",\"logprobs\":");
            write_json(out, logprobs);
        }
        out.put_slice(b",\"finish_reason\":");
        write_json(out, &self.finish_reason);
        out.put_slice(b"}");
    }
}

impl ChatTranscript {
    pub(super) fn new(envelope: Envelope, choices: usize, include_usage: bool) -> Self {
        Self {
            envelope,
            include_usage,
            usage: Usage::default(),
            begun: vec![false; choices],
            running: choices,
        }
    }

    fn chunk(&mut self, choice: &ChunkChoice<'_>, out: &mut Events) {
        let usage = ChunkUsage::before_end(self.include_usage);
        self.envelope.chunk(out, usage, |out| choice.write(out));
    }

    fn on_started(&mut self, index: u32, started: &Started, out: &mut Events) {
        if index == 0 {
            self.usage.add_prompt(started);
        }
        self.envelope.name_model(&started.model);
        self.begin(index, out);
    }

    /// The role, once for each choice.
    fn begin(&mut self, index: u32, out: &mut Events) {
        let Some(begun) = self.begun.get_mut(index as usize) else {
            return;
        };
        if std::mem::replace(begun, true) {
            return;
        }
        let role = DeltaJson {
            role: Some("assistant"),
            content: Some(""),
            ..DeltaJson::default()
        };
        let choice = ChunkChoice {
            index,
            delta: role,
            logprobs: None,
            finish_reason: None,
        };
        self.chunk(&choice, out);
    }

    fn on_delta(&mut self, index: u32, delta: &Delta, out: &mut Events) {
        self.begin(index, out);
        self.usage.add_delta(delta);
        let shown = DeltaJson::from(delta);
        let scored = !delta.logprobs.is_empty();
        if shown.is_empty() && !scored {
            return;
        }
        let choice = ChunkChoice {
            index,
            delta: shown,
            logprobs: scored.then_some(Logprobs {
                content: &delta.logprobs,
            }),
            finish_reason: None,
        };
        self.chunk(&choice, out);
    }

    fn on_finished(&mut self, index: u32, finished: &Finished, out: &mut Events) -> Flow {
        self.begin(index, out);
        self.usage.add_finished(finished);
        self.envelope.name_servers(&finished.served_by);
        let last = ChunkChoice {
            index,
            delta: DeltaJson::default(),
            logprobs: None,
            finish_reason: Some(finish_reason(finished.reason())),
        };
        self.chunk(&last, out);
        self.running = self.running.saturating_sub(1);
        if self.running > 0 {
            return Flow::Continue;
        }
        if self.include_usage {
            let total = ChunkUsage::Total(self.usage.json());
            self.envelope.chunk(out, total, |_| {});
        }
        out.done();
        Flow::End
    }
}

/// The error object as the stream's last event: what a status would have said, had the stream
/// not begun.
pub(crate) fn write_failure(failure: Failure, out: &mut Events) -> Flow {
    out.data(&ApiError::from(failure).body());
    Flow::End
}

impl Transcript for ChatTranscript {
    type Item = ChoiceEvent;

    fn write(&mut self, item: Option<ChoiceEvent>, out: &mut Events) -> Flow {
        let Some(ChoiceEvent { choice, event }) = item else {
            return Flow::End;
        };
        match event {
            Event::Queued(_) => {}
            Event::Started(started) => self.on_started(choice, &started, out),
            Event::Delta(delta) => self.on_delta(choice, &delta, out),
            Event::Finished(finished) => return self.on_finished(choice, &finished, out),
            Event::Failed(failure) => return write_failure(failure, out),
        }
        Flow::Continue
    }
}
