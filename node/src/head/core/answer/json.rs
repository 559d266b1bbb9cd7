//! A strict JSON value, recognised character by character.
//!
//! It owns the grammar of RFC 8259 and the depth limit; it keeps no text and builds no value, so
//! that a value of any length streams through it.

/// Containers that may nest; what serde_json takes too.
const MAX_DEPTH: usize = 120;

/// What a character did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It belongs to the value, which goes on.
    More,
    /// It belongs to the value and ends it.
    Done,
    /// The value ended before it (numbers and literals at the top).
    DoneBefore,
    /// No JSON value goes on like this.
    Bad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    FirstItem,
    FirstKey,
    Key,
    Colon,
    AfterValue,
    Text,
    Escape,
    Hex(u8),
    Literal(&'static str),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// One JSON value on its way in. Leading whitespace is taken.
#[derive(Debug, Clone)]
pub(super) struct JsonScan {
    stack: Vec<Container>,
    state: State,
    /// The string being read is an object's key.
    key: bool,
}

impl JsonScan {
    pub(super) fn new() -> Self {
        Self {
            stack: Vec::new(),
            state: State::Value,
            key: false,
        }
    }

    /// Takes one more character.
    pub(super) fn feed(&mut self, c: char) -> Step {
        match self.state {
            State::Text => self.text(c),
            State::Escape => self.escape(c),
            State::Hex(left) => self.hex(c, left),
            State::Literal(rest) => self.literal(c, rest),
            State::Minus
            | State::Zero
            | State::Digits
            | State::Point
            | State::Fraction
            | State::Exponent
            | State::ExponentSign
            | State::ExponentDigits => self.number(c),
            _ if matches!(c, ' ' | '\t' | '\n' | '\r') => Step::More,
            State::Value => self.value(c),
            State::FirstItem if c == ']' => self.close(Container::Array),
            State::FirstItem => self.value(c),
            State::FirstKey if c == '}' => self.close(Container::Object),
            State::FirstKey | State::Key if c == '"' => self.string(true),
            State::FirstKey | State::Key => Step::Bad,
            State::Colon if c == ':' => self.go(State::Value),
            State::Colon => Step::Bad,
            State::AfterValue => self.after_value(c),
        }
    }

    fn go(&mut self, state: State) -> Step {
        self.state = state;
        Step::More
    }

    fn value(&mut self, c: char) -> Step {
        match c {
            '{' => self.open(Container::Object, State::FirstKey),
            '[' => self.open(Container::Array, State::FirstItem),
            '"' => self.string(false),
            't' => self.go(State::Literal("rue")),
            'f' => self.go(State::Literal("alse")),
            'n' => self.go(State::Literal("ull")),
            '-' => self.go(State::Minus),
            '0' => self.go(State::Zero),
            '1'..='9' => self.go(State::Digits),
            _ => Step::Bad,
        }
    }

    fn open(&mut self, container: Container, state: State) -> Step {
        if self.stack.len() == MAX_DEPTH {
            return Step::Bad;
        }
        self.stack.push(container);
        self.go(state)
    }

    fn close(&mut self, container: Container) -> Step {
        if self.stack.pop() == Some(container) {
            self.end()
        } else {
            Step::Bad
        }
    }

    /// A value ended with the character just taken.
    fn end(&mut self) -> Step {
        if self.stack.is_empty() {
            return Step::Done;
        }
        self.go(State::AfterValue)
    }

    fn after_value(&mut self, c: char) -> Step {
        match (c, self.stack.last()) {
            (',', Some(Container::Array)) => self.go(State::Value),
            (',', Some(Container::Object)) => self.go(State::Key),
            (']', _) => self.close(Container::Array),
            ('}', _) => self.close(Container::Object),
            _ => Step::Bad,
        }
    }

    fn string(&mut self, key: bool) -> Step {
        self.key = key;
        self.go(State::Text)
    }

    fn text(&mut self, c: char) -> Step {
        match c {
            '"' if self.key => {
                self.key = false;
                self.go(State::Colon)
            }
            '"' => self.end(),
            '\\' => self.go(State::Escape),
            '\0'..='\x1f' => Step::Bad,
            _ => Step::More,
        }
    }

    fn escape(&mut self, c: char) -> Step {
        match c {
            '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => self.go(State::Text),
            'u' => self.go(State::Hex(4)),
            _ => Step::Bad,
        }
    }

    fn hex(&mut self, c: char, left: u8) -> Step {
        match (c.is_ascii_hexdigit(), left) {
            (false, _) => Step::Bad,
            (true, 1) => self.go(State::Text),
            (true, left) => self.go(State::Hex(left - 1)),
        }
    }

    fn literal(&mut self, c: char, rest: &'static str) -> Step {
        match rest.strip_prefix(c) {
            None => Step::Bad,
            Some("") => self.end(),
            Some(rest) => self.go(State::Literal(rest)),
        }
    }

    fn number(&mut self, c: char) -> Step {
        let next = match (self.state, c) {
            (State::Minus, '0') => State::Zero,
            (State::Minus, '1'..='9') | (State::Digits, '0'..='9') => State::Digits,
            (State::Zero | State::Digits, '.') => State::Point,
            (State::Zero | State::Digits | State::Fraction, 'e' | 'E') => State::Exponent,
            (State::Point | State::Fraction, '0'..='9') => State::Fraction,
            (State::Exponent, '+' | '-') => State::ExponentSign,
            (State::Exponent | State::ExponentSign | State::ExponentDigits, '0'..='9') => {
                State::ExponentDigits
            }
            (State::Zero | State::Digits | State::Fraction | State::ExponentDigits, _) => {
                return self.after_number(c);
            }
            _ => return Step::Bad,
        };
        self.go(next)
    }

    /// A number ended before this character, which is looked at anew.
    fn after_number(&mut self, c: char) -> Step {
        if self.stack.is_empty() {
            return Step::DoneBefore;
        }
        self.state = State::AfterValue;
        self.feed(c)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text is one JSON value with whitespace around it.
    fn accepts(text: &str) -> bool {
        let mut scan = JsonScan::new();
        let mut done = false;
        for c in text.chars().chain(['\n']) {
            let space = matches!(c, ' ' | '\t' | '\n' | '\r');
            if done && !space {
                return false;
            }
            if done {
                continue;
            }
            done = match scan.feed(c) {
                Step::More => false,
                Step::Done => true,
                Step::DoneBefore if space => true,
                Step::DoneBefore | Step::Bad => return false,
            };
        }
        done
    }

    #[test]
    fn takes_json_and_nothing_else() {
        for good in [
            "{}",
            "[]",
            " [1, 2.5e-3, -0, {\"a\":[null,true,false]}]",
            "\"\\u00e9\\n\"",
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in [
            "{", "[1,]", "{\"a\"}", "{a:1}", "[01]", "[1.]", "\"\n\"", "[tru]", "]",
        ] {
            assert!(!accepts(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde(text in "[\\[\\]{}\",:0-9eE+\\-. tnulrfase\\\\]{0,24}") {
            let known = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(accepts(&text), known, "{}", text);
        }
    }
}
