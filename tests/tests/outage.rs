//! Without an answer from the policy server nothing new is allowed; what is allowed stays so until its deadline.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::probe::hex;
use e2e::{Approval, Mode, Probe, Stack, Tool};
use serde_json::json;

e2e::in_modes! {
    both: [
        without_the_policy_server_an_approved_program_is_refused,
        a_trust_token_in_hand_counts_while_the_policy_server_is_down,
        a_server_with_a_certificate_of_another_authority_is_not_believed,
        a_server_that_never_answers_is_waited_for_within_the_bound,
        an_answer_that_is_garbage_is_none,
    ],
}

fn without_the_policy_server_an_approved_program_is_refused(mode: Mode) {
    let stack = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut tool.sign_command());

    stack.forget_tokens();
    stack.stop_server();
    tool.must_be_refused(&mut tool.sign_command());
    let log = stack.log();
    let last = log.last().unwrap();
    assert_eq!(last["event"], "denied");
    assert!(last["reason"].as_str().unwrap().contains("server"), "{last}");

    stack.start_server();
    tool.must_sign(&mut tool.sign_command());
}

fn a_trust_token_in_hand_counts_while_the_policy_server_is_down(mode: Mode) {
    let stack = Stack::up(mode);
    let mut probe = Probe::start(&stack, |_| {});
    let session = stack.approve_probe(&mut probe, &Approval::of("probe", DEMO_EC, "sign"));
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    let init = json!({ "session": session, "mechanism": CKM_ECDSA, "key": key });

    for server_is_up in [true, false] {
        if !server_is_up {
            stack.stop_server();
        }
        probe.must("C_SignInit", init.clone());
        let signature =
            probe.must("C_Sign", json!({ "session": session, "input": hex(&[1; 32]) })).bytes("output");
        assert_eq!(signature.len(), 64, "server is up: {server_is_up}");
    }
}

fn a_server_with_a_certificate_of_another_authority_is_not_believed(mode: Mode) {
    let stack = Stack::up(mode);
    let other = Stack::up(mode);
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut tool.sign_command());
    let misled = stack.configuration("misled.toml", |text| {
        text.replace(stack.variable("TRUSTSHIM_CA"), other.variable("TRUSTSHIM_CA"))
    });
    tool.must_be_refused(tool.sign_command().env("TRUSTSHIM_CONFIG", misled));
}

/// A process that ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().expect("our own child");
        self.0.wait().expect("our own child");
    }
}

/// A copy of `pkcs11-tool` that was approved, and the configuration of the shim with another policy server.
fn led_to<'a>(stack: &'a Stack, address: &str) -> (Tool<'a>, std::path::PathBuf) {
    let tool = Tool::copied(stack, "signer");
    tool.must_be_refused(&mut tool.sign_command());
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    tool.must_sign(&mut tool.sign_command());
    let elsewhere = stack.configuration("elsewhere.toml", |text| {
        let text = text.replace(stack.variable("TRUSTSHIM_SERVER"), &format!("https://{address}"));
        text.replace("timeout_ms = 5000", "timeout_ms = 1000")
    });
    (tool, elsewhere)
}

fn a_server_that_never_answers_is_waited_for_within_the_bound(mode: Mode) {
    let stack = Stack::up(mode);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (tool, elsewhere) = led_to(&stack, &silent.local_addr().unwrap().to_string());
    let started = Instant::now();
    tool.must_be_refused(tool.sign_command().env("TRUSTSHIM_CONFIG", elsewhere));
    // Two attempts, as pkcs11-tool tries twice, and a farewell; without a bound it would take for ever.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    let log = stack.log();
    assert_eq!(log.last().unwrap()["reason"], "policy-server-unavailable", "{log:?}");
}

fn an_answer_that_is_garbage_is_none(mode: Mode) {
    let stack = Stack::up(mode);
    let port = {
        // Free a moment ago; the server below says so if it is not any more.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let (tool, elsewhere) = led_to(&stack, &format!("127.0.0.1:{port}"));
    // Somebody with the server's own certificate, who answers every request with a page about the connection.
    let keys = stack.directory().join("policy-server");
    let garbage = Command::new("openssl")
        .args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")])
        .arg("-cert")
        .arg(keys.join("tls.pem"))
        .arg("-key")
        .arg(keys.join("tls.key"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _garbage = Killed(garbage);
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "openssl s_server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    tool.must_be_refused(tool.sign_command().env("TRUSTSHIM_CONFIG", elsewhere));
    let log = stack.log();
    assert_eq!(log.last().unwrap()["reason"], "policy-server-unavailable", "{log:?}");
}
