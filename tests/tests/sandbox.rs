//! `scripts/sandbox` itself: what newcomers, the demo and these tests stand on.

use std::fs;
use std::process::Command;

use e2e::client::run;
use e2e::root::as_root;
use e2e::stack::sandbox_script;
use e2e::{Mode, Stack};

#[test]
fn what_it_cannot_do_is_refused_with_a_message() {
    let scratch = tempfile::tempdir().unwrap();
    let attempt =
        |arguments: &[&str]| run(sandbox_script().current_dir(scratch.path()).args(arguments)).must_fail();

    let mut as_nobody = as_root("unshare");
    as_nobody.args(["--user", "--"]).arg(sandbox_script().get_program());
    as_nobody.args(["up", "new", "--mode", "guarded"]).current_dir(scratch.path());
    assert!(run(&mut as_nobody).must_fail().all_text().contains("guarded mode needs root"));
    assert!(!scratch.path().join("new").exists());
    fs::create_dir(scratch.path().join("full")).unwrap();
    fs::write(scratch.path().join("full/file"), "mine").unwrap();
    assert!(attempt(&["up", "full"]).all_text().contains("is not empty"));
    assert_eq!(fs::read_dir(scratch.path().join("full")).unwrap().count(), 1);
    assert!(attempt(&["up", "with blank"]).all_text().contains("may be in the path"));
    assert!(attempt(&["down", "full"]).all_text().contains("is no sandbox"));
    assert!(attempt(&["down", "absent"]).all_text().contains("does not exist"));
    assert_eq!(attempt(&["up"]).code, Some(2));
    assert_eq!(attempt(&["sideways", "full"]).code, Some(2));
    assert_eq!(attempt(&["up", "new", "--mode", "outside"]).code, Some(2));
    assert_eq!(attempt(&["up", "new", "--login", "nobody"]).code, Some(2));
}

#[test]
fn it_goes_up_once_and_down_and_up_again() {
    let stack = Stack::up(Mode::Inline);
    assert!(stack.sandbox("up").must_fail().all_text().contains("is up already"));
    let keys = || {
        let mut list = stack.application("pkcs11-tool");
        list.arg("--module").arg(stack.real_module()).args([
            "--token-label",
            "sandbox",
            "--login",
            "--pin",
            "1234",
        ]);
        run(list.arg("--list-objects")).must_succeed().text()
    };
    for label in ["demo-rsa", "demo-ec", "demo-ed", "demo-hmac", "demo-aes"] {
        assert!(keys().contains(&format!("label:      {label}\n")), "{label}");
    }
    let hsms = stack.json(&["hsm", "list"]);
    assert_eq!((hsms.as_array().unwrap().len(), &hsms[0]["state"]), (1, &"approved".into()));
    assert_eq!(stack.json(&["component", "list"]), serde_json::json!([]));

    stack.sandbox("down").must_succeed();
    run(&mut stack.operator(&["hsm", "list"])).must_fail();
    stack.sandbox("down").must_succeed();
    stack.sandbox("up").must_succeed();
    assert_eq!(stack.json(&["hsm", "list"]), hsms);
}

#[test]
fn down_does_not_stop_a_stranger_with_the_servers_process_id() {
    let stack = Stack::up(Mode::Inline);
    let pid_file = stack.directory().join("policy-server.pid");
    let recorded = fs::read_to_string(&pid_file).unwrap();
    let (_, started) = recorded.trim().split_once(' ').unwrap();
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(&pid_file, format!("{} {started}\n", stranger.id())).unwrap();
    stack.sandbox("down").must_succeed();
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was stopped");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    fs::write(&pid_file, recorded).unwrap();
}

#[test]
fn files_with_secrets_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let stack = Stack::up(Mode::Inline);
    for file in
        ["attestation.pin", "env", "policy-server/admin-token", "policy-server/token-signing.pem", "tokens"]
    {
        let mode = fs::metadata(stack.directory().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}: {mode:o}");
    }
}
