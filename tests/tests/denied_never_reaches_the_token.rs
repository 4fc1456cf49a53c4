//! For every function that is not open: what the gate denies never reaches the real module, and what it permits does, once.
//! The spy token, which stands in the real module's place, has it on record.

use cryptoki_sys::*;
use e2e::every_call::{self, Case, SECRET};
use e2e::probe::hex;
use e2e::{Mode, Program, Watched};
use pkcs11_table::Class;
use serde_json::json;

e2e::in_modes! {
    both: [
        no_call_of_an_unapproved_program,
        no_call_of_a_program_that_may_use_another_key_for_everything,
        every_call_of_a_program_that_may_use_everything_reaches_it_once,
        what_needs_no_grant_reaches_it_too,
    ],
}

const WHOLE_TOKEN: &str = "pkcs11:token=sandbox";
const IV: &str = "00000000000000000000000000000000";

fn watched(mode: Mode) -> Watched {
    let watched = Watched::up(mode);
    let (mut owner, session) = watched.owner();
    every_call::make_keys(&mut owner, session);
    watched
}

/// Every case is denied for `reason`; of a continuation there is nothing to go on with.
fn assert_all_is_denied(program: &mut Program<'_>, reason: &str) {
    let keys = every_call::keys(&mut program.probe, program.session);
    let slot = program.probe.slot("sandbox").unwrap();
    for Case { function, arguments, .. } in every_call::gated(program.session, slot, &keys) {
        match function.class() {
            Class::Continue(_) | Class::Dual(..) => {
                program.never_arrives(CKR_OPERATION_NOT_INITIALIZED, function.name(), arguments);
            }
            _ => program.denied(reason, function.name(), arguments),
        }
    }
    assert_nothing_has_changed(program);
}

fn no_call_of_an_unapproved_program(mode: Mode) {
    let watched = watched(mode);
    let (mut program, reason) = watched.unapproved("unapproved");
    assert_all_is_denied(&mut program, reason);
}

fn no_call_of_a_program_that_may_use_another_key_for_everything(mode: Mode) {
    let watched = watched(mode);
    let grant = ("pkcs11:token=sandbox;object=other;type=secret-key", "all");
    let mut program = watched.program("other", &[grant]);
    assert_all_is_denied(&mut program, "not-granted");
    // Which it may.
    let other = program.key(CKO_SECRET_KEY, "other");
    let session = program.session;
    let init = json!({ "session": session, "mechanism": CKM_AES_CBC, "parameter": IV, "key": other });
    program.must("C_EncryptInit", init);
}

fn every_call_of_a_program_that_may_use_everything_reaches_it_once(mode: Mode) {
    let watched = watched(mode);
    let mut program = watched.program("everything", &[(WHOLE_TOKEN, "all")]);
    let keys = every_call::keys(&mut program.probe, program.session);
    let slot = program.probe.slot("sandbox").unwrap();
    for index in 0..every_call::gated(0, slot, &keys).len() {
        // Of its own, since operations that have begun stay.
        let session = program.another_session();
        let Case { function, arguments, init, answer } =
            every_call::gated(session, slot, &keys).swap_remove(index);
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

fn what_needs_no_grant_reaches_it_too(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.without_login("unapproved");
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
