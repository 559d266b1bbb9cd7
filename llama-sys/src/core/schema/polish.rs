//! Mends what llama.cpp's converter writes: rules that let through what is no JSON, and those
//! that it has no words for. It knows the converter's own rules by their exact text; a test of
//! the engine fails when that changes.

/// Characters of strings: lone surrogates are no text, and JSON readers refuse them. Others are
/// written as themselves.
pub const CHAR: &str = r#"[^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" ([0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))"#;

const CONVERTERS_CHAR: &str = r#"[^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{4})"#;

/// Exponents of sixteen digits are infinite to most readers, an error to others.
const NUMBER: &str = r#"("-"? integral-part) ("." decimal-part)? ([eE] [-+]? [0-9] [0-9]?)?"#;

const CONVERTERS_NUMBER: &str =
    r#"("-"? integral-part) ("." decimal-part)? ([eE] [-+]? integral-part)?"#;

/// Begins the constants that stand for bounded numbers.
pub const NUMBER_MARK: char = '\u{F8FF}';

/// Largest whole part that is given a fraction: beyond it doubles run out of digits.
const LARGEST_WITH_FRACTION: i64 = 999_999_999;

/// Digits of a fraction, at most.
const FRACTION: &str = r#" ("." [0-9]{1,6})?"#;

/// A fraction that is not zero.
const SOME_FRACTION: &str = r#" "." [0-9]{0,5} [1-9]"#;

/// A range of numbers. `low <= high`, both within fifteen digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The lower bound.
    pub low: i64,
    /// The upper bound.
    pub high: i64,
    /// The lower bound is outside.
    pub low_open: bool,
    /// The upper bound is outside.
    pub high_open: bool,
}

impl Bounds {
    /// The constant that stands for the range until [`polish`] finds it.
    #[must_use]
    pub fn mark(self) -> String {
        let Self { low, high, .. } = self;
        let sides = u8::from(self.low_open) + 2 * u8::from(self.high_open);
        format!("{NUMBER_MARK}{low} {high} {sides}")
    }

    fn parse(mark: &str) -> Option<Self> {
        let mut parts = mark.strip_prefix(NUMBER_MARK)?.split(' ');
        let (low, high) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let sides: u8 = parts.next()?.parse().ok()?;
        Some(Self {
            low,
            high,
            low_open: sides & 1 != 0,
            high_open: sides & 2 != 0,
        })
    }

    fn rule(self) -> String {
        let mirrored = Self {
            low: -self.high,
            high: -self.low,
            low_open: self.high_open,
            high_open: self.low_open,
        };
        let negative = mirrored.unsigned().into_iter();
        let negative = negative.map(|branch| format!("\"-\" ({branch})"));
        let branches: Vec<String> = self.unsigned().into_iter().chain(negative).collect();
        branches.join(" | ")
    }

    /// The numbers of the range that need no sign.
    fn unsigned(self) -> Vec<String> {
        let (low, low_open) = match self.low < 0 {
            true => (0, false),
            false => (self.low, self.low_open),
        };
        let mut branches = Vec::new();
        let first = low + i64::from(low_open);
        let last = self.high - i64::from(self.high_open);
        if first <= last {
            branches.push(whole(first, last));
        }
        // Between `n` and `n + 1`, both within the bounds.
        let last = (self.high - 1).min(LARGEST_WITH_FRACTION);
        if low <= last {
            let fraction = if low_open { SOME_FRACTION } else { FRACTION };
            branches.push(format!("({}){fraction}", whole(low, last)));
        }
        branches
    }
}

/// The decimal numbers from `low` to `high`, neither negative.
fn whole(low: i64, high: i64) -> String {
    let mut branches = Vec::new();
    let (mut from, last) = (low.to_string(), high.to_string());
    while from.len() < last.len() {
        let nines = "9".repeat(from.len());
        branches.push(same_length(from.as_bytes(), nines.as_bytes()));
        from = format!("1{}", "0".repeat(nines.len()));
    }
    branches.push(same_length(from.as_bytes(), last.as_bytes()));
    branches.join(" | ")
}

fn same_length(low: &[u8], high: &[u8]) -> String {
    let ([first, low @ ..], [last, high @ ..]) = (low, high) else {
        return String::new();
    };
    let digits = low.len();
    let full = low.iter().all(|d| *d == b'0') && high.iter().all(|d| *d == b'9');
    let any = match digits {
        0 => String::new(),
        _ => format!(" [0-9]{{{digits}}}"),
    };
    if full {
        return format!("{}{any}", digit(*first, *last));
    }
    if first == last {
        return format!("{} ({})", digit(*first, *last), same_length(low, high));
    }
    let nines = vec![b'9'; digits];
    let zeros = vec![b'0'; digits];
    let mut branches = vec![format!(
        "{} ({})",
        digit(*first, *first),
        same_length(low, &nines)
    )];
    if first + 1 < *last {
        branches.push(format!("{}{any}", digit(first + 1, last - 1)));
    }
    branches.push(format!(
        "{} ({})",
        digit(*last, *last),
        same_length(&zeros, high)
    ));
    format!("({})", branches.join(" | "))
}

fn digit(from: u8, to: u8) -> String {
    match from == to {
        true => format!("[{}]", char::from(from)),
        false => format!("[{}-{}]", char::from(from), char::from(to)),
    }
}

/// The grammar as it is used.
#[must_use]
pub fn polish(gbnf: &str) -> String {
    let mut polished = String::with_capacity(gbnf.len() + gbnf.len() / 8);
    for line in gbnf.lines() {
        match line.split_once(" ::= ") {
            Some((name, content)) => {
                polished.push_str(name);
                polished.push_str(" ::= ");
                polished.push_str(&rule(content));
            }
            None => polished.push_str(line),
        }
        polished.push('\n');
    }
    polished
}

fn rule(content: &str) -> String {
    match content {
        CONVERTERS_CHAR => CHAR.to_owned(),
        CONVERTERS_NUMBER => NUMBER.to_owned(),
        // Names that are not one of some: the letter that differs must not end the string.
        _ if content.starts_with("[\"] ( ") => content.replace("[^\"", r#"[^"\\\x7F\x00-\x1F"#),
        _ => content
            .strip_prefix(r#"("\""#)
            .and_then(|rest| rest.strip_suffix(r#"\"")"#))
            .and_then(Bounds::parse)
            .map_or_else(|| content.to_owned(), Bounds::rule),
    }
}
