//! Without an answer from the policy server nothing new is allowed; what is allowed stays so until its deadline.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

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

/// What the first call of an application answers under a configuration.
fn initialize(stack: &Stack, configuration: &std::path::Path) -> u64 {
    let mut probe = Probe::start(stack, |command| {
        command.env("TRUSTSHIM_CONFIG", configuration);
    });
    probe.call("C_Initialize", json!({})).rv
}

#[test]
fn a_configuration_that_is_not_beyond_doubt_stops_everything() {
    let stack = Stack::up();
    assert_eq!(initialize(&stack, stack.variable("TRUSTSHIM_CONFIG").as_ref()), CKR_OK);

    let unknown_key =
        stack.configuration("unknown-key.toml", |text| text.replace("[gate]", "[gate]\nscoop = 1"));
    let unknown_table = stack.configuration("unknown-table.toml", |text| format!("{text}\n[guard]\n"));
    let guarded = stack.configuration("guarded.toml", |text| text.replace("\"inline\"", "\"guarded\""));
    let everything =
        stack.configuration("everything.toml", |text| text.replace("\"keys\"", "\"everything\""));
    let no_module = stack.configuration("no-module.toml", |text| {
        text.replace(stack.variable("REAL_MODULE"), stack.file("absent.so").to_str().unwrap())
    });
    let other_library = stack.configuration("other-library.toml", |text| {
        text.replace(stack.variable("REAL_MODULE"), "/lib/x86_64-linux-gnu/libc.so.6")
    });
    let ourselves = stack.configuration("ourselves.toml", |text| {
        text.replace(stack.variable("REAL_MODULE"), stack.variable("TRUSTSHIM_MODULE"))
    });
    let copied_shim = stack.file("copied-shim.so");
    fs::copy(stack.shim(), &copied_shim).unwrap();
    let ourselves_copied = stack.configuration("ourselves-copied.toml", |text| {
        text.replace(stack.variable("REAL_MODULE"), copied_shim.to_str().unwrap())
    });
    let garbage = stack.write("garbage.toml", [0xff, 0xfe, 0x00]);
    let world_writable = stack.configuration("world-writable.toml", |text| format!("{text}\n"));
    fs::set_permissions(&world_writable, fs::Permissions::from_mode(0o666)).unwrap();
    let group_writable = stack.configuration("group-writable.toml", |text| format!("{text}\n"));
    fs::set_permissions(&group_writable, fs::Permissions::from_mode(0o664)).unwrap();

    for configuration in [
        stack.file("absent.toml"),
        stack.directory(),
        unknown_key,
        unknown_table,
        guarded,
        everything,
        no_module,
        other_library,
        ourselves,
        ourselves_copied,
        garbage,
        world_writable,
        group_writable,
    ] {
        assert_eq!(initialize(&stack, &configuration), CKR_GENERAL_ERROR, "{}", configuration.display());
    }
}

#[test]
fn nothing_answers_before_a_successful_initialisation() {
    let stack = Stack::up();
    let mut probe = Probe::start(&stack, |command| {
        command.env("TRUSTSHIM_CONFIG", stack.file("absent.toml"));
    });
    assert_eq!(probe.call("C_Initialize", json!({})).rv, CKR_GENERAL_ERROR);
    for function in pkcs11_table::Function::ALL {
        if !matches!(function.name(), "C_Initialize" | "C_GetFunctionList") {
            let reply = probe.call(function.name(), json!({}));
            assert_eq!(reply.rv, CKR_CRYPTOKI_NOT_INITIALIZED, "{function}");
        }
    }
}
