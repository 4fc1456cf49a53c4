//! The size of a page of memory.

use crate::error::LinuxError;

/// Bytes in a page, by which `/proc/self/pagemap` is indexed.
///
/// # Errors
/// [`LinuxError::Range`] for an answer that is no power of two.
pub fn page_size() -> Result<u64, LinuxError> {
    // SAFETY: the call takes a number and touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    match u64::try_from(size) {
        Ok(size) if size.is_power_of_two() => Ok(size),
        _ => Err(LinuxError::Range { call: "sysconf" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_the_auxiliary_vector_says() {
        // SAFETY: the call takes a number.
        let told = unsafe { libc::getauxval(libc::AT_PAGESZ) };
        assert_eq!(page_size().unwrap(), told);
    }
}
