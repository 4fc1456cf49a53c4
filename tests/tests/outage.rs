//! Without an answer from the policy server nothing new is allowed; what is allowed stays so until its deadline.

use cryptoki_sys::*;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::probe::hex;
use e2e::{Approval, Probe, Stack, Tool};
use serde_json::json;

#[test]
fn without_the_policy_server_an_approved_program_is_refused() {
    let stack = Stack::up();
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut tool.sign_command());

    stack.sandbox("down").must_succeed();
    tool.must_be_refused(&mut tool.sign_command());
    let log = stack.log();
    let last = log.last().unwrap();
    assert_eq!(last["event"], "denied");
    assert!(last["reason"].as_str().unwrap().contains("server"), "{last}");

    stack.sandbox("up").must_succeed();
    tool.must_sign(&mut tool.sign_command());
}

#[test]
fn a_trust_token_in_hand_counts_while_the_policy_server_is_down() {
    let stack = Stack::up();
    let mut probe = Probe::start(&stack, |_| {});
    let session = probe.session();
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    let init = json!({ "session": session, "mechanism": CKM_ECDSA, "key": key });
    assert_eq!(probe.call("C_SignInit", init.clone()).rv, CKR_FUNCTION_REJECTED);
    stack.approve_last(&Approval::of("probe", DEMO_EC, "sign"));
    std::thread::sleep(std::time::Duration::from_millis(1_200));

    for server_is_up in [true, false] {
        if !server_is_up {
            stack.sandbox("down").must_succeed();
        }
        probe.must("C_SignInit", init.clone());
        let signature =
            probe.must("C_Sign", json!({ "session": session, "input": hex(&[1; 32]) })).bytes("output");
        assert_eq!(signature.len(), 64, "server is up: {server_is_up}");
    }
}

#[test]
fn a_server_with_a_certificate_of_another_authority_is_not_believed() {
    let stack = Stack::up();
    let other = Stack::up();
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut tool.sign_command());
    let misled = stack.configuration("misled.toml", |text| {
        text.replace(stack.variable("TRUSTSHIM_CA"), other.variable("TRUSTSHIM_CA"))
    });
    tool.must_be_refused(tool.sign_command().env("TRUSTSHIM_CONFIG", misled));
}
