//! Reads an answer as it streams: reasoning, prose, and tool calls in the model's own format.
//!
//! It owns the incremental parser. Its pieces, joined, do not depend on how the text was cut into
//! deltas; nothing that the model wrote is lost: what turns out to be no call is given as text.
//! It does not know prompts, tokens or the wire.
//!
//! Transitions: `Lead → Reasoning → AfterReasoning → Content`; `Content → Block → Content`
//! whenever an opening marker comes; Harmony's answers alternate between `Header` and `Body`.

use super::format::{Body, Opener, PROSE_MARKERS, Thinking, ToolFormat};
use block::Block;
use emit::Emitter;
use harmony::Harmony;

mod block;
mod emit;
mod harmony;
mod json;
mod object;
mod offered;
mod pairs;
#[cfg(test)]
mod tests;

pub use emit::Piece;
pub use offered::Offered;

/// Whitespace held back in case a call follows, which drops it; a longer run shows in part.
const MAX_HELD_SPACE: usize = 64;

/// How to read one answer.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The model's format.
    pub format: ToolFormat,
    /// The model was told to write calls as Hermes does, whatever its own format is.
    pub taught: bool,
    /// Tags around reasoning.
    pub thinking: Thinking,
    /// The tools; `None`: calls are not looked for.
    pub tools: Option<Offered>,
    /// Calls at most; later ones are dropped.
    pub max_calls: u32,
}

/// The incremental parser.
#[derive(Debug)]
pub struct AnswerParser {
    thinking: Thinking,
    openers: Vec<Opener>,
    offered: Offered,
    /// Text not yet given out: `text[held..]`; of it, `text[held..at]` was looked at.
    text: String,
    held: usize,
    at: usize,
    state: State,
    /// Only blanks stand between the last line break and `held`.
    line_start: bool,
    out: Emitter,
}

#[derive(Debug)]
enum State {
    Lead,
    Reasoning { begun: bool },
    AfterReasoning,
    Content,
    Block(Block),
    Harmony(Harmony),
}

/// Whether a step went on or needs more text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Go,
    Wait,
}

/// How a text begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    With,
    Perhaps,
    Not,
}

impl AnswerParser {
    /// A parser at the start of an answer.
    pub fn new(rules: Rules) -> Self {
        let harmony = rules.format == ToolFormat::Harmony;
        let mut openers = match (&rules.tools, harmony) {
            (Some(_), false) => rules.format.openers(rules.taught),
            _ => Vec::new(),
        };
        if rules.format == ToolFormat::CommandR {
            openers.extend_from_slice(PROSE_MARKERS);
        }
        openers.sort_by_key(|o| std::cmp::Reverse(o.text.len()));
        Self {
            thinking: rules.thinking,
            openers,
            offered: rules.tools.unwrap_or_default(),
            text: String::new(),
            held: 0,
            at: 0,
            state: if harmony {
                State::Harmony(Harmony::default())
            } else {
                State::Lead
            },
            line_start: true,
            out: Emitter::new(rules.max_calls),
        }
    }

    /// Takes what the prompt already says of the answer; its pieces come with the first push.
    pub fn prime(&mut self, text: &str) {
        self.text.push_str(text);
        self.run(false);
    }

