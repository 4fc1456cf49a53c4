//! Trust tokens that are handed in, by a file or by the application: they count where and for what they were issued, and no
//! call with one reaches the real module.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use cryptoki_sys::*;
use e2e::probe::{hex, ulong};
use e2e::{Mode, Program, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        a_token_that_the_application_hands_in_is_taken_in_and_not_forwarded,
        a_token_that_does_not_count_is_refused_by_its_own_reason,
    ],
    inline: [a_token_in_the_configured_file_does_without_the_policy_server],
}

const DEMO_EC: &str = "pkcs11:token=sandbox;object=demo-ec;type=private";
const UNAVAILABLE: &str = "policy-server-unavailable";

fn sign_init(program: &mut Program<'_>) -> Value {
    let key = program.key(CKO_PRIVATE_KEY, "demo-ec");
    json!({ "session": program.session, "mechanism": CKM_ECDSA, "key": key })
}

fn signs(program: &mut Program<'_>) {
    let init = sign_init(program);
    let session = program.session;
    program.must("C_SignInit", init);
    let signature = program.must("C_Sign", json!({ "session": session, "input": hex(&[1; 32]) }));
    assert_eq!(signature.bytes("output").len(), 64);
}

/// The object as which an application hands in a token.
fn handed_in(session: u64, token: &[u8]) -> Value {
    json!({ "session": session, "template": [
        [CKA_CLASS, ulong(CKO_DATA)],
        [CKA_APPLICATION, hex(b"trustshim")],
        [CKA_LABEL, hex(b"trust-token")],
        [CKA_VALUE, hex(token)]
    ] })
}

/// An installation with a program `signer` that has signed; tokens are also read from a file beside the configuration.
fn watched(mode: Mode) -> Watched {
    let watched = Watched::up_with(mode, |text| {
        if mode == Mode::Guarded {
            // A guard has no such file.
            return text;
        }
        let pin_file = text.lines().find_map(|line| line.strip_prefix("pin_file = ")).unwrap();
        let token_file = pin_file.replace("attestation.pin", "token.jwt");
        text.replace("[attestation]\n", &format!("[attestation]\ntrust_token_file = {token_file}\n"))
    });
    watched.approve("signer");
    watched.stack.grant("signer", DEMO_EC, "sign");
    signs(&mut watched.started("signer"));
    watched
}

/// Has a token issued for the newest evidence that the server allowed: that of `signer`.
fn issued(watched: &Watched, lifetime: &str) -> Vec<u8> {
    let file = watched.stack.file("issued.jwt");
    let output = file.to_str().unwrap();
    watched.stack.json(&["token", "issue", "--last-allowed", "--lifetime", lifetime, "--output", output]);
    fs::read_to_string(file).unwrap().trim().as_bytes().to_vec()
}

/// A character of the signature is another.
fn forged(token: &[u8]) -> Vec<u8> {
    let mut forged = token.to_vec();
    let place = forged.len() - 20;
    forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
    forged
}

fn a_token_in_the_configured_file_does_without_the_policy_server(mode: Mode) {
    let watched = watched(mode);
    let token = issued(&watched, "60");
    let file = watched.stack.directory().join("token.jwt");
    watched.stack.stop_server();
    let refused_by = |name: &str| {
        let mut program = watched.started(name);
        let init = sign_init(&mut program);
        program.denied(UNAVAILABLE, "C_SignInit", init);
    };
    refused_by("signer");

    fs::write(&file, &token).unwrap();
    signs(&mut watched.started("signer"));
    // It is one program's, as it was measured; and what does not count is as good as no file.
    refused_by("other");
    for content in
        [forged(&token), b"no token\n".to_vec(), token[..token.len() / 2].to_vec(), vec![b'A'; 1 << 20]]
    {
        fs::write(&file, content).unwrap();
        refused_by("signer");
    }
    fs::write(&file, [&token[..], b"\n"].concat()).unwrap();
    signs(&mut watched.started("signer"));
}

fn a_token_that_the_application_hands_in_is_taken_in_and_not_forwarded(mode: Mode) {
    let watched = watched(mode);
    let token = issued(&watched, "60");
    watched.stack.forget_tokens();
    watched.stack.stop_server();
    let mut program = watched.without_login("signer");
    let session = program.session;
    let login = json!({ "session": session, "user": CKU_USER, "pin": hex(b"1234") });
    if mode == Mode::Inline {
        program.must("C_Login", login);
        let init = sign_init(&mut program);
        program.denied(UNAVAILABLE, "C_SignInit", init);
    } else {
        program.denied(UNAVAILABLE, "C_Login", login);
    }

    let mark = program.mark();
    let object = program.call("C_CreateObject", handed_in(session, &token));
    assert_eq!(object.rv, CKR_OK);
    assert!(program.arrived_since(mark).iter().all(|call| call.function != "C_CreateObject"));
    if mode == Mode::Guarded {
        program.probe.login(session);
    }
    signs(&mut program);
    // It is there to ask for its label and is found by no search, and its value does not come out.
    let object = object.handle("object");
    let read = |kind: u64| json!({ "session": session, "object": object, "template": [[kind, 2048]] });
    assert_eq!(program.probe.must("C_GetAttributeValue", read(CKA_LABEL)).attribute(0), b"trust-token");
    program.never_arrives(CKR_ATTRIBUTE_TYPE_INVALID, "C_GetAttributeValue", read(CKA_VALUE));
    assert!(program.probe.find(session, CKO_DATA, "trust-token").is_empty());
}

fn a_token_that_does_not_count_is_refused_by_its_own_reason(mode: Mode) {
    let watched = watched(mode);
    let token = issued(&watched, "60");
    let mut program = watched.started("signer");
    let session = program.session;
    for (reason, token) in [
        ("signature", forged(&token)),
        ("not-compact", Vec::new()),
        ("not-compact", vec![0xff; 16]),
        ("not-compact", vec![b'A'; 1 << 20]),
    ] {
        program.denied(reason, "C_CreateObject", handed_in(session, &token));
    }
    let mut other = watched.without_login("other");
    let session = other.session;
    other.denied("other-measurement", "C_CreateObject", handed_in(session, &token));

    let short = issued(&watched, "1");
    // The age of the evidence that it rests on is known to the second.
    sleep(Duration::from_millis(2_200));
    let session = program.session;
    program.denied("expired", "C_CreateObject", handed_in(session, &short));
    // A token of the program's own that counts is none the worse for it.
    signs(&mut program);
    // Twice the same attribute makes it another object, which is judged as such.
    let mut twice = handed_in(session, &token);
    twice["template"].as_array_mut().unwrap().push(json!([CKA_LABEL, hex(b"trust-token")]));
    program.denied("template-unclear", "C_CreateObject", twice);
}
