//! Looks for secrets in a text before it is signed: what they look like, and where.
//!
//! A note cannot be called back from every peer that has it, so what looks like a secret is
//! refused and what only says who wrote it is warned of. It knows shapes, not whether a token is
//! valid; a secret of no known shape passes.

/// Findings of one text, at most: more say nothing new.
pub const MAX_FINDINGS: usize = 32;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it looks like, with its article.
    pub what: &'static str,
    /// Whether it is only warned of.
    pub is_warning: bool,
    /// The line, from 1.
    pub line: u32,
    /// The character of the line, from 1.
    pub column: u32,
}

/// Something at a place of the text, in bytes.
type Place = (usize, &'static str, bool);

/// Everything in this text that looks like a secret or says who wrote it, in the order of the
/// text. Nothing of the secret itself is in it.
pub fn scrub(text: &str) -> Vec<Finding> {
    let mut places: Vec<Place> = Vec::new();
    let mut at = 0;
    for line in text.split('\n') {
        scan_line(line, at, &mut places);
        at += line.len() + 1;
    }
    // Of one place what is refused.
    places.sort_unstable_by_key(|(at, what, is_warning)| (*at, *is_warning, *what));
    places.dedup_by_key(|(at, ..)| *at);
    // A refusal is worth more than a warning when there are too many.
    places.sort_by_key(|(_, _, is_warning)| *is_warning);
    places.truncate(MAX_FINDINGS);
    places.sort_unstable();
    locate(text, &places)
}

fn scan_line(line: &str, start: usize, places: &mut Vec<Place>) {
    if places.len() > 8 * MAX_FINDINGS {
        return;
    }
    let refusals = [key_block(line), setting(line)];
    let refusals = refusals.into_iter().flatten();
    places.extend(refusals.map(|(at, what)| (start + at, what, false)));
    let tokens = tokens(line).chain(urls(line)).chain(bearers(line));
    places.extend(tokens.map(|(at, what)| (start + at, what, false)));
    let warnings = emails(line).chain(homes(line));
    places.extend(warnings.map(|(at, what)| (start + at, what, true)));
}

/// From bytes to lines and characters, in one walk.
fn locate(text: &str, places: &[Place]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut line, mut column) = (1, 1);
    let mut places = places.iter().peekable();
    for (at, c) in text.char_indices() {
        while let Some((_, what, is_warning)) = places.next_if(|(place, ..)| *place <= at) {
            findings.push(Finding {
                what,
                is_warning: *is_warning,
                line,
                column,
            });
        }
        if c == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
    }
    findings
}

/// A token that says itself what it is.
struct Shape {
    prefix: &'static str,
    /// Characters that follow at least.
    least: usize,
    what: &'static str,
}

const fn shape(prefix: &'static str, least: usize, what: &'static str) -> Shape {
    Shape {
        prefix,
        least,
        what,
    }
}

const GITHUB: &str = "a GitHub token";
const SLACK: &str = "a Slack token";
const STRIPE: &str = "a Stripe key";
const AWS: &str = "an AWS access key";
const SHOAL: &str = "a token of a private swarm";
const MODEL_API: &str = "an API key of a model provider";

