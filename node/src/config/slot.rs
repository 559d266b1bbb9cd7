//! How settings are kept in the configuration and shown from it. It knows no setting.

use std::time::Duration;

use toml::Value;

use super::Secret;
use super::value::{self, Reason};

/// What stands for a secret.
const HIDDEN: &str = "(hidden)";

pub(super) fn set<T>(slot: &mut T, value: Result<T, Reason>) -> Result<(), Reason> {
    value.map(|value| *slot = value)
}

pub(super) fn some<T>(slot: &mut Option<T>, value: Result<T, Reason>) -> Result<(), Reason> {
    value.map(|value| *slot = Some(value))
}

pub(super) fn secret(slot: &mut Option<Secret>, value: &Value) -> Result<(), Reason> {
    some(slot, value::text(value).map(Secret::new))
}

pub(super) fn hidden(secret: &Option<Secret>) -> Option<Value> {
    secret.as_ref().and_then(|_| text(HIDDEN))
}

pub(super) fn text(value: impl std::fmt::Display) -> Option<Value> {
    Some(Value::String(value.to_string()))
}

pub(super) fn switch(on: bool) -> Option<Value> {
    Some(Value::Boolean(on))
}

pub(super) fn texts(values: &[String]) -> Option<Value> {
    let values = values.iter().cloned().map(Value::String);
    Some(Value::Array(values.collect()))
}

pub(super) fn all(values: &[impl std::fmt::Display]) -> Option<Value> {
    let values = values.iter().map(|value| Value::String(value.to_string()));
    Some(Value::Array(values.collect()))
}

pub(super) fn number(value: Option<u32>) -> Option<Value> {
    value.map(|value| Value::Integer(value.into()))
}

pub(super) fn bytes(value: Option<u64>) -> Option<Value> {
    value.and_then(|bytes| match i64::try_from(bytes) {
        Ok(bytes) => Some(Value::Integer(bytes)),
        Err(_) => text(bytes),
    })
}

pub(super) fn duration(value: Duration) -> Option<Value> {
    let millis = value.as_millis();
    if millis.is_multiple_of(1000) {
        return text(format!("{}s", millis / 1000));
    }
    text(format!("{millis}ms"))
}
