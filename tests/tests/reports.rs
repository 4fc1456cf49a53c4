//! What the gate refuses by itself reaches the policy server, under the id that the host's log has, also from a program
//! that ends right afterwards.

use e2e::client::run;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::{Approval, Stack, Tool};

#[test]
fn a_refusal_by_the_gate_of_a_short_lived_program_can_be_explained() {
    let stack = Stack::up();
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign").with(&["--any-arguments"]));
    tool.must_sign(&mut tool.sign_command());

    // 01 is demo-rsa, which nobody has granted.
    let mut other_key = tool.on_sandbox(stack.shim());
    other_key.args(["--sign", "--mechanism", "RSA-PKCS", "--id", "01", "--input-file"]);
    other_key.arg(stack.write("data", "to be signed")).arg("--output-file").arg(stack.file("signature"));
    run(&mut other_key).must_fail();
    let log = stack.log();
    let refused = log.last().unwrap();
    assert_eq!(refused["reason"], "not-granted");

    let denied = stack.json(&["decisions", "--denied"]);
    assert_eq!(denied[0]["id"], refused["decision"], "the newest refusal on the server's record");
    assert_eq!(denied[0]["decided_by"], "gate");
    assert_eq!(denied[0]["operation"], "sign (C_SignInit)");
    assert!(denied[0]["key"].as_str().unwrap().contains("object=demo-rsa"), "{}", denied[0]["key"]);
    let explained = stack.json(&["explain", refused["decision"].as_str().unwrap()]);
    assert_eq!(explained["decision"]["reasons"][0]["code"], "not-granted");
}

#[test]
fn a_program_ends_in_time_though_its_refusals_cannot_be_delivered() {
    let stack = Stack::up();
    let tool = Tool::copied(&stack, "signer");
    stack.sandbox("down").must_succeed();
    // Refused for want of a server, which cannot be told that either.
    tool.must_be_refused(&mut tool.sign_command());
    stack.sandbox("up").must_succeed();
    assert_eq!(stack.json(&["decisions"]).as_array().map(Vec::len), Some(0));
}
