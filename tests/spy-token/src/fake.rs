//! Plausible answers for the functions of 3.x: what was begun must be there, sizes can be asked for, results have fixed
//! bytes, and new keys are real ones of the module behind.

mod keys;
mod messages;
mod sessions;

pub use keys::*;
pub use messages::*;
pub use sessions::*;

use cryptoki_sys::*;

/// What every signature and every ciphertext of a key reads.
const RESULT: [CK_BYTE; 32] = [0x5e; 32];

/// Answers with `bytes`, by the conventions of PKCS#11 2.40 section 5.2; whether they were given out and not only asked for.
///
/// # Safety
/// `output_len` is NULL or a place for a length; `output` is NULL or has as much room as that says.
unsafe fn deliver(bytes: &[CK_BYTE], output: *mut CK_BYTE, output_len: *mut CK_ULONG) -> Result<bool, CK_RV> {
    if output_len.is_null() {
        return Err(CKR_ARGUMENTS_BAD);
    }
    // SAFETY: not NULL, hence a place for a length.
    let room = unsafe { output_len.replace(bytes.len() as CK_ULONG) };
    if output.is_null() {
        return Ok(false);
    }
    if (room as usize) < bytes.len() {
        return Err(CKR_BUFFER_TOO_SMALL);
    }
    // SAFETY: there is room for them.
    unsafe { output.copy_from(bytes.as_ptr(), bytes.len()) };
    Ok(true)
}

/// # Safety
/// `input` is NULL or has `input_len` bytes.
unsafe fn bytes(input: *mut CK_BYTE, input_len: CK_ULONG) -> Vec<CK_BYTE> {
    match input.is_null() {
        true => Vec::new(),
        // SAFETY: by the promise above.
        false => unsafe { core::slice::from_raw_parts(input, input_len as usize) }.to_vec(),
    }
}
