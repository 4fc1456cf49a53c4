//! Administering the token takes a grant on the token as a whole; what else is gated, and how a refusal is told, is set in
//! the configuration.

use std::thread::sleep;
use std::time::Duration;

use cryptoki_sys::*;
use e2e::probe::{FALSE, TRUE, hex, ulong};
use e2e::{Approval, Mode, Probe, Program, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        administering_takes_administer_on_the_token_and_on_no_key,
        a_token_does_not_take_the_name_of_another,
        the_users_own_login_takes_no_grant,
        under_the_scope_everything_nothing_is_done_for_the_unapproved,
        a_refusal_is_told_by_the_configured_code,
    ],
    inline: [the_scope_everything_wants_a_login_of_the_attesters_own],
}

const ADMINISTER: &str = "administer";
const SO_PIN: &[u8] = b"5678";

fn named(label: &str) -> String {
    hex(format!("{label:32}").as_bytes())
}

fn init_token(slot: u64, label: &str) -> Value {
    json!({ "slot": slot, "pin": hex(SO_PIN), "label": named(label) })
}

fn so_login(session: u64) -> Value {
    json!({ "session": session, "user": CKU_SO, "pin": hex(SO_PIN) })
}

/// Makes the token `scratch` in the free slot that SoftHSM always has.
fn make_scratch(watched: &Watched) {
    let mut owner = Probe::start_on(&watched.stack, watched.stack.real_module(), |_| {});
    owner.initialize();
    let free = *owner.slots().last().unwrap();
    owner.must("C_InitToken", init_token(free, "scratch"));
}

/// A session of the program on another token.
fn session_on(program: &mut Program<'_>, label: &str) -> (u64, u64) {
    let slot = program.probe.slot(label).unwrap();
    (slot, program.probe.open(slot))
}

fn administering_takes_administer_on_the_token_and_on_no_key(mode: Mode) {
    let watched = Watched::up(mode);
    make_scratch(&watched);
    const ALL_BUT_ADMINISTER: &str =
        "sign,decrypt,encrypt,verify,wrap,extract,unwrap,derive,generate,import,modify,destroy,reveal";
    let programs = [
        ("unadministered", vec![("pkcs11:token=scratch", ALL_BUT_ADMINISTER)]),
        (
            "keys",
            vec![
                ("pkcs11:token=scratch;type=private", "all"),
                ("pkcs11:token=scratch;object=x;type=data", "all"),
            ],
        ),
        ("elsewhere", vec![("pkcs11:token=sandbox", "all")]),
    ];
    for (name, grants) in programs {
        let mut program = watched.program(name, &grants);
        let (slot, session) = session_on(&mut program, "scratch");
        program.denied("not-granted", "C_Login", so_login(session));
        // A user type that nobody knows is no user's.
        let unknown = json!({ "session": session, "user": 7, "pin": hex(SO_PIN) });
        program.denied("not-granted", "C_Login", unknown);
        program.denied("not-granted", "C_InitPIN", json!({ "session": session, "pin": hex(b"4321") }));
        let set_pin = json!({ "session": session, "old_pin": hex(b"1234"), "new_pin": hex(b"4321") });
        program.denied("not-granted", "C_SetPIN", set_pin);
        program.probe.must("C_CloseSession", json!({ "session": session }));
        program.denied("not-granted", "C_InitToken", init_token(slot, "scratch"));
    }

    let mut administrator = watched.program("administrator", &[("pkcs11:token=scratch", ADMINISTER)]);
    let (slot, session) = session_on(&mut administrator, "scratch");
    administrator.must("C_Login", so_login(session));
    administrator.must("C_InitPIN", json!({ "session": session, "pin": hex(b"4321") }));
    administrator.must("C_Logout", json!({ "session": session }));
    let user = json!({ "session": session, "user": CKU_USER, "pin": hex(b"4321") });
    administrator.must("C_Login", user);
    let set_pin = json!({ "session": session, "old_pin": hex(b"4321"), "new_pin": hex(b"8765") });
    administrator.must("C_SetPIN", set_pin);
    administrator.probe.must("C_CloseSession", json!({ "session": session }));
    administrator.must("C_InitToken", init_token(slot, "scratch"));
}

