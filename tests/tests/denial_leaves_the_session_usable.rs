//! A refusal ends neither the session nor what else it does: the next call works as if nothing had been asked for.

use std::thread::sleep;
use std::time::Duration;

use cryptoki_sys::*;
use e2e::operations::{self, Operation, on};
use e2e::probe::hex;
use e2e::stack::FAILURE_STANDS;
use e2e::{Approval, Mode, Probe, Stack, Token};
use serde_json::json;

e2e::in_modes! {
    both: [
        after_a_refused_init_everything_else_works,
        a_token_that_expires_mid_operation_ends_that_operation_only,
        a_token_that_expires_mid_operation_ends_that_operation_only_on_kryoptic,
        a_token_that_is_withdrawn_mid_operation_ends_that_operation_only,
        a_token_that_is_withdrawn_mid_operation_ends_that_operation_only_on_kryoptic,
        size_queries_and_short_buffers_keep_the_operation,
        size_queries_and_short_buffers_keep_the_operation_on_kryoptic,
    ],
}

const WHOLE_TOKEN: &str = "pkcs11:token=sandbox";

/// Arguments of a signature with `demo-ec`.
fn sign_init(probe: &mut Probe, session: u64) -> serde_json::Value {
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    json!({ "session": session, "mechanism": CKM_ECDSA, "key": key })
}

/// Approves the probe for everything on the token.
fn approval(version: &str) -> Approval<'_> {
    Approval { version, ..Approval::of("probe", WHOLE_TOKEN, "all").with(&["--many"]) }
}

/// Every operation, each with a session of its own.
fn every_operation(stack: &Stack, probe: &mut Probe) -> Vec<(u64, Operation)> {
    let mut owner = Probe::start_on(stack, stack.real_module(), |_| {});
    let owners = owner.session();
    let slot = probe.slot("sandbox").unwrap();
    let operations = operations::all(&mut owner, owners, stack.token());
    operations.into_iter().map(|operation| (probe.open(slot), operation)).collect()
}

/// Makes an operation's init and what follows, but for the last call.
fn begin(probe: &mut Probe, session: u64, operation: &Operation) {
    let key = probe.key(session, operation.key.0, operation.key.1);
    let init = [(operation.init, operation.begin(session, key))];
    let (_, calls) = operation.calls.split_last().unwrap();
    let calls = calls.iter().map(|(function, arguments)| (*function, on(session, arguments)));
    for (function, arguments) in init.into_iter().chain(calls) {
        let reply = probe.call(function, arguments);
        assert_eq!(reply.rv, CKR_OK, "{}: {function} {:#x}", operation.name, reply.rv);
    }
}

/// The last call is refused and gives nothing; then there is no operation any more.
fn end_is_refused(probe: &mut Probe, session: u64, operation: &Operation) {
    let name = &operation.name;
    let (function, arguments) = operation.calls.last().unwrap();
    let reply = probe.call(function, on(session, arguments));
    assert_eq!(reply.rv, CKR_FUNCTION_REJECTED, "{name}: {:#x}", reply.rv);
    if operation.has_output() {
        assert!(reply.room("output").iter().all(|byte| *byte == 0), "{name}: output in spite of the refusal");
    }
    let reply = probe.call(function, on(session, arguments));
    assert_eq!(reply.rv, CKR_OPERATION_NOT_INITIALIZED, "{name}: it has not ended: {:#x}", reply.rv);
}

/// The operation runs from its init to its end.
fn runs(probe: &mut Probe, session: u64, operation: &Operation) {
    begin(probe, session, operation);
    let (function, arguments) = operation.calls.last().unwrap();
    let reply = probe.call(function, on(session, arguments));
    assert_eq!(reply.rv, CKR_OK, "{}: {function} {:#x}", operation.name, reply.rv);
}

