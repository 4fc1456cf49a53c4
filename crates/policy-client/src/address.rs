//! The policy server's address, and path segments that are safe to append to it.

use ureq::http::Uri;

use crate::error::ClientError;

/// An address such as `https://policy.example:8443`, without a final slash.
#[derive(Clone, Debug)]
pub(crate) struct ServerAddress(String);

impl ServerAddress {
    /// Accepts `https://HOST[:PORT][/PATH]` and nothing more.
    pub(crate) fn parse(url: &str) -> Result<Self, ClientError> {
        let refuse = |why| ClientError::BadAddress { url: url.to_owned(), why };
        let uri: Uri = url.parse().map_err(|_| refuse("it is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(refuse("it must start with https://"));
        }
        let authority = uri.authority().ok_or_else(|| refuse("it names no host"))?;
        if authority.host().is_empty() {
            return Err(refuse("it names no host"));
        }
        if authority.as_str().contains('@') {
            return Err(refuse("it must not hold a user name"));
        }
        if uri.query().is_some() || url.contains('#') {
            return Err(refuse("it must have no query and no fragment"));
        }
        Ok(Self(format!("https://{authority}{}", uri.path().trim_end_matches('/'))))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole address of `path`, which starts with a slash.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

/// Makes one path segment of any text: everything but RFC 3986's unreserved characters is percent-encoded.
///
/// The segments `.` and `..` have a meaning of their own in a path and cannot be encoded away; they come out
/// with their dots encoded, which no server takes for a name.
pub fn segment(text: &str) -> String {
    use core::fmt::Write as _;
    let only_dots = matches!(text, "." | "..");
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'.' if only_dots => out.push_str("%2E"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_loses_its_final_slash() {
        for (url, address) in [
            ("https://policy.example", "https://policy.example"),
            ("https://policy.example:8443/", "https://policy.example:8443"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("https://policy.example/trustshim/", "https://policy.example/trustshim"),
        ] {
            assert_eq!(ServerAddress::parse(url).unwrap().as_str(), address);
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for url in [
            "",
            "policy.example",
            "http://policy.example",
            "https://",
            "https://user:secret@policy.example",
            "https://policy.example/?a=b",
            "https://policy.example/#a",
        ] {
            assert!(matches!(ServerAddress::parse(url), Err(ClientError::BadAddress { .. })), "{url}");
        }
    }

    #[test]
    fn a_segment_cannot_leave_its_place_in_the_path() {
        assert_eq!(segment("nginx-1.24_~"), "nginx-1.24_~");
        assert_eq!(segment("a/../b?c#d%"), "a%2F..%2Fb%3Fc%23d%25");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("é\n"), "%C3%A9%0A");
    }
}
