//! Grants for some mechanisms, so many operations, a while, or newer versions: what goes beyond is refused, by its own reason.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cryptoki_sys::*;
use e2e::probe::{TRUE, hex, ulong};
use e2e::{Approval, Mode, Program, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        a_grant_for_a_mechanism_is_for_no_other,
        a_grant_for_a_mechanism_holds_for_wrapping_deriving_and_generating,
        a_total_is_used_up_by_operations_that_complete,
        an_operation_that_is_given_up_with_its_session_is_not_counted,
        what_a_cipher_gives_in_parts_is_counted_though_it_is_given_up,
        so_many_operations_a_second_and_no_more,
        a_grant_that_ends_ends_what_runs_under_it,
        a_grant_from_a_version_on_is_for_none_before_it,
        what_cannot_be_decrypted_verified_or_unwrapped_counts_as_a_try,
    ],
}

const DEMO_EC: &str = "pkcs11:token=sandbox;object=demo-ec;type=private";
const DEMO_RSA: &str = "pkcs11:token=sandbox;object=demo-rsa;type=private";

fn init(session: u64, mechanism: u64, key: u64) -> Value {
    json!({ "session": session, "mechanism": mechanism, "key": key })
}

fn input(session: u64, length: usize) -> Value {
    json!({ "session": session, "input": hex(&vec![1; length]) })
}

/// A program that is approved and has a grant within these limits.
fn limited<'a>(
    watched: &'a Watched,
    name: &str,
    key: &str,
    operations: &str,
    limits: &[&str],
) -> Program<'a> {
    watched.approve(name);
    watched.stack.grant_within(name, key, operations, limits);
    watched.started(name)
}

fn a_grant_for_a_mechanism_is_for_no_other(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program =
        limited(&watched, "padded", DEMO_RSA, "sign,decrypt", &["--mechanism", "CKM_SHA256_RSA_PKCS"]);
    let (session, key) = (program.session, program.key(CKO_PRIVATE_KEY, "demo-rsa"));
    program.must("C_SignInit", init(session, CKM_SHA256_RSA_PKCS, key));
    program.must("C_Sign", input(session, 8));
    for mechanism in [CKM_RSA_PKCS, CKM_RSA_X_509, CKM_SHA1_RSA_PKCS, CKM_SHA256_RSA_PKCS_PSS] {
        program.denied("mechanism-not-granted", "C_SignInit", init(session, mechanism, key));
        program.denied("mechanism-not-granted", "C_DecryptInit", init(session, mechanism, key));
    }
    // What is granted for no mechanism is not granted.
    program.denied("not-granted", "C_VerifyInit", init(session, CKM_SHA256_RSA_PKCS, key));

    // Of several grants the one that covers it will do; numbers name mechanisms, too.
    watched.stack.grant_within("padded", DEMO_RSA, "sign", &["--mechanism", "0x1", "--mechanism", "0x3"]);
    watched.stack.forget_tokens();
    let mut again = watched.started("padded");
    let (session, key) = (again.session, again.key(CKO_PRIVATE_KEY, "demo-rsa"));
    for mechanism in [CKM_SHA256_RSA_PKCS, CKM_RSA_PKCS] {
        let session = again.another_session();
        again.must("C_SignInit", init(session, mechanism, key));
    }
    // The bare function takes both uses by that mechanism.
    again.denied("mechanism-not-granted", "C_SignInit", init(session, CKM_RSA_X_509, key));
}

fn a_grant_for_a_mechanism_holds_for_wrapping_deriving_and_generating(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("base", &[1; 32], json!([[CKA_DERIVE, TRUE], [CKA_WRAP, TRUE]]));
    let base = "pkcs11:token=sandbox;object=base;type=secret-key";
    let limits = ["--many", "--mechanism", "CKM_AES_CBC_ENCRYPT_DATA", "--mechanism", "CKM_DES3_KEY_GEN"];
    let mut program = limited(&watched, "made", base, "derive,generate,wrap,extract,destroy", &limits);
    let (session, key) = (program.session, program.key(CKO_SECRET_KEY, "base"));
    let template = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_AES)],
        [CKA_VALUE_LEN, ulong(32)],
        [CKA_LABEL, hex(b"base")]
    ]);
    let derive = |mechanism, parameter: Value| {
        json!({
            "session": session, "mechanism": mechanism, "parameter": parameter, "base_key": key, "template": template
        })
    };
    let blocks = json!([{ "at": hex(&[5; 32]) }, 32]);
    program.denied("mechanism-not-granted", "C_DeriveKey", derive(CKM_AES_ECB_ENCRYPT_DATA, blocks));
    let with_iv = json!([hex(&[0; 16]), { "at": hex(&[5; 32]) }, 32]);
    program.must("C_DeriveKey", derive(CKM_AES_CBC_ENCRYPT_DATA, with_iv));
    let generate = json!({ "session": session, "mechanism": CKM_AES_KEY_GEN, "template": template });
    program.denied("mechanism-not-granted", "C_GenerateKey", generate);
    let wrap = json!({ "session": session, "mechanism": CKM_AES_KEY_WRAP, "wrapping_key": key, "key": key });
    program.denied("mechanism-not-granted", "C_WrapKey", wrap);
    // What has no mechanism is not limited by one.
    program.must("C_DestroyObject", json!({ "session": session, "object": key }));
}

