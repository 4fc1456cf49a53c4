//! Asynchronous operations: no session of the application's is one, and those of others are reached with reveal only.

use cryptoki_sys::*;
use e2e::probe::hex;
use e2e::{Mode, Watched};
use serde_json::json;

e2e::in_modes! {
    both: [
        no_session_is_asynchronous,
        operations_of_others_are_reached_with_reveal_on_the_token_only,
        the_users_own_login_by_name_is_free,
    ],
}

fn no_session_is_asynchronous(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.program("hasty", &[("pkcs11:token=sandbox", "all")]);
    let slot = program.probe.slot("sandbox").unwrap();
    let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION | CKF_ASYNC_SESSION;
    let arguments = json!({ "slot": slot, "flags": flags });
    program.never_arrives(CKR_SESSION_ASYNC_NOT_SUPPORTED, "C_OpenSession", arguments);
    // Nor does the token say that one could be.
    let info = program.probe.must("C_GetTokenInfo", json!({ "slot": slot })).bytes("info");
    let flags = std::mem::offset_of!(CK_TOKEN_INFO, flags);
    let flags = CK_FLAGS::from_ne_bytes(info[flags..flags + size_of::<CK_FLAGS>()].try_into().unwrap());
    assert_eq!(flags & (CKF_ASYNC_SESSION_SUPPORTED | CKF_TOKEN_INITIALIZED), CKF_TOKEN_INITIALIZED);
}

fn operations_of_others_are_reached_with_reveal_on_the_token_only(mode: Mode) {
    let watched = Watched::up(mode);
    let calls = [
        ("C_AsyncComplete", CKR_OPERATION_NOT_INITIALIZED),
        ("C_AsyncGetID", CKR_OPERATION_NOT_INITIALIZED),
        ("C_AsyncJoin", CKR_SAVED_STATE_INVALID),
    ];
    let but_reveal = "sign,decrypt,encrypt,verify,wrap,extract,unwrap,derive,encapsulate,decapsulate,generate,import,modify,destroy,administer";
    let of_a_key = "pkcs11:token=sandbox;object=demo-hmac;type=secret-key";
    let whole = "pkcs11:token=sandbox";
    for (name, grants, may) in [
        ("keyed", vec![(of_a_key, "all")], false),
        ("almost", vec![(whole, but_reveal)], false),
        ("revealer", vec![(whole, "reveal")], true),
    ] {
        let mut program = watched.program(name, &grants);
        for (function, answer) in calls {
            let arguments =
                json!({ "session": program.session, "function": hex(b"C_Sign\0"), "id": 1, "data": "00" });
            if may {
                program.arrives(answer, function, arguments);
            } else {
                program.denied("not-granted", function, arguments);
            }
        }
    }
}

fn the_users_own_login_by_name_is_free(mode: Mode) {
    let watched = Watched::up(mode);
    let (mut program, reason) = watched.unapproved("unapproved");
    let session = program.session;
    let login =
        |user: u64| json!({ "session": session, "user": user, "pin": hex(b"1234"), "username": hex(b"me") });
    match mode {
        Mode::Inline => drop(program.arrives(CKR_USER_ALREADY_LOGGED_IN, "C_LoginUser", login(CKU_USER))),
        // A PIN that is tried could lock the token.
        Mode::Guarded => program.denied(reason, "C_LoginUser", login(CKU_USER)),
    }
    program.denied(reason, "C_LoginUser", login(CKU_SO));
    program.denied(reason, "C_LoginUser", login(CKU_SO + 7));
}
