//! For every function, calls with arguments with which a real module would do its work: use a key, change the token, or
//! answer.

use cryptoki_sys::*;
use pkcs11_table::{Class, Function};
use serde_json::{Value, json};

use crate::probe::{Probe, TRUE, hex, joined, ulong};

mod newer;

/// Handles of objects on the token.
pub struct Keys {
    aes: u64,
    ec: u64,
    hmac: u64,
    open: u64,
    rsa: u64,
    /// The public half of `rsa`.
    rsa_public: u64,
}

/// One call with which a real module would use a key, or change the token, if it got it.
pub struct Case {
    /// The function.
    pub function: Function,
    /// Its arguments.
    pub arguments: Value,
    /// What has to run on the session for it.
    pub init: Option<(Function, Value)>,
    /// What SoftHSM answers, or the spy in front of it.
    pub answer: CK_RV,
}

/// The label of a key that is not sensitive.
pub const SECRET: &str = "open";
const IV: &str = "00000000000000000000000000000000";

/// Makes a key that is not sensitive and can do everything, and one for the grants of somebody who may use no other.
pub fn make_keys(owner: &mut Probe, session: u64) {
    for label in [SECRET, "other"] {
        let template = json!([
            [CKA_CLASS, ulong(CKO_SECRET_KEY)],
            [CKA_KEY_TYPE, ulong(CKK_AES)],
            [CKA_TOKEN, TRUE],
            [CKA_LABEL, hex(label.as_bytes())],
            [CKA_VALUE, hex(&[7; 32])],
            [CKA_EXTRACTABLE, TRUE],
            [CKA_WRAP, TRUE],
            [CKA_UNWRAP, TRUE],
            [CKA_DERIVE, TRUE],
            [CKA_SENSITIVE, "00"]
        ]);
        owner.must("C_CreateObject", json!({ "session": session, "template": template }));
    }
}

/// The handles in this process; of copies that a call has left behind, one is as good as the other.
pub fn keys(probe: &mut Probe, session: u64) -> Keys {
    let mut key = |class, label| probe.find(session, class, label).into_iter().min().expect(label);
    Keys {
        aes: key(CKO_SECRET_KEY, "demo-aes"),
        ec: key(CKO_PRIVATE_KEY, "demo-ec"),
        hmac: key(CKO_SECRET_KEY, "demo-hmac"),
        open: key(CKO_SECRET_KEY, SECRET),
        rsa: key(CKO_PRIVATE_KEY, "demo-rsa"),
        rsa_public: key(CKO_PUBLIC_KEY, "demo-rsa"),
    }
}

/// Inits.
fn inits(session: u64, keys: &Keys) -> Vec<Case> {
    let case = |function, mechanism: u64, key: u64, parameter: &str, answer| Case {
        function,
        arguments: json!({ "session": session, "mechanism": mechanism, "key": key, "parameter": parameter }),
        init: None,
        answer,
    };
    use Function::*;
    vec![
        case(C_SignInit, CKM_ECDSA, keys.ec, "", CKR_OK),
        case(C_SignInit, CKM_RSA_PKCS, keys.rsa, "", CKR_OK),
        case(C_SignInit, CKM_RSA_X_509, keys.rsa, "", CKR_OK),
        case(C_SignInit, CKM_SHA256_HMAC, keys.hmac, "", CKR_OK),
        case(C_SignRecoverInit, CKM_RSA_PKCS, keys.rsa, "", CKR_FUNCTION_NOT_SUPPORTED),
        case(C_DecryptInit, CKM_RSA_PKCS, keys.rsa, "", CKR_OK),
        case(C_DecryptInit, CKM_AES_CBC, keys.aes, IV, CKR_OK),
        case(C_EncryptInit, CKM_AES_CBC, keys.aes, IV, CKR_OK),
        // SoftHSM does not encrypt with private keys.
        case(C_EncryptInit, CKM_RSA_PKCS, keys.rsa, "", CKR_KEY_FUNCTION_NOT_PERMITTED),
        case(C_VerifyInit, CKM_SHA256_HMAC, keys.hmac, "", CKR_OK),
        case(C_VerifyInit, CKM_RSA_PKCS, keys.rsa, "", CKR_KEY_FUNCTION_NOT_PERMITTED),
        case(C_VerifyRecoverInit, CKM_RSA_PKCS, keys.rsa, "", CKR_FUNCTION_NOT_SUPPORTED),
    ]
}

