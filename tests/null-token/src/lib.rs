//! A PKCS#11 module of version 3.2 whose operations cost nothing: it stands in front of the module `NULL_TOKEN_REAL` and
//! forwards every function of 2.40, but answers a few calls by itself, at once, on sessions of the token `NULL_TOKEN_LABEL`.
//!
//! An operation of a software token takes 15 to 500 µs and varies by more than what the gate adds to it, which is
//! fractions of a microsecond. Without the operation the difference remains. Objects, attributes and login stay the real
//! module's, and so does every call on another token, where the attestation key needs real signatures. The functions of 3.x that
//! are not measured are not supported: the module behind, SoftHSM, has none to forward them to.

#![allow(non_snake_case)]

mod lists;

use std::env;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki_sys::*;
use libloading::Library;

/// What every signature reads.
const SIGNATURE: [CK_BYTE; 32] = [0x6e; 32];

/// A ciphertext is longer than its plaintext by the tag of AES-GCM.
const TAG: CK_ULONG = 16;

/// Handles below this can be answered here; a benchmark opens a few sessions, and SoftHSM counts from 1.
const SESSIONS: usize = 1024;

/// Sessions on the token `NULL_TOKEN_LABEL`. A load from here is all that deciding costs.
static ANSWERED_HERE: [AtomicBool; SESSIONS] = [const { AtomicBool::new(false) }; SESSIONS];

/// The functions of the module behind.
struct Real {
    list: *const CK_FUNCTION_LIST,
    /// Never unloaded: `list` points into it.
    _library: Library,
}

// SAFETY: the list is constant for as long as the library is loaded, which is for ever.
unsafe impl Send for Real {}
// SAFETY: as above.
unsafe impl Sync for Real {}

static REAL: OnceLock<Option<Real>> = OnceLock::new();

fn real() -> Option<&'static CK_FUNCTION_LIST> {
    let real = REAL.get_or_init(load).as_ref()?;
    // SAFETY: `load` got the list from the module's own C_GetFunctionList.
    unsafe { real.list.as_ref() }
}

fn load() -> Option<Real> {
    // SAFETY: the benchmark names a PKCS#11 module, whose initialisers are harmless.
    let library = unsafe { Library::new(env::var_os("NULL_TOKEN_REAL")?) }.ok()?;
    let mut list = core::ptr::null_mut();
    // SAFETY: the symbol has this type in every PKCS#11 module (PKCS#11 2.40 section 5.4).
    let rv = unsafe {
        let function: libloading::Symbol<'_, unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
            library.get(b"C_GetFunctionList\0").ok()?;
        function(&raw mut list)
    };
    (rv == CKR_OK && !list.is_null()).then_some(Real { list, _library: library })
}

fn flag(session: CK_SESSION_HANDLE) -> Option<&'static AtomicBool> {
    ANSWERED_HERE.get(usize::try_from(session).ok()?)
}

