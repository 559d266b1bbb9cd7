//! Collects the pieces of an answer. It knows nothing of formats.

/// A piece of an answer, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Prose.
    Text(String),
    /// Reasoning.
    Reasoning(String),
    /// A call begins.
    Call {
        /// Its place among the answer's calls.
        index: u32,
        /// The function's name.
        name: String,
    },
    /// More of a call's arguments, as JSON text.
    Arguments {
        /// The call's place.
        index: u32,
        /// The fragment.
        text: String,
    },
}

/// Pieces not yet taken, neighbours of one kind joined.
#[derive(Debug)]
pub(super) struct Emitter {
    pieces: Vec<Piece>,
    calls: u32,
    max_calls: u32,
}

impl Emitter {
    pub(super) fn new(max_calls: u32) -> Self {
        Self {
            pieces: Vec::new(),
            calls: 0,
            max_calls,
        }
    }

    pub(super) fn take(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }

    pub(super) fn calls(&self) -> u32 {
        self.calls
    }

    pub(super) fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Piece::Text(known)) = self.pieces.last_mut() {
            known.push_str(text);
        } else {
            self.pieces.push(Piece::Text(text.to_owned()));
        }
    }

    pub(super) fn reasoning(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Piece::Reasoning(known)) = self.pieces.last_mut() {
            known.push_str(text);
        } else {
            self.pieces.push(Piece::Reasoning(text.to_owned()));
        }
    }

    pub(super) fn call(&mut self, name: &str) {
        let index = self.calls;
        self.calls = self.calls.saturating_add(1);
        if index < self.max_calls {
            self.pieces.push(Piece::Call {
                index,
                name: name.to_owned(),
            });
        }
    }

    /// More of the latest call's arguments.
    pub(super) fn arguments(&mut self, text: &str) {
        let Some(index) = self.calls.checked_sub(1) else {
            return;
        };
        if text.is_empty() || index >= self.max_calls {
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece::Arguments {
                index: i,
                text: known,
            }) if *i == index => known.push_str(text),
            _ => self.pieces.push(Piece::Arguments {
                index,
                text: text.to_owned(),
            }),
        }
    }
}
