//! Signing, decrypting, encrypting and verifying: each takes its own grant, and none is to be had in the guise of another.

use cryptoki_sys::*;
use e2e::openssl::{is_rsa_signature, openssl};
use e2e::pkcs11_tool::public_key;
use e2e::probe::{TRUE, hex};
use e2e::{Mode, Probe, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        each_use_of_a_key_takes_its_own_grant,
        anybody_encrypts_and_verifies_with_public_keys,
        a_raw_rsa_decryption_is_a_signature_and_takes_both_grants,
        a_continuation_goes_on_with_its_own_operation_only,
        a_key_that_wants_a_login_for_each_use_gets_it_from_the_application,
        a_key_of_a_long_name_is_judged_like_any_other,
    ],
}

const IV: &str = "00000000000000000000000000000000";
const EVERYTHING: &str = "pkcs11:token=sandbox";
const DEMO_RSA: &str = "pkcs11:token=sandbox;object=demo-rsa;type=private";

fn init(session: u64, mechanism: u64, key: u64) -> Value {
    let parameter = if mechanism == CKM_AES_CBC { IV } else { "" };
    json!({ "session": session, "mechanism": mechanism, "key": key, "parameter": parameter })
}

fn input(session: u64, input: &[u8]) -> Value {
    json!({ "session": session, "input": hex(input) })
}

fn each_use_of_a_key_takes_its_own_grant(mode: Mode) {
    let watched = Watched::up(mode);
    const OPERATIONS: &str = "sign,decrypt,encrypt,verify,wrap,extract,unwrap,derive,generate,import,modify,destroy,reveal,administer";
    // What each init takes, and SoftHSM's answer when it gets there.
    let inits = [
        ("C_SignInit", CKM_RSA_PKCS, CKO_PRIVATE_KEY, "demo-rsa", "sign", CKR_OK),
        ("C_SignInit", CKM_SHA256_HMAC, CKO_SECRET_KEY, "demo-hmac", "sign", CKR_OK),
        ("C_SignRecoverInit", CKM_RSA_PKCS, CKO_PRIVATE_KEY, "demo-rsa", "sign", CKR_FUNCTION_NOT_SUPPORTED),
        ("C_DecryptInit", CKM_RSA_PKCS, CKO_PRIVATE_KEY, "demo-rsa", "decrypt", CKR_OK),
        ("C_DecryptInit", CKM_AES_CBC, CKO_SECRET_KEY, "demo-aes", "decrypt", CKR_OK),
        ("C_EncryptInit", CKM_AES_CBC, CKO_SECRET_KEY, "demo-aes", "encrypt", CKR_OK),
        // With a private key that is a signature.
        ("C_EncryptInit", CKM_RSA_PKCS, CKO_PRIVATE_KEY, "demo-rsa", "sign", CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("C_VerifyInit", CKM_SHA256_HMAC, CKO_SECRET_KEY, "demo-hmac", "verify", CKR_OK),
        ("C_VerifyInit", CKM_RSA_PKCS, CKO_PRIVATE_KEY, "demo-rsa", "verify", CKR_KEY_FUNCTION_NOT_PERMITTED),
        (
            "C_VerifyRecoverInit",
            CKM_RSA_PKCS,
            CKO_PRIVATE_KEY,
            "demo-rsa",
            "verify",
            CKR_FUNCTION_NOT_SUPPORTED,
        ),
        // Public keys are free for their own two uses only.
        ("C_SignInit", CKM_RSA_PKCS, CKO_PUBLIC_KEY, "demo-rsa", "sign", CKR_KEY_FUNCTION_NOT_PERMITTED),
        (
            "C_DecryptInit",
            CKM_RSA_PKCS,
            CKO_PUBLIC_KEY,
            "demo-rsa",
            "decrypt",
            CKR_KEY_FUNCTION_NOT_PERMITTED,
        ),
    ];
    for missing in ["sign", "decrypt", "encrypt", "verify"] {
        let granted: Vec<_> = OPERATIONS.split(',').filter(|operation| *operation != missing).collect();
        let mut program = watched.program(&format!("without-{missing}"), &[(EVERYTHING, &granted.join(","))]);
        for (function, mechanism, class, label, needed, answer) in inits {
            let (key, session) = (program.key(class, label), program.another_session());
            let request = init(session, mechanism, key);
            if needed == missing {
                program.denied("not-granted", function, request);
            } else {
                program.arrives(answer, function, request);
            }
            program.probe.must("C_CloseSession", json!({ "session": session }));
        }
    }
}

fn anybody_encrypts_and_verifies_with_public_keys(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.without_login("unapproved");
    let (session, public) = (program.session, program.key(CKO_PUBLIC_KEY, "demo-rsa"));
    program.must("C_EncryptInit", init(session, CKM_RSA_PKCS, public));
    let encrypted = program.must("C_Encrypt", input(session, b"secret")).bytes("output");
    program.must("C_VerifyInit", init(session, CKM_RSA_PKCS, public));
    let verify = json!({ "session": session, "data": hex(b"data"), "signature": hex(&[1; 256]) });
    program.arrives(CKR_SIGNATURE_INVALID, "C_Verify", verify);
    // Raw RSA with a public key makes no signature.
    program.must("C_EncryptInit", init(session, CKM_RSA_X_509, public));
    program.must("C_Encrypt", input(session, &[1; 256]));

    let (mut owner, session) = watched.owner();
    let private = owner.key(session, CKO_PRIVATE_KEY, "demo-rsa");
    owner.must("C_DecryptInit", init(session, CKM_RSA_PKCS, private));
    assert_eq!(owner.must("C_Decrypt", input(session, &encrypted)).bytes("output"), b"secret");
}

/// A SHA-256 digest as RSA signatures have it inside (RFC 8017 section 9.2).
fn padded(digest: &[u8]) -> Vec<u8> {
    const SHA256: [u8; 19] = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
        0x04, 0x20,
    ];
    let filler = vec![0xff; 256 - 3 - SHA256.len() - digest.len()];
    [&[0, 1][..], &filler, &[0], &SHA256, digest].concat()
}

