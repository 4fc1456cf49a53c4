//! Mechanisms by name and number: the one place that would know a table of them.

/// The number of a mechanism that is given as `CKM_` name or as a number, decimal or with `0x`.
pub fn mechanism_number(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    };
    number.ok_or_else(|| {
        format!("{text:?} is no mechanism's number; give it as PKCS#11 has it, such as 0x1041 for CKM_ECDSA")
    })
}

/// How a mechanism is shown.
pub fn mechanism_name(number: u64) -> String {
    format!("{number:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_both_forms_and_shown_in_one() {
        assert_eq!(mechanism_number("0x1041"), Ok(0x1041));
        assert_eq!(mechanism_number(" 4161 "), Ok(0x1041));
        assert_eq!(mechanism_name(0x1041), "0x1041");
        for text in ["", "0x", "-1", "+1", "0x+1", "CKM_NOTHING", "1041h", "99999999999999999999"] {
            assert!(mechanism_number(text).is_err(), "{text}");
        }
    }
}
