//! For every function that is not open: what the gate denies never reaches the real module, and what it permits does, once.
//! The spy token, which stands in the real module's place, has it on record.

use cryptoki_sys::*;
use e2e::probe::{TRUE, hex, joined, ulong};
use e2e::{Program, Watched};
use pkcs11_table::{Class, Function};
use serde_json::{Value, json};

/// Handles of objects on the token.
struct Keys {
    aes: u64,
    ec: u64,
    hmac: u64,
    open: u64,
    rsa: u64,
}

/// One call with which a real module would use a key, or change the token, if it got it.
struct Case {
    function: Function,
    arguments: Value,
    /// What has to run on the session for it.
    init: Option<(Function, Value)>,
    /// What SoftHSM answers.
    answer: CK_RV,
}

const WHOLE_TOKEN: &str = "pkcs11:token=sandbox";
const SECRET: &str = "open";
const IV: &str = "00000000000000000000000000000000";

/// Makes a key that is not sensitive and can do everything, and one for the grants of somebody who may use no other.
fn make_keys(watched: &Watched) {
    let (mut owner, session) = watched.owner();
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

fn keys(program: &mut Program<'_>) -> Keys {
    Keys {
        aes: program.key(CKO_SECRET_KEY, "demo-aes"),
        ec: program.key(CKO_PRIVATE_KEY, "demo-ec"),
        hmac: program.key(CKO_SECRET_KEY, "demo-hmac"),
        open: program.key(CKO_SECRET_KEY, SECRET),
        rsa: program.key(CKO_PRIVATE_KEY, "demo-rsa"),
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

/// Every case, the destruction of keys last; together they are every function that is gated.
fn cases(session: u64, slot: u64, keys: &Keys) -> Vec<Case> {
    let mut cases = inits(session, keys);
    cases.extend(continuations(session, keys));
    cases.extend(uses(session, keys));
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

/// Every case is denied for `reason`; of a continuation there is nothing to go on with.
fn assert_all_is_denied(program: &mut Program<'_>, reason: &str) {
    let (keys, slot) = (keys(program), program.probe.slot("sandbox").unwrap());
    for Case { function, arguments, .. } in cases(program.session, slot, &keys) {
        match function.class() {
            Class::Continue(_) | Class::Dual(..) => {
                program.never_arrives(CKR_OPERATION_NOT_INITIALIZED, function.name(), arguments);
            }
            _ => program.denied(reason, function.name(), arguments),
        }
    }
    assert_nothing_has_changed(program);
}

#[test]
fn no_call_of_an_unapproved_program() {
    let watched = Watched::up();
    make_keys(&watched);
    assert_all_is_denied(&mut watched.started("unapproved"), "executable-unknown");
}

#[test]
fn no_call_of_a_program_that_may_use_another_key_for_everything() {
    let watched = Watched::up();
    make_keys(&watched);
    let grant = ("pkcs11:token=sandbox;object=other;type=secret-key", "all");
    let mut program = watched.program("other", &[grant]);
    assert_all_is_denied(&mut program, "not-granted");
    // Which it may.
    let other = program.key(CKO_SECRET_KEY, "other");
    let session = program.session;
    let init = json!({ "session": session, "mechanism": CKM_AES_CBC, "parameter": IV, "key": other });
    program.must("C_EncryptInit", init);
}

#[test]
fn every_call_of_a_program_that_may_use_everything_reaches_it_once() {
    let watched = Watched::up();
    make_keys(&watched);
    let mut program = watched.program("everything", &[(WHOLE_TOKEN, "all")]);
    let (keys, slot) = (keys(&mut program), program.probe.slot("sandbox").unwrap());
    for index in 0..cases(0, slot, &keys).len() {
        // Of its own, since operations that have begun stay.
        let session = program.another_session();
        let Case { function, arguments, init, answer } = cases(session, slot, &keys).swap_remove(index);
        let begins_nothing = init.is_none();
        if let Some((init, arguments)) = init {
            program.must(init.name(), arguments);
        }
        match function.class() {
            Class::Continue(_) | Class::Dual(..) if begins_nothing => {
                program.never_arrives(answer, function.name(), arguments);
            }
            _ => drop(program.arrives(answer, function.name(), arguments)),
        }
        program.probe.must("C_CloseSession", json!({ "session": session }));
    }
}

#[test]
fn what_needs_no_grant_reaches_it_too() {
    let watched = Watched::up();
    let mut program = watched.started("unapproved");
    let session = program.session;
    let mark = program.mark();
    program.must("C_DigestInit", json!({ "session": session, "mechanism": CKM_SHA256 }));
    program.must("C_Digest", json!({ "session": session, "input": "00" }));
    let received: Vec<_> = program.arrived_since(mark).into_iter().map(|call| call.function).collect();
    assert_eq!(received, ["C_DigestInit", "C_Digest"]);
}

/// The keys are as they were, and there is no other.
fn assert_nothing_has_changed(program: &mut Program<'_>) {
    let session = program.session;
    let mut names: Vec<(String, String)> = program
        .probe
        .search(session, json!([]))
        .into_iter()
        .map(|object| {
            let template = json!([[CKA_LABEL, 64], [CKA_ID, 64]]);
            let request = json!({ "session": session, "object": object, "template": template });
            let reply = program.probe.must("C_GetAttributeValue", request);
            (String::from_utf8(reply.attribute(0)).unwrap(), hex(&reply.attribute(1)))
        })
        .collect();
    names.sort();
    names.dedup();
    let name = |label: &str, id: &str| (label.to_owned(), id.to_owned());
    let expected = [
        name("demo-aes", "05"),
        name("demo-ec", "02"),
        name("demo-ed", "03"),
        name("demo-hmac", "04"),
        name("demo-rsa", "01"),
        name(SECRET, ""),
        name("other", ""),
    ];
    assert_eq!(names, expected);
}
