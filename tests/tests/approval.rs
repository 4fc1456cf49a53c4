//! Who may sign: exactly the program that an operator approved, started as it was when it was measured.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use e2e::client::run;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::{Approval, Mode, Stack, Tool};

e2e::in_modes! {
    both: [
        an_unknown_program_is_refused_until_it_is_approved,
        an_approved_component_without_a_grant_is_refused,
        a_changed_copy_is_refused_and_explained_as_that_one_file,
        an_unchanged_copy_in_another_place_is_refused,
        a_retired_version_is_refused,
        other_arguments_are_refused_unless_any_were_approved,
        a_library_that_somebody_preloads_is_refused,
        a_variable_that_steers_loading_is_refused_though_it_loads_nothing,
        the_dynamic_loader_is_no_component,
        a_changed_configuration_of_the_shim_is_refused,
        a_declared_configuration_file_belongs_to_the_program,
        a_grant_covers_its_key_and_its_operation_only,
        an_approved_program_started_by_another_user_is_refused,
    ],
}

/// A tool that was refused, then approved for signing with `demo-ec`, and has signed.
fn approved<'a>(stack: &'a Stack, component: &str) -> Tool<'a> {
    let tool = Tool::copied(stack, component);
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of(component, DEMO_EC, "sign"));
    tool.must_sign(&mut tool.sign_command());
    tool
}

fn an_unknown_program_is_refused_until_it_is_approved(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    let explanation = stack.explain_last();
    assert_eq!(e2e::stack::reasons(&explanation["decision"]), ["executable-unknown"]);
    assert_eq!(explanation["decision"]["executable"], tool.program().to_str().unwrap());

    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut tool.sign_command());
    let newest = &stack.json(&["decisions", "--limit", "1"])[0];
    assert_eq!(
        (&newest["outcome"], &newest["component"], &newest["version"]),
        (&"allowed".into(), &"signer".into(), &"1".into())
    );
}

fn an_approved_component_without_a_grant_is_refused(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval { grant: None, ..Approval::of("signer", DEMO_EC, "sign") });
    tool.must_be_refused(&mut tool.sign_command());
    assert_eq!(stack.last_reasons(), ["no-grant"]);
}

fn a_changed_copy_is_refused_and_explained_as_that_one_file(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = approved(&stack, "signer");
    let original = fs::read(tool.program()).unwrap();

    fs::OpenOptions::new().append(true).open(tool.program()).unwrap().write_all(b"more").unwrap();
    tool.must_be_refused(&mut tool.sign_command());
    let explanation = stack.explain_last();
    let differences = explanation["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{differences:#?}");
    assert_eq!(differences[0]["item"], tool.program().to_str().unwrap());
    assert_eq!(differences[0]["change"], "changed");
    assert_eq!(explanation["nearest"]["component"], "signer");

    fs::write(tool.program(), original).unwrap();
    tool.must_sign(&mut tool.sign_command());
}

fn an_unchanged_copy_in_another_place_is_refused(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = approved(&stack, "signer");
    let elsewhere = Tool::copied(&stack, "copied");
    assert_eq!(fs::read(tool.program()).unwrap(), fs::read(elsewhere.program()).unwrap());
    elsewhere.must_be_refused(&mut elsewhere.sign_command());
}

fn a_retired_version_is_refused(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = approved(&stack, "signer");
    stack.retire("signer");
    stack.forget_tokens();
    tool.must_be_refused(&mut tool.sign_command());
    assert_eq!(stack.last_reasons(), ["version-retired"]);
}

fn other_arguments_are_refused_unless_any_were_approved(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = approved(&stack, "signer");
    tool.must_be_refused(tool.sign_command().arg("--verbose"));
    assert_eq!(stack.last_reasons(), ["argv-mismatch"]);

    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign").with(&["--any-arguments"]));
    tool.must_sign(tool.sign_command().arg("--verbose").arg("--verbose"));
    let components = stack.json(&["component", "list"]);
    assert_eq!(components[0]["versions"][0]["general_tool"], true, "{components:#}");
}