fn a_total_is_used_up_by_operations_that_complete(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = limited(&watched, "counted", DEMO_RSA, "sign,decrypt", &["--total", "3"]);
    let (session, key) = (program.session, program.key(CKO_PRIVATE_KEY, "demo-rsa"));
    let sign_init = init(session, CKM_RSA_PKCS, key);
    for _ in 0..2 {
        program.must("C_SignInit", sign_init.clone());
        let size = json!({ "session": session, "input": "00", "output": null, "output_len": 0 });
        program.must("C_Sign", size);
        program.must("C_Sign", input(session, 32));
    }
    // There is room for one more, whatever has failed before.
    for _ in 0..5 {
        // More than there is room for beside the padding: SoftHSM fails, and nothing is counted.
        program.must("C_SignInit", sign_init.clone());
        program.arrives(CKR_GENERAL_ERROR, "C_Sign", input(session, 254));
        // An init that the real module refuses is not counted either.
        let refused = program.probe.call("C_DecryptInit", init(session, CKM_ECDSA, key));
        assert_eq!(refused.rv, CKR_MECHANISM_INVALID);
    }
    program.must("C_SignInit", sign_init.clone());
    // One that runs has its place.
    let other = program.another_session();
    program.denied("rate-exceeded", "C_SignInit", init(other, CKM_RSA_PKCS, key));
    program.must("C_Sign", input(session, 32));
    for _ in 0..2 {
        program.denied("rate-exceeded", "C_SignInit", sign_init.clone());
        program.denied("rate-exceeded", "C_DecryptInit", sign_init.clone());
    }
}

fn what_cannot_be_decrypted_verified_or_unwrapped_counts_as_a_try(mode: Mode) {
    let watched = Watched::up(mode);
    let key = "pkcs11:token=sandbox;object=demo-hmac;type=secret-key";
    let tries = [
        ("decrypting", DEMO_RSA, CKO_PRIVATE_KEY, "demo-rsa", "decrypt"),
        ("verifying", key, CKO_SECRET_KEY, "demo-hmac", "verify"),
        ("unwrapping", DEMO_RSA, CKO_PRIVATE_KEY, "demo-rsa", "unwrap"),
    ];
    for (name, key, class, label, operation) in tries {
        let mut program = limited(&watched, name, key, operation, &["--total", "3", "--many"]);
        let (session, key) = (program.session, program.key(class, label));
        // Smaller than the modulus, and without the padding.
        let garbage = hex(&[5; 256]);
        let unwrap = json!({
            "session": session, "mechanism": CKM_RSA_PKCS, "unwrapping_key": key, "wrapped": garbage,
            "template": [[CKA_CLASS, ulong(CKO_SECRET_KEY)], [CKA_KEY_TYPE, ulong(CKK_AES)]]
        });
        for _ in 0..3 {
            let rv = match operation {
                "decrypt" => {
                    program.must("C_DecryptInit", init(session, CKM_RSA_PKCS, key));
                    // The length of the result may be asked for, and how it is padded is not told by that.
                    let size =
                        json!({ "session": session, "input": garbage, "output": null, "output_len": 0 });
                    program.must("C_Decrypt", size);
                    program.call("C_Decrypt", json!({ "session": session, "input": garbage })).rv
                }
                "verify" => {
                    program.must("C_VerifyInit", init(session, CKM_SHA256_HMAC, key));
                    let verify = json!({ "session": session, "data": "00", "signature": hex(&[5; 32]) });
                    program.call("C_Verify", verify).rv
                }
                _ => program.call("C_UnwrapKey", unwrap.clone()).rv,
            };
            assert!(![CKR_OK, CKR_FUNCTION_REJECTED].contains(&rv), "{name}: {rv:#x}");
        }
        match operation {
            "decrypt" => program.denied("rate-exceeded", "C_DecryptInit", init(session, CKM_RSA_PKCS, key)),
            "verify" => program.denied("rate-exceeded", "C_VerifyInit", init(session, CKM_SHA256_HMAC, key)),
            _ => program.denied("rate-exceeded", "C_UnwrapKey", unwrap),
        }
    }
}

