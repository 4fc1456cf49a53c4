//! Decisions: one recorded answer each, and the closed list of reasons for a refusal.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Crockford's base 32: no I, L, O or U, so that an id can be read out over the telephone.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGITS: u32 = 12;

/// Names one decision: `D-` and 12 digits of Crockford's base 32, 60 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId(u64);

/// The text is not a decision id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a decision id is `D-` and 12 digits or capital letters, such as D-7F3K2QW0X4MZ")]
pub struct NotADecisionId;

impl DecisionId {
    /// Makes an id of 64 random bits, of which 60 are used.
    pub const fn from_random(bits: u64) -> Self {
        Self(bits >> 4)
    }

    /// The 60 bits as a number, the form that `CK_SESSION_INFO.ulDeviceError` carries.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("D-")?;
        for position in (0..DIGITS).rev() {
            let digit = usize::try_from((self.0 >> (5 * position)) & 31).map_err(|_| fmt::Error)?;
            let byte = ALPHABET.get(digit).ok_or(fmt::Error)?;
            write!(f, "{}", char::from(*byte))?;
        }
        Ok(())
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DecisionId {
    type Err = NotADecisionId;

    fn from_str(text: &str) -> Result<Self, NotADecisionId> {
        let digits = text.strip_prefix("D-").ok_or(NotADecisionId)?;
        if u32::try_from(digits.len()) != Ok(DIGITS) {
            return Err(NotADecisionId);
        }
        digits
            .bytes()
            .try_fold(0_u64, |number, byte| {
                let digit = ALPHABET.iter().position(|known| *known == byte).ok_or(NotADecisionId)?;
                Ok(number << 5 | u64::try_from(digit).map_err(|_| NotADecisionId)?)
            })
            .map(Self)
    }
}

impl Serialize for DecisionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DecisionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One reason for a refusal, with what it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// A stable code in kebab case, such as `library-unknown`.
    pub code: String,
    /// One sentence for people; strings from evidence in it are escaped.
    pub detail: String,
}

/// A refusal that the gate made by itself, reported with the next request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalDecision {
    /// Made locally, unique over hosts.
    pub id: DecisionId,
    /// Seconds since 1970.
    pub at: u64,
    /// The PKCS#11 function that was refused.
    pub function: String,
    /// The operation's class, as [`crate::grant::Operation::name`] or `unknown`.
    pub operation: String,
    /// The key as an RFC 7512 URI, where one was identified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why.
    pub reason: Reason,
    /// The measurement digest of the process, once it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement: Option<crate::digest::Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        for bits in [0, 1 << 4, u64::MAX, 0x0123_4567_89ab_cdef] {
            let id = DecisionId::from_random(bits);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().len(), 14);
        }
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in
            ["", "D-", "D-7F3K2Q", "D-7f3k2qw0x4mz", "D-IIIIIIIIIIII", "X-000000000000", "D-0000000000000"]
        {
            assert_eq!(text.parse::<DecisionId>(), Err(NotADecisionId), "{text}");
        }
    }
}
