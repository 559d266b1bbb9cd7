//! From a TOML value, or the text of a flag or a variable, to a type. It knows no setting.

use std::net::SocketAddr;
use std::time::Duration;

use llama_sys::engine::Speculate;
use protocol::ModelName;
use protocol::ids::ModelNameError;
use toml::Value;

/// Why a value does not fit: a clause that continues "`key` …".
pub(super) type Reason = String;

pub(super) fn text(value: &Value) -> Result<String, Reason> {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| "must be a text that is not empty".into())
}

pub(super) fn switch(value: &Value) -> Result<bool, Reason> {
    match value {
        Value::Boolean(on) => Ok(*on),
        Value::String(text) if matches!(text.as_str(), "true" | "1" | "yes") => Ok(true),
        Value::String(text) if matches!(text.as_str(), "false" | "0" | "no") => Ok(false),
        _ => Err("must be true or false (yes or no)".into()),
    }
}

/// A whole number within bounds.
pub(super) fn number(value: &Value, min: u32, max: u32) -> Result<u32, Reason> {
    let number = match value {
        Value::Integer(number) => u32::try_from(*number).ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

/// Texts: an array, or one text with commas between them.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, Reason> {
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        Value::String(all) => Ok(all
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect()),
        _ => Err("must be an array of texts".into()),
    }
}

/// Seconds as a number, or a number with `ms`, `s`, `m`, `h` or `d`.
pub(super) fn duration(value: &Value) -> Result<Duration, Reason> {
    let reason = || Reason::from("must be a time like \"30s\", \"5m\", \"1h\" or \"7d\"");
    let text = match value {
        Value::Integer(seconds) => seconds.to_string(),
        Value::String(text) => text.clone(),
        _ => return Err(reason()),
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let amount: u64 = digits.parse().map_err(|_| reason())?;
    let millis = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return Err(reason()),
    };
    let total = amount
        .checked_mul(millis)
        .filter(|total| *total <= MAX_MILLIS);
    total.map(Duration::from_millis).ok_or_else(reason)
}

/// A year: beyond it a sum with the clock could overflow, and nobody means it.
const MAX_MILLIS: u64 = 366 * 24 * 3_600_000;

/// Bytes as a number, or a number with `KiB`, `MiB`, `GiB`, `TiB` or `KB`, `MB`, `GB`, `TB`.
pub(super) fn bytes(value: &Value) -> Result<u64, Reason> {
    let reason = || Reason::from("must be a size like \"512MiB\" or \"20GB\"");
    let text = match value {
        Value::Integer(bytes) => bytes.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return Err(reason()),
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let amount: u64 = digits.trim_end().parse().map_err(|_| reason())?;
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(reason()),
    };
    amount.checked_mul(unit).ok_or_else(reason)
}

/// Bytes a second: a size, with or without `/s`, or a number with `kbit`, `Mbit` or `Gbit`, in
/// which lines are sold.
pub(super) fn rate(value: &Value) -> Result<u64, Reason> {
    let reason =
        || Reason::from("must be a rate of 1 KB/s or more, like \"2MB/s\" or \"20Mbit/s\"");
    let rate = match value {
        Value::String(text) => {
            let text = text.trim();
            let text = text.strip_suffix("/s").unwrap_or(text).trim_end();
            bits(text).map_or_else(|| bytes(&Value::String(text.into())), Ok)
        }
        other => bytes(other),
    };
    rate.ok()
        .filter(|rate| (MIN_RATE..=MAX_RATE).contains(rate))
        .ok_or_else(reason)
}

fn bits(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let units = [("kbit", 125), ("mbit", 125_000), ("gbit", 125_000_000)];
    units.into_iter().find_map(|(unit, bytes)| {
        let amount: u64 = lower.strip_suffix(unit)?.trim_end().parse().ok()?;
        amount.checked_mul(bytes)
    })
}

/// Less is no service: whoever wants that serves nobody.
const MIN_RATE: u64 = 1000;

/// A petabyte a second: what an advert may say.
const MAX_RATE: u64 = 1 << 50;

/// A whole number of hundredths, with or without `%`. All of it is no share: whoever wants that
/// serves nobody.
pub(super) fn percent(value: &Value) -> Result<u8, Reason> {
    let text = match value {
        Value::Integer(number) => number.to_string(),
        Value::String(text) => text.trim_end_matches('%').to_owned(),
        _ => String::new(),
    };
    let percent = text.parse().ok().filter(|percent| *percent <= 90);
    percent.ok_or_else(|| "must be a share from 0% to 90%".into())
}

/// Where drafts come from.
pub(super) fn speculate(value: &Value) -> Result<Speculate, Reason> {
    let named = value.as_str().and_then(Speculate::named);
    named.ok_or_else(|| {
        let names = Speculate::ALL.map(|known| format!("`{}`", known.as_str()));
        format!("must be one of {}", names.join(", "))
    })
}

/// Models by their full names.
pub(super) fn models(value: &Value) -> Result<Vec<ModelName>, Reason> {
    let parse = |text: String| {
        let wrong =
            |error: ModelNameError| format!("has `{text}`, which is no model's name: {error}");
        text.parse().map_err(wrong)
    };
    texts(value)?.into_iter().map(parse).collect()
}

/// `ADDR:PORT`; `localhost` stands for 127.0.0.1.
pub(super) fn addr(value: &Value) -> Result<SocketAddr, Reason> {
    let text = text(value)?;
    let numeric = text
        .strip_prefix("localhost:")
        .map_or_else(|| text.clone(), |port| format!("127.0.0.1:{port}"));
    numeric
        .parse()
        .map_err(|_| format!("must be ADDR:PORT like 127.0.0.1:9337, not `{text}`"))
}

/// An `http` or `https` address without a path of its own.
pub(super) fn origin(value: &Value) -> Result<String, Reason> {
    let text = text(value)?;
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(host) if !host.is_empty() => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("must begin with http:// or https://".into()),
    }
}
