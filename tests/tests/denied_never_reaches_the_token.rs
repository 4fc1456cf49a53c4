//! For every function that is not open: what the gate denies never reaches the real module. The spy token, which stands
//! in the real module's place, has it on record.

use cryptoki_sys::*;
use e2e::probe::hex;
use e2e::{Approval, Probe, SpyRecord, Stack};
use pkcs11_table::{Class, Function, Use};
use serde_json::{Value, json};

/// A probe on the shim in front of the spy in front of SoftHSM.
struct Watched {
    stack: Stack,
    record: SpyRecord,
    probe: Probe,
    session: u64,
    keys: Keys,
}

/// Handles of the sandbox's objects.
struct Keys {
    aes: u64,
    ec: u64,
    hmac: u64,
    open: u64,
    rsa: u64,
}

impl Watched {
    fn start() -> Self {
        let stack = Stack::up();
        make_key_that_is_not_sensitive(&stack);
        let configuration = stack.configuration("spy.toml", |text| {
            let spy = e2e::stack::build().join("libspytoken.so");
            text.replace(stack.variable("REAL_MODULE"), spy.to_str().unwrap())
        });
        let record = SpyRecord::at(stack.file("spy.record"));
        let mut probe = Probe::start(&stack, |command| {
            command.env("TRUSTSHIM_CONFIG", configuration);
            command.env("SPY_REAL", stack.real_module()).env("SPY_LOG", record.path());
        });
        let session = probe.session();
        let keys = Keys {
            aes: probe.key(session, CKO_SECRET_KEY, "demo-aes"),
            ec: probe.key(session, CKO_PRIVATE_KEY, "demo-ec"),
            hmac: probe.key(session, CKO_SECRET_KEY, "demo-hmac"),
            open: probe.key(session, CKO_SECRET_KEY, "not-sensitive"),
            rsa: probe.key(session, CKO_PRIVATE_KEY, "demo-rsa"),
        };
        assert!(record.mark() > 0, "the spy is not in place");
        Self { stack, record, probe, session, keys }
    }

    /// Makes a call that must be denied, and looks whether the real module heard of it.
    #[track_caller]
    fn must_be_denied(&mut self, function: Function, arguments: Value, rv: CK_RV) {
        let attestation_slot = self.attestation_slot();
        let mark = self.record.mark();
        let reply = self.probe.call(function.name(), arguments.clone());
        assert_eq!(reply.rv, rv, "{function} {arguments}: {:#x}", reply.rv);
        let sessions = self.record.application_sessions(attestation_slot);
        assert!(sessions.contains(&self.session), "the record has no session of the application");
        for call in self.record.calls_since(mark) {
            let session = call.number("session");
            let is_attesters = session.is_some_and(|session| !sessions.contains(&session))
                && ATTESTERS_CALLS.contains(&call.function.as_str());
            // To know what an object is, the gate asks the real module for attributes that hold nothing secret.
            let is_question = call.function == "C_GetAttributeValue"
                && call
                    .template()
                    .is_some_and(|types| !types.split(',').any(|kind| SECRET_ATTRIBUTES.contains(&kind)));
            assert!(
                is_attesters || is_question || is_harmless(&call.function),
                "{function} {arguments} was denied, and the real module received {call:?}"
            );
        }
    }

    /// The slot of the attestation key, from the vendor's module.
    fn attestation_slot(&self) -> u64 {
        let mut direct = Probe::start_on(&self.stack, self.stack.real_module(), |_| {});
        direct.initialize();
        direct.slot("trustshim").unwrap()
    }
}

/// What the attester calls beside open functions, on sessions of its own.
const ATTESTERS_CALLS: [&str; 4] = ["C_GetAttributeValue", "C_Login", "C_Sign", "C_SignInit"];

/// Attributes that hold secret or private key material, as the record writes them.
const SECRET_ATTRIBUTES: [&str; 7] = ["0x11", "0x123", "0x124", "0x125", "0x126", "0x127", "0x128"];

/// Functions of the open class that never touch a key, by which the shim finds its way about.
fn is_harmless(function: &str) -> bool {
    Function::ALL.iter().any(|row| row.name() == function && row.class() == Class::Open)
}

fn make_key_that_is_not_sensitive(stack: &Stack) {
    let mut command = stack.application("pkcs11-tool");
    command.arg("--module").arg(stack.real_module()).args([
        "--token-label",
        "sandbox",
        "--login",
        "--pin",
        "1234",
    ]);
    command.args([
        "--keygen",
        "--key-type",
        "GENERIC:32",
        "--id",
        "06",
        "--label",
        "not-sensitive",
        "--extractable",
    ]);
    e2e::client::run(&mut command).must_succeed();
}