fn a_raw_rsa_decryption_is_a_signature_and_takes_both_grants(mode: Mode) {
    let watched = Watched::up(mode);
    let document = watched.stack.write("document", "an order");
    let digest = openssl(&["dgst", "-sha256", "-binary", document.to_str().unwrap()]);
    let inits = ["C_DecryptInit", "C_SignInit", "C_EncryptInit", "C_VerifyInit"];

    for (name, operations) in [("signer", "sign,verify,encrypt"), ("decrypter", "decrypt,verify,encrypt")] {
        let mut program = watched.program(name, &[(DEMO_RSA, operations)]);
        let (session, key) = (program.session, program.key(CKO_PRIVATE_KEY, "demo-rsa"));
        for function in inits {
            program.denied("not-granted", function, init(session, CKM_RSA_X_509, key));
        }
    }
    let mut both = watched.program("both", &[(DEMO_RSA, "sign,decrypt")]);
    let (session, key) = (both.session, both.key(CKO_PRIVATE_KEY, "demo-rsa"));
    both.denied("not-granted", "C_VerifyInit", init(session, CKM_RSA_X_509, key));
    both.must("C_DecryptInit", init(session, CKM_RSA_X_509, key));
    let signature = both.must("C_Decrypt", input(session, &padded(&digest))).bytes("output");
    let public = public_key(&watched.stack, "demo-rsa");
    assert!(is_rsa_signature(&watched.stack, &public, &digest, &signature));
    let mut forged = signature;
    forged[255] ^= 1;
    assert!(!is_rsa_signature(&watched.stack, &public, &digest, &forged));
}

fn a_continuation_goes_on_with_its_own_operation_only(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.program("mixed", &[(EVERYTHING, "all")]);
    let (hmac, aes) = (program.key(CKO_SECRET_KEY, "demo-hmac"), program.key(CKO_SECRET_KEY, "demo-aes"));
    let others = |running: &str| {
        let continuations = [
            ("C_SignInit", ["C_Sign", "C_SignFinal"]),
            ("C_SignRecoverInit", ["C_SignRecover", "C_SignRecover"]),
            ("C_VerifyInit", ["C_Verify", "C_VerifyFinal"]),
            ("C_VerifyRecoverInit", ["C_VerifyRecover", "C_VerifyRecover"]),
            ("C_EncryptInit", ["C_Encrypt", "C_EncryptFinal"]),
            ("C_DecryptInit", ["C_Decrypt", "C_DecryptFinal"]),
        ];
        let others = continuations.into_iter().filter(|(init, _)| *init != running);
        let dual = ["C_SignEncryptUpdate", "C_DecryptVerifyUpdate"];
        others.flat_map(|(_, continuations)| continuations).chain(dual).collect::<Vec<_>>()
    };
    for (function, mechanism, key, last) in [
        ("C_SignInit", CKM_SHA256_HMAC, hmac, "C_Sign"),
        ("C_VerifyInit", CKM_SHA256_HMAC, hmac, "C_Verify"),
        ("C_EncryptInit", CKM_AES_CBC, aes, "C_Encrypt"),
        ("C_DecryptInit", CKM_AES_CBC, aes, "C_Decrypt"),
    ] {
        let session = program.another_session();
        program.must(function, init(session, mechanism, key));
        for other in others(function) {
            program.never_arrives(CKR_OPERATION_NOT_INITIALIZED, other, input(session, &[1; 32]));
        }
        // A function for two operations at once wants both; of one and a digest, SoftHSM has none.
        let with_digest = match function {
            "C_EncryptInit" => Some("C_DigestEncryptUpdate"),
            "C_DecryptInit" => Some("C_DecryptDigestUpdate"),
            _ => None,
        };
        if let Some(with_digest) = with_digest {
            program.arrives(CKR_FUNCTION_NOT_SUPPORTED, with_digest, input(session, &[1; 32]));
        }
        let answer = if last == "C_Verify" { CKR_SIGNATURE_LEN_RANGE } else { CKR_OK };
        let mut arguments = input(session, &[1; 32]);
        arguments["signature"] = "00".into();
        program.arrives(answer, last, arguments);
    }
}

