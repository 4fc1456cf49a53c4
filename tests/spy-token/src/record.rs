//! The record: one line per call, `C_SignInit session=3 key=5`, and `@ session 3 slot 7` when a session was opened.

use std::env;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

use cryptoki_sys::*;

/// What of an argument may be recorded.
pub enum Recorded {
    /// A handle, slot, set of flags or count.
    Number(CK_ULONG),
    /// Attributes; their types are recorded, their values never.
    Template(*const CK_ATTRIBUTE),
    /// Anything else that is passed by pointer.
    Nothing,
}

/// An argument of a PKCS#11 function.
pub trait Recordable {
    /// What of it may be recorded.
    fn recorded(&self) -> Recorded;
}

impl Recordable for CK_ULONG {
    fn recorded(&self) -> Recorded {
        Recorded::Number(*self)
    }
}

impl Recordable for *mut CK_ATTRIBUTE {
    fn recorded(&self) -> Recorded {
        Recorded::Template(*self)
    }
}

macro_rules! not_recorded {
    ($($type:ty),*) => {$(
        impl Recordable for $type {
            fn recorded(&self) -> Recorded {
                Recorded::Nothing
            }
        }
    )*};
}

not_recorded!(
    CK_BBOOL,
    CK_NOTIFY,
    CK_VOID_PTR,
    *mut CK_ASYNC_DATA,
    *mut CK_BYTE,
    *mut CK_INFO,
    *mut CK_INTERFACE,
    *mut CK_MECHANISM,
    *mut CK_MECHANISM_INFO,
    *mut CK_SESSION_INFO,
    *mut CK_SLOT_INFO,
    *mut CK_TOKEN_INFO,
    *mut CK_ULONG,
    *mut CK_VERSION,
    *mut *mut CK_FUNCTION_LIST,
    *mut *mut CK_INTERFACE
);

/// Records a call before it is forwarded.
pub fn record(function: &str, arguments: &[(&str, Recorded)]) {
    let mut line = function.to_owned();
    let mut arguments = arguments.iter().peekable();
    while let Some((name, recorded)) = arguments.next() {
        match recorded {
            // The length of a PIN is nobody's business.
            Recorded::Number(number) if !name.ends_with("_len") => {
                let _ = write!(line, " {name}={number}");
            }
            Recorded::Template(template) => {
                if let Some((_, Recorded::Number(count))) = arguments.peek() {
                    let _ = write!(line, " {name}={}", types(*template, *count));
                }
            }
            Recorded::Number(_) | Recorded::Nothing => {}
        }
    }
    append(&line);
}

/// Records that `session` was opened on `slot`.
pub fn record_session(slot: CK_SLOT_ID, session: CK_SESSION_HANDLE) {
    append(&format!("@ session {session} slot {slot}"));
}

fn types(template: *const CK_ATTRIBUTE, count: CK_ULONG) -> String {
    if template.is_null() {
        return "null".to_owned();
    }
    let Ok(count) = usize::try_from(count) else { return "many".to_owned() };
    // SAFETY: PKCS#11 callers state the number of attributes right behind the template.
    let template = unsafe { core::slice::from_raw_parts(template, count) };
    template.iter().map(|attribute| format!("{:#x}", attribute.type_)).collect::<Vec<_>>().join(",")
}

/// In a path that has `%p` in it that is this process. A record that cannot be written would prove nothing: then the process ends here.
fn append(line: &str) {
    let written = env::var("SPY_LOG").is_ok_and(|path| {
        let path = path.replace("%p", &std::process::id().to_string());
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
            .is_ok()
    });
    if !written {
        std::process::abort();
    }
}
