//! No PIN and no data of an operation in anything that is written down.

use std::fs;
use std::path::Path;

use e2e::client::run;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::{Approval, Mode, Stack, Tool};

e2e::in_modes! {
    both: [
        pins_and_data_are_in_no_log_no_database_and_no_answer,
    ],
}

/// Distinctive, unlike the sandbox's own 1234, which turns up in digests by chance.
const PIN: &str = "zebra-umbrella-5521";
const DATA: &str = "operation-data-of-the-secrets-test";

fn pins_and_data_are_in_no_log_no_database_and_no_answer(mode: Mode) {
    let stack = Stack::up(mode);
    let attestation_pin = fs::read_to_string(stack.directory().join("attestation.pin")).unwrap();
    let attestation_pin = attestation_pin.trim();
    let mut change = stack.owner("pkcs11-tool");
    change.arg("--module").arg(stack.real_module()).args([
        "--token-label",
        "sandbox",
        "--login",
        "--pin",
        "1234",
    ]);
    run(change.args(["--change-pin", "--new-pin", PIN])).must_succeed();

    let tool = Tool::copied(&stack, "signer");
    let document = stack.write("document", DATA);
    let attempt = |pin: &str, operation: &[&str]| {
        let mut command = tool.on_sandbox(stack.shim());
        command.env("TOKEN_PIN", pin).args(operation).arg("--input-file").arg(&document);
        run(command.arg("--output-file").arg(stack.file("signature")))
    };
    let sign = ["--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", "01"];
    let mut said = String::new();
    // Refused by the token, by the server, by the gate, and allowed.
    said += &attempt("wrong-zebra-umbrella", &sign).must_fail().all_text();
    said += &attempt(PIN, &sign).must_fail().all_text();
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign").with(&["--any-arguments"]));
    said += &attempt(PIN, &sign).must_fail().all_text();
    stack.grant("signer", "pkcs11:token=sandbox;object=demo-rsa;type=private", "sign");
    said += &attempt(PIN, &sign).must_succeed().all_text();
    said += &run(&mut stack.operator(&["explain", "--last", "--json"])).must_succeed().text();
    said += &run(&mut stack.operator(&["decisions", "--json"])).must_succeed().text();

    let written = everything_written(&stack.directory());
    assert!(written.iter().any(|(path, _)| path.ends_with("trustshim.log")));
    assert!(written.iter().any(|(path, _)| path.ends_with("policy.db")));
    for secret in ["zebra-umbrella", attestation_pin, DATA] {
        assert!(!said.contains(secret), "{secret} was said:\n{said}");
        for (path, content) in &written {
            assert!(!contains(content, secret.as_bytes()), "{secret} is in {path}");
        }
    }
}

/// Every file of the installation but the tokens and the one file that is meant to hold a PIN.
fn everything_written(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tokens") || path.ends_with("attestation.pin") {
            continue;
        }
        if !path.is_dir() && !path.is_file() {
            // A guard's socket.
            continue;
        }
        if path.is_dir() {
            files.extend(everything_written(&path));
        } else {
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    files
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
