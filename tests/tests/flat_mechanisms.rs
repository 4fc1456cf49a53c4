//! A vendor's mechanisms, of which nobody knows what their parameter holds: they are refused with one that could name a key,
//! unless the configuration calls them flat. Then the parameter arrives as it was given.

use cryptoki_sys::*;
use e2e::probe::FALSE;
use e2e::{Mode, Program, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        a_vendors_mechanism_with_room_for_a_handle_is_refused,
        one_that_is_called_flat_takes_a_grant_and_its_parameter_arrives_byte_for_byte,
    ],
}

/// The spy records the parameter of this one.
const FLAT: u64 = CKM_VENDOR_DEFINED | 0x101;
const DEMO_AES: &str = "pkcs11:token=sandbox;object=demo-aes;type=secret-key";
/// As long as two handles.
const PARAMETER: &str = "0100000000000000fedcba9876543210";

fn flat(text: String) -> String {
    let before = "deny_code = \"function-rejected\"";
    assert!(text.contains(before), "{text}");
    text.replace(before, &format!("{before}\nflat_mechanisms = [\"{FLAT:#x}\", 0x80000102]"))
}

/// Calls of each kind that take a mechanism, with a key or without.
fn calls(session: u64, mechanism: u64, key: u64, parameter: &str) -> [(&'static str, Value); 5] {
    let template = json!([[CKA_TOKEN, FALSE]]);
    let of = |more: Value| {
        let mut call = json!({ "session": session, "mechanism": mechanism, "parameter": parameter });
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call
    };
    [
        ("C_SignInit", of(json!({ "key": key }))),
        ("C_DecryptInit", of(json!({ "key": key }))),
        ("C_EncryptInit", of(json!({ "key": key }))),
        ("C_WrapKey", of(json!({ "wrapping_key": key, "key": key }))),
        ("C_DeriveKey", of(json!({ "base_key": key, "template": template }))),
    ]
}

fn granted<'a>(watched: &'a Watched, name: &str) -> (Program<'a>, u64) {
    let mut program = watched.program(name, &[("pkcs11:token=sandbox", "all")]);
    let key = program.key(CKO_SECRET_KEY, "demo-aes");
    (program, key)
}

fn a_vendors_mechanism_with_room_for_a_handle_is_refused(mode: Mode) {
    let watched = Watched::up(mode);
    let (mut program, key) = granted(&watched, "unknown");
    for (function, call) in calls(program.session, FLAT, key, PARAMETER) {
        program.denied("mechanism-unclear", function, call);
    }
}

fn one_that_is_called_flat_takes_a_grant_and_its_parameter_arrives_byte_for_byte(mode: Mode) {
    let watched = Watched::up_with(mode, flat);
    let (mut program, key) = granted(&watched, "flat");
    let session = program.session;
    let long = "5a".repeat(5000);
    for parameter in [PARAMETER, "00112233445566778899", "0102", &long] {
        for (function, call) in calls(session, FLAT, key, parameter) {
            let mark = program.mark();
            // SoftHSM has no such mechanism.
            program.arrives(CKR_MECHANISM_INVALID, function, call);
            let arrived = program.arrived_since(mark);
            let arrived: Vec<_> = arrived.iter().filter(|call| call.function == function).collect();
            assert_eq!(arrived.len(), 1, "{function}");
            assert_eq!(arrived[0].parameter(), Some(parameter), "{function}");
        }
    }
    // Digests take no key: of those it is only asked whether their parameter can be carried.
    let digest = json!({ "session": session, "mechanism": FLAT, "parameter": PARAMETER });
    program.arrives(CKR_MECHANISM_INVALID, "C_DigestInit", digest);
    let second = CKM_VENDOR_DEFINED | 0x102;
    program.arrives(CKR_MECHANISM_INVALID, "C_SignInit", calls(session, second, key, PARAMETER)[0].1.clone());
    // The others are what they were, those of the standard among them.
    for other in [CKM_VENDOR_DEFINED | 0x100, CKM_VENDOR_DEFINED | 0x103, CKM_KIP_MAC] {
        program.denied("mechanism-unclear", "C_SignInit", calls(session, other, key, PARAMETER)[0].1.clone());
    }
    // Beyond 32 bits there is none, though a module that cuts the number would find one.
    for beyond in [1 << 32 | FLAT, 1 << 32 | CKM_RSA_X_509] {
        for (function, call) in calls(session, beyond, key, PARAMETER) {
            program.never_arrives(CKR_MECHANISM_INVALID, function, call);
        }
    }
    let mut without = watched.program("without", &[(DEMO_AES, "encrypt")]);
    let key = without.key(CKO_SECRET_KEY, "demo-aes");
    let [sign, _, encrypt, ..] = calls(without.session, FLAT, key, PARAMETER);
    without.denied("not-granted", sign.0, sign.1);
    without.arrives(CKR_MECHANISM_INVALID, encrypt.0, encrypt.1);
}
