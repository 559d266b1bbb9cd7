//! Who may talk to a loopback server: the defence against DNS rebinding and against pages that
//! post to `localhost`. It knows only the words of `Host` and `Origin`.

use axum::http::{HeaderMap, StatusCode, header};

use crate::{config::WebConfig, error::ApiError};

/// Checks the authority of the request line, every `Host` and every `Origin`.
///
/// # Errors
/// 403 when one of them is neither this machine nor configured.
pub(crate) fn check(
    config: &WebConfig,
    authority: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let hosts_fit = hosts.all(|h| h.to_str().is_ok_and(|h| allows_host(config, h)));
    if !hosts_fit || !authority.is_none_or(|a| allows_host(config, a)) {
        let message = "The `Host` header does not name this machine.";
        return Err(refusal(message, "host_not_allowed"));
    }
    check_origin(config, headers)
}

/// Checks every `Origin`: that of a page of this machine, or one that is configured.
///
/// # Errors
/// 403 when one of them is neither.
pub(crate) fn check_origin(config: &WebConfig, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    if !origins.all(|o| o.to_str().is_ok_and(|o| allows_origin(config, o))) {
        let message = "Pages of this origin may not call this node; its owner can allow it.";
        return Err(refusal(message, "origin_not_allowed"));
    }
    Ok(())
}

fn refusal(message: &str, code: &'static str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, message).with_code(code)
}

fn allows_host(config: &WebConfig, authority: &str) -> bool {
    let Some(name) = name_of(authority) else {
        return false;
    };
    let own = ["localhost", "127.0.0.1", "[::1]"];
    own.iter().any(|own| name.eq_ignore_ascii_case(own))
        || name == bound_name(config)
        || config
            .allowed_hosts
            .iter()
            .any(|allowed| name.eq_ignore_ascii_case(allowed))
}

/// The loopback address itself, for those bound to another one of 127.0.0.0/8.
fn bound_name(config: &WebConfig) -> String {
    match config.listen.ip() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn allows_origin(config: &WebConfig, origin: &str) -> bool {
    if config.cors_origins.iter().any(|allowed| allowed == origin) {
        return true;
    }
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|a| allows_host(config, a))
}

/// The name of `name[:port]`; `None` where the port is none.
fn name_of(authority: &str) -> Option<&str> {
    let name_end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (name, port) = authority.split_at(name_end);
    let is_port = |p: &str| p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit());
    let fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    (fits && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(host: &str, origin: Option<&str>) -> bool {
        let config = WebConfig {
            cors_origins: vec!["https://app.example".to_owned()],
            allowed_hosts: vec!["shoal.test".to_owned()],
            ..WebConfig::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        check(&config, None, &headers).is_ok()
    }

    #[test]
    fn this_machine_under_any_port() {
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:9337",
            "[::1]",
            "[::1]:80",
        ] {
            assert!(allowed(host, None), "{host}");
            assert!(allowed(host, Some(&format!("http://{host}"))), "{host}");
        }
        assert!(allowed("shoal.test:80", None));
    }

    #[test]
    fn strangers_are_refused() {
        let hosts = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:80@evil.example",
            "evil.example:127.0.0.1",
            "[::1]evil.example",
            "127.0.0.1:",
            "",
            ":80",
            "192.0.2.1",
        ];
        for host in hosts.into_iter().filter(|h| *h != "127.0.0.1:") {
            assert!(!allowed(host, None), "{host}");
        }
        let origins = [
            "null",
            "https://evil.example",
            "http://localhost.evil.example",
            "localhost",
            "file://",
            "https://app.example.evil.example",
        ];
        for origin in origins {
            assert!(!allowed("localhost", Some(origin)), "{origin}");
        }
        assert!(allowed("localhost", Some("https://app.example")));
    }

    #[test]
    fn the_request_line_counts_too() {
        let config = WebConfig::default();
        let headers = HeaderMap::new();
        assert!(check(&config, Some("evil.example"), &headers).is_err());
        assert!(check(&config, Some("localhost:9337"), &headers).is_ok());
    }
}