fn a_token_does_not_take_the_name_of_another(mode: Mode) {
    let watched = Watched::up(mode);
    make_scratch(&watched);
    // Who may administer one, may not make it pass for the other, whose keys others have grants on.
    let mut renamer = watched.program("renamer", &[("pkcs11:token=scratch", ADMINISTER)]);
    let slot = renamer.probe.slot("scratch").unwrap();
    for label in ["sandbox", "", "other"] {
        renamer.denied("not-granted", "C_InitToken", init_token(slot, label));
    }
    renamer.must("C_InitToken", init_token(slot, "scratch"));
    let mut both =
        watched.program("both", &[("pkcs11:token=scratch", ADMINISTER), ("pkcs11:token=other", ADMINISTER)]);
    let slot = both.probe.slot("scratch").unwrap();
    both.must("C_InitToken", init_token(slot, "other"));
    assert_eq!(both.probe.slot("other"), Some(slot));
}

fn the_users_own_login_takes_no_grant(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = match mode {
        Mode::Inline => watched.started("unapproved"),
        // A guard wants a trust token: a PIN that is tried could lock the token.
        Mode::Guarded => {
            let mut unapproved = watched.without_login("unapproved");
            let login = json!({ "session": unapproved.session, "user": CKU_USER, "pin": hex(b"1234") });
            unapproved.denied("executable-unknown", "C_Login", login);
            watched.program("other", &[("pkcs11:token=sandbox;object=other;type=private", "sign")])
        }
    };
    let session = program.session;
    program.must("C_Logout", json!({ "session": session }));
    for (pin, rv) in [(&b"9999"[..], CKR_PIN_INCORRECT), (b"1234", CKR_OK)] {
        let login = json!({ "session": session, "user": CKU_USER, "pin": hex(pin) });
        program.arrives(rv, "C_Login", login);
    }
    let context = json!({ "session": session, "user": CKU_CONTEXT_SPECIFIC, "pin": hex(b"1234") });
    program.arrives(CKR_OPERATION_NOT_INITIALIZED, "C_Login", context);
}

/// What uses no key, and is gated where everything is.
fn keyless(session: u64, public: u64) -> Vec<(&'static str, Value)> {
    vec![
        ("C_FindObjectsInit", json!({ "session": session })),
        ("C_DigestInit", json!({ "session": session, "mechanism": CKM_SHA256 })),
        ("C_SeedRandom", json!({ "session": session, "seed": hex(&[1; 16]) })),
        ("C_GenerateRandom", json!({ "session": session })),
        ("C_GetObjectSize", json!({ "session": session, "object": public })),
        (
            "C_GetAttributeValue",
            json!({ "session": session, "object": public, "template": [[CKA_MODULUS, 256], [CKA_LABEL, 64]] }),
        ),
        ("C_Login", json!({ "session": session, "user": CKU_USER, "pin": hex(b"1234") })),
        ("C_EncryptInit", json!({ "session": session, "mechanism": CKM_RSA_PKCS, "key": public })),
        ("C_VerifyInit", json!({ "session": session, "mechanism": CKM_RSA_PKCS, "key": public })),
        (
            "C_CreateObject",
            json!({ "session": session, "template": [[CKA_CLASS, ulong(CKO_DATA)], [CKA_PRIVATE, FALSE], [CKA_VALUE, "00"]] }),
        ),
        ("C_GetOperationState", json!({ "session": session })),
    ]
}

fn takes_a_handle(arguments: &Value) -> bool {
    arguments.get("object").is_some() || arguments.get("key").is_some()
}

