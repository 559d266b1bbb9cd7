//! The fields of a request's JSON object, taken one by one. Unknown ones are left and ignored,
//! `null` means absent, and a wrong one is refused by its name.

use std::{ops::RangeInclusive, sync::Arc};

use axum::extract::{FromRequest, Request};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use crate::{body, error::ApiError, state::App};

/// Bodies up to here are parsed where they are: a millisecond at most. Larger ones would hold up
/// the other streams of the thread.
const PARSED_INLINE_BYTES: usize = 256 * 1024;

/// The fields not yet taken.
#[derive(Debug)]
pub(crate) struct Fields(Map<String, Value>);

impl FromRequest<Arc<App>> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let body = body::read_json(app, request).await?;
        if body.bytes.len() <= PARSED_INLINE_BYTES {
            return Self::parse(&body.bytes);
        }
        let bytes = body.bytes.clone();
        spawn_blocking(move || Self::parse(&bytes))
            .await
            .map_err(|_| ApiError::internal())?
    }
}

impl Fields {
    /// Parses a body. Nesting is bounded by `serde_json` (128).
    ///
    /// # Errors
    /// 400 for anything but a JSON object.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::invalid("The body must be a JSON object.")),
            Err(error) => {
                let message = format!("The body is not valid JSON: {error}.");
                Err(ApiError::invalid(message))
            }
        }
    }

    /// The fields of an object that is itself a field.
    pub(crate) fn of(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// Takes a field, whatever it is.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a string.
    pub(crate) fn string(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(name, "a string")),
        }
    }

    /// Takes a string that must be there and not be empty.
    pub(crate) fn required_string(&mut self, name: &'static str) -> Result<String, ApiError> {
        self.string(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| missing(name))
    }

    /// Takes a boolean; absent: `false`.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<bool, ApiError> {
        Ok(self.boolean(name)?.unwrap_or(false))
    }

    /// Takes a boolean.
    pub(crate) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(wrong(name, "true or false")),
        }
    }

    /// Takes a whole number within `range`.
    pub(crate) fn integer(
        &mut self,
        name: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let number = whole_number(&value).filter(|n| range.contains(n));
        let refusal = || {
            let (low, high) = (range.start(), range.end());
            match *high {
                i64::MAX => wrong(name, &format!("a whole number of {low} or more")),
                _ => wrong(name, &format!("a whole number from {low} to {high}")),
            }
        };
        number.map(Some).ok_or_else(refusal)
    }

    /// Takes a number within `range`.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<f32>,
    ) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a sampling parameter is a float"
        )]
        let number = value.as_f64().map(|n| n as f32);
        let refusal = || {
            let (low, high) = (range.start(), range.end());
            wrong(name, &format!("a number from {low} to {high}"))
        };
        number
            .filter(|n| range.contains(n))
            .map(Some)
            .ok_or_else(refusal)
    }

    /// Takes an object.
    pub(crate) fn object(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Map<String, Value>>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(wrong(name, "an object")),
        }
    }

    /// Takes an array.
    pub(crate) fn array(&mut self, name: &'static str) -> Result<Option<Vec<Value>>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(wrong(name, "an array")),
        }
    }
}

/// A whole number, also one that was written as `1.0`.
pub(crate) fn whole_number(value: &Value) -> Option<i64> {
    /// Up to here every whole `f64` is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2^53")]
    let exact = |n: f64| (n.fract() == 0.0 && n.abs() <= EXACT).then_some(n as i64);
    match value {
        Value::Number(n) if n.is_f64() => n.as_f64().and_then(exact),
        Value::Number(n) => n.as_i64(),
        _ => None,
    }
}

/// 400: the field must be there.
pub(crate) fn missing(name: &'static str) -> ApiError {
    ApiError::field(name, format!("`{name}` is missing."))
}

/// 400: the field is not what it must be.
pub(crate) fn wrong(name: &'static str, wanted: &str) -> ApiError {
    ApiError::field(name, format!("`{name}` must be {wanted}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn null_is_absent_and_unknown_is_ignored() {
        let mut fields = fields(r#"{"a":null,"b":"x","strange":{"deep":[1]}}"#);
        assert_eq!(fields.string("a").unwrap(), None);
        assert_eq!(fields.string("b").unwrap().as_deref(), Some("x"));
        assert_eq!(fields.string("c").unwrap(), None);
    }

    #[test]
    fn whole_numbers_keep_64_bits() {
        let mut ok = fields(r#"{"a":-9223372036854775808,"b":3.0,"c":9223372036854775807}"#);
        let all = i64::MIN..=i64::MAX;
        assert_eq!(ok.integer("a", all.clone()).unwrap(), Some(i64::MIN));
        assert_eq!(ok.integer("b", all.clone()).unwrap(), Some(3));
        assert_eq!(ok.integer("c", all.clone()).unwrap(), Some(i64::MAX));
        for bad in ["9223372036854775808", "1e300", "1.5", "\"1\"", "true", "[]"] {
            let mut bad = fields(&format!("{{\"a\":{bad}}}"));
            assert!(bad.integer("a", all.clone()).is_err());
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in [
            "",
            "[]",
            "1",
            "{",
            "{\"a\":1e999}",
            "{\"a\":\"\\ud800\"}",
            "null",
        ] {
            assert!(Fields::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Fields::parse(b"{\"a\":\"\xff\"}").is_err());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Fields::parse(deep.as_bytes()).is_err());
    }
}
