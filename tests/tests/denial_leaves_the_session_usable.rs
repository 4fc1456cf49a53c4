//! A refusal ends neither the session nor what else it does: the next call works as if nothing had been asked for.

use std::thread::sleep;
use std::time::Duration;

use cryptoki_sys::*;
use e2e::probe::hex;
use e2e::{Approval, Probe, Stack};
use serde_json::json;

const PRIVATE_KEYS: &str = "pkcs11:token=sandbox;type=private";
const SECRET_KEYS: &str = "pkcs11:token=sandbox;type=secret-key";
/// For so long a failed attestation is the answer to further calls of the process.
const FAILURE_STANDS: Duration = Duration::from_millis(1_200);

/// Has the probe refused once and approved then, for signing and decrypting with every key of the token.
fn approve_probe(stack: &Stack, probe: &mut Probe, session: u64) {
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    let denied = probe.call("C_SignInit", json!({ "session": session, "mechanism": CKM_ECDSA, "key": key }));
    assert_eq!(denied.rv, CKR_FUNCTION_REJECTED);
    stack.approve_last(&Approval::of("probe", PRIVATE_KEYS, "sign,decrypt").with(&["--many"]));
    stack.grant("probe", SECRET_KEYS, "sign,decrypt");
    sleep(FAILURE_STANDS);
}

