//! Operations that take message after message, and verifications of a signature that is given first: each takes the grant of
//! its use, each message is judged and counted, and what may not go on is ended in the real module.

use cryptoki_sys::*;
use e2e::probe::hex;
use e2e::{Mode, Program, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        each_use_in_messages_takes_its_own_grant,
        anybody_verifies_messages_with_public_keys,
        every_message_counts_and_the_one_too_many_ends_the_operation,
        messages_that_never_came_are_not_counted,
        what_is_deciphered_in_parts_counts_though_the_message_is_given_up,
        a_message_may_not_bring_what_nobody_can_read,
        an_operation_is_given_up_by_an_init_without_a_mechanism,
        one_form_of_an_operation_is_not_gone_on_with_in_another,
    ],
}

const DEMO_HMAC: &str = "pkcs11:token=sandbox;object=demo-hmac;type=secret-key";
const DEMO_AES: &str = "pkcs11:token=sandbox;object=demo-aes;type=secret-key";
const WHOLE_TOKEN: &str = "pkcs11:token=sandbox";
/// What every signature of the spy reads.
const SIGNATURE: [u8; 32] = [0x5e; 32];
/// No standard has it.
const VENDORS_MECHANISM: u64 = CKM_VENDOR_DEFINED | 1;

fn init(session: u64, mechanism: u64, key: u64) -> Value {
    json!({ "session": session, "mechanism": mechanism, "key": key, "signature": hex(&SIGNATURE) })
}

fn message(session: u64) -> Value {
    json!({ "session": session, "input": hex(&[1; 16]), "associated": "00" })
}

/// A program with the key that it may use so often.
fn limited<'a>(watched: &'a Watched, name: &str, key: &str, operations: &str) -> Program<'a> {
    watched.approve(name);
    watched.stack.grant_within(name, key, operations, &["--total", "3"]);
    watched.started(name)
}

/// The next message is refused for `reason`; the real module hears only that the operation has ended, and that it is asked
/// whether it has.
#[track_caller]
fn is_refused_and_ended(
    program: &mut Program<'_>,
    watched: &Watched,
    reason: &str,
    (function, arguments): (&str, Value),
    (flag, init): (u64, &str),
) {
    let mark = program.mark();
    assert_eq!(program.call(function, arguments.clone()).rv, CKR_FUNCTION_REJECTED);
    assert_eq!(watched.stack.log().last().unwrap()["reason"], reason);
    let arrived: Vec<_> = program
        .arrived_since(mark)
        .into_iter()
        .map(|call| (call.function.clone(), call.number("flags"), call.number("key")))
        .collect();
    assert_eq!(
        arrived,
        [("C_SessionCancel".to_owned(), Some(flag), None), (init.to_owned(), None, Some(CK_INVALID_HANDLE))]
    );
    program.never_arrives(CKR_OPERATION_NOT_INITIALIZED, function, arguments);
}

fn each_use_in_messages_takes_its_own_grant(mode: Mode) {
    let watched = Watched::up(mode);
    let inits = [
        ("C_MessageSignInit", "sign"),
        ("C_MessageVerifyInit", "verify"),
        ("C_VerifySignatureInit", "verify"),
        ("C_MessageEncryptInit", "encrypt"),
        ("C_MessageDecryptInit", "decrypt"),
    ];
    for granted in ["sign", "verify", "encrypt", "decrypt"] {
        let mut program = watched.program(granted, &[(DEMO_HMAC, granted)]);
        let key = program.key(CKO_SECRET_KEY, "demo-hmac");
        for (function, needed) in inits {
            let arguments = init(program.session, CKM_SHA256_HMAC, key);
            if needed == granted {
                program.must(function, arguments);
            } else {
                program.denied("not-granted", function, arguments);
            }
        }
    }
}

fn anybody_verifies_messages_with_public_keys(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.without_login("unapproved");
    let (session, public) = (program.session, program.key(CKO_PUBLIC_KEY, "demo-rsa"));
    let signed = || json!({ "session": session, "data": "00", "signature": hex(&SIGNATURE) });
    program.must("C_MessageVerifyInit", init(session, CKM_SHA256_RSA_PKCS, public));
    program.must("C_VerifyMessage", signed());
    program.must("C_MessageVerifyFinal", json!({ "session": session }));
    program.must("C_VerifySignatureInit", init(session, CKM_SHA256_RSA_PKCS, public));
    program.must("C_VerifySignature", signed());
    program.denied("executable-unknown", "C_MessageSignInit", init(session, CKM_SHA256_RSA_PKCS, public));
}

fn every_message_counts_and_the_one_too_many_ends_the_operation(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = limited(&watched, "signer", DEMO_HMAC, "sign");
    let (session, key) = (program.session, program.key(CKO_SECRET_KEY, "demo-hmac"));
    program.must("C_MessageSignInit", init(session, CKM_SHA256_HMAC, key));
    let size = json!({ "session": session, "input": "00", "output": null, "output_len": 0 });
    program.must("C_SignMessage", size.clone());
    program.must("C_SignMessage", size);
    program.must("C_SignMessage", message(session));
    program.must("C_SignMessage", message(session));
    // In parts; the last is the one that asks for the signature.
    program.must("C_SignMessageBegin", json!({ "session": session }));
    let part = json!({ "session": session, "input": "00", "output": null, "output_len": null });
    program.must("C_SignMessageNext", part.clone());
    program.must("C_SignMessageNext", part);
    program.must("C_SignMessageNext", message(session));
    let of_signing = (CKF_MESSAGE_SIGN, "C_MessageSignInit");
    let next = ("C_SignMessage", message(session));
    is_refused_and_ended(&mut program, &watched, "rate-exceeded", next, of_signing);
    // What is not limited works as before.
    program.must("C_DigestInit", json!({ "session": session, "mechanism": CKM_SHA256 }));
}

