//! Who asks: the request's id and what its headers say about privacy. It knows no route.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
    response::Response,
};
use protocol::generate::Privacy;
use uuid::Uuid;

use crate::{envelope::shown_server, error::ApiError, state::App};

/// Carries the request's id both ways.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names the peer that answered; `local`: this node.
pub(crate) const SERVED_BY: HeaderName = HeaderName::from_static("x-shoal-served-by");
/// How far the request's text may travel.
const PRIVACY: &str = "x-shoal-privacy";
/// A client's own id is taken up to this length (the protocol allows 128, and [`RequestId::generation`] adds to it).
const MAX_ID_BYTES: usize = 96;

/// Tells apart two requests whose clients chose the same id.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// The id of a request, from the header to the last stage.
#[derive(Debug, Clone)]
pub(crate) struct RequestId {
    text: Arc<str>,
    /// Appended for the backend, whose ids must be unique: this one came from a client.
    sequence: Option<u64>,
}

impl RequestId {
    /// The client's own id if it is sane, else a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok());
        match given.filter(|id| is_sane(id)) {
            Some(id) => Self {
                text: id.into(),
                sequence: Some(SEQUENCE.fetch_add(1, Ordering::Relaxed)),
            },
            None => Self {
                text: Uuid::new_v4().simple().to_string().into(),
                sequence: None,
            },
        }
    }

    /// The id that the client sees.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The id of one of its generations: unique in this process, and beginning with the
    /// client's.
    pub(crate) fn generation(&self, choice: usize) -> String {
        use std::fmt::Write;
        let mut id = self.text.to_string();
        if let Some(sequence) = self.sequence {
            let _ = write!(id, ".{sequence:x}");
        }
        if choice > 0 {
            let _ = write!(id, ".{choice}");
        }
        id
    }
}

/// Says on `response` which peer answered, once that is known.
pub(crate) fn note_server(response: &mut Response, served_by: Option<&str>) {
    let Some(peer) = served_by else { return };
    if let Ok(value) = HeaderValue::from_str(shown_server(peer)) {
        response.headers_mut().insert(SERVED_BY, value);
    }
}

fn is_sane(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(plain)
}

/// What every generating route needs of the request's head.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) request_id: RequestId,
    pub(crate) privacy: Privacy,
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        let known = parts.extensions.get::<RequestId>().cloned();
        Ok(Self {
            request_id: known.unwrap_or_else(|| RequestId::of(&parts.headers)),
            privacy: privacy(&parts.headers)?,
        })
    }
}

fn privacy(headers: &HeaderMap) -> Result<Privacy, ApiError> {
    let Some(value) = headers.get(PRIVACY) else {
        return Ok(Privacy::Unspecified);
    };
    match value.as_bytes() {
        b"local" => Ok(Privacy::Local),
        b"trusted" => Ok(Privacy::Trusted),
        b"swarm" => Ok(Privacy::Swarm),
        _ => Err(ApiError::field(
            PRIVACY,
            "The header `x-shoal-privacy` must be local, trusted or swarm.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_made_unique_for_the_backend() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, "abc-1".parse().unwrap());
        let (one, two) = (RequestId::of(&headers), RequestId::of(&headers));
        assert_eq!((one.as_str(), two.as_str()), ("abc-1", "abc-1"));
        assert_ne!(one.generation(0), two.generation(0));
        assert!(one.generation(3).starts_with("abc-1."));
        assert!(one.generation(3).ends_with(".3"));
    }

    #[test]
    fn other_ids_are_replaced() {
        for bad in ["", "a b", "a\tb", &"x".repeat(97)] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, bad.parse().unwrap());
            let id = RequestId::of(&headers);
            assert_eq!(id.as_str().len(), 32);
            assert_eq!(id.generation(0), id.as_str());
        }
    }
}
