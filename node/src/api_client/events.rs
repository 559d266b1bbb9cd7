//! Reads server-sent events: the `data:` lines of a stream, as JSON, one by one.

use std::marker::PhantomData;

use reqwest::Response;
use serde::de::DeserializeOwned;

use super::{ClientError, broken, one_line};

/// Bytes of one event at most: thousands of times what a token takes.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// The events of a stream.
#[derive(Debug)]
pub struct Events<T> {
    response: Response,
    lines: Lines,
    url: String,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Events<T> {
    pub(super) fn new(response: Response, url: String) -> Self {
        Self {
            response,
            lines: Lines::default(),
            url,
            kind: PhantomData,
        }
    }

    /// The next event; `None`: the stream ended, by `[DONE]` or by itself.
    ///
    /// # Errors
    /// The connection broke, or the node reported an error in mid-stream.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            match self.lines.next() {
                Some(line) => match data(&line) {
                    None => {}
                    Some("[DONE]") => return Ok(None),
                    Some(json) => return self.parse(json).map(Some),
                },
                None => match self.response.chunk().await.map_err(broken)? {
                    Some(bytes) => self
                        .lines
                        .push(&bytes)
                        .map_err(|cause| self.strange(cause))?,
                    None => return Ok(None),
                },
            }
        }
    }

    fn parse(&self, json: &str) -> Result<T, ClientError> {
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|error| self.strange(error))?;
        if let Some(error) = value.get("error").filter(|error| error.is_object()) {
            return Err(ClientError::Refused {
                status: self.response.status().as_u16(),
                code: error["code"].as_str().map(str::to_owned),
                message: one_line(error["message"].as_str().unwrap_or("the answer broke off")),
            });
        }
        serde_json::from_value(value).map_err(|error| self.strange(error))
    }

    fn strange(&self, cause: impl std::fmt::Display) -> ClientError {
        ClientError::Strange {
            url: self.url.clone(),
            cause: cause.to_string(),
        }
    }
}

/// The payload of a `data:` line; other lines (comments, blank ones) have none.
fn data(line: &str) -> Option<&str> {
    line.strip_prefix("data:").map(str::trim)
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    buffer: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        if self.buffer.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err("an event is too large");
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn next(&mut self) -> Option<String> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn payloads_are_data_lines_only() {
        assert_eq!(data("data: {\"a\":1}"), Some("{\"a\":1}"));
        assert_eq!(data("data:[DONE]"), Some("[DONE]"));
        assert_eq!(data(": keep-alive"), None);
        assert_eq!(data(""), None);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut lines = Lines::default();
        assert!(lines.push(&vec![b'x'; MAX_EVENT_BYTES]).is_ok());
        assert!(lines.push(b"x").is_err());
    }

    proptest! {
        /// However the bytes are cut in transit, the lines are the same.
        #[test]
        fn cuts_do_not_matter(text in "[a-zäö\\n]{0,60}", cuts in proptest::collection::vec(1..9usize, 1..40)) {
            let mut lines = Lines::default();
            let mut rest = text.as_bytes();
            let mut found = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (part, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                lines.push(part).unwrap();
                found.extend(std::iter::from_fn(|| lines.next()));
            }
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let expected: Vec<&str> = match text.contains('\n') {
                true => whole.split('\n').collect(),
                false => Vec::new(),
            };
            prop_assert_eq!(found, expected);
        }
    }
}
