//! Calls with one argument that is bad, made from the table of functions: pointers that lead nowhere, handles of nothing or
//! of what is gone, lengths that cannot be, and mechanism parameters of the wrong form.

use cryptoki_sys::*;
use pkcs11_table::Function;
use serde_json::{Value, json};

use crate::every_call::Case;
use crate::probe::hex;

/// The handle of nothing.
const NOWHERE: u64 = 0x7fff_ffff_ffff_0001;
/// `CK_UNAVAILABLE_INFORMATION`: more bytes than there can be.
const ABSURD: u64 = u64::MAX;
/// So many attributes that their size in bytes is a small number again.
const OVERFLOWING: u64 = (1 << 63) / 12 + 1;
/// Bytes that no allocator gives, though a number with a sign holds them.
const HUGE: u64 = 1 << 62;

/// Handles that were good.
#[derive(Clone, Copy)]
pub struct Stale {
    /// Of a session that was closed.
    pub session: u64,
    /// Of an object that was destroyed.
    pub object: u64,
}

/// A call with one bad argument.
pub struct BadCall {
    /// What is bad.
    pub what: String,
    /// All arguments.
    pub arguments: Value,
    /// It states more attributes than there are, so that what comes of it depends on what lies behind them.
    pub counts_beyond_memory: bool,
}

macro_rules! arguments {
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*
    })*) => {
        /// Name and type of each argument.
        pub fn arguments(function: Function) -> &'static [(&'static str, &'static str)] {
            match function {
                $($(Function::$name => &[$((stringify!($argument), stringify!($type))),*]),*),*
            }
        }
    };
}

pkcs11_table::pkcs11_functions!(arguments);

/// The bad calls that a good one gives.
pub fn of(case: &Case, stale: Stale) -> Vec<BadCall> {
    let all = arguments(case.function);
    let mut calls = Calls { good: &case.arguments, made: Vec::new() };
    for (index, (name, kind)) in all.iter().enumerate() {
        // What states how long a buffer is comes right behind it.
        let behind = all.get(index + 1).filter(|(name, _)| name.ends_with("_len") || name.ends_with("count"));
        let length = behind.map(|(name, kind)| (*name, *kind));
        match kind.replace(' ', "").as_str() {
            "CK_SESSION_HANDLE" => calls.handle(name, Some(stale.session)),
            "CK_OBJECT_HANDLE" => calls.handle(name, Some(stale.object)),
            "CK_SLOT_ID" => calls.handle(name, None),
            "CK_ULONG" => calls.number(name),
            "*mutCK_MECHANISM" => calls.mechanism(name),
            "*mutCK_ATTRIBUTE" => calls.template(name, length.expect("a count").0),
            pointer if pointer.starts_with("*mut") || pointer == "CK_VOID_PTR" => calls.pointer(name, length),
            "CK_BBOOL" => calls.add(format!("{name} is 7"), &[(name, 7.into())]),
            "CK_FLAGS" => calls.flags(case.function, name),
            "CK_USER_TYPE" | "CK_MECHANISM_TYPE" | "CK_SESSION_VALIDATION_FLAGS_TYPE" => {
                for number in [0x7fff_ffff, ABSURD] {
                    calls.add(format!("{name} is {number:#x}"), &[(name, number.into())]);
                }
            }
            "CK_NOTIFY" => {}
            other => panic!("{}: nobody knows what a bad {other} is", case.function),
        }
    }
    calls.made
}

struct Calls<'a> {
    good: &'a Value,
    made: Vec<BadCall>,
}

