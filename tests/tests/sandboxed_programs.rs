//! Under which restrictions a program may sign: those that it was approved with. Who installs a seccomp filter may answer the
//! program's system calls himself.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::client::run;
use e2e::compiled::compile;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::{Approval, Mode, Stack, Tool};

e2e::in_modes! {
    both: [
        a_filter_that_nobody_approved_is_refused_with_its_reason,
        what_was_approved_under_filters_signs_under_as_many,
        privileges_that_were_given_up_are_part_of_an_approval,
        observing_lets_no_filter_pass,
        a_manifest_says_under_how_many_filters_a_program_will_run,
    ],
}

fn filtered(stack: &Stack) -> PathBuf {
    compile("filtered.c", &stack.file("filtered"), &[])
}

/// The same command under so many filters.
fn under(filtered: &Path, filters: u32, stack: &Stack, command: &Command) -> Command {
    let mut wrapped = stack.application(filtered);
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap());
    }
    wrapped.arg(filters.to_string()).arg(command.get_program()).args(command.get_args());
    wrapped
}

/// What differs from the nearest version, in the order of the comparison.
fn differences(stack: &Stack) -> Vec<(String, String, String, String)> {
    let explanation = stack.explain_last();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let differences = explanation["differences"].as_array().unwrap().iter();
    differences
        .map(|one| (text(&one["part"]), text(&one["item"]), text(&one["expected"]), text(&one["measured"])))
        .collect()
}

fn difference(item: &str, expected: &str, measured: &str) -> (String, String, String, String) {
    ("sandbox".to_owned(), item.to_owned(), expected.to_owned(), measured.to_owned())
}

fn a_filter_that_nobody_approved_is_refused_with_its_reason(mode: Mode) {
    let stack = Stack::up(mode);
    let (filtered, tool) = (filtered(&stack), Tool::copied(&stack, "signer"));
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut tool.sign_command());

    tool.must_be_refused(&mut under(&filtered, 1, &stack, &tool.sign_command()));
    assert_eq!(stack.last_reasons(), ["sandbox-mismatch"; 3]);
    assert_eq!(
        differences(&stack),
        [
            difference("seccomp mode", "off", "filter"),
            difference("seccomp filters", "0", "1"),
            difference("no_new_privs", "not set", "set"),
        ]
    );
    tool.must_sign(&mut tool.sign_command());
}

fn what_was_approved_under_filters_signs_under_as_many(mode: Mode) {
    let stack = Stack::up(mode);
    let (filtered, tool) = (filtered(&stack), Tool::copied(&stack, "signer"));
    let command = || under(&filtered, 2, &stack, &tool.sign_command());
    tool.must_be_refused(&mut command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut command());
    let shown = run(&mut stack.operator(&["component", "show", "signer"])).must_succeed().text();
    assert!(shown.contains("seccomp filters: 2, no_new_privs: yes"), "{shown}");

    for other in [1, 3] {
        tool.must_be_refused(&mut under(&filtered, other, &stack, &tool.sign_command()));
        assert_eq!(stack.last_reasons(), ["sandbox-mismatch"]);
        assert_eq!(differences(&stack), [difference("seccomp filters", "2", &other.to_string())]);
    }
    // A version has one sandbox: this one is approved as another.
    tool.must_be_refused(&mut tool.sign_command());
    let approve = |version| ["approve", "--last", "--component", "signer", "--version", version, "--yes"];
    run(&mut stack.operator(&approve("1"))).must_fail();
    run(&mut stack.operator(&approve("2"))).must_succeed();
    tool.must_sign(&mut tool.sign_command());
    tool.must_sign(&mut command());
}

fn privileges_that_were_given_up_are_part_of_an_approval(mode: Mode) {
    let stack = Stack::up(mode);
    let (filtered, tool) = (filtered(&stack), Tool::copied(&stack, "signer"));
    let command = || under(&filtered, 0, &stack, &tool.sign_command());
    tool.must_be_refused(&mut command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut command());
    tool.must_be_refused(&mut tool.sign_command());
    assert_eq!(differences(&stack), [difference("no_new_privs", "set", "not set")]);
}

fn observing_lets_no_filter_pass(mode: Mode) {
    let stack = Stack::up(mode);
    let (filtered, tool) = (filtered(&stack), Tool::copied(&stack, "signer"));
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    run(&mut stack.operator(&["component", "mode", "signer", "observe"])).must_succeed();
    tool.must_sign(tool.sign_command().arg("--verbose"));
    tool.must_be_refused(&mut under(&filtered, 1, &stack, &tool.sign_command()));
    assert_eq!(stack.last_reasons(), ["sandbox-mismatch"; 3]);
}

fn a_manifest_says_under_how_many_filters_a_program_will_run(mode: Mode) {
    let stack = Stack::up(mode);
    let (filtered, tool) = (filtered(&stack), Tool::copied(&stack, "signer"));
    let command = tool.sign_command();
    let manifest = stack.file("signer.json");
    let mut measure = stack.operator(&["measure", "--seccomp-filters", "2", "--output"]);
    measure.arg(&manifest).arg("--shim").arg(stack.shim());
    if stack.mode() == Mode::Guarded {
        measure.args(["--user", &stack.client()]).arg("--guard").arg(stack.guard());
    }
    let environment = format!("TRUSTSHIM_CONFIG={}", stack.variable("TRUSTSHIM_CONFIG"));
    measure.args(["--environment", &environment]).arg(command.get_program()).args(command.get_args());
    run(&mut measure).must_succeed();
    let mut import = stack.operator(&["component", "import"]);
    run(import.arg(&manifest).args(["--component", "signer", "--version", "1", "--yes"])).must_succeed();
    stack.grant("signer", DEMO_EC, "sign");
    tool.must_sign(&mut under(&filtered, 2, &stack, &command));
    tool.must_be_refused(&mut tool.sign_command());
    assert_eq!(stack.last_reasons(), ["sandbox-mismatch"; 2]);
}
