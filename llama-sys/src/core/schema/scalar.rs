//! Constants, strings and numbers.

use serde_json::{Map, Value, json};

use super::polish::{Bounds, NUMBER_MARK};
use super::{Place, Rewritten, SchemaError, alone, count, pattern};

/// Where the schema sets no bound: fifteen digits, which doubles tell apart.
const LARGEST: i64 = 999_999_999_999_999;

/// Longest string that is counted: llama.cpp's limit on repetitions.
const MAX_COUNTED: u64 = 2000;

/// Formats that the converter has grammars for. It knows `uuid1` to `uuid5`, too, but no more of
/// them than of `uuid`.
const FORMATS: &[&str] = &["date", "time", "date-time", "uuid"];

/// `const` and `enum`, of the values that fit the `type` beside them.
pub(super) fn values(entries: &Map<String, Value>, at: &Place) -> Rewritten {
    alone(entries, &["enum", "const", "type"], at)?;
    let listed = match (entries.get("enum"), entries.get("const")) {
        (Some(Value::Array(list)), None) => list.clone(),
        (Some(Value::Array(list)), Some(value)) => {
            list.iter().filter(|v| *v == value).cloned().collect()
        }
        (None, Some(value)) => vec![value.clone()],
        _ => return at.refuse("`enum` is a list"),
    };
    let fitting = |value: &Value| entries.get("type").is_none_or(|ty| is_of(value, ty));
    let values: Vec<Value> = listed.into_iter().filter(fitting).collect();
    if values.is_empty() {
        return at.refuse("nothing satisfies it");
    }
    let marked = |value: &Value| value.as_str().is_some_and(|s| s.starts_with(NUMBER_MARK));
    if values.iter().any(marked) {
        return at.refuse("a value that begins with a reserved character");
    }
    Ok(json!({ "enum": values }))
}

fn is_of(value: &Value, ty: &Value) -> bool {
    let is = |ty: &Value| match ty.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("number") => value.is_number(),
        Some("integer") => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        _ => false,
    };
    match ty {
        Value::Array(types) => types.iter().any(is),
        one => is(one),
    }
}

pub(super) fn string(entries: &Map<String, Value>, at: &Place) -> Rewritten {
    let least = count(entries, "minLength", at)?.unwrap_or(0);
    let most = count(entries, "maxLength", at)?;
    let format = entries.get("format").and_then(Value::as_str);
    let format = format.filter(|format| FORMATS.contains(format));
    let counted = least > 0 || most.is_some();
    if let Some(pattern) = entries.get("pattern") {
        let at = at.below("pattern");
        let Some(pattern) = pattern.as_str() else {
            return at.refuse("a pattern is a string");
        };
        if counted || format.is_some() {
            return at.refuse("a pattern beside a length or a format cannot be enforced");
        }
        let pattern = match pattern::canonical(pattern) {
            Ok(pattern) => pattern,
            Err(what) => return at.refuse(what),
        };
        return Ok(json!({ "type": "string", "pattern": pattern }));
    }
    if let Some(format) = format {
        return match counted {
            true => at.refuse("a length beside a format cannot be enforced"),
            false => Ok(json!({ "type": "string", "format": format })),
        };
    }
    if most.is_some_and(|most| most < least) {
        return at.refuse("nothing satisfies it: `maxLength` is below `minLength`");
    }
    if least > MAX_COUNTED || most.is_some_and(|most| most > MAX_COUNTED) {
        return at.refuse(format!("lengths beyond {MAX_COUNTED} cannot be enforced"));
    }
    let mut written = Map::from_iter([("type".to_owned(), json!("string"))]);
    if least > 0 {
        written.insert("minLength".into(), json!(least));
    }
    if let Some(most) = most {
        written.insert("maxLength".into(), json!(most));
    }
    Ok(Value::Object(written))
}

