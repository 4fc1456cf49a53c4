//! What operators prepare and share: manifests before the first start, library sets, patterns, observing, and tokens to be
//! handed in.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use e2e::client::run;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::{Approval, Mode, Stack, Tool};

e2e::in_modes! {
    both: [
        a_program_that_was_measured_before_its_first_start_signs_at_once,
        an_exported_version_counts_like_the_approval_it_came_from,
        a_library_set_is_all_that_a_library_depends_on,
        a_retired_file_stops_what_uses_it_and_nothing_else_can_approve_it,
        a_pattern_lets_through_the_arguments_that_it_matches,
        an_observed_component_goes_on_signing_and_what_differs_is_on_record,
        a_token_to_be_handed_in_is_genuine_private_and_on_record,
    ],
}

/// Measures what `command` would run, without running it, and imports it as version 1 of `component`.
fn import_measured(stack: &Stack, component: &str, command: &Command) {
    let manifest = stack.file(&format!("{component}.json"));
    let mut measure = stack.operator(&["measure", "--output"]);
    measure.arg(&manifest).arg("--shim").arg(stack.shim());
    // What the program will be started with, as far as it steers the loading of code.
    if stack.mode() == Mode::Guarded {
        measure.args(["--user", &stack.client()]);
        measure.arg("--guard").arg(stack.guard());
    }
    let environment = format!("TRUSTSHIM_CONFIG={}", stack.variable("TRUSTSHIM_CONFIG"));
    measure.args(["--environment", &environment]);
    measure.arg(command.get_program()).args(command.get_args());
    run(&mut measure).must_succeed();
    let mut import = stack.operator(&["component", "import"]);
    import.arg(&manifest).args(["--component", component, "--version", "1", "--yes"]);
    run(&mut import).must_succeed();
}

fn a_program_that_was_measured_before_its_first_start_signs_at_once(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    let mut command = tool.sign_command();
    import_measured(&stack, "signer", &command);
    stack.grant("signer", DEMO_EC, "sign");
    tool.must_sign(&mut command);

    // It is approved with those arguments and no others.
    tool.must_be_refused(tool.sign_command().args(["--verbose"]));
    assert_eq!(stack.last_reasons(), ["argv-mismatch"]);
}

fn an_exported_version_counts_like_the_approval_it_came_from(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    let manifest = stack.file("exported.json");
    let mut export = stack.operator(&["component", "export", "signer", "1", "--output"]);
    run(export.arg(&manifest)).must_succeed();
    stack.retire("signer");
    stack.forget_tokens();
    tool.must_be_refused(&mut tool.sign_command());
    assert_eq!(stack.last_reasons(), ["version-retired"]);
    let mut import = stack.operator(&["component", "import"]);
    run(import.arg(&manifest).args(["--version", "2", "--yes"])).must_succeed();
    tool.must_sign(&mut tool.sign_command());
}

fn a_library_set_is_all_that_a_library_depends_on(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    let decision = stack.explain_last()["decision"]["id"].as_str().unwrap().to_owned();
    run(&mut stack.operator(&["set", "create", "system"])).must_succeed();
    run(&mut stack.operator(&["set", "add", "system", "--decision", &decision])).must_succeed();
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign").with(&["--library-set", "system"]));
    tool.must_sign(&mut tool.sign_command());

    let libc = libc_of(&stack);
    run(&mut stack.operator(&["set", "retire", "system", &libc.1])).must_succeed();
    stack.forget_tokens();
    tool.must_be_refused(&mut tool.sign_command());
    assert_eq!(stack.last_reasons(), ["library-changed"]);
    run(&mut stack.operator(&["set", "remove", "system", &libc.1])).must_succeed();
    // The tool's own hash of the file is what a process that maps it is measured with.
    run(&mut stack.operator(&["set", "add", "system", &libc.0])).must_succeed();
    tool.must_sign(&mut tool.sign_command());
}

