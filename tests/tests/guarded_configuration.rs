//! Guarded mode as the operator prepares it: a key of its own, enrolled by the guard's file, and programs that are measured
//! as the guard will see them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::client::run;
use e2e::{Mode, Stack};
use serde_json::{Value, json};

/// The guard's file beside that of the sandbox's applications.
fn guard_file(stack: &Stack, more: &str) -> PathBuf {
    let directory = stack.directory();
    let path = stack.write(
        "guard.toml",
        format!(
            "mode = \"guarded\"\n[real_module]\npath = {:?}\n[policy_server]\nurl = {:?}\nca = {:?}\n\
             anchors = {:?}\n[attestation]\nkey = \"pkcs11:token=trustshim;object=of-the-guard\"\n\
             pin_file = {:?}\n{more}",
            stack.variable("REAL_MODULE"),
            stack.variable("TRUSTSHIM_SERVER"),
            stack.variable("TRUSTSHIM_CA"),
            directory.join("policy-server/anchors.jwks"),
            directory.join("attestation.pin"),
        ),
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    path
}

fn sha256(path: &Path) -> String {
    let line = run(Command::new("sha256sum").arg(path)).must_succeed().text();
    line.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_key_is_enrolled_in_the_mode_of_the_file_that_names_it() {
    let stack = Stack::up(Mode::Inline);
    let guard = guard_file(&stack, "");
    let guard = guard.to_str().unwrap();
    let enrolled = stack.json(&["enroll", "--config", guard]);
    assert_eq!((&enrolled["mode"], &enrolled["state"]), (&"guarded".into(), &"pending".into()));
    let fingerprint = enrolled["fingerprint"].as_str().unwrap();
    // It is the configuration's variable that the shim goes by, too.
    let shown = run(stack.operator(&["enroll"]).env("TRUSTSHIM_CONFIG", guard)).must_succeed();
    assert!(shown.text().contains("in mode guarded"), "{shown}");
    run(&mut stack.operator(&["hsm", "approve", "--", fingerprint])).must_succeed();
    let listed = stack.json(&["hsm", "list"]);
    let modes: Vec<_> = listed.as_array().unwrap().iter().map(|key| key["mode"].as_str().unwrap()).collect();
    assert_eq!(modes.iter().filter(|mode| **mode == "guarded").count(), 1, "{listed}");
    assert_eq!(modes.iter().filter(|mode| **mode == "inline").count(), 1, "{listed}");
    // The guard and its users are not there.
    let checked = run(&mut stack.operator(&["doctor", "--config", guard])).must_fail();
    let found = |line: &str| checked.text().lines().any(|found| found.starts_with(line));
    assert!(found("ok    enrolment") && found("FAIL  guard "), "{checked}");

    // The same key does not change over.
    let inline = stack.configuration("inline-with-the-guards-key.toml", |text| {
        text.replace("object=attestation", "object=of-the-guard")
    });
    let refused = run(&mut stack.operator(&["enroll", "--config", inline.to_str().unwrap()]));
    assert!(refused.must_fail().all_text().contains("guarded mode"), "the server says what it is");
}

#[test]
fn the_file_of_applications_in_guarded_mode_is_no_operators() {
    let stack = Stack::up(Mode::Inline);
    let client = stack.write("client.toml", "mode = \"guarded\"\n[guard]\nsocket = \"/run/guard.sock\"\n");
    // `doctor` looks at what there is for applications.
    for command in ["enroll", "attest"] {
        let refused = run(&mut stack.operator(&[command, "--config", client.to_str().unwrap()])).must_fail();
        let text = refused.all_text();
        assert!(text.contains("guard.toml"), "it says which file to name: {text}");
    }
}

#[test]
fn a_program_is_measured_as_the_guard_will_see_it() {
    let stack = Stack::up(Mode::Inline);
    let settings = stack.write("signer.conf", "setting");
    let program = Path::new("/bin/true").canonicalize().unwrap();
    let guard =
        guard_file(&stack, &format!("[[declared]]\nexecutable = {program:?}\nfiles = [{settings:?}]\n"));
    let measurer = stack.write("guard", "stands for the guard's executable");
    let measure = |more: &[&str], program: &Path| {
        let mut command =
            stack.operator(&["measure", "--json", "--config", guard.to_str().unwrap(), "--shim"]);
        command.arg(stack.shim()).args(more).arg(program);
        run(&mut command)
    };
    let of_guard = ["--guard", measurer.to_str().unwrap()];
    let manifest = measure(&of_guard, &program).must_succeed();
    let manifest: Value = serde_json::from_slice(&manifest.stdout).unwrap();
    let reference = &manifest["reference"];
    let paths =
        |field: &str| -> Vec<String> { reference[field].as_object().unwrap().keys().cloned().collect() };
    assert_eq!(paths("configuration"), [settings.to_str().unwrap()]);
    let mapped = paths("libraries");
    let is_mapped = |path: &Path| mapped.contains(&path.canonicalize().unwrap().to_str().unwrap().to_owned());
    assert!(is_mapped(stack.shim()), "{mapped:?}");
    assert!(!is_mapped(stack.real_module()), "the real module is the guard's: {mapped:?}");
    let attester = &reference["attester"];
    assert_eq!(attester["shim"], json!([sha256(&measurer)]), "the measurer is the guard");
    assert_eq!(attester["configuration"], json!([sha256(&guard)]));
    assert_eq!(attester["real_module"], json!([sha256(stack.real_module())]));

    let other = measure(&of_guard, Path::new("/bin/false")).must_succeed();
    let other: Value = serde_json::from_slice(&other.stdout).unwrap();
    assert_eq!(other["reference"]["configuration"], json!({}), "declared for another program");
    let without = measure(&[], &program).must_fail();
    assert!(without.all_text().contains("--guard"), "{without}");
}
