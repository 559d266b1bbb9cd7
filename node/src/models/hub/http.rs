//! HTTP as the hub speaks it: the client, what matters of an answer's headers, where a redirect
//! may lead, and errors in words that hold no address.

use std::error::Error as _;
use std::sync::Once;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};

use super::super::core::digest::Sha256;
use super::super::core::transfer::{ContentRange, Head, Trouble};
use super::HubConfig;

pub(super) fn client(config: &HubConfig) -> reqwest::Result<Client> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Another part of the program may have installed one; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = || {
        Client::builder()
            .user_agent(concat!("shoal/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(
                ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            )]))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.connect)
    };
    // A machine without any CA certificate can still fetch over plain HTTP; HTTPS then fails
    // with the certificate named as the cause.
    builder()
        .build()
        .or_else(|_| builder().tls_certs_only([]).build())
}

pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

pub(super) fn redirect_target(from: &Url, response: &Response) -> Result<Url, Trouble> {
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| from.join(location).ok());
    let target = target.ok_or_else(|| Trouble::Connection("a redirect to nowhere".into()))?;
    match (from.scheme(), target.scheme()) {
        (_, "https") | ("http", "http") => Ok(target),
        _ => Err(Trouble::Connection("a redirect away from https".into())),
    }
}

pub(super) fn head_of(response: &Response, linked: Option<Sha256>) -> Head {
    let headers = response.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let strong = |tag: &&str| tag.starts_with('"');
    let linked = linked.or_else(|| linked_sha256(headers));
    Head {
        status: response.status().as_u16(),
        content_length: text("content-length").and_then(|n| n.parse().ok()),
        content_range: text("content-range").and_then(ContentRange::parse),
        etag: text("etag").filter(strong).map(str::to_owned),
        retry_after: text("retry-after")
            .and_then(|n| n.trim().parse().ok())
            .map(Duration::from_secs),
        linked_sha256: linked,
    }
}

pub(super) fn linked_sha256(headers: &HeaderMap) -> Option<Sha256> {
    headers
        .get("x-linked-etag")?
        .to_str()
        .ok()?
        .trim_matches('"')
        .parse()
        .ok()
}

/// What broke, in the words of the innermost cause, without the address: it may be signed.
pub(super) fn trouble(error: &reqwest::Error) -> Trouble {
    Trouble::Connection(describe(error))
}

pub(super) fn describe(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut words = None;
    while let Some(inner) = cause {
        words = Some(inner.to_string());
        cause = inner.source();
    }
    let kind = if error.is_connect() {
        "cannot connect"
    } else {
        "broken off"
    };
    words.map_or_else(|| kind.to_owned(), |words| format!("{kind}: {words}"))
}