fn an_operation_that_is_given_up_with_its_session_is_not_counted(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = limited(&watched, "given-up", DEMO_EC, "sign", &["--total", "1"]);
    let key = program.key(CKO_PRIVATE_KEY, "demo-ec");
    let first = program.another_session();
    program.must("C_SignInit", init(first, CKM_ECDSA, key));
    let session = program.session;
    program.denied("rate-exceeded", "C_SignInit", init(session, CKM_ECDSA, key));
    program.probe.must("C_CloseSession", json!({ "session": first }));
    program.must("C_SignInit", init(session, CKM_ECDSA, key));
    program.must("C_Sign", input(session, 32));
    program.denied("rate-exceeded", "C_SignInit", init(session, CKM_ECDSA, key));
}

fn what_a_cipher_gives_in_parts_is_counted_though_it_is_given_up(mode: Mode) {
    let watched = Watched::up(mode);
    let key = "pkcs11:token=sandbox;object=demo-aes;type=secret-key";
    let mut program = limited(&watched, "in-parts", key, "decrypt", &["--total", "1"]);
    let key = program.key(CKO_SECRET_KEY, "demo-aes");
    let (session, first) = (program.session, program.another_session());
    program.must("C_DecryptInit", init(first, CKM_AES_ECB, key));
    program.must("C_DecryptUpdate", input(first, 32));
    program.probe.must("C_CloseSession", json!({ "session": first }));
    program.denied("rate-exceeded", "C_DecryptInit", init(session, CKM_AES_ECB, key));
}

fn so_many_operations_a_second_and_no_more(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = limited(&watched, "slow", DEMO_EC, "sign", &["--per-second", "2"]);
    let (session, key) = (program.session, program.key(CKO_PRIVATE_KEY, "demo-ec"));
    for round in 0..2 {
        let signed = (0..20)
            .filter(|_| {
                let begun = program.call("C_SignInit", init(session, CKM_ECDSA, key)).rv;
                if begun == CKR_OK {
                    program.must("C_Sign", input(session, 32));
                } else {
                    assert_eq!(begun, CKR_FUNCTION_REJECTED);
                }
                begun == CKR_OK
            })
            .count();
        assert!((2..20).contains(&signed), "{signed} in round {round}");
        assert_eq!(watched.stack.log().last().unwrap()["reason"], "rate-exceeded");
        sleep(Duration::from_millis(1_100));
    }
}

fn a_grant_that_ends_ends_what_runs_under_it(mode: Mode) {
    let watched = Watched::up(mode);
    watched.approve("passing");
    let end = SystemTime::now() + Duration::from_secs(6);
    let since = end.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let moment = format!("@{since}");
    let text = e2e::client::run(std::process::Command::new("date").args([
        "--utc",
        "--date",
        &moment,
        "+%Y-%m-%dT%H:%M:%SZ",
    ]));
    let text = text.must_succeed().text();
    watched.stack.grant_within("passing", DEMO_EC, "sign", &["--expires", text.trim()]);
    watched.stack.grant("passing", DEMO_RSA, "sign");
    let mut program = watched.started("passing");
    let (session, key) = (program.session, program.key(CKO_PRIVATE_KEY, "demo-ec"));
    program.must("C_SignInit", init(session, CKM_ECDSA, key));
    program.must("C_Sign", input(session, 32));
    program.must("C_SignInit", init(session, CKM_ECDSA, key));
    // Ends of grants are whole seconds, counted from when the evidence was appraised.
    sleep(end.duration_since(SystemTime::now()).unwrap_or_default() + Duration::from_millis(1_200));
    let reply = program.call("C_Sign", input(session, 32));
    assert_eq!(reply.rv, CKR_FUNCTION_REJECTED);
    assert!(reply.room("output").iter().all(|byte| *byte == 0));
    assert_eq!(watched.stack.log().last().unwrap()["reason"], "grant-expired");
    program.denied("grant-expired", "C_SignInit", init(session, CKM_ECDSA, key));
    // The token itself counts still.
    let other = program.key(CKO_PRIVATE_KEY, "demo-rsa");
    program.must("C_SignInit", init(session, CKM_RSA_PKCS, other));
}

fn a_grant_from_a_version_on_is_for_none_before_it(mode: Mode) {
    let watched = Watched::up(mode);
    let approve = |name: &str, version: &str| {
        watched.approve_as(name, &Approval { grant: None, version, ..Approval::of("tool", "", "") });
    };
    approve("old", "1");
    approve("new", "2");
    watched.stack.grant_within("tool", DEMO_EC, "sign", &["--min-version", "2"]);
    watched.stack.grant("tool", DEMO_RSA, "sign");
    for (name, is_granted) in [("old", false), ("new", true)] {
        let mut program = watched.started(name);
        let (session, key) = (program.session, program.key(CKO_PRIVATE_KEY, "demo-ec"));
        if is_granted {
            program.must("C_SignInit", init(session, CKM_ECDSA, key));
        } else {
            program.denied("not-granted", "C_SignInit", init(session, CKM_ECDSA, key));
        }
    }
}