/// Path and digest of the C library in the set `system`.
fn libc_of(stack: &Stack) -> (String, String) {
    let set = stack.json(&["set", "show", "system"]);
    let files = set["files"].as_array().unwrap();
    let libc = files.iter().find(|file| file["path"].as_str().unwrap().ends_with("/libc.so.6")).unwrap();
    (libc["path"].as_str().unwrap().to_owned(), libc["sha256"].as_str().unwrap().to_owned())
}

fn a_retired_file_stops_what_uses_it_and_nothing_else_can_approve_it(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut tool.sign_command());
    let digest = stack.explain_last()["measured"]["executable"]["sha256"].as_str().unwrap().to_owned();
    let retire = ["component", "retire", "signer", "--file", &digest];
    run(&mut stack.operator(&retire)).must_succeed();
    stack.forget_tokens();
    tool.must_be_refused(&mut tool.sign_command());
    assert_eq!(stack.last_reasons(), ["file-retired"]);
    let approve = ["approve", "--last", "--component", "signer", "--version", "2", "--yes"];
    run(&mut stack.operator(&approve)).must_fail();
    run(stack.operator(&retire).arg("--undo")).must_succeed();
    tool.must_sign(&mut tool.sign_command());
}

fn a_pattern_lets_through_the_arguments_that_it_matches(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    let command = tool.sign_command();
    let position = command.get_args().position(|argument| argument == "--id").unwrap() + 2;
    tool.must_be_refused(&mut tool.sign_command());
    let pattern = format!("{position}=0*");
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign").with(&["--argument", &pattern]));
    tool.must_sign(&mut tool.sign_command());
    // Another key's number passes the pattern, and then the grant is what refuses it.
    let mut other = Command::new(command.get_program());
    let arguments = command.get_args().enumerate();
    other.args(arguments.map(|(at, argument)| if at + 1 == position { "01".as_ref() } else { argument }));
    for (name, value) in command.get_envs() {
        other.env(name, value.unwrap());
    }
    tool.must_be_refused(&mut other);
    let newest = &stack.json(&["decisions", "--allowed", "--limit", "1"])[0];
    assert_eq!((&newest["component"], &newest["version"]), (&"signer".into(), &"1".into()));
}

fn an_observed_component_goes_on_signing_and_what_differs_is_on_record(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    run(&mut stack.operator(&["component", "mode", "signer", "observe"])).must_succeed();
    tool.must_sign(tool.sign_command().arg("--verbose"));
    let newest = &stack.json(&["decisions", "--limit", "1"])[0];
    assert_eq!((&newest["outcome"], &newest["observed"]), (&"allowed".into(), &true.into()));
    assert_eq!(e2e::stack::reasons(newest), ["argv-mismatch"]);
    run(&mut stack.operator(&["component", "mode", "signer", "enforce"])).must_succeed();
    stack.forget_tokens();
    tool.must_be_refused(tool.sign_command().arg("--verbose"));
}

fn a_token_to_be_handed_in_is_genuine_private_and_on_record(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut tool.sign_command());
    let file = stack.file("token.jwt");
    let path = file.to_str().unwrap();
    let record = stack.json(&["token", "issue", "--last-allowed", "--lifetime", "60", "--output", path]);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let anchors = stack.directory().join("policy-server/anchors.jwks");
    let anchors: &Path = &anchors;
    let inspected = stack.json(&["token", "inspect", path, "--anchors", anchors.to_str().unwrap()]);
    assert_eq!(inspected["signature"], "valid");
    assert!(inspected["claims"].get("cnf").is_none() && inspected["claims"].get("eat_nonce").is_none());
    assert_eq!(inspected["claims"]["jti"], record["jti"]);
    let listed = stack.json(&["token", "list", "--limit", "1"]);
    assert_eq!(listed[0], record);
    let decision = stack.json(&["decisions", "show", record["decision"].as_str().unwrap()]);
    assert_eq!(decision["summary"]["decided_by"], "operator");

    // Retired meanwhile, the same evidence earns no other one; the refusal is on record, too.
    stack.retire("signer");
    let again = ["token", "issue", "--last-allowed", "--output", path];
    run(&mut stack.operator(&again)).must_fail();
    assert_eq!(stack.last_reasons(), ["version-retired"]);
}