    /// Takes more of the answer.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.text.push_str(text);
        self.run(false);
        self.out.take()
    }

    /// The answer is over: what was held back comes out.
    pub fn finish(&mut self) -> Vec<Piece> {
        self.run(true);
        self.out.take()
    }

    /// Calls begun so far, dropped ones included.
    pub fn calls(&self) -> u32 {
        self.out.calls()
    }

    fn run(&mut self, last: bool) {
        while self.step(last) == Flow::Go {}
        self.text.drain(..self.held);
        self.at -= self.held;
        self.held = 0;
    }

    fn step(&mut self, last: bool) -> Flow {
        match std::mem::replace(&mut self.state, State::Content) {
            State::Lead => self.lead(last),
            State::Reasoning { begun } => self.reasoning(begun, last),
            State::AfterReasoning => self.after_reasoning(last),
            State::Content => self.content(last),
            State::Block(block) => self.block(block, last),
            State::Harmony(harmony) => self.harmony(harmony, last),
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Goes over to `state` and waits there.
    fn wait(&mut self, state: State) -> Flow {
        self.state = state;
        Flow::Wait
    }

    fn go(&mut self, state: State) -> Flow {
        self.state = state;
        Flow::Go
    }

    /// Everything up to `at` is given out, or stands for something that is.
    fn settle(&mut self) {
        self.held = self.at;
    }

    /// Gives `text[held..end]` out as prose.
    fn show(&mut self, end: usize) {
        let text = &self.text[self.held..end];
        let line = text.rfind('\n').map_or(text, |i| &text[i + 1..]);
        let blank = line.chars().all(|c| matches!(c, ' ' | '\t'));
        self.line_start = blank && (self.line_start || text.contains('\n'));
        self.out.text(text);
        self.held = end;
        self.at = end;
    }

    /// Moves `at` over whitespace; whether anything follows it.
    fn skip_space(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    /// Moves `at` over a literal if the text goes on with it.
    fn take_literal(&mut self, literal: &str, last: bool) -> Begins {
        let begins = begins_with(self.rest(), literal, last);
        if begins == Begins::With {
            self.at += literal.len();
        }
        begins
    }

    fn lead(&mut self, last: bool) -> Flow {
        if self.skip_space().is_none() && !last {
            self.at = self.held;
            return self.wait(State::Lead);
        }
        match self.take_literal(self.thinking.open, last) {
            Begins::With => {
                self.settle();
                self.go(State::Reasoning { begun: false })
            }
            Begins::Perhaps => {
                self.at = self.held;
                self.wait(State::Lead)
            }
            Begins::Not => {
                self.at = self.held;
                self.go(State::Content)
            }
        }
    }

    fn reasoning(&mut self, begun: bool, last: bool) -> Flow {
        if !begun && self.skip_space().is_none() {
            self.settle();
            return self.wait(State::Reasoning { begun });
        }
        if !begun {
            self.settle();
        }
        let rest = &self.text[self.at..];
        let close = rest.find(self.thinking.close);
        let shown = match close {
            Some(end) => end,
            None if last => rest.len(),
            None => rest.len() - partial_suffix(rest, self.thinking.close),
        };
        let shown = if last && close.is_none() {
            shown
        } else {
            rest[..shown].trim_end().len()
        };
        self.out.reasoning(&rest[..shown]);
        self.at += shown;
        self.settle();
        let begun = begun || shown > 0;
        match close {
            Some(end) => {
                self.at += end - shown + self.thinking.close.len();
                self.settle();
                self.go(State::AfterReasoning)
            }
            None => self.wait(State::Reasoning { begun }),
        }
    }

    fn after_reasoning(&mut self, last: bool) -> Flow {
        let more = self.skip_space().is_some();
        self.settle();
        if more || last {
            self.go(State::Content)
        } else {
            self.wait(State::AfterReasoning)
        }
    }

    fn content(&mut self, last: bool) -> Flow {
        debug_assert_eq!(self.at, self.held, "prose holds nothing that was looked at");
        match self.find_opener(last) {
            Found::Opener(start, opener) => {
                self.show_before(start);
                self.at = start + opener.text.len();
                match opener.body {
                    Body::Noise => {
                        self.settle();
                        self.go(State::Content)
                    }
                    Body::Bare if matches!(opener.text, "{" | "[") => {
                        self.at = start;
                        self.go(State::Block(Block::new(opener)))
                    }
                    _ => self.go(State::Block(Block::new(opener))),
                }
            }
            Found::Perhaps(start) => {
                self.show_before(start);
                self.at = self.held;
                self.wait(State::Content)
            }
            Found::Nothing => {
                self.show_all(last);
                self.wait(State::Content)
            }
        }
    }

    /// Shows the text before a marker, but for a run of whitespace just before it.
    fn show_before(&mut self, start: usize) {
        let text = &self.text[self.held..start];
        let space = text.len() - text.trim_end().len();
        let end = start - held_space(&text[text.len() - space..]);
        self.show(end);
    }

    fn show_all(&mut self, last: bool) {
        let end = self.text.len();
        if last && self.out.calls() > 0 && self.text[self.held..].trim().is_empty() {
            self.at = end;
            self.settle();
        } else if last || self.openers.is_empty() {
            self.show(end);
        } else {
            self.show_before(end);
        }
    }

    fn find_opener(&self, last: bool) -> Found {
        let text = &self.text[self.held..];
        let mut line_start = self.line_start;
        for (i, c) in text.char_indices() {
            let mut perhaps = false;
            for opener in &self.openers {
                if opener.at_line_start && !line_start {
                    continue;
                }
                match begins_with(&text[i..], opener.text, last) {
                    Begins::With if perhaps => break,
                    Begins::With => return Found::Opener(self.held + i, *opener),
                    Begins::Perhaps => perhaps = true,
                    Begins::Not => {}
                }
            }
            if perhaps {
                return Found::Perhaps(self.held + i);
            }
            line_start = c == '\n' || line_start && matches!(c, ' ' | '\t');
        }
        Found::Nothing
    }

    /// What was taken for a call is none: it is prose up to here.
    fn malformed(&mut self) -> Flow {
        self.show(self.at);
        self.go(State::Content)
    }
}

enum Found {
    Opener(usize, Opener),
    Perhaps(usize),
    Nothing,
}

/// Bytes to hold back of a run of whitespace: its end, cut at a character.
fn held_space(space: &str) -> usize {
    let mut cut = space.len().saturating_sub(MAX_HELD_SPACE);
    while !space.is_char_boundary(cut) {
        cut += 1;
    }
    space.len() - cut
}

fn begins_with(text: &str, literal: &str, last: bool) -> Begins {
    if text.starts_with(literal) {
        Begins::With
    } else if !last && literal.starts_with(text) {
        Begins::Perhaps
    } else {
        Begins::Not
    }
}

/// Bytes at the end of `text` that may begin `literal`.
fn partial_suffix(text: &str, literal: &str) -> usize {
    let longest = literal.len().saturating_sub(1).min(text.len());
    (1..=longest)
        .rev()
        .find(|&n| {
            text.is_char_boundary(text.len() - n) && literal.starts_with(&text[text.len() - n..])
        })
        .unwrap_or(0)
}
