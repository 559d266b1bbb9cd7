//! A streamed completion: chunks of text, for each choice a last one with the reason, the usage
//! if asked for, and `[DONE]`.

use bytes::{BufMut, BytesMut};
use protocol::generate::{Finished, generate_event::Event};

use super::piece::{Layout, Piece, Place};
use crate::{
    answers::ChoiceEvent,
    chat::write_failure,
    envelope::{ChunkUsage, Envelope},
    sse::{self, Events, Flow, write_json},
    usage::{Usage, finish_reason},
};

/// Writes the chunks.
#[derive(Debug)]
pub(super) struct Transcript {
    envelope: Envelope,
    layout: Layout,
    include_usage: bool,
    usage: Usage,
    places: Vec<Place>,
    running: usize,
}

impl Transcript {
    pub(super) fn new(envelope: Envelope, layout: Layout, include_usage: bool) -> Self {
        Self {
            envelope,
            include_usage,
            usage: Usage::default(),
            places: vec![Place::default(); layout.choices],
            running: layout.choices,
            layout,
        }
    }

    fn chunk(&mut self, index: u32, piece: &Piece, reason: Option<&str>, out: &mut Events) {
        let usage = ChunkUsage::before_end(self.include_usage);
        let write = |out: &mut BytesMut| {
            out.put_slice(b"{\"index\":");
            write_json(out, &index);
            out.put_slice(b",\"text\":");
            write_json(out, &piece.text);
            out.put_slice(b",\"logprobs\":");
            write_json(out, &piece.logprobs);
            out.put_slice(b",\"finish_reason\":");
            write_json(out, &reason);
            out.put_slice(b"}");
        };
        self.envelope.chunk(out, usage, write);
    }

    /// The piece that an event gives.
    fn piece(&mut self, choice: u32, event: Event) -> Piece {
        let Some(place) = self.places.get_mut(choice as usize) else {
            return Piece::default();
        };
        match event {
            Event::Started(started) => {
                self.envelope.name_model(&started.model);
                if self.layout.counts_prompt(choice) {
                    self.usage.add_prompt(&started);
                }
                self.layout.on_started(choice, &started, place)
            }
            Event::Delta(delta) => self.layout.on_delta(delta, place),
            Event::Queued(_) | Event::Finished(_) | Event::Failed(_) => Piece::default(),
        }
    }

    fn on_finished(&mut self, choice: u32, finished: &Finished, out: &mut Events) -> Flow {
        self.usage.add_finished(finished);
        self.envelope.name_servers(&finished.served_by);
        let reason = finish_reason(finished.reason());
        self.chunk(choice, &Piece::default(), Some(reason), out);
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

impl sse::Transcript for Transcript {
    type Item = ChoiceEvent;

    fn write(&mut self, item: Option<ChoiceEvent>, out: &mut Events) -> Flow {
        let Some(ChoiceEvent { choice, event }) = item else {
            return Flow::End;
        };
        match event {
            Event::Finished(finished) => return self.on_finished(choice, &finished, out),
            Event::Failed(failure) => return write_failure(failure, out),
            event => {
                let piece = self.piece(choice, event);
                if !piece.is_empty() {
                    self.chunk(choice, &piece, None, out);
                }
            }
        }
        Flow::Continue
    }
}
