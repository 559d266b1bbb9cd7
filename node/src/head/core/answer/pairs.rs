//! Arguments written as tagged pairs: Qwen3-Coder's `<parameter=K>`, GLM's `<arg_key>`, MiniMax's
//! `<parameter name="K">`. It owns these tags; it does not know what encloses the call.

use super::object::MAX_NAME_BYTES;
use super::{AnswerParser, Begins, Flow, State, partial_suffix};
use crate::head::core::answer::block::{Block, Part};

/// The tags of one dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tags {
    pub(super) open: &'static str,
    key_end: &'static str,
    value_open: &'static str,
    value_close: &'static str,
    pub(super) end: &'static str,
}

pub(super) const QWEN: Tags = Tags {
    open: "<parameter=",
    key_end: ">",
    value_open: "",
    value_close: "</parameter>",
    end: "</function>",
};

pub(super) const GLM: Tags = Tags {
    open: "<arg_key>",
    key_end: "</arg_key>",
    value_open: "<arg_value>",
    value_close: "</arg_value>",
    end: "</tool_call>",
};

pub(super) const MINIMAX: Tags = Tags {
    open: "<parameter name=\"",
    key_end: "\">",
    value_open: "",
    value_close: "</parameter>",
    end: "</invoke>",
};

/// Pairs of one call.
#[derive(Debug)]
pub(super) struct Pairs {
    pub(super) tags: Tags,
    tool: String,
    count: usize,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Between,
    Key,
    BeforeValue(String),
    /// The key, and how much of the value was searched for its end.
    Value(String, usize),
}

impl Pairs {
    pub(super) fn new(tags: Tags, tool: String) -> Self {
        Self {
            tags,
            tool,
            count: 0,
            place: Place::Between,
        }
    }
}

impl AnswerParser {
    pub(super) fn pairs(&mut self, block: Block, mut pairs: Pairs, last: bool) -> Flow {
        match std::mem::replace(&mut pairs.place, Place::Between) {
            Place::Between => self.between_pairs(block, pairs, last),
            Place::Key => self.pair_key(block, pairs, last),
            Place::BeforeValue(key) => self.before_value(block, pairs, key, last),
            Place::Value(key, searched) => self.pair_value(block, pairs, (key, searched), last),
        }
    }

    fn wait_in(&mut self, mut block: Block, mut pairs: Pairs, place: Place) -> Flow {
        pairs.place = place;
        block.part = Part::Pairs(pairs);
        self.wait(State::Block(block))
    }

    fn go_in(&mut self, mut block: Block, mut pairs: Pairs, place: Place) -> Flow {
        pairs.place = place;
        block.part = Part::Pairs(pairs);
        self.go(State::Block(block))
    }

    fn between_pairs(&mut self, mut block: Block, pairs: Pairs, last: bool) -> Flow {
        if self.skip_space().is_none() && last {
            return self.drop_rest();
        }
        match self.take_literal(pairs.tags.open, last) {
            Begins::With => return self.go_in(block, pairs, Place::Key),
            Begins::Perhaps => return self.wait_in(block, pairs, Place::Between),
            Begins::Not => {}
        }
        match self.take_literal(pairs.tags.end, last) {
            Begins::With => {
                self.out
                    .arguments(if pairs.count == 0 { "{}" } else { "}" });
                self.settle();
                block.part = Part::Close;
                self.go(State::Block(block))
            }
            Begins::Perhaps => self.wait_in(block, pairs, Place::Between),
            Begins::Not => self.malformed(),
        }
    }

    /// The answer ended within a call's tags, which say nothing.
    fn drop_rest(&mut self) -> Flow {
        self.at = self.text.len();
        self.settle();
        self.wait(State::Content)
    }

    fn pair_key(&mut self, block: Block, pairs: Pairs, last: bool) -> Flow {
        let longest = MAX_NAME_BYTES + pairs.tags.key_end.len();
        match self.rest().find(pairs.tags.key_end) {
            Some(end) if end <= MAX_NAME_BYTES => {
                let key = self.rest()[..end].trim().to_owned();
                self.at += end + pairs.tags.key_end.len();
                self.go_in(block, pairs, Place::BeforeValue(key))
            }
            None if last => self.drop_rest(),
            None if self.rest().len() < longest => self.wait_in(block, pairs, Place::Key),
            _ => self.malformed(),
        }
    }

    fn before_value(&mut self, block: Block, pairs: Pairs, key: String, last: bool) -> Flow {
        let start = self.at;
        if !pairs.tags.value_open.is_empty() {
            self.skip_space();
        }
        match self.take_literal(pairs.tags.value_open, last) {
            Begins::With => self.go_in(block, pairs, Place::Value(key, 0)),
            Begins::Perhaps => {
                self.at = start;
                self.wait_in(block, pairs, Place::BeforeValue(key))
            }
            Begins::Not => self.malformed(),
        }
    }

    fn pair_value(
        &mut self,
        block: Block,
        mut pairs: Pairs,
        (key, searched): (String, usize),
        last: bool,
    ) -> Flow {
        let rest = self.rest();
        let close = pairs.tags.value_close;
        let Some(end) = rest[searched..].find(close).map(|i| searched + i) else {
            if last {
                return self.cut_value(&pairs, &key);
            }
            let searched = rest.len() - partial_suffix(rest, close);
            return self.wait_in(block, pairs, Place::Value(key, searched));
        };
        let value = rest[..end].to_owned();
        self.at += end + close.len();
        self.pair(&pairs, &key, &value);
        pairs.count += 1;
        self.go_in(block, pairs, Place::Between)
    }

    /// The answer ended within a value: what there is of it comes out, unclosed.
    fn cut_value(&mut self, pairs: &Pairs, key: &str) -> Flow {
        let value = self.rest().to_owned();
        self.at = self.text.len();
        self.pair(pairs, key, &value);
        self.wait(State::Content)
    }

    fn pair(&mut self, pairs: &Pairs, key: &str, value: &str) {
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        let json = self.offered.to_json(&pairs.tool, key, value);
        let lead = if pairs.count == 0 { "{" } else { ", " };
        let key = serde_json::Value::from(key);
        self.out.arguments(&format!("{lead}{key}: {json}"));
        self.settle();
    }
}
