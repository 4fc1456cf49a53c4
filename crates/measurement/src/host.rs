//! Which host, and which boot of it.

use attestation::digest::escape;
use rustix::system::uname;

use crate::error::MeasurementError;
use crate::proc_file::read_proc;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The kernel's boot id: a UUID, new at every boot.
///
/// # Errors
/// [`MeasurementError`] where it cannot be read or is no UUID.
pub fn boot_id() -> Result<String, MeasurementError> {
    let malformed = || MeasurementError::Malformed { path: BOOT_ID.to_owned(), reason: "not a UUID" };
    let text = String::from_utf8(read_proc(BOOT_ID, 64)?).map_err(|_| malformed())?;
    let id = text.strip_suffix('\n').unwrap_or(&text);
    if is_uuid(id) { Ok(id.to_owned()) } else { Err(malformed()) }
}

/// RFC 9562 section 4, in lower case as the kernel writes it.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(position, byte)| match position {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// The host's name as the kernel has it (`uname`), escaped.
///
/// # Errors
/// [`MeasurementError::Malformed`] where none is set.
pub fn host_name() -> Result<String, MeasurementError> {
    match uname().nodename().to_bytes() {
        b"" | b"(none)" => {
            Err(MeasurementError::Malformed { path: "uname".to_owned(), reason: "the host has no name" })
        }
        name => Ok(escape(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_id_is_the_kernels_and_stays() {
        let id = boot_id().unwrap();
        assert_eq!(id, std::fs::read_to_string(BOOT_ID).unwrap().trim_end());
        assert_eq!(id, boot_id().unwrap());
    }

    #[test]
    fn what_is_no_uuid_is_told_apart() {
        assert!(is_uuid("01234567-89ab-cdef-0123-456789abcdef"));
        for text in [
            "",
            "01234567-89ab-cdef-0123-456789abcde",
            "01234567-89ab-cdef-0123-456789abcdef0",
            "01234567-89AB-cdef-0123-456789abcdef",
            "0123456789ab-cdef-0123-456789abcdef--",
            "01234567_89ab_cdef_0123_456789abcdef",
        ] {
            assert!(!is_uuid(text), "{text}");
        }
    }

    #[test]
    fn the_host_name_is_the_kernels() {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(host_name().unwrap(), name.trim_end());
    }
}
