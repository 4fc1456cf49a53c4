//! Mechanisms as people write them: by the names of the standard, or by number for a vendor's own.

use pkcs11_table::mechanism_by_name;

/// Reads `CKM_ECDSA`, `ECDSA`, `0x1041` or `4161`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn mechanism_number(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None if text.starts_with('+') => None,
        None => text.parse().ok().or_else(|| by_name(text)),
    };
    number.ok_or_else(|| {
        format!(
            "{text:?} is no mechanism: give the name that PKCS#11 has for it, such as CKM_ECDSA, or the number of a vendor's own"
        )
    })
}

/// The prefix may be left out, as `pkcs11-tool` does; capitals do not matter.
fn by_name(text: &str) -> Option<u64> {
    let name = text.to_ascii_uppercase().replace('-', "_");
    mechanism_by_name(&name).or_else(|| mechanism_by_name(&format!("CKM_{name}")))
}

/// How a mechanism is shown.
pub fn mechanism_name(number: u64) -> String {
    pkcs11_table::mechanism_name(number).map_or_else(|| format!("{number:#x}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_read_by_name_and_number_and_shown_by_name() {
        for text in ["CKM_ECDSA", "ECDSA", "ecdsa", "0x1041", "0X1041", " 4161 "] {
            assert_eq!(mechanism_number(text), Ok(0x1041), "{text}");
        }
        assert_eq!(mechanism_number("SHA256-HMAC"), Ok(0x251));
        assert_eq!(mechanism_name(0x1041), "CKM_ECDSA");
        assert_eq!(mechanism_name(0x8000_0001), "0x80000001");
    }

    #[test]
    fn what_is_no_mechanism_is_refused() {
        for text in ["", "CKM_NONE", "0x", "0x+1", "+1", "-1", "0xffffffffffffffffff"] {
            let error = mechanism_number(text).unwrap_err();
            assert!(error.contains("CKM_ECDSA"), "{text}: {error}");
        }
    }
}
