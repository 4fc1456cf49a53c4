//! Trust tokens that are handed in, by the application or by a file: they take the place of the policy server's answer, and
//! of nothing else.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use cryptoki_sys::*;
use e2e::client::run;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::probe::hex;
use e2e::{Approval, Mode, Probe, Stack, Tool};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        a_token_created_as_a_data_object_serves_the_process_and_is_not_forwarded,
        a_token_that_is_not_genuine_or_not_for_this_process_is_refused,
        a_token_that_is_handed_in_counts_until_its_deadline,
        a_token_that_is_handed_in_has_the_limits_that_it_states,
    ],
    inline: [a_token_in_the_configured_file_serves_and_a_bad_one_leads_to_the_policy_server],
}

/// A stack whose probe was approved and allowed once.
fn with_approved_probe(mode: Mode) -> Stack {
    let stack = Stack::up(mode);
    approve(&stack, Probe::start(&stack, |_| {}), &[]);
    stack
}

/// Has a probe refused, approved with these options and allowed.
fn approve(stack: &Stack, mut probe: Probe, options: &[&str]) {
    let session = stack.approve_probe(&mut probe, &Approval::of("probe", DEMO_EC, "sign").with(options));
    let init = sign_init(&mut probe, session);
    probe.must("C_SignInit", init);
}

fn sign_init(probe: &mut Probe, session: u64) -> Value {
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    json!({ "session": session, "mechanism": CKM_ECDSA, "key": key })
}

/// Has the operator issue a token from the newest allowed decision.
fn issue(stack: &Stack, name: &str, lifetime_s: &str) -> PathBuf {
    let path = stack.file(name);
    let output = path.to_str().unwrap();
    run(&mut stack.operator(&[
        "token",
        "issue",
        "--last-allowed",
        "--lifetime",
        lifetime_s,
        "--output",
        output,
    ]))
    .must_succeed();
    path
}

fn object(session: u64, jwt: &[u8]) -> Value {
    json!({ "session": session, "template": [
        [CKA_CLASS, hex(&CKO_DATA.to_ne_bytes())],
        [CKA_TOKEN, "01"],
        [CKA_APPLICATION, hex(b"trustshim")],
        [CKA_LABEL, hex(b"trust-token")],
        [CKA_VALUE, hex(jwt)],
    ] })
}

fn sign(probe: &mut Probe, session: u64) -> u64 {
    let init = sign_init(probe, session);
    match probe.call("C_SignInit", init).rv {
        CKR_OK => probe.call("C_Sign", json!({ "session": session, "input": hex(&[1; 32]) })).rv,
        rv => rv,
    }
}

/// A session on the token `sandbox`, of whose user a guard lets nobody log in without a trust token.
fn session(mode: Mode, probe: &mut Probe) -> u64 {
    match mode {
        Mode::Inline => probe.session(),
        Mode::Guarded => {
            probe.initialize();
            let slot = probe.slot("sandbox").unwrap();
            probe.open(slot)
        }
    }
}

/// The reason in the newest line of the shim's log.
fn last_reason(stack: &Stack) -> String {
    stack.log().last().unwrap()["reason"].as_str().unwrap().to_owned()
}

fn a_token_created_as_a_data_object_serves_the_process_and_is_not_forwarded(mode: Mode) {
    let stack = with_approved_probe(mode);
    let jwt = fs::read(issue(&stack, "token.jwt", "60")).unwrap();
    stack.forget_tokens();
    stack.stop_server();

    let mut probe = Probe::start(&stack, |_| {});
    let session = session(mode, &mut probe);
    let refused = match mode {
        Mode::Inline => sign(&mut probe, session),
        Mode::Guarded => probe.try_login(session),
    };
    assert_eq!(refused, CKR_FUNCTION_REJECTED, "nobody answers");
    let handle = probe.must("C_CreateObject", object(session, &jwt)).handle("object");
    if mode == Mode::Guarded {
        probe.login(session);
    }
    assert_eq!(sign(&mut probe, session), CKR_OK);
    // It is no object that anybody could find, in the real token least of all.
    let label = json!([[CKA_LABEL, hex(b"trust-token")]]);
    assert!(probe.search(session, label.clone()).is_empty());
    let mut direct = Probe::start_on(&stack, stack.real_module(), |_| {});
    let on_the_token = direct.session();
    assert!(direct.search(on_the_token, label).is_empty());
    // What the application said of it can be read back, but for its value.
    let read = json!({ "session": session, "object": handle, "template": [[CKA_LABEL, 32], [CKA_CLASS, 8]] });
    let reply = probe.must("C_GetAttributeValue", read);
    assert_eq!(reply.attribute(0), b"trust-token");
    assert_eq!(reply.attribute(1), CKO_DATA.to_ne_bytes());
    let value = json!({ "session": session, "object": handle, "template": [[CKA_VALUE, 4096]] });
    assert_eq!(probe.call("C_GetAttributeValue", value).rv, CKR_ATTRIBUTE_TYPE_INVALID);
}

