//! A forked child is a new process to the gate: it initialises, measures and attests by itself, or gets nothing.

use cryptoki_sys::*;
use e2e::client::run;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::probe::hex;
use e2e::{Approval, Probe, Stack};
use serde_json::json;

#[test]
fn nothing_of_the_parents_counts_in_the_child() {
    let stack = Stack::up();
    let mut probe = Probe::start(&stack, |_| {});
    let session = probe.session();
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    let sign_init =
        |session: u64, key: u64| json!({ "session": session, "mechanism": CKM_ECDSA, "key": key });
    assert_eq!(probe.call("C_SignInit", sign_init(session, key)).rv, CKR_FUNCTION_REJECTED);
    stack.approve_last(&Approval::of("probe", DEMO_EC, "sign"));
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    probe.must("C_SignInit", sign_init(session, key));
    let allowed = || stack.json(&["decisions", "--limit", "100"]).to_string().matches("\"allowed\"").count();
    assert_eq!(allowed(), 1);

    probe.call("fork", json!({}));
    let input = json!({ "session": session, "input": hex(&[1; 32]) });
    for (function, arguments) in
        [("C_Sign", input.clone()), ("C_SignInit", sign_init(session, key)), ("C_GetInfo", json!({}))]
    {
        assert_eq!(probe.call(function, arguments).rv, CKR_CRYPTOKI_NOT_INITIALIZED, "{function}");
    }
    let session_of_child = probe.session();
    let key = probe.key(session_of_child, CKO_PRIVATE_KEY, "demo-ec");
    assert_eq!(allowed(), 1);
    probe.must("C_SignInit", sign_init(session_of_child, key));
    let input = json!({ "session": session_of_child, "input": hex(&[1; 32]) });
    assert_eq!(probe.must("C_Sign", input).bytes("output").len(), 64);
    assert_eq!(allowed(), 2);
}

#[test]
fn pkcs11_tool_passes_its_own_fork_test() {
    let stack = Stack::up();
    let mut test = stack.application("pkcs11-tool");
    run(test.arg("--module").arg(stack.shim()).args(["--token-label", "sandbox", "--test-fork"]))
        .must_succeed();
}