/// The login and the operations with a key of that kind: each call with the answer.
fn always_authenticated(session: u64, key: u64) -> [(&'static str, Value, CK_RV); 8] {
    let context_login =
        |pin: &[u8]| json!({ "session": session, "user": CKU_CONTEXT_SPECIFIC, "pin": hex(pin) });
    [
        ("C_SignInit", init(session, CKM_ECDSA, key), CKR_OK),
        ("C_Sign", input(session, &[1; 32]), CKR_USER_NOT_LOGGED_IN),
        ("C_SignInit", init(session, CKM_ECDSA, key), CKR_OK),
        ("C_Login", context_login(b"9999"), CKR_PIN_INCORRECT),
        ("C_Login", context_login(b"1234"), CKR_OK),
        ("C_Sign", input(session, &[1; 32]), CKR_OK),
        ("C_SignInit", init(session, CKM_ECDSA, key), CKR_OK),
        ("C_Sign", input(session, &[1; 32]), CKR_USER_NOT_LOGGED_IN),
    ]
}

fn a_key_that_wants_a_login_for_each_use_gets_it_from_the_application(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_ec("careful", json!([[CKA_SIGN, TRUE], [CKA_ALWAYS_AUTHENTICATE, TRUE]]));
    let answers = |probe: &mut Probe, session: u64, key: u64| {
        always_authenticated(session, key)
            .map(|(function, arguments, _)| (function, probe.call(function, arguments).rv))
    };
    let (mut owner, session) = watched.owner();
    let key = owner.key(session, CKO_PRIVATE_KEY, "careful");
    let direct = answers(&mut owner, session, key);

    let grant = ("pkcs11:token=sandbox;object=careful;type=private", "sign");
    let mut program = watched.program("careful", &[grant]);
    let (session, key) = (program.session, program.key(CKO_PRIVATE_KEY, "careful"));
    let mark = program.mark();
    let through_shim = answers(&mut program.probe, session, key);
    assert_eq!(direct, through_shim);
    let expected = always_authenticated(session, key).map(|(function, _, rv)| (function, rv));
    assert_eq!(through_shim, expected);
    // Each call arrived as it was made, and none besides: nobody logs in in the application's stead.
    let on_session =
        program.arrived_since(mark).into_iter().filter(|call| call.number("session") == Some(session));
    let arrived: Vec<_> = on_session.map(|call| call.function).collect();
    assert_eq!(arrived, expected.map(|(function, _)| function));
}

fn a_key_of_a_long_name_is_judged_like_any_other(mode: Mode) {
    let watched = Watched::up(mode);
    watched.stack.restart_server("token_lifetime_s = 3");
    let name = "x".repeat(600);
    watched.make_aes(&name, &[7; 32], json!([[CKA_ENCRYPT, TRUE]]));
    let aes = |program: &mut e2e::Program<'_>| {
        let (session, key) = (program.session, program.key(CKO_SECRET_KEY, &name));
        json!({ "session": session, "mechanism": CKM_AES_ECB, "key": key })
    };
    let mut stranger = watched.program("stranger", &[(DEMO_RSA, "sign")]);
    let encrypt = aes(&mut stranger);
    stranger.denied("not-granted", "C_EncryptInit", encrypt);
    // The refusal goes to the policy server with the next attestation, which is none the worse for the long name.
    std::thread::sleep(std::time::Duration::from_millis(3_200));
    let (session, key) = (stranger.session, stranger.key(CKO_PRIVATE_KEY, "demo-rsa"));
    stranger.must("C_SignInit", init(session, CKM_RSA_PKCS, key));

    let mut user = watched.program("user", &[(EVERYTHING, "encrypt")]);
    let encrypt = aes(&mut user);
    user.must("C_EncryptInit", encrypt);
}