/// Arguments with which a real module would use a key, or change the token, if it got the call.
fn arguments(function: Function, session: u64, keys: &Keys) -> Vec<Value> {
    let ulong = |number: u64| hex(&number.to_ne_bytes());
    let secret = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_GENERIC_SECRET)],
        [CKA_VALUE_LEN, ulong(32)],
        [CKA_LABEL, hex(b"new")]
    ]);
    let imported =
        |class: u64| json!([[CKA_CLASS, ulong(class)], [CKA_VALUE, hex(&[1; 32])], [CKA_LABEL, hex(b"new")]]);
    let label = json!([[CKA_LABEL, hex(b"renamed")]]);
    let begin = |uses: &[(u64, u64, &str)]| {
        let init = |(mechanism, key, parameter): &(u64, u64, &str)| json!({ "session": session, "mechanism": mechanism, "key": key, "parameter": parameter });
        uses.iter().map(init).collect()
    };
    const IV: &str = "00000000000000000000000000000000";
    let on_session = || vec![json!({ "session": session })];
    let input = || vec![json!({ "session": session, "input": hex(&[1; 32]) })];
    let part = || vec![json!({ "session": session, "part": hex(&[1; 32]) })];
    let signature = json!({ "session": session, "data": hex(&[1; 32]), "signature": hex(&[1; 32]) });
    match function {
        Function::C_SignInit => begin(&[
            (CKM_ECDSA, keys.ec, ""),
            (CKM_RSA_PKCS, keys.rsa, ""),
            (CKM_RSA_X_509, keys.rsa, ""),
            (CKM_SHA256_HMAC, keys.hmac, ""),
        ]),
        Function::C_SignRecoverInit => begin(&[(CKM_RSA_PKCS, keys.rsa, "")]),
        Function::C_DecryptInit => begin(&[(CKM_RSA_PKCS, keys.rsa, ""), (CKM_AES_CBC, keys.aes, IV)]),
        Function::C_EncryptInit => begin(&[(CKM_AES_CBC, keys.aes, IV), (CKM_RSA_PKCS, keys.rsa, "")]),
        Function::C_VerifyInit => begin(&[(CKM_SHA256_HMAC, keys.hmac, ""), (CKM_RSA_PKCS, keys.rsa, "")]),
        Function::C_VerifyRecoverInit => begin(&[(CKM_RSA_PKCS, keys.rsa, "")]),
        Function::C_Sign
        | Function::C_SignRecover
        | Function::C_Decrypt
        | Function::C_DecryptUpdate
        | Function::C_Encrypt
        | Function::C_EncryptUpdate
        | Function::C_VerifyRecover
        | Function::C_DigestEncryptUpdate
        | Function::C_DecryptDigestUpdate
        | Function::C_SignEncryptUpdate
        | Function::C_DecryptVerifyUpdate => input(),
        Function::C_SignUpdate | Function::C_VerifyUpdate => part(),
        Function::C_SignFinal | Function::C_DecryptFinal | Function::C_EncryptFinal => on_session(),
        Function::C_Verify | Function::C_VerifyFinal => vec![signature],
        Function::C_InitToken => {
            // Any slot: no token is ever initialised through the shim.
            (0..3)
                .map(|slot| json!({ "slot": slot, "pin": hex(b"5678"), "label": hex(&[b' '; 32]) }))
                .collect()
        }
        Function::C_InitPIN => vec![json!({ "session": session, "pin": hex(b"4321") })],
        Function::C_SetPIN => {
            vec![json!({ "session": session, "old_pin": hex(b"1234"), "new_pin": hex(b"4321") })]
        }
        Function::C_Login => vec![json!({ "session": session, "user": CKU_SO, "pin": hex(b"5678") })],
        Function::C_GetOperationState => on_session(),
        Function::C_SetOperationState => vec![json!({ "session": session, "state": hex(&[1; 32]) })],
        Function::C_CreateObject => {
            // The last class is a vendor's own, which the gate cannot know.
            [CKO_SECRET_KEY, CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, 0x8000_0001]
                .into_iter()
                .map(|class| json!({ "session": session, "template": imported(class) }))
                .chain([json!({ "session": session, "template": [[CKA_LABEL, hex(b"no class")]] })])
                .collect()
        }
        Function::C_CopyObject | Function::C_SetAttributeValue => [keys.hmac, keys.ec, keys.open]
            .into_iter()
            .map(|object| json!({ "session": session, "object": object, "template": label }))
            .collect(),
        Function::C_DestroyObject => [keys.aes, keys.rsa, keys.open]
            .into_iter()
            .map(|object| json!({ "session": session, "object": object }))
            .collect(),
        Function::C_GetAttributeValue => vec![
            json!({ "session": session, "object": keys.open, "template": [[CKA_VALUE, 64]] }),
            json!({ "session": session, "object": keys.open, "template": [[CKA_LABEL, 64], [CKA_VALUE, 64]] }),
        ],
        Function::C_DigestKey => vec![json!({ "session": session, "key": keys.hmac })],
        Function::C_GenerateKey => {
            vec![json!({ "session": session, "mechanism": CKM_GENERIC_SECRET_KEY_GEN, "template": secret })]
        }
        Function::C_GenerateKeyPair => vec![json!({
            "session": session,
            "mechanism": CKM_EC_KEY_PAIR_GEN,
            "public_template": [[CKA_EC_PARAMS, "06082a8648ce3d030107"]],
            "private_template": [[CKA_LABEL, hex(b"new")]]
        })],
        Function::C_WrapKey => vec![json!({
            "session": session, "mechanism": CKM_AES_KEY_WRAP, "wrapping_key": keys.aes, "key": keys.open
        })],
        Function::C_UnwrapKey => vec![json!({
            "session": session, "mechanism": CKM_AES_KEY_WRAP, "unwrapping_key": keys.aes,
            "wrapped": hex(&[1; 40]), "template": secret
        })],
        Function::C_DeriveKey => vec![json!({
            "session": session, "mechanism": CKM_AES_ECB_ENCRYPT_DATA, "parameter": hex(&[1; 16]),
            "base_key": keys.aes, "template": secret
        })],
        other => panic!("say with which arguments {other} would use a key"),
    }
}

