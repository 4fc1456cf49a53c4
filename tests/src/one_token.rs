//! The attestation key on the applications' own token: its attester has no PIN, and uses their login.

use std::process::Command;

use serde_json::Value;

use crate::Stack;
use crate::client::run;

/// Enrols such a key: the operator has a PIN. What `trustshim enroll` says.
pub fn enroll(stack: &Stack) -> Value {
    let pin = stack.write("sandbox.pin", "1234\n");
    run(Command::new("chmod").arg("600").arg(&pin)).must_succeed();
    let enrolling = stack.configuration("enrolling.toml", |text| {
        let own_pin = stack.directory().join("attestation.pin");
        on_sandbox(&text)
            .replace(own_pin.to_str().expect("a path in UTF-8"), pin.to_str().expect("a path in UTF-8"))
    });
    stack.json(&["enroll", "--config", enrolling.to_str().expect("a path in UTF-8")])
}

/// The configuration of applications, from the usual one.
pub fn configuration(text: String) -> String {
    let kept = on_sandbox(&text);
    kept.lines().filter(|line| !line.starts_with("pin_file")).map(|line| format!("{line}\n")).collect()
}

fn on_sandbox(text: &str) -> String {
    text.replace("pkcs11:token=trustshim;", "pkcs11:token=sandbox;")
}