fn a_token_that_is_not_genuine_or_not_for_this_process_is_refused(mode: Mode) {
    let stack = with_approved_probe(mode);
    let path = issue(&stack, "token.jwt", "60");
    let jwt = fs::read_to_string(&path).unwrap();
    let jwt = jwt.trim_end();
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let swapped: String = signature.chars().rev().collect();
    let none = "eyJhbGciOiJub25lIiwia2lkIjoieCIsInR5cCI6ImVhcitqd3QifQ";
    let mut probe = Probe::start(&stack, |_| {});
    let session = probe.session();
    for (forged, reason) in [
        (format!("{header}.{claims}.{swapped}"), "signature"),
        (format!("{none}.{claims}."), "key-unknown"),
        (format!("{header}.{claims}"), "not-compact"),
        (String::new(), "not-compact"),
        ("x".repeat(70_000), "not-compact"),
    ] {
        let reply = probe.call("C_CreateObject", object(session, forged.as_bytes()));
        assert_eq!(reply.rv, CKR_FUNCTION_REJECTED, "{reason}");
        assert!(
            [reason, "not-base64url"].contains(&last_reason(&stack).as_str()),
            "{reason}: {}",
            last_reason(&stack)
        );
    }
    // Another program with the very token: what it measures of itself is something else.
    let tool = Tool::copied(&stack, "thief");
    let stolen = stack.write("stolen.jwt", jwt);
    let mut write = stack.application(tool.program());
    write.arg("--module").arg(stack.shim()).args(["--token-label", "sandbox"]);
    write.args(["--write-object", stolen.to_str().unwrap(), "--type", "data", "--label", "trust-token"]);
    write.args(["--application-label", "trustshim"]);
    run(&mut write).must_fail();
    assert_eq!(last_reason(&stack), "other-measurement");
}

/// A probe with its session, logged in, that has handed in this token, and gets no other.
fn with_nothing_but(mode: Mode, stack: &Stack, jwt: &[u8]) -> (Probe, u64) {
    stack.forget_tokens();
    stack.stop_server();
    let mut probe = Probe::start(stack, |_| {});
    let session = session(mode, &mut probe);
    probe.must("C_CreateObject", object(session, jwt));
    if mode == Mode::Guarded {
        probe.login(session);
    }
    (probe, session)
}

fn a_token_that_is_handed_in_counts_until_its_deadline(mode: Mode) {
    let stack = with_approved_probe(mode);
    // Long enough for a guard to be started again meanwhile.
    let jwt = fs::read(issue(&stack, "token.jwt", "10")).unwrap();
    let (mut probe, session) = with_nothing_but(mode, &stack, &jwt);
    assert_eq!(sign(&mut probe, session), CKR_OK);
    // The age of the evidence that the token rests on is known to the second.
    std::thread::sleep(Duration::from_millis(11_200));
    assert_eq!(sign(&mut probe, session), CKR_FUNCTION_REJECTED);
    assert_eq!(probe.call("C_CreateObject", object(session, &jwt)).rv, CKR_FUNCTION_REJECTED);
    assert_eq!(last_reason(&stack), "expired");
}

fn a_token_that_is_handed_in_has_the_limits_that_it_states(mode: Mode) {
    let stack = Stack::up(mode);
    approve(&stack, Probe::start(&stack, |_| {}), &["--total", "2"]);
    let jwt = fs::read(issue(&stack, "token.jwt", "60")).unwrap();
    let (mut probe, session) = with_nothing_but(mode, &stack, &jwt);
    let mut signed = || sign(&mut probe, session);
    assert_eq!([signed(), signed(), signed()], [CKR_OK, CKR_OK, CKR_FUNCTION_REJECTED]);
    assert_eq!(last_reason(&stack), "rate-exceeded");
}

fn a_token_in_the_configured_file_serves_and_a_bad_one_leads_to_the_policy_server(mode: Mode) {
    let stack = Stack::up(mode);
    let line = format!("[attestation]\ntrust_token_file = \"{}\"\n", stack.file("token.jwt").display());
    let configuration = stack.configuration("filed.toml", |text| text.replace("[attestation]\n", &line));
    let start = || {
        Probe::start(&stack, |command| {
            command.env("TRUSTSHIM_CONFIG", &configuration);
        })
    };
    let sign_once = || {
        let mut probe = start();
        let session = probe.session();
        sign(&mut probe, session)
    };
    // As long as there is no file, the policy server is asked.
    approve(&stack, start(), &[]);
    let path = issue(&stack, "token.jwt", "60");

    let before = stack.json(&["decisions"]).as_array().unwrap().len();
    assert_eq!(sign_once(), CKR_OK);
    assert_eq!(
        stack.json(&["decisions"]).as_array().unwrap().len(),
        before,
        "nobody asked the policy server"
    );
    stack.stop_server();
    assert_eq!(sign_once(), CKR_OK);

    fs::write(path, "no token at all").unwrap();
    assert_eq!(sign_once(), CKR_FUNCTION_REJECTED, "neither file nor policy server");
    stack.start_server();
    assert_eq!(sign_once(), CKR_OK);
}