/// Continuations, each with the init that it goes on with; SoftHSM begins none of the recover functions.
fn continuations(session: u64, keys: &Keys) -> Vec<Case> {
    let init = |function, mechanism: u64, key: u64, parameter: &str| {
        let arguments =
            json!({ "session": session, "mechanism": mechanism, "key": key, "parameter": parameter });
        Some((function, arguments))
    };
    let case = |function, arguments: Value, init, answer| Case {
        function,
        arguments: {
            let mut arguments = arguments;
            arguments["session"] = session.into();
            arguments
        },
        init,
        answer,
    };
    let input = || json!({ "input": hex(&[1; 32]) });
    let part = || json!({ "part": hex(&[1; 32]) });
    let signature = || json!({ "data": hex(&[1; 32]), "signature": hex(&[1; 32]) });
    use Function::*;
    let sign = || init(C_SignInit, CKM_SHA256_HMAC, keys.hmac, "");
    let verify = || init(C_VerifyInit, CKM_SHA256_HMAC, keys.hmac, "");
    let encrypt = || init(C_EncryptInit, CKM_AES_CBC, keys.aes, IV);
    let decrypt = || init(C_DecryptInit, CKM_AES_CBC, keys.aes, IV);
    const UNSUPPORTED: CK_RV = CKR_FUNCTION_NOT_SUPPORTED;
    vec![
        case(C_Sign, input(), sign(), CKR_OK),
        case(C_SignUpdate, part(), sign(), CKR_OK),
        case(C_SignFinal, json!({}), sign(), CKR_OK),
        case(C_Decrypt, input(), decrypt(), CKR_OK),
        case(C_DecryptUpdate, input(), decrypt(), CKR_OK),
        case(C_DecryptFinal, json!({}), decrypt(), CKR_OK),
        case(C_Encrypt, input(), encrypt(), CKR_OK),
        case(C_EncryptUpdate, input(), encrypt(), CKR_OK),
        case(C_EncryptFinal, json!({}), encrypt(), CKR_OK),
        case(C_Verify, signature(), verify(), CKR_SIGNATURE_INVALID),
        case(C_VerifyUpdate, part(), verify(), CKR_OK),
        case(C_VerifyFinal, signature(), verify(), CKR_SIGNATURE_INVALID),
        case(C_DigestEncryptUpdate, input(), encrypt(), UNSUPPORTED),
        case(C_DecryptDigestUpdate, input(), decrypt(), UNSUPPORTED),
        // SoftHSM runs one operation at a time, so that two can be begun for neither of these; the gate wants both.
        case(C_SignEncryptUpdate, input(), None, CKR_OPERATION_NOT_INITIALIZED),
        case(C_DecryptVerifyUpdate, input(), None, CKR_OPERATION_NOT_INITIALIZED),
        case(C_SignRecover, input(), None, CKR_OPERATION_NOT_INITIALIZED),
        case(C_VerifyRecover, input(), None, CKR_OPERATION_NOT_INITIALIZED),
    ]
}