fn messages_that_never_came_are_not_counted(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = limited(&watched, "idle", DEMO_HMAC, "sign");
    let (session, key) = (program.session, program.key(CKO_SECRET_KEY, "demo-hmac"));
    for _ in 0..5 {
        program.must("C_MessageSignInit", init(session, CKM_SHA256_HMAC, key));
        program.must("C_MessageSignFinal", json!({ "session": session }));
    }
}

fn what_is_deciphered_in_parts_counts_though_the_message_is_given_up(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = limited(&watched, "reader", DEMO_AES, "decrypt");
    let (session, key) = (program.session, program.key(CKO_SECRET_KEY, "demo-aes"));
    for _ in 0..3 {
        program.must("C_MessageDecryptInit", init(session, CKM_AES_GCM, key));
        program.must("C_DecryptMessageBegin", message(session));
        program.must("C_DecryptMessageNext", message(session));
        program.must("C_SessionCancel", json!({ "session": session, "flags": CKF_MESSAGE_DECRYPT }));
        program.never_arrives(
            CKR_OPERATION_NOT_INITIALIZED,
            "C_DecryptMessageNext",
            json!({ "session": session, "input": "00" }),
        );
    }
    program.denied("rate-exceeded", "C_MessageDecryptInit", init(session, CKM_AES_GCM, key));
}

fn a_message_may_not_bring_what_nobody_can_read(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.program("vendors", &[(WHOLE_TOKEN, "all")]);
    let (session, key) = (program.session, program.key(CKO_SECRET_KEY, "demo-hmac"));
    program.must("C_MessageEncryptInit", init(session, VENDORS_MECHANISM, key));
    program.must("C_EncryptMessage", message(session));
    // Large enough for a handle.
    let mut hiding = message(session);
    hiding["parameter"] = hex(&[0; 8]).into();
    if mode == Mode::Guarded {
        // What nobody can read cannot be brought over to the guard in the first place.
        program.never_arrives(CKR_MECHANISM_PARAM_INVALID, "C_EncryptMessage", hiding);
        return;
    }
    let of_encrypting = (CKF_MESSAGE_ENCRYPT, "C_MessageEncryptInit");
    let next = ("C_EncryptMessage", hiding);
    is_refused_and_ended(&mut program, &watched, "mechanism-unclear", next, of_encrypting);
}

fn an_operation_is_given_up_by_an_init_without_a_mechanism(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.program("quitter", &[(WHOLE_TOKEN, "all")]);
    let (session, key) = (program.session, program.key(CKO_SECRET_KEY, "demo-hmac"));
    let nothing = json!({ "session": session, "mechanism": null, "key": key });
    let data = json!({ "session": session, "data": "00", "part": "00", "input": "00" });
    for (begin, go_on) in [
        ("C_MessageSignInit", "C_SignMessage"),
        ("C_VerifySignatureInit", "C_VerifySignatureUpdate"),
        ("C_SignInit", "C_SignUpdate"),
    ] {
        program.never_arrives(CKR_OPERATION_NOT_INITIALIZED, begin, nothing.clone());
        program.must(begin, init(session, CKM_SHA256_HMAC, key));
        program.must(go_on, data.clone());
        assert_eq!(program.call(begin, nothing.clone()).rv, CKR_OK, "{begin}");
        program.never_arrives(CKR_OPERATION_NOT_INITIALIZED, go_on, data.clone());
        program.must(begin, init(session, CKM_SHA256_HMAC, key));
        let flags = CKF_MESSAGE_SIGN | CKF_VERIFY;
        program.call("C_SessionCancel", json!({ "session": session, "flags": flags }));
    }
}

fn one_form_of_an_operation_is_not_gone_on_with_in_another(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.program("confused", &[(WHOLE_TOKEN, "all")]);
    let (session, key) = (program.session, program.key(CKO_SECRET_KEY, "demo-hmac"));
    let data = || json!({ "session": session, "input": "00", "part": "00", "data": "00", "signature": "00" });
    program.must("C_MessageSignInit", init(session, CKM_SHA256_HMAC, key));
    for function in ["C_Sign", "C_SignUpdate", "C_SignFinal", "C_SignRecover"] {
        program.never_arrives(CKR_OPERATION_NOT_INITIALIZED, function, data());
    }
    program.must("C_VerifySignatureInit", init(session, CKM_SHA256_HMAC, key));
    for function in ["C_Verify", "C_VerifyUpdate", "C_VerifyFinal", "C_VerifyMessage", "C_MessageVerifyFinal"]
    {
        program.never_arrives(CKR_OPERATION_NOT_INITIALIZED, function, data());
    }
}