#[test]
fn after_a_refused_init_everything_else_works() {
    let stack = Stack::up();
    let mut probe = Probe::start(&stack, |_| {});
    let session = probe.session();
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    let sign_init = json!({ "session": session, "mechanism": CKM_ECDSA, "key": key });

    let device_error = |probe: &mut Probe| {
        let info = probe.must("C_GetSessionInfo", json!({ "session": session })).bytes("info");
        u64::from_ne_bytes(info[24..32].try_into().unwrap())
    };
    assert_eq!(device_error(&mut probe), 0);
    assert_eq!(probe.call("C_SignInit", sign_init.clone()).rv, CKR_FUNCTION_REJECTED);
    assert_ne!(device_error(&mut probe), 0);

    let sign = json!({ "session": session, "input": hex(&[1; 32]) });
    assert_eq!(probe.call("C_Sign", sign.clone()).rv, CKR_OPERATION_NOT_INITIALIZED);
    probe.must("C_DigestInit", json!({ "session": session, "mechanism": CKM_SHA256 }));
    let digest = probe.must("C_Digest", json!({ "session": session, "input": hex(b"abc") })).bytes("output");
    assert_eq!(hex(&digest), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(probe.key(session, CKO_PRIVATE_KEY, "demo-ec"), key);

    stack.approve_last(&Approval::of("probe", PRIVATE_KEYS, "sign").with(&["--many"]));
    sleep(FAILURE_STANDS);
    probe.must("C_SignInit", sign_init);
    assert_eq!(probe.must("C_Sign", sign).bytes("output").len(), 64);
}

/// How one operation runs: the calls behind its init, the last of which completes it.
struct Operation {
    name: &'static str,
    class: u64,
    key: &'static str,
    init: &'static str,
    mechanism: u64,
    parameter: &'static str,
    calls: Vec<(&'static str, serde_json::Value)>,
}

fn operations(session: u64, encrypted: &[u8]) -> Vec<Operation> {
    let input = |length: usize| json!({ "session": session, "input": hex(&vec![1; length]) });
    let part = || json!({ "session": session, "part": hex(&[1; 64]) });
    let rest = || json!({ "session": session });
    let sign = |name, class, key, mechanism, calls| Operation {
        name,
        class,
        key,
        init: "C_SignInit",
        mechanism,
        parameter: "",
        calls,
    };
    vec![
        sign(
            "RSA signature in one call",
            CKO_PRIVATE_KEY,
            "demo-rsa",
            CKM_RSA_PKCS,
            vec![("C_Sign", input(32))],
        ),
        sign(
            "RSA signature in parts",
            CKO_PRIVATE_KEY,
            "demo-rsa",
            CKM_SHA256_RSA_PKCS,
            vec![("C_SignUpdate", part()), ("C_SignFinal", rest())],
        ),
        sign("ECDSA", CKO_PRIVATE_KEY, "demo-ec", CKM_ECDSA, vec![("C_Sign", input(32))]),
        sign("EdDSA", CKO_PRIVATE_KEY, "demo-ed", CKM_EDDSA, vec![("C_Sign", input(32))]),
        sign(
            "HMAC in parts",
            CKO_SECRET_KEY,
            "demo-hmac",
            CKM_SHA256_HMAC,
            vec![("C_SignUpdate", part()), ("C_SignUpdate", part()), ("C_SignFinal", rest())],
        ),
        sign("HMAC in one call", CKO_SECRET_KEY, "demo-hmac", CKM_SHA256_HMAC, vec![("C_Sign", input(32))]),
        Operation {
            name: "RSA decryption",
            class: CKO_PRIVATE_KEY,
            key: "demo-rsa",
            init: "C_DecryptInit",
            mechanism: CKM_RSA_PKCS,
            parameter: "",
            calls: vec![("C_Decrypt", json!({ "session": session, "input": hex(encrypted) }))],
        },
        Operation {
            name: "AES decryption in parts",
            class: CKO_SECRET_KEY,
            key: "demo-aes",
            init: "C_DecryptInit",
            mechanism: CKM_AES_CBC,
            parameter: "00000000000000000000000000000000",
            calls: vec![("C_DecryptUpdate", input(64)), ("C_DecryptFinal", rest())],
        },
        Operation {
            name: "AES decryption in one call",
            class: CKO_SECRET_KEY,
            key: "demo-aes",
            init: "C_DecryptInit",
            mechanism: CKM_AES_CBC,
            parameter: "00000000000000000000000000000000",
            calls: vec![("C_Decrypt", input(64))],
        },
    ]
}

#[test]
fn a_token_that_expires_mid_operation_ends_that_operation_only() {
    let stack = Stack::up();
    stack.restart_server("token_lifetime_s = 3");
    let mut probe = Probe::start(&stack, |_| {});
    let session = probe.session();
    approve_probe(&stack, &mut probe, session);

    // Encryption with the public key is open.
    let public = probe.key(session, CKO_PUBLIC_KEY, "demo-rsa");
    probe.must("C_EncryptInit", json!({ "session": session, "mechanism": CKM_RSA_PKCS, "key": public }));
    let encrypted =
        probe.must("C_Encrypt", json!({ "session": session, "input": hex(b"secret") })).bytes("output");

    for operation in operations(session, &encrypted) {
        let name = operation.name;
        let key = probe.key(session, operation.class, operation.key);
        let init = json!({
            "session": session, "mechanism": operation.mechanism, "parameter": operation.parameter, "key": key
        });
        let (last, calls) = operation.calls.split_last().unwrap();

        let begun = probe.call(operation.init, init.clone());
        assert_eq!(begun.rv, CKR_OK, "{name}: {:#x}", begun.rv);
        for (function, arguments) in calls {
            let reply = probe.call(function, arguments.clone());
            assert_eq!(reply.rv, CKR_OK, "{name}: {function} {:#x}", reply.rv);
        }
        sleep(Duration::from_millis(3_200));
        let reply = probe.call(last.0, last.1.clone());
        assert_eq!(reply.rv, CKR_FUNCTION_REJECTED, "{name}: {:#x}", reply.rv);
        assert!(reply.room("output").iter().all(|byte| *byte == 0), "{name}: output in spite of the refusal");
        let reply = probe.call(last.0, last.1.clone());
        assert_eq!(
            reply.rv, CKR_OPERATION_NOT_INITIALIZED,
            "{name}: the operation has not ended: {:#x}",
            reply.rv
        );

        // On the same session, with a token that is obtained anew.
        for (function, arguments) in core::iter::once(&(operation.init, init)).chain(&operation.calls) {
            let reply = probe.call(function, arguments.clone());
            assert_eq!(reply.rv, CKR_OK, "{name}, again: {function} {:#x}", reply.rv);
        }
    }
    assert!(stack.log().iter().any(|line| line["reason"] == "token-expired"));
}

#[test]
fn size_queries_and_short_buffers_keep_the_operation() {
    let stack = Stack::up();
    let mut probe = Probe::start(&stack, |_| {});
    let session = probe.session();
    approve_probe(&stack, &mut probe, session);
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-rsa");
    probe.must("C_SignInit", json!({ "session": session, "mechanism": CKM_RSA_PKCS, "key": key }));
    let input = hex(&[1; 32]);
    let size =
        probe.must("C_Sign", json!({ "session": session, "input": input, "output": null, "output_len": 0 }));
    assert_eq!(size.handle("output_len"), 256);
    let short = probe.call("C_Sign", json!({ "session": session, "input": input, "output_len": 10 }));
    assert_eq!(short.rv, CKR_BUFFER_TOO_SMALL);
    let signature = probe.must("C_Sign", json!({ "session": session, "input": input })).bytes("output");
    assert_eq!(signature.len(), 256);
    let again = probe.call("C_Sign", json!({ "session": session, "input": input }));
    assert_eq!(again.rv, CKR_OPERATION_NOT_INITIALIZED);
}