/// Every function whose class is neither open nor the library's own.
fn gated() -> impl Iterator<Item = Function> {
    Function::ALL.iter().copied().filter(|function| !matches!(function.class(), Class::Open | Class::Library))
}

/// What a denied call answers: a continuation has nothing to go on with.
fn denial(function: Function) -> CK_RV {
    let is_dual = matches!(function, Function::C_DigestEncryptUpdate | Function::C_DecryptDigestUpdate);
    match function.class() {
        Class::Continue(_) if !is_dual => CKR_OPERATION_NOT_INITIALIZED,
        _ => CKR_FUNCTION_REJECTED,
    }
}

#[test]
fn no_call_of_an_unapproved_program() {
    let mut watched = Watched::start();
    for function in gated() {
        for arguments in arguments(function, watched.session, &watched.keys) {
            watched.must_be_denied(function, arguments, denial(function));
        }
    }
    assert_nothing_has_changed(&mut watched);
}

#[test]
fn no_call_of_an_approved_program_that_no_rule_permits() {
    let mut watched = Watched::start();
    let session = watched.session;
    let init = json!({ "session": session, "mechanism": CKM_ECDSA, "key": watched.keys.ec });
    assert_eq!(watched.probe.call("C_SignInit", init.clone()).rv, CKR_FUNCTION_REJECTED);
    let every_key = "pkcs11:token=sandbox;type=private";
    watched.stack.approve_last(&Approval::of("probe", every_key, "all").with(&["--many"]));
    watched.stack.grant("probe", "pkcs11:token=sandbox;type=secret-key", "all");
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    watched.probe.must("C_SignInit", init);
    watched.probe.must("C_Sign", json!({ "session": session, "input": hex(&[1; 32]) }));

    for function in gated() {
        let is_permitted = matches!(function.class(), Class::Begin(Use::Sign | Use::Decrypt));
        for arguments in arguments(function, session, &watched.keys) {
            if !is_permitted {
                watched.must_be_denied(function, arguments, denial(function));
            }
        }
    }
    assert_nothing_has_changed(&mut watched);
}

#[test]
fn what_is_allowed_does_reach_it() {
    let mut watched = Watched::start();
    let session = watched.session;
    let sessions = watched.record.application_sessions(watched.attestation_slot());
    let mark = watched.record.mark();
    watched.probe.must("C_DigestInit", json!({ "session": session, "mechanism": CKM_SHA256 }));
    watched.probe.must("C_Digest", json!({ "session": session, "input": "00" }));
    let received: Vec<_> = watched
        .record
        .calls_since(mark)
        .into_iter()
        .filter(|call| call.number("session").is_some_and(|session| sessions.contains(&session)))
        .map(|call| call.function)
        .collect();
    assert_eq!(received, ["C_DigestInit", "C_Digest"]);
}

/// The keys are as they were, and there is no other.
fn assert_nothing_has_changed(watched: &mut Watched) {
    let session = watched.session;
    let mut labels: Vec<String> = watched
        .probe
        .search(session, json!([]))
        .into_iter()
        .map(|object| {
            let template = json!([[CKA_LABEL, 64]]);
            let request = json!({ "session": session, "object": object, "template": template });
            String::from_utf8(watched.probe.must("C_GetAttributeValue", request).attribute(0)).unwrap()
        })
        .collect();
    labels.sort();
    labels.dedup();
    assert_eq!(labels, ["demo-aes", "demo-ec", "demo-ed", "demo-hmac", "demo-rsa", "not-sensitive"]);
}
