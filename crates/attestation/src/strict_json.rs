//! JSON for signed content: one text, one meaning. Duplicate members are refused at every depth, because parsers
//! disagree on which one counts (RFC 8259 section 4); size and depth are bounded.

use core::cell::Cell;
use core::fmt;
use std::collections::HashSet;

use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::digest::escape;

/// Nesting that is accepted; everything that Trustshim signs stays under 10.
pub const MAX_DEPTH: usize = 16;

/// Why a JSON text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum JsonError {
    #[error("the member `{0}` occurs twice in one object")]
    Duplicate(String),
    #[error("not the expected JSON: {0}")]
    Malformed(String),
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("longer than {limit} bytes")]
    TooLong { limit: usize },
}

/// Parses `bytes`, at most `limit` of them, as one JSON text with nothing behind it.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLong { limit });
    }
    check(bytes)?;
    serde_json::from_slice(bytes).map_err(malformed)
}

/// A pass over the text that keeps nothing; the second pass, by the same parser, sees the same members.
fn check(bytes: &[u8]) -> Result<(), JsonError> {
    let fault = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let outcome = Strict { depth: MAX_DEPTH, fault: &fault }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    match fault.take() {
        Some(fault) => Err(fault),
        None => outcome.map_err(malformed),
    }
}

fn malformed(error: serde_json::Error) -> JsonError {
    JsonError::Malformed(escape(error.to_string().as_bytes()))
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    fault: &'a Cell<Option<JsonError>>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(self.refuse(JsonError::TooDeep)),
        }
    }

    fn refuse<E: serde::de::Error>(self, fault: JsonError) -> E {
        let error = E::custom(&fault);
        self.fault.set(Some(fault));
        error
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        // No claim of ours is a fraction, and parsers round fractions differently.
        Err(self.refuse(JsonError::Malformed(format!("{number} is not an integer of 64 bits"))))
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while elements.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value_seed(inner)?;
            if let Some(twice) = seen.replace(name) {
                return Err(self.refuse(JsonError::Duplicate(escape(twice.as_bytes()))));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn refusal(text: &str) -> JsonError {
        parse::<Value>(text.as_bytes(), 1000).expect_err(text)
    }

    #[test]
    fn json_without_traps_is_parsed() {
        let value: Value = parse(br#" {"a":[1,-2,{"b":null,"c":true}],"d":"x"} "#, 1000).unwrap();
        assert_eq!(value["a"][2]["c"], Value::Bool(true));
    }

    #[test]
    fn a_duplicate_is_found_at_every_depth_and_in_every_spelling() {
        assert_eq!(refusal(r#"{"a":1,"a":1}"#), JsonError::Duplicate("a".into()));
        assert_eq!(refusal(r#"{"x":[{"y":{"a":1,"b":2,"a":3}}]}"#), JsonError::Duplicate("a".into()));
        assert_eq!(refusal(r#"{"exp":1,"\u0065xp":2}"#), JsonError::Duplicate("exp".into()));
        assert_eq!(refusal("{\"\":1,\"\":2}"), JsonError::Duplicate(String::new()));
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse::<Value>(nested(MAX_DEPTH).as_bytes(), 1000).is_ok());
        assert_eq!(refusal(&nested(MAX_DEPTH + 1)), JsonError::TooDeep);
        assert_eq!(parse::<Value>(b"[1,2]", 4), Err(JsonError::TooLong { limit: 4 }));
        assert!(parse::<Value>(b"[1,2]", 5).is_ok());
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        for text in ["{} {}", "{},", "1.0", "1e3", "18446744073709551616", "\"\\ud800\"", "", "NaN", "[1,]"] {
            assert!(matches!(refusal(text), JsonError::Malformed(_)), "{text}");
        }
    }
}