/// Uses of a key in one call.
fn uses(session: u64, keys: &Keys) -> Vec<Case> {
    let secret = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_AES)],
        [CKA_EXTRACTABLE, TRUE],
        [CKA_LABEL, hex(b"new")]
    ]);
    let sized = joined(&json!([[CKA_VALUE_LEN, ulong(32)]]), &secret);
    // The key `open` under itself, by `openssl enc -id-aes256-wrap`.
    let wrapped = "c1e058e041f1849ee4f6dc79bb14bc4bb6d873404ab590e7a046a7826b042769bba0f4d6a9c31cdf";
    let case = |function, arguments, answer| Case { function, arguments, init: None, answer };
    use Function::*;
    vec![
        case(
            C_GenerateKey,
            json!({ "session": session, "mechanism": CKM_AES_KEY_GEN, "template": sized }),
            CKR_OK,
        ),
        case(
            C_GenerateKeyPair,
            json!({
                "session": session,
                "mechanism": CKM_EC_KEY_PAIR_GEN,
                "public_template": [[CKA_EC_PARAMS, "06082a8648ce3d030107"]],
                "private_template": [[CKA_LABEL, hex(b"new")]]
            }),
            CKR_OK,
        ),
        case(
            C_WrapKey,
            json!({
                "session": session, "mechanism": CKM_AES_KEY_WRAP, "wrapping_key": keys.open, "key": keys.open
            }),
            CKR_OK,
        ),
        case(
            C_UnwrapKey,
            json!({
                "session": session, "mechanism": CKM_AES_KEY_WRAP, "unwrapping_key": keys.open,
                "wrapped": wrapped, "template": secret
            }),
            CKR_OK,
        ),
        case(
            C_DeriveKey,
            json!({
                "session": session, "mechanism": CKM_AES_ECB_ENCRYPT_DATA, "parameter": [{ "at": hex(&[1; 32]) }, 32],
                "base_key": keys.open, "template": sized
            }),
            CKR_OK,
        ),
        case(C_DigestKey, json!({ "session": session, "key": keys.open }), CKR_OPERATION_NOT_INITIALIZED),
        case(
            C_SetOperationState,
            json!({ "session": session, "state": hex(&[1; 32]), "encryption_key": keys.aes }),
            CKR_FUNCTION_NOT_SUPPORTED,
        ),
        case(
            C_SetOperationState,
            json!({ "session": session, "state": hex(&[1; 32]), "authentication_key": keys.hmac }),
            CKR_FUNCTION_NOT_SUPPORTED,
        ),
    ]
}

/// Uses of objects as such, and of the token.
fn changes(session: u64, slot: u64, keys: &Keys) -> Vec<Case> {
    let case = |function, arguments, answer| Case { function, arguments, init: None, answer };
    let imported = |class: u64, kind: u64| {
        json!([
            [CKA_CLASS, ulong(class)],
            [CKA_KEY_TYPE, ulong(kind)],
            [CKA_VALUE, hex(&[1; 32])],
            [CKA_LABEL, hex(b"new")]
        ])
    };
    let create = |template: Value, answer| (json!({ "session": session, "template": template }), answer);
    use Function::*;
    let mut cases: Vec<_> = [
        create(imported(CKO_SECRET_KEY, CKK_AES), CKR_OK),
        create(imported(CKO_PRIVATE_KEY, CKK_RSA), CKR_ATTRIBUTE_TYPE_INVALID),
        create(imported(CKO_PUBLIC_KEY, CKK_RSA), CKR_ATTRIBUTE_TYPE_INVALID),
        // A vendor's own class, which the gate cannot know.
        create(imported(0x8000_0001, 0), CKR_ATTRIBUTE_VALUE_INVALID),
        create(json!([[CKA_LABEL, hex(b"no class")]]), CKR_TEMPLATE_INCOMPLETE),
    ]
    .into_iter()
    .map(|(arguments, answer)| case(C_CreateObject, arguments, answer))
    .collect();
    for object in [keys.hmac, keys.ec, keys.open] {
        for function in [C_CopyObject, C_SetAttributeValue] {
            let template = match function {
                C_CopyObject => json!([[CKA_LABEL, hex(b"copy")], [CKA_TOKEN, "00"]]),
                _ => json!([[CKA_ID, "77"]]),
            };
            let arguments = json!({ "session": session, "object": object, "template": template });
            cases.push(case(function, arguments, CKR_OK));
        }
    }
    for template in [json!([[CKA_VALUE, 64]]), json!([[CKA_LABEL, 64], [CKA_VALUE, 64]])] {
        let arguments = json!({ "session": session, "object": keys.open, "template": template });
        cases.push(case(C_GetAttributeValue, arguments, CKR_OK));
    }
    cases.extend([
        case(
            C_InitToken,
            json!({ "slot": slot, "pin": hex(b"5678"), "label": hex(format!("{:32}", "sandbox").as_bytes()) }),
            CKR_SESSION_EXISTS,
        ),
        case(C_InitPIN, json!({ "session": session, "pin": hex(b"4321") }), CKR_USER_NOT_LOGGED_IN),
        case(
            C_SetPIN,
            json!({ "session": session, "old_pin": hex(b"1234"), "new_pin": hex(b"1234") }),
            CKR_OK,
        ),
        case(
            C_Login,
            json!({ "session": session, "user": CKU_SO, "pin": hex(b"5678") }),
            CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
        ),
    ]);
    for object in [keys.aes, keys.rsa, keys.open] {
        cases.push(case(C_DestroyObject, json!({ "session": session, "object": object }), CKR_OK));
    }
    cases
}