fn after_a_refused_init_everything_else_works(mode: Mode) {
    let stack = Stack::up(mode);
    let mut probe = Probe::start(&stack, |_| {});
    let session = match mode {
        Mode::Inline => probe.session(),
        // Without any grant it could not log in.
        Mode::Guarded => {
            stack.restart_server("token_lifetime_s = 3");
            let another = "pkcs11:token=sandbox;object=demo-rsa;type=private";
            stack.approve_probe(&mut probe, &Approval::of("probe", another, "sign"))
        }
    };
    let sign_init = sign_init(&mut probe, session);
    let key = sign_init["key"].as_u64().unwrap();

    let device_error = |probe: &mut Probe| {
        let info = probe.must("C_GetSessionInfo", json!({ "session": session })).bytes("info");
        u64::from_ne_bytes(info[24..32].try_into().unwrap())
    };
    let before = device_error(&mut probe);
    // In guarded mode a login was refused on this session.
    assert_eq!(before == 0, mode == Mode::Inline);
    assert_eq!(probe.call("C_SignInit", sign_init.clone()).rv, CKR_FUNCTION_REJECTED);
    assert!(![0, before].contains(&device_error(&mut probe)));

    let sign = json!({ "session": session, "input": hex(&[1; 32]) });
    assert_eq!(probe.call("C_Sign", sign.clone()).rv, CKR_OPERATION_NOT_INITIALIZED);
    probe.must("C_DigestInit", json!({ "session": session, "mechanism": CKM_SHA256 }));
    let digest = probe.must("C_Digest", json!({ "session": session, "input": hex(b"abc") })).bytes("output");
    assert_eq!(hex(&digest), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(probe.key(session, CKO_PRIVATE_KEY, "demo-ec"), key);

    let every_key = "pkcs11:token=sandbox;type=private";
    if mode == Mode::Inline {
        stack.approve_last(&Approval::of("probe", every_key, "sign").with(&["--many"]));
        sleep(FAILURE_STANDS);
    } else {
        stack.grant("probe", every_key, "sign");
        sleep(Duration::from_millis(3_200));
    }
    probe.must("C_SignInit", sign_init);
    assert_eq!(probe.must("C_Sign", sign).bytes("output").len(), 64);
}

fn a_token_that_expires_mid_operation_ends_that_operation_only(mode: Mode) {
    expires_mid_operation(Token::SoftHsm, mode);
}

fn a_token_that_expires_mid_operation_ends_that_operation_only_on_kryoptic(mode: Mode) {
    expires_mid_operation(Token::Kryoptic, mode);
}

fn expires_mid_operation(token: Token, mode: Mode) {
    let stack = Stack::on(token, mode);
    stack.restart_server("token_lifetime_s = 3");
    let mut probe = Probe::start(&stack, |_| {});
    stack.approve_probe(&mut probe, &approval("1"));
    let operations = every_operation(&stack, &mut probe);
    for (session, operation) in &operations {
        begin(&mut probe, *session, operation);
    }
    // A lifetime after the last attestation that can have been.
    sleep(Duration::from_millis(3_200));
    for (session, operation) in &operations {
        end_is_refused(&mut probe, *session, operation);
    }
    let refusals = stack.log().into_iter().filter(|line| line["reason"] == "token-expired").count();
    assert_eq!(refusals, operations.len());
    // On the same sessions, with a token that is obtained anew.
    for (session, operation) in &operations {
        runs(&mut probe, *session, operation);
    }
}

fn a_token_that_is_withdrawn_mid_operation_ends_that_operation_only(mode: Mode) {
    is_withdrawn_mid_operation(Token::SoftHsm, mode);
}

fn a_token_that_is_withdrawn_mid_operation_ends_that_operation_only_on_kryoptic(mode: Mode) {
    is_withdrawn_mid_operation(Token::Kryoptic, mode);
}

fn is_withdrawn_mid_operation(token: Token, mode: Mode) {
    let stack = Stack::on(token, mode);
    stack.restart_server("token_lifetime_s = 6");
    let mut probe = Probe::start(&stack, |_| {});
    let session = stack.approve_probe(&mut probe, &approval("1"));
    let operations = every_operation(&stack, &mut probe);
    for (session, operation) in &operations {
        begin(&mut probe, *session, operation);
    }
    stack.retire("probe");
    // With a third of the lifetime left a renewal falls due, and is refused; the token goes before its deadline.
    sleep(Duration::from_millis(4_100));
    let init = sign_init(&mut probe, session);
    assert_eq!(probe.call("C_SignInit", init).rv, CKR_FUNCTION_REJECTED);
    assert_eq!(stack.last_reasons(), ["version-retired"]);
    for (session, operation) in &operations {
        end_is_refused(&mut probe, *session, operation);
    }
    sleep(FAILURE_STANDS);
    let init = sign_init(&mut probe, session);
    assert_eq!(probe.call("C_SignInit", init).rv, CKR_FUNCTION_REJECTED);
    stack.approve_last(&approval("2"));
    sleep(FAILURE_STANDS);
    for (session, operation) in &operations {
        runs(&mut probe, *session, operation);
    }
}

/// Return value and stated length of each call of an operation that asks for the size, offers too little room, and then
/// enough, at every call that gives output.
fn with_questions(probe: &mut Probe, session: u64, operation: &Operation) -> Vec<(String, u64, Option<u64>)> {
    let key = probe.key(session, operation.key.0, operation.key.1);
    let mut answers = Vec::new();
    let mut call = |function: &str, what: &str, arguments: serde_json::Value| {
        let reply = probe.call(function, arguments);
        let has_length = reply.rv == CKR_OK || reply.rv == CKR_BUFFER_TOO_SMALL;
        let length = reply.number("output_len").filter(|_| has_length);
        answers.push((format!("{function} {what}"), reply.rv, length));
    };
    call(operation.init, "", operation.begin(session, key));
    for (function, arguments) in &operation.calls {
        let arguments = on(session, arguments);
        let gives_output = operation.has_output() && *function != "C_SignUpdate";
        if gives_output {
            let (mut size, mut short) = (arguments.clone(), arguments.clone());
            (size["output"], size["output_len"]) = (serde_json::Value::Null, 0.into());
            short["output_len"] = 1.into();
            call(function, "for the size", size);
            call(function, "with too little room", short);
        }
        call(function, "with enough room", arguments);
    }
    let (last, arguments) = operation.calls.last().unwrap();
    call(last, "once more", on(session, arguments));
    answers
}

fn size_queries_and_short_buffers_keep_the_operation(mode: Mode) {
    size_queries(Token::SoftHsm, mode);
}

fn size_queries_and_short_buffers_keep_the_operation_on_kryoptic(mode: Mode) {
    size_queries(Token::Kryoptic, mode);
}

fn size_queries(token: Token, mode: Mode) {
    let stack = Stack::on(token, mode);
    let mut probe = Probe::start(&stack, |_| {});
    stack.approve_probe(&mut probe, &approval("1"));
    let mut direct = Probe::start_on(&stack, stack.real_module(), |_| {});
    direct.session();
    let slot = direct.slot("sandbox").unwrap();
    for (session, operation) in every_operation(&stack, &mut probe) {
        let directly = direct.open(slot);
        let expected = with_questions(&mut direct, directly, &operation);
        let answers = with_questions(&mut probe, session, &operation);
        assert_eq!(answers, expected, "{}", operation.name);
        if matches!(operation.init, "C_SignInit") {
            let codes: Vec<_> = answers.iter().rev().map(|(_, rv, _)| *rv).take(4).collect();
            let codes: Vec<_> = codes.into_iter().rev().collect();
            let as_the_standard_says = [CKR_OK, CKR_BUFFER_TOO_SMALL, CKR_OK, CKR_OPERATION_NOT_INITIALIZED];
            assert_eq!(codes, as_the_standard_says, "{}", operation.name);
        }
    }
}