/// Bounds on both sides or none: the converter's grammars for one bound are wrong (205 and more
/// lets 25 pass, −5 and less lets `-03`).
pub(super) fn integer(entries: &Map<String, Value>, at: &Place) -> Rewritten {
    multiple(entries, &[1.0], at)?;
    let low = bound(entries, ["minimum", "exclusiveMinimum"], at)?;
    let high = bound(entries, ["maximum", "exclusiveMaximum"], at)?;
    if low.is_none() && high.is_none() {
        return Ok(json!({ "type": "integer" }));
    }
    let inwards = |bound: Bound, step: f64| {
        let whole = if step > 0.0 {
            bound.at.ceil()
        } else {
            bound.at.floor()
        };
        whole_number(if bound.open && whole == bound.at {
            whole + step
        } else {
            whole
        })
    };
    let low = low.map_or(-LARGEST, |low| inwards(low, 1.0));
    let high = high.map_or(LARGEST, |high| inwards(high, -1.0));
    if low > high {
        return at.refuse("nothing satisfies it: `maximum` is below `minimum`");
    }
    Ok(json!({ "type": "integer", "minimum": low, "maximum": high }))
}

pub(super) fn number(entries: &Map<String, Value>, at: &Place) -> Rewritten {
    multiple(entries, &[], at)?;
    let low = bound(entries, ["minimum", "exclusiveMinimum"], at)?;
    let high = bound(entries, ["maximum", "exclusiveMaximum"], at)?;
    if low.is_none() && high.is_none() {
        return Ok(json!({ "type": "number" }));
    }
    let fraction = |bound: &Option<Bound>| bound.is_some_and(|b| b.at.fract() != 0.0);
    if fraction(&low) || fraction(&high) {
        return at.refuse("a bound with a fraction cannot be enforced on numbers");
    }
    let bounds = Bounds {
        low: low.map_or(-LARGEST, |b| whole_number(b.at)),
        high: high.map_or(LARGEST, |b| whole_number(b.at)),
        low_open: low.is_some_and(|b| b.open),
        high_open: high.is_some_and(|b| b.open),
    };
    if bounds.low > bounds.high
        || bounds.low == bounds.high && (bounds.low_open || bounds.high_open)
    {
        return at.refuse("nothing satisfies it: `maximum` is below `minimum`");
    }
    Ok(json!({ "enum": [bounds.mark()] }))
}

fn multiple(entries: &Map<String, Value>, kept: &[f64], at: &Place) -> Result<(), SchemaError> {
    let of = entries.get("multipleOf").map(|value| value.as_f64());
    match of {
        None => Ok(()),
        Some(Some(of)) if kept.contains(&of) => Ok(()),
        Some(_) => at.cannot_keep("multipleOf"),
    }
}

/// One side of a range.
#[derive(Debug, Clone, Copy)]
struct Bound {
    at: f64,
    /// The bound itself is outside.
    open: bool,
}

/// The tighter of `minimum` and `exclusiveMinimum`, or of the maxima.
fn bound(
    entries: &Map<String, Value>,
    [closed, open]: [&str; 2],
    at: &Place,
) -> Result<Option<Bound>, SchemaError> {
    let one = |keyword: &str, open: bool| match entries.get(keyword) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|n| n.abs() <= LARGEST as f64) {
            Some(at) => Ok(Some(Bound { at, open })),
            None => at.refuse(format!("`{keyword}` is no number below 1e15")),
        },
    };
    let (Some(closed_bound), Some(open_bound)) = (one(closed, false)?, one(open, true)?) else {
        return Ok(one(closed, false)?.or(one(open, true)?));
    };
    let lower_side = closed == "minimum";
    let open_is_tighter = match lower_side {
        true => open_bound.at >= closed_bound.at,
        false => open_bound.at <= closed_bound.at,
    };
    Ok(Some(if open_is_tighter {
        open_bound
    } else {
        closed_bound
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "whole, and within LARGEST, one step beyond at most"
)]
fn whole_number(number: f64) -> i64 {
    number as i64
}