/// The well-known ones, the longer prefix before the shorter.
const SHAPES: [Shape; 46] = [
    shape("github_pat_", 22, GITHUB),
    shape("ghp_", 30, GITHUB),
    shape("gho_", 30, GITHUB),
    shape("ghu_", 30, GITHUB),
    shape("ghs_", 30, GITHUB),
    shape("ghr_", 30, GITHUB),
    shape("glpat-", 20, "a GitLab token"),
    shape("gldt-", 20, "a GitLab token"),
    shape("AKIA", 16, AWS),
    shape("ASIA", 16, AWS),
    shape("AIza", 35, "a Google API key"),
    shape("ya29.", 20, "a Google access token"),
    shape("GOCSPX-", 20, "a Google client secret"),
    shape("xoxb-", 10, SLACK),
    shape("xoxp-", 10, SLACK),
    shape("xoxa-", 10, SLACK),
    shape("xoxr-", 10, SLACK),
    shape("xoxs-", 10, SLACK),
    shape("xapp-", 10, SLACK),
    shape("hf_", 30, "a Hugging Face token"),
    shape("npm_", 36, "an npm token"),
    shape("pypi-", 50, "a PyPI token"),
    shape("cio", 32, "a Cargo token"),
    shape("dckr_pat_", 20, "a Docker token"),
    shape("sk_live_", 16, STRIPE),
    shape("sk_test_", 16, STRIPE),
    shape("rk_live_", 16, STRIPE),
    shape("whsec_", 24, STRIPE),
    shape("sk-ant-", 20, MODEL_API),
    shape("sk-proj-", 20, MODEL_API),
    shape("sk-or-", 20, MODEL_API),
    shape("sk-", 32, MODEL_API),
    shape("gsk_", 40, MODEL_API),
    shape("xai-", 40, MODEL_API),
    shape("r8_", 36, MODEL_API),
    shape("pplx-", 40, MODEL_API),
    shape("SG.", 60, "a SendGrid key"),
    shape("dop_v1_", 60, "a DigitalOcean token"),
    shape("shpat_", 30, "a Shopify token"),
    shape("lin_api_", 32, "a Linear key"),
    shape("tskey-", 16, "a Tailscale key"),
    shape("hvs.", 24, "a Vault token"),
    shape("AGE-SECRET-KEY-1", 50, "a private key"),
    shape("shoal1_", 40, SHOAL),
    shape("shoalpass1_", 40, SHOAL),
    shape("eyJ", 40, "a JSON web token"),
];

fn is_token(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.')
}

/// The runs of characters that tokens are made of, with where they begin.
fn runs(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let bytes = line.as_bytes();
        let start = rest + bytes[rest..].iter().position(|c| is_token(*c))?;
        let length = bytes[start..].iter().position(|c| !is_token(*c));
        let end = length.map_or(bytes.len(), |length| start + length);
        rest = end;
        Some((start, &line[start..end]))
    })
}

fn tokens(line: &str) -> impl Iterator<Item = (usize, &'static str)> {
    runs(line).filter_map(|(at, run)| {
        let what = SHAPES.iter().find(|shape| is_shaped(run, shape))?.what;
        Some((at, what))
    })
}

fn is_shaped(run: &str, shape: &Shape) -> bool {
    let Some(rest) = run.strip_prefix(shape.prefix) else {
        return false;
    };
    let rest = rest.trim_end_matches('.');
    match shape.prefix {
        // Upper case only: else a word that begins so would do.
        "AKIA" | "ASIA" => {
            let upper = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit();
            rest.len() == shape.least && rest.bytes().all(upper)
        }
        "cio" => rest.len() == shape.least && is_random(rest),
        "eyJ" => rest.len() >= shape.least && rest.matches('.').count() == 2,
        _ => rest.len() >= shape.least && is_random(rest),
    }
}

/// Whether this is no word: `sk-` begins names of branches too, and examples are written with
/// one letter again and again.
fn is_random(text: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| text.bytes().any(|c| kind(&c));
    let mut seen: Vec<u8> = text.bytes().collect();
    seen.sort_unstable();
    seen.dedup();
    has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) && seen.len() >= 8
}

fn key_block(line: &str) -> Option<(usize, &'static str)> {
    let at = line.find("-----BEGIN ");
    let pem = at.filter(|at| line[*at..].contains("PRIVATE KEY"));
    let putty = line.find("PuTTY-User-Key-File-");
    let at = pem.or(putty)?;
    Some((at, "a private key"))
}

/// `Bearer` and what follows.
fn bearers(line: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let mut is_after = false;
    runs(line).filter_map(move |(at, run)| {
        let is_token = is_after && run.len() >= 20 && is_random(run);
        is_after = run.eq_ignore_ascii_case("bearer");
        is_token.then_some((at, "a bearer token"))
    })
}

/// Addresses that hold a password or are a secret themselves.
fn urls(line: &str) -> impl Iterator<Item = (usize, &'static str)> {
    line.match_indices("://").filter_map(|(at, _)| {
        let rest = &line[at + 3..];
        let hook = ["hooks.slack.com/services/", "discord.com/api/webhooks/"];
        if let Some(path) = hook.iter().find_map(|hook| rest.strip_prefix(hook)) {
            let length = path.bytes().take_while(|c| is_token(*c) || *c == b'/');
            return (length.count() >= 20).then_some((at + 3, "a webhook's address"));
        }
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"'));
        let authority = &rest[..end.unwrap_or(rest.len())];
        let (user, _) = authority.rsplit_once('@')?;
        let (user, password) = user.split_once(':')?;
        let place = at + 3 + user.len() + 1;
        (!is_placeholder(password)).then_some((place, "a password in an address"))
    })
}

