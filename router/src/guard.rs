//! What is refused by its head alone. There is no authentication yet, and a browser on this host is a program on this
//! host: without these rules any web page could book money through it. A page of another origin names that origin, a
//! page that had its name point to this host names that name, and neither can send JSON without asking first. Pure;
//! used by [`crate::http`] for every request.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};

use crate::error::{Code, Error};

/// Whether a request names this host and nothing else.
pub fn local(parts: &Parts) -> Result<(), Error> {
    let named = parts.uri.authority().map(|authority| authority.as_str());
    let mut hosts = parts.headers.get_all(header::HOST).iter().map(text).chain(named).peekable();
    if hosts.peek().is_none() {
        return Err(Error::malformed("the header Host is missing"));
    }
    if let Some(host) = hosts.find(|host| !is_loopback(host)) {
        return Err(not_loopback("Host", host));
    }
    let mut origins = parts.headers.get_all(header::ORIGIN).iter().map(text);
    let of_loopback =
        |origin: &str| origin.split_once("://").is_some_and(|(_, authority)| is_loopback(authority));
    match origins.find(|origin| !of_loopback(origin)) {
        Some(origin) => Err(not_loopback("Origin", origin)),
        None => Ok(()),
    }
}

fn not_loopback(name: &str, value: &str) -> Error {
    let detail = format!(
        "the header {name} is {value:?}; without authentication only localhost, 127.0.0.0/8 and [::1] are served"
    );
    Error::new(Code::NotLoopback, detail)
}

/// A header's text; what is no text is no host either.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("")
}

/// Whether `host` or `host:port` is this host under one of its own names.
fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => match address.parse::<Ipv6Addr>() {
            Ok(address) if address == Ipv6Addr::LOCALHOST => ("localhost", port),
            _ => return false,
        },
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port =
        port.strip_prefix(':').map_or(port.is_empty(), |digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let is_host = host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    is_host && is_port
}

/// Whether a body is announced as plain JSON in UTF-8.
pub fn json_body(headers: &HeaderMap) -> Result<(), Error> {
    let refused = |detail: String| Err(Error::new(Code::UnsupportedMediaType, detail));
    let mut types = headers.get_all(header::CONTENT_TYPE).iter().map(text);
    match (types.next(), types.next()) {
        (Some(kind), None) if is_json(kind) => {}
        (None, _) => {
            return refused("the header Content-Type is missing; application/json is expected".into());
        }
        (Some(kind), _) => {
            return refused(format!(
                "the body is {kind:?}; application/json in UTF-8 is expected, named once"
            ));
        }
    }
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter().map(text);
    match encodings.find(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        Some(encoding) => refused(format!("the body is encoded as {encoding:?}; a plain body is expected")),
        None => Ok(()),
    }
}

fn is_json(kind: &str) -> bool {
    let mut parts = kind.split(';').map(str::trim);
    let is_utf8 = |parameter: &str| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    };
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.filter(|parameter| !parameter.is_empty()).all(is_utf8)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let start = Request::builder().uri(uri);
        let request = headers.iter().fold(start, |request, (name, value)| request.header(*name, *value));
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn only_this_host_by_its_own_names() {
        let good = [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.255.0.9:65535",
            "[::1]",
            "[::1]:8080",
            "[0:0::1]:1",
        ];
        let bad = [
            "",
            ":80",
            "example.org",
            "localhost.example.org",
            "example.org:127.0.0.1",
            "localhost@example.org",
            "localhost:80@example.org",
            "127.0.0.1.nip.io:8080",
            "128.0.0.1",
            "0.0.0.0:8080",
            "192.168.0.1",
            "[::2]:8080",
            "[::1",
            "[::1]x",
            "[::1]80",
            "[::ffff:10.0.0.1]",
            "::1",
            "localhost/",
        ];
        for host in good {
            assert_eq!(local(&parts("/", &[("host", host)])), Ok(()), "{host}");
            let origin = format!("http://{host}");
            assert_eq!(local(&parts("/", &[("host", "localhost"), ("origin", &origin)])), Ok(()), "{origin}");
        }
        for host in bad {
            let code = |found: Result<(), Error>| found.expect_err(host).code();
            assert_eq!(code(local(&parts("/", &[("host", host)]))), "not_loopback");
            assert_eq!(code(local(&parts("/", &[("host", "localhost"), ("host", host)]))), "not_loopback");
            for origin in [format!("https://{host}"), host.to_string(), "null".into()] {
                let asked = parts("/", &[("host", "localhost"), ("origin", &origin)]);
                assert_eq!(code(local(&asked)), "not_loopback", "{origin}");
            }
        }
        assert_eq!(local(&parts("/", &[])).expect_err("no host").code(), "malformed");
        let elsewhere = parts("http://example.org/", &[("host", "localhost")]);
        assert_eq!(local(&elsewhere).expect_err("another authority").code(), "not_loopback");
    }

    #[test]
    fn only_plain_json() {
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[("content-type", "application/json")], true),
            (&[("content-type", "Application/JSON; charset=UTF-8")], true),
            (&[("content-type", "application/json;charset=\"utf-8\";")], true),
            (&[("content-type", "application/json"), ("content-encoding", "identity")], true),
            (&[], false),
            (&[("content-type", "")], false),
            (&[("content-type", "text/plain")], false),
            (&[("content-type", "text/plain; application/json")], false),
            (&[("content-type", "application/x-www-form-urlencoded")], false),
            (&[("content-type", "application/jsonp")], false),
            (&[("content-type", "application/problem+json")], false),
            (&[("content-type", "application/json; charset=utf-16")], false),
            (&[("content-type", "application/json; boundary=x")], false),
            (&[("content-type", "application/json"), ("content-type", "text/plain")], false),
            (&[("content-type", "application/json"), ("content-encoding", "gzip")], false),
            (&[("content-type", "application/json"), ("content-encoding", "identity, gzip")], false),
        ];
        for (headers, good) in table {
            let found = json_body(&parts("/", headers).headers);
            assert_eq!(
                found.map_err(|error| error.code()),
                good.then_some(()).ok_or("unsupported_media_type"),
                "{headers:?}"
            );
        }
    }
}