fn a_library_that_somebody_preloads_is_refused(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = approved(&stack, "signer");
    let source = stack.write("preloaded.c", "int trustshim_test_preloaded(void) { return 1; }\n");
    let library = stack.file("preloaded.so");
    run(Command::new("gcc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source)).must_succeed();

    tool.must_be_refused(tool.sign_command().env("LD_PRELOAD", &library));
    let explanation = stack.explain_last();
    let reasons = e2e::stack::reasons(&explanation["decision"]);
    assert!(reasons.contains(&"library-unknown".to_owned()), "{reasons:?}");
    assert!(reasons.contains(&"environment-mismatch".to_owned()), "{reasons:?}");
    let differences = explanation["differences"].to_string();
    assert!(differences.contains(library.to_str().unwrap()), "{differences}");
}

fn a_variable_that_steers_loading_is_refused_though_it_loads_nothing(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = approved(&stack, "signer");
    tool.must_be_refused(tool.sign_command().env("LD_LIBRARY_PATH", stack.file("empty")));
    assert_eq!(stack.last_reasons(), ["environment-mismatch"]);
}

fn the_dynamic_loader_is_no_component(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = approved(&stack, "signer");
    let direct = tool.sign_command();
    let mut through_loader = stack.application("/lib64/ld-linux-x86-64.so.2");
    through_loader.arg(tool.program()).args(direct.get_args()).env("TOKEN_PIN", "1234");
    tool.must_be_refused(&mut through_loader);
    let reasons = stack.last_reasons();
    assert!(reasons.contains(&"component-forbidden".to_owned()), "{reasons:?}");
    let approval =
        run(&mut stack.operator(&["approve", "--last", "--component", "loader", "--version", "1", "--yes"]));
    approval.must_fail();
}

fn a_changed_configuration_of_the_shim_is_refused(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = approved(&stack, "signer");
    let path = stack.gates_configuration();
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"# changed\n").unwrap();
    // A guard goes by what it has read.
    stack.forget_tokens();
    tool.must_be_refused(&mut tool.sign_command());
    assert_eq!(stack.last_reasons(), ["attester-unknown"]);
}

fn a_declared_configuration_file_belongs_to_the_program(mode: Mode) {
    let stack = Stack::up(mode);
    let settings = stack.write("signer.conf", "level = 1\n");
    let tool = Tool::copied(&stack, "signer");
    let declared = stack.configuration("declared.toml", |text| match mode {
        Mode::Inline => text.replace("files = []", &format!("files = [{settings:?}]")),
        Mode::Guarded => {
            format!("{text}\n[[declared]]\nexecutable = {:?}\nfiles = [{settings:?}]\n", tool.program())
        }
    });
    let sign = || {
        let mut command = tool.sign_command();
        command.env("TRUSTSHIM_CONFIG", &declared);
        command
    };
    tool.must_be_refused(&mut sign());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut sign());

    fs::write(&settings, "level = 2\n").unwrap();
    tool.must_be_refused(&mut sign());
    assert_eq!(stack.last_reasons(), ["configuration-changed"]);
    let differences = stack.explain_last()["differences"].to_string();
    assert!(differences.contains(settings.to_str().unwrap()), "{differences}");
}

fn a_grant_covers_its_key_and_its_operation_only(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign").with(&["--any-arguments"]));
    tool.must_sign(&mut tool.sign_command());

    let document = stack.write("document", [7; 256]);
    let attempt = |arguments: &[&str]| {
        let mut command = tool.on_sandbox(stack.shim());
        command
            .args(arguments)
            .arg("--input-file")
            .arg(&document)
            .arg("--output-file")
            .arg(stack.file("out"));
        let finished = run(&mut command).must_fail();
        assert!(finished.all_text().contains("0x200"), "{finished}");
        assert!(!stack.file("out").exists() || fs::read(stack.file("out")).unwrap().is_empty(), "{finished}");
    };
    attempt(&["--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", "01"]);
    attempt(&["--decrypt", "--mechanism", "RSA-PKCS", "--id", "01"]);

    let log = stack.log();
    let last = log.last().unwrap();
    assert_eq!(last["reason"], "not-granted");
    assert!(last["key"].as_str().unwrap().contains("object=demo-rsa"), "{last}");
    assert_eq!((&last["component"], &last["operation"]), (&"signer".into(), &"decrypt".into()));
}

fn an_approved_program_started_by_another_user_is_refused(mode: Mode) {
    let stack = Stack::up(mode);
    if mode == Mode::Inline {
        let_everybody_reach(&stack);
    }
    let shim = stack.file("libtrustshim.so");
    fs::copy(stack.shim(), &shim).unwrap();
    let tool = Tool::copied(&stack, "signer");
    let sign = || {
        let mut command = tool.on_sandbox(&shim);
        command.args(tool.sign_command().get_args().skip_while(|argument| *argument != "--sign"));
        command
    };
    let by_another = || {
        let mut command = sign();
        match mode {
            Mode::Inline => as_nobody(&stack, &command),
            // The group is still one that may come to the guard.
            Mode::Guarded => {
                command.uid(65_533);
                command
            }
        }
    };
    tool.must_be_refused(&mut sign());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut sign());
    if mode == Mode::Inline {
        // The signature has made new files.
        let_everybody_reach(&stack);
    }

    tool.must_be_refused(&mut by_another());
    match mode {
        // Both uid and gid.
        Mode::Inline => assert_eq!(stack.last_reasons(), ["principal-mismatch", "principal-mismatch"]),
        Mode::Guarded => assert_eq!(stack.last_reasons(), ["principal-mismatch"]),
    }

    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign").with(&["--any-user"]));
    run(&mut by_another()).must_succeed();
}

/// Everybody may reach it all: only the policy can be what refuses.
fn let_everybody_reach(stack: &Stack) {
    run(Command::new("chmod").args(["-R", "a+rwX"]).arg(stack.directory().join("tokens"))).must_succeed();
    for (path, mode) in [
        (stack.file(""), 0o777),
        (stack.directory(), 0o777),
        (stack.directory().join("attestation.pin"), 0o644),
        (stack.directory().join("softhsm2.conf"), 0o644),
        (stack.directory().join("policy-server"), 0o755),
        (stack.directory().join("policy-server/ca.pem"), 0o644),
        (stack.directory().join("policy-server/anchors.jwks"), 0o644),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// The same command line and environment, as the user `nobody`.
fn as_nobody(stack: &Stack, command: &Command) -> Command {
    let is_root = run(Command::new("id").arg("-u")).text().trim() == "0";
    let mut other = stack.application(if is_root { "setpriv" } else { "sudo" });
    if !is_root {
        other.args(["-n", "--preserve-env", "setpriv"]);
    }
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    other.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            other.env(name, value);
        }
    }
    other
}