/// What stands for a secret in examples.
fn is_placeholder(value: &str) -> bool {
    const WORDS: [&str; 12] = [
        "pass", "password", "passwd", "pw", "secret", "token", "changeme", "example", "none",
        "null", "true", "false",
    ];
    let value = value.trim_matches(|c| matches!(c, '"' | '\'' | '`' | ',' | ';'));
    let plain = value.to_ascii_lowercase();
    let is_filler = |c: char| matches!(c, '*' | 'x' | '.' | '-' | '_' | '•');
    value.starts_with(['$', '<', '{', '%', '['])
        || plain.starts_with("your")
        || plain.chars().all(is_filler)
        || WORDS.contains(&plain.as_str())
}

/// Words in a setting's name after which its value is a secret.
const SECRET_NAMES: [&str; 15] = [
    "secret",
    "password",
    "passwd",
    "passphrase",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "private_key",
    "signing_key",
    "encryption_key",
    "auth_key",
    "credential",
    "database_url",
];

/// A line of an `.env` file or another configuration: a name that says that its value is secret.
fn setting(line: &str) -> Option<(usize, &'static str)> {
    let at = line.find(['=', ':'])?;
    let value = line[at + 1..].trim();
    let name = line[..at].trim();
    let name = name.strip_prefix("export ").unwrap_or(name);
    let name = name
        .trim()
        .trim_matches(|c| matches!(c, '"' | '\'' | '-' | ' '));
    let plain = name.to_ascii_lowercase();
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_word) {
        return None;
    }
    if !SECRET_NAMES.iter().any(|word| plain.contains(word)) {
        return None;
    }
    let is_env = line.as_bytes()[at] == b'=' && !name.bytes().any(|c| c.is_ascii_lowercase());
    let place = at + 1 + (line[at + 1..].len() - line[at + 1..].trim_start().len());
    is_secret_value(value, is_env).then_some((place, "a secret setting"))
}

/// In the form of an `.env` file any value counts; elsewhere, where a colon may end a clause, one
/// that is no prose and no number.
fn is_secret_value(value: &str, is_env: bool) -> bool {
    let value = value.split(" #").next().unwrap_or_default().trim();
    if value.is_empty() || is_placeholder(value) {
        return false;
    }
    let bare = value.trim_matches(|c| matches!(c, '"' | '\'' | '`' | ',' | ';'));
    if is_env {
        return bare.len() >= 4 && bare.bytes().any(|c| c.is_ascii_alphabetic());
    }
    let is_quoted = value.len() != bare.len();
    let has_digit = bare.bytes().any(|c| c.is_ascii_digit());
    let has_letter = bare.bytes().any(|c| c.is_ascii_alphabetic());
    let least = if is_quoted { 8 } else { 12 };
    bare.len() >= least && has_digit && has_letter && !bare.contains([' ', '(', '/'])
}

/// `name@domain.tld`.
fn emails(line: &str) -> impl Iterator<Item = (usize, &'static str)> {
    line.match_indices('@').filter_map(|(at, _)| {
        let is_local = |c: &u8| is_token(*c) || *c == b'+';
        let local = line.as_bytes()[..at]
            .iter()
            .rev()
            .take_while(|c| is_local(c));
        let local = local.count();
        let domain = &line[at + 1..];
        let is_domain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.');
        let length = domain.bytes().take_while(|c| is_domain(*c)).count();
        let domain = domain[..length].trim_end_matches('.');
        let (host, tld) = domain.rsplit_once('.')?;
        let is_tld = tld.len() >= 2 && tld.bytes().all(|c| c.is_ascii_alphabetic());
        (local > 0 && !host.is_empty() && is_tld).then_some((at - local, "an e-mail address"))
    })
}

/// A path that names whose machine it is.
fn homes(line: &str) -> impl Iterator<Item = (usize, &'static str)> {
    const HOMES: [&str; 4] = ["/home/", "/Users/", "\\Users\\", "\\\\Users\\\\"];
    HOMES.into_iter().flat_map(move |home| {
        line.match_indices(home).filter_map(move |(at, _)| {
            let name = line[at + home.len()..].bytes().take_while(|c| is_token(*c));
            (name.count() > 0).then_some((at, "a path of a home folder"))
        })
    })
}

#[cfg(test)]
mod tests;
