//! A call written as a JSON object: `{"name": …, "arguments": {…}}` and its relatives.
//!
//! Arguments stream once the name is known; in any other order they wait for it. It owns the
//! names that keys may have; it does not know the markers around the object.

use serde_json::Value;

use super::emit::Emitter;
use super::json::{JsonScan, Step};
use super::offered::Offered;

/// Bytes that a value may have while it waits for the call's name.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// Bytes of a key or a function's name.
pub(super) const MAX_NAME_BYTES: usize = 256;

/// What a character did to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    More,
    Done,
    Bad,
}

#[derive(Debug)]
enum State {
    Open,
    FirstKey,
    Key,
    KeyText,
    Colon,
    Value,
    AfterValue,
}

/// The object on its way in.
#[derive(Debug)]
pub(super) struct ObjectCall {
    /// Only names that were offered count, and arguments must be there.
    strict: bool,
    state: State,
    scan: JsonScan,
    /// The key or the value being read, where it does not stream.
    text: String,
    key: String,
    name: Option<String>,
    arguments: Option<String>,
    streaming: bool,
    begun: bool,
}

impl ObjectCall {
    pub(super) fn new(strict: bool) -> Self {
        Self {
            strict,
            state: State::Open,
            scan: JsonScan::new(),
            text: String::new(),
            key: String::new(),
            name: None,
            arguments: None,
            streaming: false,
            begun: false,
        }
    }

    /// The call was given out.
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    pub(super) fn feed(&mut self, c: char, offered: &Offered, out: &mut Emitter) -> Verdict {
        let space = matches!(c, ' ' | '\t' | '\n' | '\r');
        match (&self.state, c) {
            (State::Open, '{') => self.go(State::FirstKey),
            (State::KeyText, _) => self.key_text(c),
            (State::Value, _) => self.value(c, offered, out),
            _ if space => Verdict::More,
            (State::FirstKey | State::Key, '"') => self.begin_key(c),
            (State::FirstKey | State::AfterValue, '}') => self.end(offered, out),
            (State::Colon, ':') => self.begin_value(),
            (State::AfterValue, ',') => self.go(State::Key),
            _ => Verdict::Bad,
        }
    }

    fn go(&mut self, state: State) -> Verdict {
        self.state = state;
        Verdict::More
    }

    fn begin_key(&mut self, c: char) -> Verdict {
        self.scan = JsonScan::new();
        self.text.clear();
        self.state = State::KeyText;
        self.key_text(c)
    }

    fn key_text(&mut self, c: char) -> Verdict {
        self.text.push(c);
        match self.scan.feed(c) {
            Step::More if self.text.len() > MAX_NAME_BYTES => Verdict::Bad,
            Step::More => Verdict::More,
            Step::Done => self.end_key(),
            Step::DoneBefore | Step::Bad => Verdict::Bad,
        }
    }

    fn end_key(&mut self) -> Verdict {
        match serde_json::from_str(&self.text) {
            Ok(key) => self.key = key,
            Err(_) => return Verdict::Bad,
        }
        let known = is_name(&self.key) || is_arguments(&self.key) || is_aside(&self.key);
        if self.strict && !known {
            return Verdict::Bad;
        }
        self.go(State::Colon)
    }

    fn begin_value(&mut self) -> Verdict {
        self.scan = JsonScan::new();
        self.text.clear();
        self.streaming = false;
        self.go(State::Value)
    }

    fn value(&mut self, c: char, offered: &Offered, out: &mut Emitter) -> Verdict {
        let first = self.text.is_empty() && !self.streaming;
        if first && matches!(c, ' ' | '\t' | '\n' | '\r') {
            return Verdict::More;
        }
        if first && c == '{' && !self.begun && is_arguments(&self.key) {
            self.begin_streaming(out);
        }
        match self.scan.feed(c) {
            Step::More => self.keep(c, out),
            Step::Done => {
                self.keep(c, out);
                self.end_value(offered)
            }
            Step::DoneBefore => match self.end_value(offered) {
                Verdict::More => self.feed(c, offered, out),
                verdict => verdict,
            },
            Step::Bad => Verdict::Bad,
        }
    }

    fn begin_streaming(&mut self, out: &mut Emitter) {
        if let Some(name) = &self.name {
            out.call(name);
            self.begun = true;
            self.streaming = true;
        }
    }

    fn keep(&mut self, c: char, out: &mut Emitter) -> Verdict {
        if self.streaming {
            out.arguments(c.encode_utf8(&mut [0; 4]));
            return Verdict::More;
        }
        if self.text.len() >= MAX_WAITING_BYTES {
            return Verdict::Bad;
        }
        self.text.push(c);
        Verdict::More
    }

    fn end_value(&mut self, offered: &Offered) -> Verdict {
        let text = std::mem::take(&mut self.text);
        if !self.streaming && !self.begun {
            if is_arguments(&self.key) {
                self.arguments = Some(arguments_text(text));
            } else if is_name(&self.key) {
                self.take_name(&text);
            }
        }
        self.streaming = false;
        let refused = self.strict && self.name.as_ref().is_some_and(|n| !offered.contains(n));
        if refused {
            return Verdict::Bad;
        }
        self.go(State::AfterValue)
    }

    /// `"name": "f"`, `"function": "f"` or `"function": {"name": "f", "arguments": …}`.
    fn take_name(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(Value::String(name)) if is_usable(&name) => self.name = Some(name),
            Ok(Value::Object(function)) => {
                let name = function.get("name").and_then(Value::as_str);
                self.name = name.filter(|n| is_usable(n)).map(str::to_owned);
                let arguments = ["arguments", "parameters"]
                    .iter()
                    .find_map(|key| function.get(*key));
                self.arguments = arguments.map(|a| arguments_text(a.to_string()));
            }
            _ => {}
        }
    }

    fn end(&mut self, offered: &Offered, out: &mut Emitter) -> Verdict {
        if self.begun {
            return Verdict::Done;
        }
        let Some(name) = &self.name else {
            return Verdict::Bad;
        };
        if self.strict && (self.arguments.is_none() || !offered.contains(name)) {
            return Verdict::Bad;
        }
        out.call(name);
        out.arguments(self.arguments.as_deref().unwrap_or("{}"));
        self.begun = true;
        Verdict::Done
    }
}

fn is_name(key: &str) -> bool {
    matches!(key, "name" | "tool_name" | "function")
}

fn is_arguments(key: &str) -> bool {
    matches!(key, "arguments" | "parameters" | "args")
}

/// Keys that calls carry besides.
fn is_aside(key: &str) -> bool {
    matches!(key, "type" | "id" | "tool_call_id" | "index")
}

fn is_usable(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES
}

/// Arguments as JSON text; some models write that text into a JSON string.
fn arguments_text(json: String) -> String {
    match serde_json::from_str::<String>(&json) {
        Ok(inner) if serde_json::from_str::<serde::de::IgnoredAny>(&inner).is_ok() => inner,
        _ => json,
    }
}
