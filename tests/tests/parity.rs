//! What is not gated is forwarded untouched: the same client sees the same through the shim as directly.

use e2e::client::run;
use e2e::{Finished, Stack};

/// `pkcs11-tool` with these arguments, directly and through the shim.
fn both(stack: &Stack, arguments: &[&str]) -> [Finished; 2] {
    [stack.real_module(), stack.shim()].map(|module| {
        let mut command = stack.application("pkcs11-tool");
        command
            .env("TOKEN_PIN", "1234")
            .arg("--module")
            .arg(module)
            .args(["--token-label", "sandbox"])
            .args(arguments);
        run(&mut command)
    })
}

#[test]
fn open_calls_answer_as_they_do_directly() {
    let stack = Stack::up();
    let data = stack.write("data", "data");
    let data = data.to_str().unwrap();
    for arguments in [
        &["--show-info"][..],
        &["--list-mechanisms"],
        &["--list-objects"],
        &["--login", "--pin", "env:TOKEN_PIN", "--list-objects"],
        &["--login", "--pin", "9999", "--list-objects"],
        &["--read-object", "--type", "pubkey", "--label", "demo-ec"],
        &["--read-object", "--type", "pubkey", "--label", "absent"],
        &["--hash", "--mechanism", "SHA256", "--input-file", data],
        &["--login", "--pin", "env:TOKEN_PIN", "--read-object", "--type", "secrkey", "--label", "demo-aes"],
    ] {
        let [direct, shimmed] = both(&stack, arguments);
        assert_eq!(sorted(&direct), sorted(&shimmed), "{arguments:?}");
        assert_eq!(
            (direct.code, &direct.stdout.len()),
            (shimmed.code, &shimmed.stdout.len()),
            "{arguments:?}"
        );
    }
}

/// SoftHSM lists objects in another order each time.
fn sorted(finished: &Finished) -> Vec<String> {
    let mut lines: Vec<_> = finished.all_text().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_public_data_object_can_be_made_read_and_destroyed() {
    let stack = Stack::up();
    let data = stack.write("data", "not secret at all");
    let tool = |arguments: &[&str]| {
        let mut command = stack.application("pkcs11-tool");
        command.env("TOKEN_PIN", "1234").arg("--module").arg(stack.shim()).args(["--token-label", "sandbox"]);
        run(command.args(["--login", "--pin", "env:TOKEN_PIN"]).args(arguments))
    };
    let object = ["--type", "data", "--label", "notes"];
    tool(&[&["--write-object", data.to_str().unwrap()][..], &object].concat()).must_succeed();
    let read = tool(&[&["--read-object"][..], &object].concat()).must_succeed();
    assert_eq!(read.text(), "not secret at all");
    tool(&[&["--delete-object"][..], &object].concat()).must_succeed();
}
