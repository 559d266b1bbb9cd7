//! `pattern`: regular expressions, rewritten so that the converter takes them as they are meant
//! and no match breaks out of the JSON string.
//!
//! Every character becomes a class of its own (the converter repeats more than one where an
//! escape comes before, and single bytes of longer characters), what is not anchored gets
//! anything before and after it. Refused: what needs a JSON escape (quotes, backslashes, control
//! characters), look-around, back-references, and anchors inside.

/// Any character that a JSON string holds unescaped.
const ANY: &str = r#"[^"\\\x7F\x00-\x1F]"#;

/// What a negated class leaves out beside its own.
const NEVER: &str = r#""\\\x7F\x00-\x1F"#;

/// Deepest groups.
const MAX_DEPTH: usize = 32;

/// Most repetitions that are counted.
const MAX_REPEATED: u32 = 1000;

/// The pattern that the converter takes for this one.
pub(super) fn canonical(pattern: &str) -> Result<String, String> {
    let mut reader = Reader {
        rest: pattern,
        depth: 0,
    };
    let mut branches = Vec::new();
    loop {
        branches.push(reader.anchored_branch()?);
        if !reader.takes('|') {
            break;
        }
    }
    match reader.rest {
        "" => Ok(format!("^({})$", branches.join("|"))),
        rest => Err(format!("a pattern that is not understood from {rest:?} on")),
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(next)
    }

    fn takes(&mut self, wanted: char) -> bool {
        let taken = self.peek() == Some(wanted);
        if taken {
            self.next();
        }
        taken
    }

    fn anchored_branch(&mut self) -> Result<String, String> {
        let before = if self.takes('^') { "" } else { ANY_TIMES };
        let body = self.sequence()?;
        let after = if self.takes('$') { "" } else { ANY_TIMES };
        Ok(format!("{before}{body}{after}"))
    }

    fn sequence(&mut self) -> Result<String, String> {
        let mut written = String::new();
        while let Some(next) = self.peek() {
            if matches!(next, '|' | ')' | '$') {
                break;
            }
            let atom = self.atom()?;
            let times = self.quantifier()?;
            written.push_str(&atom);
            written.push_str(&times);
        }
        Ok(written)
    }

    fn atom(&mut self) -> Result<String, String> {
        match self.next() {
            Some('.') => Ok(ANY.to_owned()),
            Some('(') => self.group(),
            Some('[') => self.class(),
            Some('\\') => Ok(format!("[{}]", self.escaped()?)),
            Some(c @ ('^' | '*' | '+' | '?' | '{')) => {
                Err(format!("a pattern with `{c}` where it means nothing"))
            }
            Some(c) => Ok(format!("[{}]", member(c)?)),
            None => Err("a pattern that breaks off".into()),
        }
    }

    fn group(&mut self) -> Result<String, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("a pattern with too many groups".into());
        }
        if self.takes('?') && !self.takes(':') {
            return Err("a pattern with look-around or named groups".into());
        }
        let mut branches = vec![self.sequence()?];
        while self.takes('|') {
            branches.push(self.sequence()?);
        }
        if !self.takes(')') {
            return Err("a pattern with an open or an anchored group".into());
        }
        self.depth -= 1;
        Ok(format!("({})", branches.join("|")))
    }

    fn class(&mut self) -> Result<String, String> {
        let negated = self.takes('^');
        let mut members = String::new();
        while !self.takes(']') {
            let from = match self.next() {
                Some('\\') => self.escaped()?,
                Some('-') => "\\-".to_owned(),
                Some(c) => member(c)?,
                None => return Err("a pattern with an open class".into()),
            };
            members.push_str(&from);
            let end = self
                .rest
                .strip_prefix('-')
                .and_then(|rest| rest.chars().next());
            if end.is_some_and(|end| end != ']') {
                self.next();
                let (low, high) = (single(&from)?, self.range_end()?);
                check_range(low, high)?;
                members.push('-');
                members.push_str(&member(high)?);
            }
        }
        match (members.is_empty(), negated) {
            (true, _) => Err("a pattern with an empty class".into()),
            (false, true) => Ok(format!("[^{NEVER}{members}]")),
            (false, false) => Ok(format!("[{members}]")),
        }
    }

    fn range_end(&mut self) -> Result<char, String> {
        match self.next() {
            Some('\\') => single(&self.escaped()?),
            Some(c) => Ok(c),
            None => Err("a pattern with an open class".into()),
        }
    }

    /// What a backslash means, as members of a class.
    fn escaped(&mut self) -> Result<String, String> {
        match self.next() {
            Some('d') => Ok("0-9".into()),
            Some('w') => Ok("A-Za-z0-9_".into()),
            // Of all white space only this can stand in a string as it is and is not rare.
            Some('s') => Ok(" ".into()),
            Some(c) if c.is_ascii_punctuation() => member(c),
            Some(c) => Err(format!("a pattern with `\\{c}`")),
            None => Err("a pattern that breaks off".into()),
        }
    }

    fn quantifier(&mut self) -> Result<String, String> {
        let written = match self.peek() {
            Some(c @ ('*' | '+' | '?')) => {
                self.next();
                c.to_string()
            }
            Some('{') => {
                self.next();
                self.counted()?
            }
            _ => return Ok(String::new()),
        };
        // Lazy: the same strings match.
        self.takes('?');
        match self.peek() {
            Some('*' | '+' | '?' | '{') => Err("a pattern with repeated repetition".into()),
            _ => Ok(written),
        }
    }

    fn counted(&mut self) -> Result<String, String> {
        let bad = || "a pattern with a repetition that is not understood".to_owned();
        let (inside, rest) = self.rest.split_once('}').ok_or_else(bad)?;
        self.rest = rest;
        let number = |text: &str| {
            let number = text.parse::<u32>().ok();
            number.filter(|n| *n <= MAX_REPEATED).ok_or_else(bad)
        };
        match inside.split_once(',') {
            None => {
                let times = number(inside)?;
                Ok(format!("{{{times}}}"))
            }
            Some((least, "")) => Ok(format!("{{{},}}", number(least)?)),
            Some((least, most)) => {
                let (least, most) = (number(least)?, number(most)?);
                match least <= most {
                    true => Ok(format!("{{{least},{most}}}")),
                    false => Err(bad()),
                }
            }
        }
    }
}

/// Anything, any number of times.
const ANY_TIMES: &str = r#"[^"\\\x7F\x00-\x1F]*"#;

/// A character as the member of a class.
fn member(c: char) -> Result<String, String> {
    match c {
        '"' | '\\' => Err(format!("a pattern with `{c}`, which JSON strings escape")),
        c if c < ' ' || c == '\x7f' => Err("a pattern with control characters".into()),
        ']' | '[' | '-' => Ok(format!("\\{c}")),
        // Only at the beginning it would negate.
        '^' => Ok("\\x5E".into()),
        c => Ok(c.to_string()),
    }
}

fn single(member: &str) -> Result<char, String> {
    let text = if member == "\\x5E" { "^" } else { member };
    let mut chars = text.trim_start_matches('\\').chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(c),
        _ => Err("a pattern with a range between classes".into()),
    }
}

/// A range must not hold what JSON strings escape.
fn check_range(low: char, high: char) -> Result<(), String> {
    let within = |c: char| (low..=high).contains(&c);
    if low > high {
        return Err("a pattern with a range upside down".into());
    }
    if low < ' ' || ['"', '\\', '\x7f'].into_iter().any(within) {
        return Err("a pattern with a range over what JSON strings escape".into());
    }
    Ok(())
}
