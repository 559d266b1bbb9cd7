//! A tool call after its opening marker: which of the marker's bodies it is, its parts, its end.
//!
//! It owns what lies between the marker and the closers; the objects and pairs inside have
//! modules of their own.

use super::json::{JsonScan, Step};
use super::object::{MAX_NAME_BYTES, ObjectCall, Verdict};
use super::pairs::{self, Pairs, Tags};
use super::{AnswerParser, Begins, Flow, State};
use crate::head::core::format::{Body, Opener};

/// A call on its way in.
#[derive(Debug)]
pub(super) struct Block {
    opener: Opener,
    /// Within `[…]`.
    in_array: bool,
    pub(super) part: Part,
}

#[derive(Debug)]
pub(super) enum Part {
    /// Right after the marker.
    Start,
    /// In an array, before an object.
    Item,
    Object(Box<ObjectCall>),
    /// In an array, after an object.
    AfterItem,
    /// The function's name, up to this text.
    Name(&'static str),
    /// After the name.
    AfterName(String),
    /// The function's name among other marks, up to the arguments' `{`.
    Header,
    Arguments(Box<JsonScan>),
    Pairs(Pairs),
    /// After a call: closers may follow.
    Close,
}

impl Block {
    pub(super) fn new(opener: Opener) -> Self {
        Self {
            opener,
            in_array: false,
            part: Part::Start,
        }
    }

    fn tags(&self) -> Tags {
        match self.opener.body {
            Body::JsonOrArgKeys => pairs::GLM,
            Body::Invoke => pairs::MINIMAX,
            _ => pairs::QWEN,
        }
    }
}

impl AnswerParser {
    pub(super) fn block(&mut self, mut block: Block, last: bool) -> Flow {
        match std::mem::replace(&mut block.part, Part::Start) {
            Part::Start => self.start(block, last),
            Part::Item => match self.skip_space() {
                Some('{') => self.begin_object(block),
                None if !last => self.wait_at(block, Part::Item),
                _ => self.malformed(),
            },
            Part::Object(object) => self.object(block, object, last),
            Part::AfterItem => self.after_item(block, last),
            Part::Name(end) => self.name(block, end, last),
            Part::AfterName(name) => self.after_name(block, name, last),
            Part::Header => self.header(block, last),
            Part::Arguments(scan) => self.raw_arguments(block, scan),
            Part::Pairs(pairs) => self.pairs(block, pairs, last),
            Part::Close => self.close(block, last),
        }
    }

    fn wait_at(&mut self, mut block: Block, part: Part) -> Flow {
        block.part = part;
        self.wait(State::Block(block))
    }

    fn go_at(&mut self, mut block: Block, part: Part) -> Flow {
        block.part = part;
        self.go(State::Block(block))
    }

    fn start(&mut self, block: Block, last: bool) -> Flow {
        let body = block.opener.body;
        match body {
            Body::Function => return self.go_at(block, Part::Name(">")),
            Body::Invoke => return self.go_at(block, Part::Name("\">")),
            _ => {}
        }
        match (self.skip_space(), body) {
            (None, _) if last => self.malformed(),
            (None, _) => self.wait_at(block, Part::Start),
            (Some('{'), _) => self.begin_object(block),
            (Some('['), _) => self.begin_array(block),
            (Some(_), Body::JsonOrHeader) => self.go_at(block, Part::Header),
            (Some(_), Body::JsonOrArgKeys) => self.go_at(block, Part::Name("\n")),
            (Some(_), Body::JsonOrFunction) => match self.take_literal("<function=", last) {
                Begins::With => self.go_at(block, Part::Name(">")),
                Begins::Perhaps => self.wait_at(block, Part::Start),
                Begins::Not => self.malformed(),
            },
            (Some(_), _) => self.malformed(),
        }
    }

    fn begin_array(&mut self, mut block: Block) -> Flow {
        self.at += 1;
        block.in_array = true;
        self.go_at(block, Part::Item)
    }

    fn begin_object(&mut self, block: Block) -> Flow {
        let strict = block.opener.body == Body::Bare;
        self.go_at(block, Part::Object(Box::new(ObjectCall::new(strict))))
    }

    fn object(&mut self, block: Block, mut object: Box<ObjectCall>, last: bool) -> Flow {
        while let Some(c) = self.rest().chars().next() {
            let verdict = object.feed(c, &self.offered, &mut self.out);
            if verdict == Verdict::Bad {
                return self.malformed();
            }
            self.at += c.len_utf8();
            if object.begun() {
                self.settle();
            }
            if verdict == Verdict::Done {
                let next = if block.in_array {
                    Part::AfterItem
                } else {
                    Part::Close
                };
                return self.go_at(block, next);
            }
        }
        if last {
            return self.malformed();
        }
        self.wait_at(block, Part::Object(object))
    }

    fn after_item(&mut self, block: Block, last: bool) -> Flow {
        match self.skip_space() {
            Some(',') => {
                self.at += 1;
                self.go_at(block, Part::Item)
            }
            Some(']') => {
                self.at += 1;
                self.settle();
                self.go_at(block, Part::Close)
            }
            None if last => self.go_at(block, Part::Close),
            None => self.wait_at(block, Part::AfterItem),
            _ => self.malformed(),
        }
    }

