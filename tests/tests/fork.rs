//! A forked child is a new process to the gate: it initialises, measures and attests by itself, or gets nothing.

use cryptoki_sys::*;
use e2e::client::run;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::probe::hex;
use e2e::{Application, Approval, Mode, Probe, Stack};
use serde_json::json;

e2e::in_modes! {
    both: [
        nothing_of_the_parents_counts_in_the_child,
        pkcs11_tool_passes_its_own_fork_test,
        parent_and_child_both_go_on,
        a_child_that_is_forked_in_the_middle_of_an_attestation_begins_anew,
        hundreds_of_children_neither_hang_nor_crash_while_other_threads_sign,
    ],
    inline: [a_child_that_is_forked_in_the_middle_of_another_threads_call_does_not_hang],
}

fn nothing_of_the_parents_counts_in_the_child(mode: Mode) {
    let stack = Stack::up(mode);
    let mut probe = Probe::start(&stack, |_| {});
    let session = stack.approve_probe(&mut probe, &Approval::of("probe", DEMO_EC, "sign"));
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    let sign_init =
        |session: u64, key: u64| json!({ "session": session, "mechanism": CKM_ECDSA, "key": key });
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
    // A guard has measured the child, and it measures as its parent does: the policy server was asked once.
    assert_eq!(allowed(), if mode == Mode::Inline { 2 } else { 1 });
}

fn pkcs11_tool_passes_its_own_fork_test(mode: Mode) {
    let stack = Stack::up(mode);
    let mut test = stack.application("pkcs11-tool");
    run(test.arg("--module").arg(stack.shim()).args(["--token-label", "sandbox", "--test-fork"]))
        .must_succeed();
}

/// Children, grandchildren, children that execute, `posix_spawn` and `vfork`, between two calls of one operation.
fn parent_and_child_both_go_on(mode: Mode) {
    let stack = Stack::up(mode);
    let application = Application::approved(&stack);
    application.must_play(&["fork", "0"]);
}

/// A thread of the parent is stopped in the middle of a call, with whatever the shim and the module have locked.
fn a_child_that_is_forked_in_the_middle_of_another_threads_call_does_not_hang(mode: Mode) {
    let stack = Stack::up(mode);
    let application = Application::approved(&stack);
    for call in ["1", "2", "3"] {
        application.must_play(&["fork", call]);
    }
    let log = stack.log();
    let told = log.iter().filter(|line| line["event"] == "start-failed");
    let told: Vec<_> = told.map(|line| line["message"].as_str().expect("a message")).collect();
    // Two attempts of the child and one of its own child, in the middle of a signature and in that of C_Finalize.
    assert_eq!(told.len(), 6, "{told:?}");
    assert!(told.iter().all(|message| message.contains("when this process was forked")), "{told:?}");
}

fn a_child_that_is_forked_in_the_middle_of_an_attestation_begins_anew(mode: Mode) {
    let stack = Stack::up(mode);
    let (configuration, port) = stack.silent_configuration();
    let application = Application::compiled(&stack);
    // A guard attests where the application logs in.
    let kind = if mode == Mode::Inline { "5" } else { "6" };
    let scene = || {
        let mut scene = application.scene(stack.shim(), &["fork", kind, &port.to_string()]);
        scene.env("TRUSTSHIM_CONFIG", &configuration);
        scene.env("CONFIG_OF_CHILD", stack.variable("TRUSTSHIM_CONFIG"));
        scene
    };
    application.approve(&mut scene());
    run(&mut scene()).must_succeed();
}

fn hundreds_of_children_neither_hang_nor_crash_while_other_threads_sign(mode: Mode) {
    let stack = Stack::up(mode);
    let children = if mode == Mode::Inline { 300 } else { 100 };
    let text = Application::approved(&stack).must_play(&["fork", "4", &children.to_string()]).text();
    let numbers: Vec<u32> = text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    match mode {
        // Those that were forked while a thread was inside SoftHSM cannot begin.
        Mode::Inline => {
            assert!(
                matches!(numbers[..], [signed, not] if signed > 30 && signed + not == children),
                "{text}"
            );
        }
        // There is no copy of SoftHSM in a child.
        Mode::Guarded => assert_eq!(numbers, [children, 0]),
    }
}
