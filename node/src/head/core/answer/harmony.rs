//! Harmony, the format of gpt-oss: messages on channels, calls addressed to `functions.NAME`.
//!
//! Source: OpenAI's description of the Harmony response format. It owns the channel markers.

use super::{AnswerParser, Begins, Flow, State, begins_with, partial_suffix};

/// Bytes of a message's header.
const MAX_HEADER_BYTES: usize = 512;

const MESSAGE: &str = "<|message|>";

/// What a header begins with.
const HEADS: &[&str] = &["<|start|>", "<|channel|>", "to=", " to="];

/// What ends a message and is dropped.
const ENDS: &[&str] = &["<|end|>", "<|return|>", "<|call|>"];

/// Where the answer stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Harmony {
    /// Before a message's header.
    #[default]
    Header,
    /// In a message.
    Body(Channel),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Analysis,
    Final,
    Call,
}

impl AnswerParser {
    pub(super) fn harmony(&mut self, harmony: Harmony, last: bool) -> Flow {
        match harmony {
            Harmony::Header => self.harmony_header(last),
            Harmony::Body(channel) => self.harmony_body(channel, last),
        }
    }

    fn harmony_header(&mut self, last: bool) -> Flow {
        let rest = &self.text[self.held..];
        if rest.is_empty() {
            return self.wait(State::Harmony(Harmony::Header));
        }
        let begins = |head: &&str| begins_with(rest, head, last);
        let with = HEADS.iter().any(|h| begins(h) == Begins::With);
        let perhaps = HEADS.iter().any(|h| begins(h) == Begins::Perhaps);
        match (rest.find(MESSAGE), with || perhaps) {
            (Some(end), true) if end <= MAX_HEADER_BYTES => {
                let (channel, name) = read_header(&rest[..end]);
                self.at = self.held + end + MESSAGE.len();
                self.settle();
                if let Some(name) = name {
                    self.out.call(&name);
                }
                self.go(State::Harmony(Harmony::Body(channel)))
            }
            (None, true) if !last && rest.len() < MAX_HEADER_BYTES + MESSAGE.len() => {
                self.wait(State::Harmony(Harmony::Header))
            }
            (_, true) => self.show_header(),
            (_, false) => self.go(State::Harmony(Harmony::Body(Channel::Final))),
        }
    }

    /// What looked like a header is none: its first character is prose.
    fn show_header(&mut self) -> Flow {
        let first = self.text[self.held..].chars().next();
        let end = self.held + first.map_or(0, char::len_utf8);
        self.show(end);
        self.go(State::Harmony(Harmony::Body(Channel::Final)))
    }

    fn harmony_body(&mut self, channel: Channel, last: bool) -> Flow {
        let rest = &self.text[self.held..];
        let marks = ENDS.iter().chain(&HEADS[..2]);
        let found = marks
            .clone()
            .filter_map(|mark| Some((rest.find(mark)?, *mark)))
            .min_by_key(|(start, _)| *start);
        let (shown, ended) = match found {
            Some((start, mark)) => (start, Some(mark)),
            None if last => (rest.len(), None),
            None => {
                let held = marks.map(|mark| partial_suffix(rest, mark)).max();
                (rest.len() - held.unwrap_or(0), None)
            }
        };
        let text = &rest[..shown];
        match channel {
            Channel::Analysis => self.out.reasoning(text),
            Channel::Final => self.out.text(text),
            Channel::Call => self.out.arguments(text),
        }
        self.at = self.held + shown;
        match ended {
            None => {
                self.settle();
                self.wait(State::Harmony(Harmony::Body(channel)))
            }
            Some(mark) => {
                if ENDS.contains(&mark) {
                    self.at += mark.len();
                }
                self.settle();
                self.go(State::Harmony(Harmony::Header))
            }
        }
    }
}

/// The channel of a header, and the function that it addresses.
fn read_header(header: &str) -> (Channel, Option<String>) {
    let word = |after: &str| {
        let (_, rest) = header.split_once(after)?;
        let end = rest.find(|c: char| c.is_whitespace() || c == '<');
        Some(&rest[..end.unwrap_or(rest.len())])
    };
    if let Some(name) = word("to=functions.") {
        return (Channel::Call, Some(name.to_owned()));
    }
    match word("<|channel|>") {
        Some("analysis") => (Channel::Analysis, None),
        _ => (Channel::Final, None),
    }
}
