//! Calls of the functions of 3.0 and 3.2 that are gated. SoftHSM has none of them: the spy in front of it fakes them.

use cryptoki_sys::*;
use pkcs11_table::Function;
use serde_json::{Value, json};

use super::{Case, IV, Keys};
use crate::probe::{TRUE, hex, ulong};

/// What every signature and every ciphertext of the spy reads.
pub const RESULT: [u8; 32] = [0x5e; 32];

/// Inits, and continuations with the init that they go on with.
fn operations(session: u64, keys: &Keys) -> Vec<Case> {
    use Function::*;
    let begin = |mechanism: u64, key: u64, parameter: &str| {
        json!({
            "session": session, "mechanism": mechanism, "key": key, "parameter": parameter,
            "signature": hex(&RESULT)
        })
    };
    let init = |function| {
        let arguments = match function {
            C_MessageEncryptInit | C_MessageDecryptInit => begin(CKM_AES_GCM, keys.aes, ""),
            _ => begin(CKM_SHA256_HMAC, keys.hmac, ""),
        };
        (function, arguments)
    };
    let begins = |function| {
        let (function, arguments) = init(function);
        Case { function, arguments, init: None, answer: CKR_OK }
    };
    let goes_on = |function, after, arguments: Value, answer| {
        let mut arguments = arguments;
        arguments["session"] = session.into();
        arguments["parameter"] = match after {
            // CK_GCM_MESSAGE_PARAMS.
            C_MessageEncryptInit | C_MessageDecryptInit => {
                json!([{ "at": IV }, 12, 96, 0, { "at": IV }, 128])
            }
            _ => json!(""),
        };
        Case { function, arguments, init: Some(init(after)), answer }
    };
    let input = || json!({ "input": hex(&[1; 32]), "associated": hex(&[2; 16]) });
    let data = || json!({ "data": hex(&[1; 32]), "signature": hex(&RESULT), "part": hex(&[1; 32]) });
    // Without a message that was begun, there is none to go on with.
    const NO_MESSAGE: CK_RV = CKR_OPERATION_NOT_INITIALIZED;
    let mut cases = Vec::new();
    for (init, whole, begin, next, last, arguments) in [
        (
            C_MessageEncryptInit,
            C_EncryptMessage,
            C_EncryptMessageBegin,
            C_EncryptMessageNext,
            C_MessageEncryptFinal,
            input(),
        ),
        (
            C_MessageDecryptInit,
            C_DecryptMessage,
            C_DecryptMessageBegin,
            C_DecryptMessageNext,
            C_MessageDecryptFinal,
            input(),
        ),
        (
            C_MessageSignInit,
            C_SignMessage,
            C_SignMessageBegin,
            C_SignMessageNext,
            C_MessageSignFinal,
            input(),
        ),
        (
            C_MessageVerifyInit,
            C_VerifyMessage,
            C_VerifyMessageBegin,
            C_VerifyMessageNext,
            C_MessageVerifyFinal,
            data(),
        ),
    ] {
        cases.push(begins(init));
        cases.push(goes_on(whole, init, arguments.clone(), CKR_OK));
        cases.push(goes_on(begin, init, arguments.clone(), CKR_OK));
        cases.push(goes_on(next, init, arguments, NO_MESSAGE));
        cases.push(goes_on(last, init, json!({}), CKR_OK));
    }
    cases.push(begins(C_VerifySignatureInit));
    for function in [C_VerifySignature, C_VerifySignatureUpdate, C_VerifySignatureFinal] {
        cases.push(goes_on(function, C_VerifySignatureInit, data(), CKR_OK));
    }
    cases
}

/// Uses in one call.
fn uses(session: u64, keys: &Keys) -> Vec<Case> {
    use Function::*;
    let secret = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_GENERIC_SECRET)],
        [CKA_LABEL, hex(b"new")]
    ]);
    let aes = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_AES)],
        [CKA_EXTRACTABLE, TRUE],
        [CKA_LABEL, hex(b"new")]
    ]);
    // As in `super::uses`: the spy wraps and unwraps by the same mechanism.
    let wrapped = "c1e058e041f1849ee4f6dc79bb14bc4bb6d873404ab590e7a046a7826b042769bba0f4d6a9c31cdf";
    // CK_GCM_WRAP_PARAMS.
    let gcm = json!([{ "at": IV }, 12, 96, 0, 0, 0, 128]);
    let case = |function, arguments, answer| Case { function, arguments, init: None, answer };
    let name = hex(b"C_Sign\0");
    vec![
        case(
            C_EncapsulateKey,
            json!({
                "session": session, "mechanism": CKM_ML_KEM, "public_key": keys.rsa_public,
                "template": secret
            }),
            CKR_OK,
        ),
        case(
            C_DecapsulateKey,
            json!({
                "session": session, "mechanism": CKM_ML_KEM, "private_key": keys.rsa,
                "template": secret, "ciphertext": hex(&RESULT)
            }),
            CKR_OK,
        ),
        case(
            C_WrapKeyAuthenticated,
            json!({
                "session": session, "mechanism": CKM_AES_GCM, "parameter": gcm, "wrapping_key": keys.open,
                "key": keys.open, "associated": "00"
            }),
            CKR_OK,
        ),
        case(
            C_UnwrapKeyAuthenticated,
            json!({
                "session": session, "mechanism": CKM_AES_GCM, "parameter": gcm,
                "unwrapping_key": keys.open, "wrapped": wrapped, "template": aes, "associated": "00"
            }),
            CKR_OK,
        ),
        case(C_AsyncComplete, json!({ "session": session, "function": name }), CKR_OPERATION_NOT_INITIALIZED),
        case(C_AsyncGetID, json!({ "session": session, "function": name }), CKR_OPERATION_NOT_INITIALIZED),
        case(C_AsyncJoin, json!({ "session": session, "function": name, "id": 1 }), CKR_SAVED_STATE_INVALID),
        case(
            C_LoginUser,
            json!({ "session": session, "user": CKU_SO, "pin": hex(b"5678"), "username": hex(b"officer") }),
            CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
        ),
    ]
}

/// Calls of every one of them.
pub fn gated(session: u64, keys: &Keys) -> Vec<Case> {
    let mut cases = operations(session, keys);
    cases.extend(uses(session, keys));
    cases
}