fn is_answered_here(session: CK_SESSION_HANDLE) -> bool {
    flag(session).is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Whether the token in `slot` is the one whose operations cost nothing.
fn is_null_slot(slot: CK_SLOT_ID) -> bool {
    let Ok(label) = env::var("NULL_TOKEN_LABEL") else { return false };
    let Some(function) = real().and_then(|list| list.C_GetTokenInfo) else { return false };
    let mut info = CK_TOKEN_INFO::default();
    // SAFETY: a place for the answer.
    let rv = unsafe { function(slot, &raw mut info) };
    rv == CKR_OK && info.label.trim_ascii_end() == label.as_bytes()
}

/// Answers with `length` bytes, by the conventions of PKCS#11 2.40 section 5.2.
///
/// # Safety
/// `output_len` is NULL or a place for a length; `output` is NULL or has as much room as that says.
unsafe fn deliver(length: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG) -> CK_RV {
    if output_len.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: not NULL, hence a place for a length.
    let room = unsafe { output_len.replace(length) };
    if output.is_null() {
        return CKR_OK;
    }
    if room < length {
        return CKR_BUFFER_TOO_SMALL;
    }
    let count = SIGNATURE.len().min(usize::try_from(length).unwrap_or(SIGNATURE.len()));
    // SAFETY: there is room for `length` bytes, and `count` is at most that.
    unsafe { output.copy_from_nonoverlapping(SIGNATURE.as_ptr(), count) };
    CKR_OK
}

/// Forwards a call.
macro_rules! forward {
    ($name:ident($($argument:ident),*)) => {
        match real().and_then(|list| list.$name) {
            // SAFETY: the caller's own arguments.
            Some(function) => unsafe { function($($argument),*) },
            None => CKR_GENERAL_ERROR,
        }
    };
}

/// What a function of 3.x answers: this on the token whose operations cost nothing, and nowhere else anything.
macro_rules! only_here {
    ($session:ident, $answer:expr) => {
        if is_answered_here($session) { $answer } else { CKR_FUNCTION_NOT_SUPPORTED }
    };
}

/// The answer to a call: here, where nothing has to be done for it, else the real module's.
macro_rules! answer {
    (V2_40 C_GetFunctionList($list:ident)) => {{
        if $list.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        // SAFETY: the caller gives a place for a pointer; the list is never written to.
        unsafe { *$list = (&raw const lists::FUNCTION_LIST).cast_mut() };
        CKR_OK
    }};
    (V2_40 C_OpenSession($slot:ident, $flags:ident, $application:ident, $notify:ident, $session:ident)) => {{
        let rv = forward!(C_OpenSession($slot, $flags, $application, $notify, $session));
        if rv == CKR_OK {
            // SAFETY: the real module has just written the handle there.
            if let Some(flag) = flag(unsafe { *$session }) {
                flag.store(is_null_slot($slot), Ordering::Relaxed);
            }
        }
        rv
    }};
    (V2_40 C_GetSessionInfo($session:ident, $info:ident)) => {{
        if !is_answered_here($session) {
            return forward!(C_GetSessionInfo($session, $info));
        }
        if $info.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        // SAFETY: the caller gives a place for the structure.
        unsafe { *$info = CK_SESSION_INFO { state: CKS_RW_USER_FUNCTIONS, ..CK_SESSION_INFO::default() } };
        CKR_OK
    }};
    (V2_40 C_GenerateRandom($session:ident, $data:ident, $data_len:ident)) => {{
        if !is_answered_here($session) {
            return forward!(C_GenerateRandom($session, $data, $data_len));
        }
        // Nobody takes it for random: the benchmark alone loads this module.
        if $data.is_null() { CKR_ARGUMENTS_BAD } else { CKR_OK }
    }};
    (V2_40 C_SignInit($session:ident, $mechanism:ident, $key:ident)) => {
        if is_answered_here($session) { CKR_OK } else { forward!(C_SignInit($session, $mechanism, $key)) }
    };
    (V2_40 C_EncryptInit($session:ident, $mechanism:ident, $key:ident)) => {
        if is_answered_here($session) { CKR_OK } else { forward!(C_EncryptInit($session, $mechanism, $key)) }
    };
    (V2_40 C_Sign($session:ident, $input:ident, $input_len:ident, $output:ident, $output_len:ident)) => {{
        if !is_answered_here($session) {
            return forward!(C_Sign($session, $input, $input_len, $output, $output_len));
        }
        // SAFETY: the caller's own arguments.
        unsafe { deliver(SIGNATURE.len() as CK_ULONG, $output, $output_len) }
    }};
    (V2_40 C_Encrypt($session:ident, $input:ident, $input_len:ident, $output:ident, $output_len:ident)) => {{
        if !is_answered_here($session) {
            return forward!(C_Encrypt($session, $input, $input_len, $output, $output_len));
        }
        // SAFETY: the caller's own arguments.
        unsafe { deliver($input_len.saturating_add(TAG), $output, $output_len) }
    }};
    (V2_40 $name:ident($($argument:ident),*)) => {
        forward!($name($($argument),*))
    };
    (V3_0 C_GetInterfaceList($interfaces:ident, $count:ident)) => {
        // SAFETY: the caller's own arguments.
        unsafe { lists::interface_list($interfaces, $count) }
    };
    (V3_0 C_GetInterface($name:ident, $version:ident, $interface:ident, $flags:ident)) => {
        // SAFETY: the caller's own arguments.
        unsafe { lists::interface($name, $version, $interface, $flags) }
    };
    (V3_0 C_MessageEncryptInit($session:ident, $($unread:ident),*)) => {{
        let _ = ($($unread,)*);
        only_here!($session, CKR_OK)
    }};
    (V3_0 C_EncryptMessage(
        $session:ident, $parameter:ident, $parameter_len:ident, $associated:ident, $associated_len:ident,
        $input:ident, $input_len:ident, $output:ident, $output_len:ident
    )) => {{
        let _ = ($parameter, $parameter_len, $associated, $associated_len, $input);
        // The tag has its place in the parameter of the message.
        // SAFETY: the caller's own arguments.
        only_here!($session, unsafe { deliver($input_len, $output, $output_len) })
    }};
    (V3_0 C_MessageEncryptFinal($session:ident)) => {
        only_here!($session, CKR_OK)
    };
    (V3_2 C_VerifySignatureInit($session:ident, $($unread:ident),*)) => {{
        let _ = ($($unread,)*);
        only_here!($session, CKR_OK)
    }};
    (V3_2 C_VerifySignature($session:ident, $($unread:ident),*)) => {{
        let _ = ($($unread,)*);
        only_here!($session, CKR_OK)
    }};
    (V3_2 C_GetSessionValidationFlags($session:ident, $kind:ident, $flags:ident)) => {{
        let _ = $kind;
        if $flags.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        only_here!($session, {
            // SAFETY: the caller gives a place for the flags.
            unsafe { *$flags = 0 };
            CKR_OK
        })
    }};
    ($since:ident $name:ident($($unread:ident),*)) => {{
        let _ = ($($unread,)*);
        CKR_FUNCTION_NOT_SUPPORTED
    }};
}

macro_rules! null {
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*
    })*) => {$($(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
            answer!($since $name($($argument),*))
        }
    )*)*};
}

pkcs11_table::pkcs11_functions!(null);