/// Calls of every function that is gated, the destruction of keys last.
pub fn gated(session: u64, slot: u64, keys: &Keys) -> Vec<Case> {
    let mut cases = inits(session, keys);
    cases.extend(continuations(session, keys));
    cases.extend(uses(session, keys));
    cases.extend(newer::gated(session, keys));
    cases.extend(changes(session, slot, keys));
    for function in Function::ALL {
        let is_gated = !matches!(function.class(), Class::Open | Class::Keyless | Class::Library);
        // Free without an operation; `rules_of_operations.rs` has it with one.
        let is_elsewhere = *function == Function::C_GetOperationState;
        let is_here = cases.iter().any(|case| case.function == *function);
        assert_eq!(is_gated && !is_elsewhere, is_here, "{function}");
    }
    cases
}

/// Calls of every function that is not gated, but for the library's own.
pub fn open(session: u64, slot: u64, keys: &Keys) -> Vec<Case> {
    let on_session = || json!({ "session": session });
    let on_slot = || json!({ "slot": slot });
    use Function::*;
    let calls = [
        (C_GetInfo, json!({})),
        (C_GetSlotList, json!({})),
        (C_GetSlotInfo, on_slot()),
        (C_GetTokenInfo, on_slot()),
        (C_GetMechanismList, on_slot()),
        (C_GetMechanismInfo, json!({ "slot": slot, "mechanism": CKM_ECDSA })),
        (C_OpenSession, json!({ "slot": slot, "flags": CKF_SERIAL_SESSION | CKF_RW_SESSION })),
        (C_GetSessionInfo, on_session()),
        (C_GetObjectSize, json!({ "session": session, "object": keys.aes })),
        (C_FindObjectsInit, json!({ "session": session, "template": [[CKA_LABEL, hex(b"demo-ec")]] })),
        (C_FindObjects, on_session()),
        (C_FindObjectsFinal, on_session()),
        (C_DigestInit, json!({ "session": session, "mechanism": CKM_SHA256 })),
        (C_Digest, json!({ "session": session, "input": "00" })),
        (C_DigestUpdate, json!({ "session": session, "part": "00" })),
        (C_DigestFinal, on_session()),
        (C_SeedRandom, json!({ "session": session, "seed": "00" })),
        (C_GenerateRandom, on_session()),
        (C_GetFunctionStatus, on_session()),
        (C_CancelFunction, on_session()),
        (C_SessionCancel, json!({ "session": session, "flags": CKF_DIGEST | CKF_FIND_OBJECTS })),
        (C_GetSessionValidationFlags, json!({ "session": session, "kind": 1 })),
        (C_WaitForSlotEvent, json!({ "flags": CKF_DONT_BLOCK })),
        (C_Logout, on_session()),
        (C_CloseSession, on_session()),
        (C_CloseAllSessions, on_slot()),
    ];
    let is_there = |function: &Function| calls.iter().any(|(here, _)| here == function);
    for function in Function::ALL {
        let is_open = matches!(function.class(), Class::Open | Class::Keyless);
        assert_eq!(is_open, is_there(function), "{function}");
    }
    let init = |function: Function| match function {
        C_FindObjects | C_FindObjectsFinal => Some((C_FindObjectsInit, on_session())),
        C_Digest | C_DigestUpdate | C_DigestFinal => {
            Some((C_DigestInit, json!({ "session": session, "mechanism": CKM_SHA256 })))
        }
        _ => None,
    };
    let case = |(function, arguments)| Case { function, arguments, init: init(function), answer: CKR_OK };
    calls.into_iter().map(case).collect()
}
