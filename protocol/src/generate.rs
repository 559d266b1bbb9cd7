//! Requests for an answer or an embedding, and the events that stream back.
//!
//! It owns the generated messages of `proto/generate.proto`; it knows neither HTTP nor an engine.

#![allow(missing_docs, reason = "generated; documented in proto/generate.proto")]

include!(concat!(env!("OUT_DIR"), "/shoal.generate.v1.rs"));

impl Failure {
    /// A failure that names no field and no time to retry after.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            param: String::new(),
            retry_after_seconds: 0,
        }
    }

    /// The same, with the request's field at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = param.into();
        self
    }

    /// The same, with the seconds after which a retry is worth it.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = seconds;
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
