//! The shape of the JSON texts that a request carries: well-formed, an array or an object, so
//! many entries.
//!
//! What the entries mean is the head's business. Nothing is built in memory.

use serde::de::IgnoredAny;

/// Entries of a JSON array; `None` when the text is none.
pub(super) fn array_length(text: &str) -> Option<usize> {
    // The element has no size, so the vector is a counter.
    let entries: Vec<IgnoredAny> = serde_json::from_str(text).ok()?;
    Some(entries.len())
}

/// Whether the text is a JSON object.
pub(super) fn is_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whether the text is a JSON Schema's outermost value: an object, `true` or `false`.
pub(super) fn is_schema(text: &str) -> bool {
    is_object(text) || serde_json::from_str::<bool>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_counted() {
        assert_eq!(array_length("[]"), Some(0));
        assert_eq!(array_length(r#" [1, {"a": [2, 3]}, "x"] "#), Some(3));
        for text in ["", "{}", "[1", "[1] 2", "null", "[nan]"] {
            assert_eq!(array_length(text), None, "{text}");
        }
    }

    #[test]
    fn objects_and_schemas_are_told_apart() {
        assert!(is_object(r#" {"a": 1}"#) && is_schema("{}") && is_schema(" true "));
        assert!(!is_object("[]") && !is_object("{") && !is_schema("1"));
    }

    #[test]
    fn deep_nesting_is_no_stack_overflow() {
        let open = "[".repeat(1 << 20);
        assert_eq!(array_length(&open), None);
        let closed = open + &"]".repeat(1 << 20);
        assert!(array_length(&closed).is_none_or(|length| length == 1));
    }
}