    fn name(&mut self, block: Block, end: &'static str, last: bool) -> Flow {
        let rest = self.rest();
        let stop = match (rest.find(end), block.opener.body) {
            (found, Body::JsonOrArgKeys) => found.into_iter().chain(rest.find('<')).min(),
            (found, _) => found,
        };
        match stop {
            Some(stop) if is_function_name(rest[..stop].trim()) => {
                let name = rest[..stop].trim().to_owned();
                let ended = rest[stop..].starts_with(end);
                self.at += stop + if ended { end.len() } else { 0 };
                self.go_at(block, Part::AfterName(name))
            }
            None if rest.len() < MAX_NAME_BYTES + end.len() && !last => {
                self.wait_at(block, Part::Name(end))
            }
            _ => self.malformed(),
        }
    }

    fn after_name(&mut self, block: Block, name: String, last: bool) -> Flow {
        let tags = block.tags();
        let next = self.skip_space();
        if next == Some('{') {
            self.out.call(&name);
            self.settle();
            return self.go_at(block, Part::Arguments(Box::new(JsonScan::new())));
        }
        let rest = self.rest();
        let begins = |literal| super::begins_with(rest, literal, last);
        match (begins(tags.open), begins(tags.end)) {
            (Begins::With, _) | (_, Begins::With) => {
                self.out.call(&name);
                self.settle();
                self.go_at(block, Part::Pairs(Pairs::new(tags, name)))
            }
            (Begins::Perhaps, _) | (_, Begins::Perhaps) => {
                self.wait_at(block, Part::AfterName(name))
            }
            _ => self.malformed(),
        }
    }

    fn header(&mut self, block: Block, last: bool) -> Flow {
        let rest = self.rest();
        match rest.find('{') {
            Some(end) if end <= MAX_NAME_BYTES => match name_in_header(&rest[..end]) {
                Some(name) => {
                    let name = name.to_owned();
                    self.at += end;
                    self.out.call(&name);
                    self.settle();
                    self.go_at(block, Part::Arguments(Box::new(JsonScan::new())))
                }
                None => self.malformed_header(end),
            },
            None if rest.len() <= MAX_NAME_BYTES && !last => self.wait_at(block, Part::Header),
            _ => self.malformed(),
        }
    }

    fn malformed_header(&mut self, end: usize) -> Flow {
        self.at += end;
        self.malformed()
    }

    fn raw_arguments(&mut self, block: Block, mut scan: Box<JsonScan>) -> Flow {
        let mut done = false;
        let start = self.at;
        while let (false, Some(c)) = (done, self.rest().chars().next()) {
            match scan.feed(c) {
                Step::More => {}
                Step::Done => done = true,
                Step::DoneBefore | Step::Bad => {
                    self.give_arguments(start);
                    return self.malformed();
                }
            }
            self.at += c.len_utf8();
        }
        self.give_arguments(start);
        if done {
            self.go_at(block, Part::Close)
        } else {
            self.wait_at(block, Part::Arguments(scan))
        }
    }

    fn give_arguments(&mut self, start: usize) {
        self.out.arguments(&self.text[start..self.at]);
        self.settle();
    }

    /// Drops the closers that follow a call.
    fn close(&mut self, block: Block, last: bool) -> Flow {
        self.settle();
        let mut perhaps = self.skip_space().is_none() && !last;
        for closer in block.opener.closers {
            match self.take_literal(closer, last) {
                Begins::With => return self.go_at(block, Part::Close),
                Begins::Perhaps => perhaps = true,
                Begins::Not => {}
            }
        }
        self.at = self.held;
        if perhaps && !block.opener.closers.is_empty() {
            return self.wait_at(block, Part::Close);
        }
        self.line_start = true;
        self.go(State::Content)
    }
}

fn is_function_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/'))
}

/// The function's name in what stands before its arguments: DeepSeek's
/// `function<｜tool▁sep｜>NAME\n```json`, Kimi's `functions.NAME:0<|tool_call_argument_begin|>`,
/// Mistral's `NAME[CALL_ID]…[ARGS]`.
fn name_in_header(header: &str) -> Option<&str> {
    let header = header.trim().trim_end_matches("```json").trim_end();
    let header = header
        .strip_prefix("<｜tool▁call▁begin｜>")
        .or_else(|| header.strip_prefix("<|tool_call_begin|>"))
        .unwrap_or(header);
    let header = header.trim_end_matches("<｜tool▁sep｜>");
    let header = header.rsplit("<｜tool▁sep｜>").next()?;
    let header = header.split('[').next()?;
    let header = header.split("<|tool_call_argument_begin|>").next()?.trim();
    let name = header.strip_prefix("functions.").unwrap_or(header);
    let name = match name.rsplit_once(':') {
        Some((name, number)) if number.chars().all(|c| c.is_ascii_digit()) => name,
        _ => name,
    };
    is_function_name(name).then_some(name)
}
