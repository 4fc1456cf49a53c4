//! Refusals that the gate makes by itself are on the policy server's record too, at the latest when the application ends.

use cryptoki_sys::*;
use e2e::client::run;
use e2e::{Mode, Program, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        what_was_refused_is_told_when_the_application_finalizes,
        an_application_ends_as_ever_where_nobody_listens,
        what_was_refused_is_told_with_the_next_attestation,
    ],
}

const DEMO_RSA: &str = "pkcs11:token=sandbox;object=demo-rsa;type=private";

/// Has one call refused, and gives what the shim's log says of it.
fn refused(watched: &Watched, program: &mut Program<'_>) -> Value {
    let (session, key) = (program.session, program.key(CKO_PRIVATE_KEY, "demo-ec"));
    let init = json!({ "session": session, "mechanism": CKM_ECDSA, "key": key });
    program.denied("not-granted", "C_SignInit", init);
    watched.stack.log().pop().unwrap()
}

fn show(watched: &Watched, line: &Value) -> e2e::Finished {
    run(&mut watched.stack.operator(&["decisions", "show", line["decision"].as_str().unwrap(), "--json"]))
}

fn what_was_refused_is_told_when_the_application_finalizes(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.program("signer", &[(DEMO_RSA, "sign")]);
    let line = refused(&watched, &mut program);
    show(&watched, &line).must_fail();
    program.probe.must("C_Finalize", json!({}));
    let told: Value = serde_json::from_slice(&show(&watched, &line).must_succeed().stdout).unwrap();
    let summary = &told["summary"];
    assert_eq!((&summary["decided_by"], &summary["outcome"]), (&"gate".into(), &"denied".into()));
    assert_eq!((&summary["key"], &summary["component"]), (&line["key"], &line["component"]));
    assert_eq!(summary["operation"], "sign (C_SignInit)");
    assert_eq!(e2e::stack::reasons(summary), ["not-granted"]);
}

fn an_application_ends_as_ever_where_nobody_listens(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.program("signer", &[(DEMO_RSA, "sign")]);
    let line = refused(&watched, &mut program);
    watched.stack.stop_server();
    program.probe.must("C_Finalize", json!({}));
    let info = program.call("C_GetInfo", json!({}));
    assert_eq!(info.rv, CKR_CRYPTOKI_NOT_INITIALIZED);
    watched.stack.start_server();
    // It is in the log of the host alone.
    show(&watched, &line).must_fail();
}

fn what_was_refused_is_told_with_the_next_attestation(mode: Mode) {
    let watched = Watched::up(mode);
    watched.stack.restart_server("token_lifetime_s = 3");
    let mut program = watched.program("signer", &[(DEMO_RSA, "sign")]);
    let line = refused(&watched, &mut program);
    std::thread::sleep(std::time::Duration::from_millis(3_200));
    let (session, key) = (program.session, program.key(CKO_PRIVATE_KEY, "demo-rsa"));
    program.must("C_SignInit", json!({ "session": session, "mechanism": CKM_RSA_PKCS, "key": key }));
    show(&watched, &line).must_succeed();
}
