//! The error object of the API and its statuses. It knows what went wrong, not where.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::generate::{ErrorCode, Failure};
use serde::Serialize;

/// Seconds after which a retry is proposed where the failure names none.
const DEFAULT_RETRY_AFTER_SECONDS: u32 = 2;

/// A refusal, as the client sees it: a status and
/// `{"error": {"message", "type", "param", "code"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<Cow<'static, str>>,
    message: String,
    retry_after_seconds: Option<u32>,
}

impl ApiError {
    /// Any refusal; the rest of the fields by the `with_…` methods.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: kind_of(status),
            code: None,
            param: None,
            message: message.into(),
            retry_after_seconds: None,
        }
    }

    /// 400: the request makes no sense.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 for one field of the request.
    pub(crate) fn field(param: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::invalid(message).with_param(param)
    }

    /// 500 without any detail.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The node failed; its log says why.",
        )
        .with_code("internal_error")
    }

    #[must_use]
    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    #[must_use]
    pub(crate) fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    #[must_use]
    pub(crate) fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The HTTP status.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What happened and what to do, in one line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The machine-readable code, if there is one.
    pub(crate) fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// The JSON body.
    pub(crate) fn body(&self) -> ErrorBody<'_> {
        ErrorBody {
            error: ErrorObject {
                message: &self.message,
                kind: self.kind,
                param: self.param.as_deref(),
                code: self.code,
            },
        }
    }
}

/// `{"error": …}`, as a whole answer and as the last event of a stream.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorObject<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

fn kind_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 => "service_unavailable_error",
        _ => "server_error",
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What a failure's code means in HTTP: status, code, and whether a retry is worth it.
fn meaning(code: ErrorCode) -> (StatusCode, Option<&'static str>, bool) {
    use StatusCode as S;
    match code {
        ErrorCode::InvalidRequest => (S::BAD_REQUEST, None, false),
        ErrorCode::ModelNotFound => (S::NOT_FOUND, Some("model_not_found"), false),
        ErrorCode::ContextLengthExceeded => {
            (S::BAD_REQUEST, Some("context_length_exceeded"), false)
        }
        ErrorCode::Unsupported => (S::BAD_REQUEST, Some("unsupported"), false),
        ErrorCode::Privacy => (S::FORBIDDEN, Some("privacy"), false),
        ErrorCode::Overloaded => (S::SERVICE_UNAVAILABLE, Some("overloaded"), true),
        ErrorCode::Loading => (S::SERVICE_UNAVAILABLE, Some("model_loading"), true),
        ErrorCode::NoPeer => (S::SERVICE_UNAVAILABLE, Some("no_peer"), true),
        ErrorCode::WorkerLost => (S::SERVICE_UNAVAILABLE, Some("worker_lost"), true),
        ErrorCode::ShuttingDown => (S::SERVICE_UNAVAILABLE, Some("shutting_down"), true),
        ErrorCode::LoadFailed => (S::INTERNAL_SERVER_ERROR, Some("model_load_failed"), false),
        ErrorCode::Internal | ErrorCode::Unspecified => {
            (S::INTERNAL_SERVER_ERROR, Some("internal_error"), false)
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let (status, code, retry) = meaning(failure.code());
        let mut error = Self::new(status, failure.message);
        error.code = code;
        error.param = (!failure.param.is_empty()).then_some(Cow::Owned(failure.param));
        if retry || failure.retry_after_seconds > 0 {
            let seconds = match failure.retry_after_seconds {
                0 => DEFAULT_RETRY_AFTER_SECONDS,
                named => named,
            };
            error.retry_after_seconds = Some(seconds);
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_there_and_null_where_unused() {
        let json = serde_json::to_string(&ApiError::invalid("no").body()).unwrap();
        assert_eq!(
            json,
            r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}"#
        );
    }

    #[test]
    fn failures_keep_their_meaning() {
        let cases = [
            (ErrorCode::InvalidRequest, 400, false),
            (ErrorCode::ModelNotFound, 404, false),
            (ErrorCode::ContextLengthExceeded, 400, false),
            (ErrorCode::Unsupported, 400, false),
            (ErrorCode::Overloaded, 503, true),
            (ErrorCode::Loading, 503, true),
            (ErrorCode::LoadFailed, 500, false),
            (ErrorCode::NoPeer, 503, true),
            (ErrorCode::WorkerLost, 503, true),
            (ErrorCode::ShuttingDown, 503, true),
            (ErrorCode::Internal, 500, false),
            (ErrorCode::Privacy, 403, false),
        ];
        for (code, status, retry) in cases {
            let response = ApiError::from(Failure::new(code, "m")).into_response();
            assert_eq!(response.status().as_u16(), status, "{code:?}");
            assert_eq!(
                response.headers().contains_key(header::RETRY_AFTER),
                retry,
                "{code:?}"
            );
        }
    }

    #[test]
    fn a_named_retry_time_is_kept() {
        let failure = Failure::new(ErrorCode::Loading, "m").with_retry_after(17);
        let response = ApiError::from(failure).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "17");
    }
}