fn under_the_scope_everything_nothing_is_done_for_the_unapproved(mode: Mode) {
    let watched = Watched::up_with(mode, |text| text.replace("scope = \"keys\"", "scope = \"everything\""));
    let start = || {
        let (mut probe, record) = watched.probe("everything", |_| {});
        probe.initialize();
        let slot = probe.slot("sandbox").unwrap();
        let session = probe.open(slot);
        Program::of(&watched, record, probe, session)
    };
    let mut unapproved = start();
    let session = unapproved.session;
    for (function, arguments) in keyless(session, 0) {
        if !takes_a_handle(&arguments) {
            unapproved.denied("executable-unknown", function, arguments);
        }
    }
    // What is not done by the HSM on a session is as open as ever.
    unapproved.must("C_GetSessionInfo", json!({ "session": session }));

    watched.stack.restart_server("token_lifetime_s = 3");
    let approval = Approval { grant: None, ..Approval::of("everything", "", "") };
    watched.stack.approve_last(&approval);
    watched.stack.grant("everything", "pkcs11:token=sandbox;object=another;type=private", "sign");
    let mut approved = start();
    let first = approved.session;
    let public = approved.key(CKO_PUBLIC_KEY, "demo-rsa");
    for index in 0..keyless(0, 0).len() {
        let session = approved.another_session();
        let (function, arguments) = keyless(session, public).swap_remove(index);
        let answer = if function == "C_GetOperationState" { CKR_FUNCTION_NOT_SUPPORTED } else { CKR_OK };
        approved.arrives(answer, function, arguments);
        if function != "C_Login" {
            approved.probe.must("C_CloseSession", json!({ "session": session }));
        }
    }
    // It takes a trust token and no more: a key takes its grant all the same.
    let private = approved.key(CKO_PRIVATE_KEY, "demo-rsa");
    let sign = json!({ "session": first, "mechanism": CKM_RSA_PKCS, "key": private });
    approved.denied("not-granted", "C_SignInit", sign);

    watched.stack.retire("everything");
    sleep(Duration::from_millis(3_200));
    for (function, arguments) in keyless(first, public) {
        approved.denied("version-retired", function, arguments);
    }
}

fn the_scope_everything_wants_a_login_of_the_attesters_own(mode: Mode) {
    let watched = Watched::up_with(mode, |text| {
        let without_pin: String = text
            .lines()
            .filter(|line| !line.starts_with("pin_file"))
            .map(|line| format!("{line}\n"))
            .collect();
        without_pin.replace("scope = \"keys\"", "scope = \"everything\"")
    });
    let (mut probe, record) = watched.probe("no-pin", |_| {});
    assert_eq!(probe.call("C_Initialize", json!({})).rv, CKR_GENERAL_ERROR);
    assert_eq!(record.mark(), 0);
}

fn a_refusal_is_told_by_the_configured_code(mode: Mode) {
    for (name, rv) in [
        ("function-rejected", CKR_FUNCTION_REJECTED),
        ("key-function-not-permitted", CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("vendor", 0x8054_5301),
    ] {
        let watched = Watched::up_with(mode, |text| {
            text.replace("deny_code = \"function-rejected\"", &format!("deny_code = \"{name}\""))
        });
        let (mut program, reason) = watched.unapproved("unapproved");
        let (session, key) = (program.session, program.key(CKO_PRIVATE_KEY, "demo-rsa"));
        let sign = json!({ "session": session, "mechanism": CKM_RSA_PKCS, "key": key });
        program.denied_with(rv, reason, "C_SignInit", sign);
        let generate =
            json!({ "session": session, "mechanism": CKM_AES_KEY_GEN, "template": [[CKA_TOKEN, TRUE]] });
        program.denied_with(rv, reason, "C_GenerateKey", generate);
        let twice = json!([[CKA_LABEL, "00"], [CKA_LABEL, "00"]]);
        let create = json!({ "session": session, "template": twice });
        program.denied_with(rv, "template-unclear", "C_CreateObject", create);
    }
}
