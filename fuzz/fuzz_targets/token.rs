//! `verify_token` as the gate of the vectors: a message that was not signed for the run is accepted only if it is one
//! of the valid vectors, byte for byte; one that was, only if every claim is what the gate expects.

#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use attestation::token::{Anchors, Expected, MAX_LIFETIME_S, Mode, verify_token};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use trustshim_fuzz::{Input, TOKEN_SEED, input, tampered, valid_vectors, vector_json};

struct Gate {
    anchors: Anchors,
    header: String,
    expected: Value,
    now_ms: u64,
    valid: BTreeSet<String>,
}

static GATE: LazyLock<Gate> = LazyLock::new(|| {
    let context = vector_json("context.json");
    let anchors = &context["anchors"];
    Gate {
        anchors: Anchors::parse(&anchors.to_string()).unwrap(),
        header: format!(r#"{{"alg":"EdDSA","kid":{},"typ":"ear+jwt"}}"#, anchors["keys"][0]["kid"]),
        expected: context["expected"].clone(),
        now_ms: context["now_boottime_ms"].as_u64().unwrap(),
        valid: valid_vectors("token").into_iter().map(|(message, _)| message).collect(),
    }
});

fuzz_target!(|data: &[u8]| {
    let gate = &*GATE;
    let Some(input) = input(data, TOKEN_SEED, &gate.header) else { return };
    let text = |name: &str| gate.expected[name].as_str().unwrap();
    let expected = Expected {
        hsm: text("hsm"),
        host: text("host"),
        mode: Mode::Inline,
        boot_id: text("boot_id"),
        cnf: text("cnf"),
        measurement: serde_json::from_value(gate.expected["measurement"].clone()).unwrap(),
        nonce: text("nonce"),
    };
    let verify = |message: &str| verify_token(message, &gate.anchors, &expected, gate.now_ms);
    match input {
        Input::Unsigned(message) => {
            assert!(verify(&message).is_err() || gate.valid.contains(&message), "a forgery is accepted");
        }
        Input::Signed { message, payload } => {
            let Ok(token) = verify(&message) else { return };
            assert!(verify(&tampered(&message)).is_err(), "the signature does not count");
            let deadline = token.deadline_boottime_ms();
            assert!(deadline > gate.now_ms && deadline - gate.now_ms <= MAX_LIFETIME_S * 1000);
            let claims: Value = serde_json::from_str(&payload).unwrap();
            let bound = &claims["trustshim"];
            for name in ["hsm", "host", "mode", "boot_id", "measurement"] {
                assert_eq!(bound[name], gate.expected[name], "{name}");
            }
            assert_eq!(claims["eat_nonce"], gate.expected["nonce"]);
            assert_eq!(claims["cnf"]["jkt"], gate.expected["cnf"]);
            assert_eq!(
                claims["submods"]["component"]["ear_status"].as_str().map(|status| status == "none"),
                Some(false)
            );
            assert_eq!(serde_json::to_value(token.claims()).unwrap(), *bound, "a claim is lost or made up");
            assert_eq!(token.grants().len(), bound["grants"].as_array().unwrap().len());
            assert!(token.grants().iter().all(|grant| !grant.operations.is_empty()));
        }
    }
});