impl Calls<'_> {
    fn add(&mut self, what: String, changes: &[(&str, Value)]) {
        let mut arguments = self.good.clone();
        for (name, value) in changes {
            arguments[name] = value.clone();
        }
        self.made.push(BadCall { what, arguments, counts_beyond_memory: false });
    }

    fn handle(&mut self, name: &str, stale: Option<u64>) {
        for handle in [0, NOWHERE, ABSURD] {
            self.add(format!("{name} is {handle:#x}"), &[(name, handle.into())]);
        }
        if let Some(stale) = stale {
            self.add(format!("{name} is stale"), &[(name, stale.into())]);
        }
    }

    /// A length or count by value.
    fn number(&mut self, name: &str) {
        for (what, number) in [("0", 0), ("absurd", ABSURD), ("huge", HUGE), ("overflowing", OVERFLOWING)] {
            let is_count = name.ends_with("count");
            if number == OVERFLOWING && !is_count {
                continue;
            }
            self.add(format!("{name} is {what}"), &[(name, number.into())]);
            if let Some(made) = self.made.last_mut() {
                made.counts_beyond_memory = is_count && number != 0;
            }
        }
    }

    fn flags(&mut self, function: Function, name: &str) {
        // Without this flag the function waits until something happens.
        let least = if function == Function::C_WaitForSlotEvent { CKF_DONT_BLOCK } else { 0 };
        for (what, flags) in [("none", least), ("all", ABSURD), ("unknown", least | 1 << 40)] {
            self.add(format!("{name} are {what}"), &[(name, flags.into())]);
        }
    }

    /// Any other pointer, with the length or count behind it, by value or by reference.
    fn pointer(&mut self, name: &str, length: Option<(&str, &str)>) {
        self.add(format!("{name} is NULL"), &[(name, Value::Null)]);
        if let Some((length, kind)) = length {
            self.add(format!("{name} is NULL and long"), &[(name, Value::Null), (length, 16.into())]);
            self.add(format!("{name} is NULL and absurd"), &[(name, Value::Null), (length, ABSURD.into())]);
            // What stands behind a pointer says how much room there is: too little of it, which a caller may well state.
            if kind.starts_with('*') {
                for room in [0, 1] {
                    self.add(format!("{name} has room for {room}"), &[(length, room.into())]);
                }
            }
        }
        if name == "label" {
            self.add("the label is no text".into(), &[(name, hex(&[0xff; 32]).into())]);
        }
        if matches!(name, "reserved" | "application") {
            self.add(format!("{name} is not NULL"), &[(name, "00".into())]);
        }
    }

    fn mechanism(&mut self, name: &str) {
        self.add(format!("{name} is NULL"), &[(name, Value::Null)]);
        for unknown in [0x7fff_ffff, CKM_VENDOR_DEFINED | 1, ABSURD] {
            self.add(format!("{name} is {unknown:#x}"), &[(name, unknown.into())]);
        }
        let long = hex(&[0; 4096]);
        for (what, parameter, length) in [
            ("NULL", Value::Null, Some(0)),
            ("NULL and long", Value::Null, Some(16)),
            ("NULL and absurd", Value::Null, Some(ABSURD)),
            ("empty", "00".into(), Some(0)),
            ("of one byte", "00".into(), None),
            ("of four bytes", "00000000".into(), None),
            ("of 4096 bytes", long.into(), None),
            ("of an absurd length", "00".into(), Some(ABSURD)),
        ] {
            let mut changes = vec![("parameter", parameter)];
            changes.extend(length.map(|length| ("parameter_len", length.into())));
            self.add(format!("the parameter is {what}"), &changes);
            // A structure with a handle inside, which the gate looks for.
            changes.push((name, CKM_CONCATENATE_BASE_AND_KEY.into()));
            self.add(format!("the parameter with a handle is {what}"), &changes);
        }
        // Structures that point to nothing.
        for (what, kind, parameter) in [
            ("a GCM parameter without the vector", CKM_AES_GCM, json!([0, 16, 128, 0, 0, 128])),
            (
                "a GCM parameter without the data",
                CKM_AES_GCM,
                json!([{ "at": hex(&[1; 12]) }, 12, 96, 0, 16, 128]),
            ),
            (
                "an OAEP parameter without the label",
                CKM_RSA_PKCS_OAEP,
                json!([CKM_SHA_1, CKG_MGF1_SHA1, 1, 0, 16]),
            ),
            ("an ECDH parameter without the point", CKM_ECDH1_DERIVE, json!([CKD_NULL, 0, 0, 65, 0])),
            ("a string that is not there", CKM_AES_ECB_ENCRYPT_DATA, json!([0, 32])),
        ] {
            self.add(format!("{name} has {what}"), &[(name, kind.into()), ("parameter", parameter)]);
        }
        let changes = [(name, CKM_CONCATENATE_BASE_AND_KEY.into()), ("parameter", json!([NOWHERE]))];
        self.add("the handle in the parameter leads nowhere".into(), &changes);
    }

    fn template(&mut self, name: &str, count: &str) {
        self.add(format!("{name} is NULL"), &[(name, Value::Null), (count, 1.into())]);
        self.add(format!("{name} is NULL and empty"), &[(name, Value::Null)]);
        self.add(format!("{name} is NULL and absurd"), &[(name, Value::Null), (count, ABSURD.into())]);
        self.add(format!("{name} is empty"), &[(name, json!([]))]);
        for (what, attribute) in [
            ("NULL and long", json!([CKA_ID, null, 16])),
            ("NULL and empty", json!([CKA_ID, null, 0])),
            ("NULL and absurd", json!([CKA_ID, null, ABSURD])),
            ("of an absurd length", json!([CKA_ID, 4096, ABSURD])),
            ("of no length", json!([CKA_ID, 16, 0])),
            ("a class of one byte", json!([CKA_CLASS, 1])),
            ("a class that is NULL", json!([CKA_CLASS, null, 8])),
            ("a flag of no byte", json!([CKA_TOKEN, 1, 0])),
            ("a flag that is NULL", json!([CKA_TOKEN, null, 1])),
            ("a flag of two bytes", json!([CKA_PRIVATE, 2])),
            ("of an unknown type", json!([0x7fff_ffff, 16])),
            ("of no type", json!([ABSURD, 16])),
            ("a template of one byte", json!([CKA_WRAP_TEMPLATE, 1])),
        ] {
            self.add(format!("a value of {name} is {what}"), &[(name, json!([attribute]))]);
        }
    }
}
