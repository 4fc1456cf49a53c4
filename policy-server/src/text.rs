//! Rules for text that comes from outside: what a name may be, and how long and how printable the rest is.

use attestation::digest;

use crate::error::ServerError;

/// Longest name of a component or version, in characters.
const MAX_NAME: usize = 64;
/// Longest host name (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 253;

/// Whether `text` may name a component or a version: 1 to 64 of `[A-Za-z0-9._+-]`.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

/// Checks names by [`is_name`]; each comes with the word for what it names.
///
/// # Errors
/// [`ServerError::Malformed`].
pub fn check_names<const N: usize>(names: [(&str, &String); N]) -> Result<(), ServerError> {
    match names.into_iter().find(|(_, name)| !is_name(name)) {
        Some((what, _)) => {
            Err(ServerError::Malformed(format!("`{what}` must be 1 to {MAX_NAME} of A-Z a-z 0-9 . _ + -")))
        }
        None => Ok(()),
    }
}

/// Whether `text` may name a host: 1 to 253 of `[A-Za-z0-9._-]`.
pub fn is_host_name(text: &str) -> bool {
    (1..=MAX_HOST).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether all of `text` is printable as it stands, as [`digest::escape`] leaves it.
pub fn is_escaped(text: &str) -> bool {
    escaped(text) == text
}

fn escaped(text: &str) -> String {
    text.split('\\').map(|part| digest::escape(part.as_bytes())).collect::<Vec<_>>().join("\\")
}

/// Makes text printable and at most `max` characters long; what was cut off is marked by `…`.
///
/// A backslash stays as it is, because text from evidence is escaped already.
pub fn bounded(text: &str, max: usize) -> String {
    let printable = escaped(text);
    match printable.char_indices().nth(max) {
        None => printable,
        Some(_) => printable.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_narrow() {
        for name in ["a", "nginx-1.22.1", "A_b+c", &"x".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn bounded_text_is_printable_and_short() {
        assert_eq!(bounded("a\u{1b}[2J", 99), r"a\x1b[2J");
        assert_eq!(bounded(r"/tmp/\xff", 99), r"/tmp/\xff");
        assert!(is_escaped(r"/tmp/\xff\\ä") && !is_escaped("/tmp/\u{202e}"));
        assert_eq!(bounded("äöü", 3), "äöü");
        assert_eq!(bounded("äöüß", 3), "äö…");
    }
}
