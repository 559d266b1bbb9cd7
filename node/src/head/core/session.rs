//! One answer on its way from the engine to whoever asked: events translated, text read, and of
//! an answer begun elsewhere only given what its client lacks.
//!
//! It owns call ids and the order in which pieces share a delta. It knows no channels and no
//! engine.

use llama_sys::engine::{self, Event, FinishReason};
use protocol::generate as wire;
use protocol::generate::generate_event::Event as Out;

use super::answer::{AnswerParser, Piece};
use super::failure;

/// What an answer is, apart from its stream.
#[derive(Debug)]
pub struct Opening {
    /// The model's full name.
    pub model: String,
    /// The generator's key, also the source of call ids.
    pub seed: u64,
    /// The prompt as the model saw it, where the client may want it.
    pub prompt_text: String,
    /// The request's field that holds the prompt.
    pub prompt_field: &'static str,
    /// Reads the text; `None`: it is given as it is.
    pub parser: Option<AnswerParser>,
    /// Bytes that the client has of an answer begun elsewhere; see [`Session`].
    pub sent_bytes: usize,
}

/// One answer. What a client has of an answer is counted in bytes of text, reasoning, arguments,
/// and each call's name and id: all of them the same wherever the answer goes on.
#[derive(Debug)]
pub struct Session {
    opening: Opening,
    /// Bytes yet to come that the client has.
    skip: usize,
}

impl Session {
    /// An answer that begins, or goes on from where it was elsewhere.
    pub fn new(opening: Opening) -> Self {
        Self {
            skip: opening.sent_bytes,
            opening,
        }
    }

    /// The request's field that holds the prompt.
    pub fn prompt_field(&self) -> &'static str {
        self.opening.prompt_field
    }

    /// Translates one event; whether it was the last.
    pub fn react(&mut self, event: Event, out: &mut Vec<Out>) -> bool {
        match event {
            Event::Queued { position } => out.push(Out::Queued(wire::Queued { position })),
            Event::Started {
                prompt_tokens,
                cached_tokens,
                prompt,
            } => out.push(self.start(prompt_tokens, cached_tokens, prompt)),
            Event::Delta(delta) => self.on_delta(delta, out),
            Event::Finished {
                reason,
                stop,
                completion_tokens,
                timing,
            } => {
                self.flush(out);
                out.push(Out::Finished(wire::Finished {
                    reason: self.reason(reason).into(),
                    completion_tokens,
                    stop: stop.unwrap_or_default(),
                    timing: Some(wire::Timing {
                        queued_micros: timing.queued_micros,
                        prefill_micros: timing.prefill_micros,
                        decode_micros: timing.decode_micros,
                    }),
                    served_by: Vec::new(),
                }));
                return true;
            }
            Event::Failed(error) => {
                self.flush(out);
                let failure = failure::of_job(error, self.opening.prompt_field);
                out.push(Out::Failed(failure));
                return true;
            }
        }
        false
    }

    fn start(&mut self, prompt: u32, cached: u32, logprobs: Vec<engine::TokenLogprob>) -> Out {
        Out::Started(wire::Started {
            model: self.opening.model.clone(),
            served_by: String::new(),
            prompt_tokens: prompt,
            cached_tokens: cached,
            seed: self.opening.seed,
            prompt: logprobs.into_iter().map(logprob).collect(),
            prompt_text: std::mem::take(&mut self.opening.prompt_text),
        })
    }

    fn on_delta(&mut self, delta: engine::Delta, out: &mut Vec<Out>) {
        let pieces = match &mut self.opening.parser {
            Some(parser) => parser.push(&delta.text),
            None => vec![Piece::Text(delta.text)],
        };
        let first = wire::Delta {
            tokens: delta.tokens,
            logprobs: delta.logprobs.into_iter().map(logprob).collect(),
            ..wire::Delta::default()
        };
        self.give(first, pieces, out);
    }

    fn flush(&mut self, out: &mut Vec<Out>) {
        if let Some(parser) = &mut self.opening.parser {
            let pieces = parser.finish();
            self.give(wire::Delta::default(), pieces, out);
        }
    }

    /// Puts pieces into as few deltas as keep their order: reasoning, text, calls.
    fn give(&mut self, first: wire::Delta, pieces: Vec<Piece>, out: &mut Vec<Out>) {
        let mut delta = first;
        let mut stage = 0;
        for piece in pieces {
            let Some(piece) = self.unsent(piece) else {
                continue;
            };
            let next = match piece {
                Piece::Reasoning(_) => 0,
                Piece::Text(_) => 1,
                Piece::Call { .. } | Piece::Arguments { .. } => 2,
            };
            if next < stage {
                out.push(Out::Delta(std::mem::take(&mut delta)));
            }
            stage = next;
            self.add(piece, &mut delta);
        }
        if delta != wire::Delta::default() {
            out.push(Out::Delta(delta));
        }
    }

    fn add(&self, piece: Piece, delta: &mut wire::Delta) {
        match piece {
            Piece::Reasoning(text) => delta.reasoning.push_str(&text),
            Piece::Text(text) => delta.text.push_str(&text),
            Piece::Call { index, name } => delta.tool_calls.push(wire::ToolCallDelta {
                index,
                id: self.call_id(index),
                name,
                arguments: String::new(),
            }),
            Piece::Arguments { index, text } => match delta.tool_calls.last_mut() {
                Some(call) if call.index == index => call.arguments.push_str(&text),
                _ => delta.tool_calls.push(wire::ToolCallDelta {
                    index,
                    arguments: text,
                    ..wire::ToolCallDelta::default()
                }),
            },
        }
    }

    /// What of a piece the client lacks.
    fn unsent(&mut self, piece: Piece) -> Option<Piece> {
        if self.skip == 0 {
            return Some(piece);
        }
        let bytes = match &piece {
            Piece::Text(text) | Piece::Reasoning(text) | Piece::Arguments { text, .. } => {
                text.len()
            }
            Piece::Call { index, name } => name.len() + self.call_id(*index).len(),
        };
        let skipped = self.skip.min(bytes);
        self.skip -= skipped;
        if skipped == bytes {
            return None;
        }
        Some(match piece {
            Piece::Text(text) => Piece::Text(after(&text, skipped)),
            Piece::Reasoning(text) => Piece::Reasoning(after(&text, skipped)),
            Piece::Arguments { index, text } => Piece::Arguments {
                index,
                text: after(&text, skipped),
            },
            call @ Piece::Call { .. } => call,
        })
    }

    /// A call's id: the same wherever the answer goes on.
    fn call_id(&self, index: u32) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"shoal tool call");
        hasher.update(&self.opening.seed.to_le_bytes());
        hasher.update(&index.to_le_bytes());
        format!("call_{}", &hasher.finalize().to_hex()[..24])
    }

    fn reason(&self, reason: FinishReason) -> wire::FinishReason {
        let called = self.opening.parser.as_ref().is_some_and(|p| p.calls() > 0);
        match reason {
            FinishReason::Stop if called => wire::FinishReason::ToolCalls,
            FinishReason::Stop => wire::FinishReason::Stop,
            FinishReason::Length => wire::FinishReason::Length,
        }
    }
}

/// The text without its first bytes, cut at a character.
fn after(text: &str, bytes: usize) -> String {
    let mut cut = bytes;
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    text[cut..].to_owned()
}

fn logprob(scored: engine::TokenLogprob) -> wire::TokenLogprob {
    wire::TokenLogprob {
        token: scored.token,
        text: scored.bytes,
        logprob: scored.logprob,
        top: scored.top.into_iter().map(logprob).collect(),
    }
}
