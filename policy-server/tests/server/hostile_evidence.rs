//! Evidence made to hurt, signed by an approved key: each kind is refused with its own answer, a decision is on record
//! wherever evidence could be told apart, and the next good request is served.

use attestation::api::{AttestRequest, DecisionRecord, Explanation, Outcome};
use serde_json::Value;

use crate::host::{Host, file};
use crate::installation::{Answer, Installation};

/// Presents a payload, signed as evidence, that `change` has made of a good one in its JSON form.
async fn attest_text(
    installation: &Installation,
    host: &Host,
    change: impl FnOnce(String) -> Vec<u8>,
) -> Answer {
    let nonce = installation.challenge(&host.fingerprint(), &host.cnf.thumbprint()).await;
    let text = serde_json::to_string(&host.claims(&nonce)).unwrap();
    installation.present(&host.evidence_of(&change(text))).await
}

async fn assert_malformed_and_alive(installation: &Installation, host: &Host, answer: &Answer) {
    let (id, codes) = answer.refusal();
    assert_eq!(codes, ["evidence-malformed"], "{answer}");
    assert_eq!(installation.decision(id).await.outcome, Outcome::Denied);
    installation.token(host).await;
}

#[tokio::test]
async fn evidence_over_the_size_limit() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    // Over the limit of evidence, and within that of the request: refused as evidence, on record.
    let long = |text: String| text.replace("--daemon", &"x".repeat(200 * 1024)).into_bytes();
    let answer = attest_text(&installation, &host, long).await;
    assert_malformed_and_alive(&installation, &host, &answer).await;
    // Over the limit of the request: not read to its end.
    let longer = AttestRequest { evidence: "x".repeat(512 * 1024), decisions: vec![], lost: 0 };
    installation.post_anonymous("/v1/attest", &longer).await.assert_problem(413, "too-large");
    installation.token(&host).await;
}

#[tokio::test]
async fn evidence_of_malformed_json() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let changes: [fn(String) -> Vec<u8>; 7] = [
        |_| Vec::new(),
        |text| text[..text.len() - 1].to_owned().into_bytes(),
        |text| format!("{text}{{}}").into_bytes(),
        |text| text.replacen('{', "{\"iat\":1,", 1).into_bytes(),
        |text| text.replacen('{', "{\"more\":1,", 1).into_bytes(),
        |text| text.replace("5000000", "5e6").into_bytes(),
        |text| text.replace("5000000", "-1").into_bytes(),
    ];
    for change in changes {
        let answer = attest_text(&installation, &host, change).await;
        assert_malformed_and_alive(&installation, &host, &answer).await;
    }
    let plain = installation.send("POST", "/v1/attest", None, b"{\"evidence\":\"".to_vec()).await;
    plain.assert_problem(400, "malformed");
    installation.token(&host).await;
}

#[tokio::test]
async fn evidence_of_deeply_nested_json() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        for depth in [100, 10_000, 30_000] {
            let within = |text: String| text.replace("5000000", &nested(depth)).into_bytes();
            let answer = attest_text(&installation, &host, within).await;
            assert_malformed_and_alive(&installation, &host, &answer).await;
            let alone = |_| nested(depth).into_bytes();
            let answer = attest_text(&installation, &host, alone).await;
            assert_malformed_and_alive(&installation, &host, &answer).await;
        }
        // And as the request itself.
        let body = format!("{{\"evidence\":{}}}", nested(60_000)).into_bytes();
        installation.send("POST", "/v1/attest", None, body).await.assert_problem(400, "malformed");
    }
    installation.token(&host).await;
}

#[tokio::test]
async fn raw_control_characters_and_invalid_utf_8_in_a_path() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    // JSON has no raw control characters (RFC 8259 section 7) and is UTF-8 (section 8.1).
    for raw in [&b"\n"[..], b"\x1b[2J", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80"] {
        let with_raw = |text: String| {
            let (before, after) = text.split_once("/usr/bin/signer").unwrap();
            [before.as_bytes(), b"/usr/bin/", raw, after.as_bytes()].concat()
        };
        let answer = attest_text(&installation, &host, with_raw).await;
        assert_malformed_and_alive(&installation, &host, &answer).await;
        let body = [b"{\"evidence\":\"", raw, b"\"}"].concat();
        installation.send("POST", "/v1/attest", None, body).await.assert_problem(400, "malformed");
    }
    // Escaped by JSON alone they are in the string, where an honest attester has none.
    for escaped in [r"\n", r"\u001b[2J", r"\u0000", r"\u202e"] {
        let with_escaped =
            |text: String| text.replace("/usr/bin/signer", &format!("/usr/bin/{escaped}")).into_bytes();
        let answer = attest_text(&installation, &host, with_escaped).await;
        assert_malformed_and_alive(&installation, &host, &answer).await;
    }
}

#[tokio::test]
async fn an_escaped_path_is_measured_and_shown_escaped() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let path = attestation::digest::escape(b"/tmp/\x1b[2J\n\xff\\.so");
    assert_eq!(path, r"/tmp/\x1b[2J\x0a\xff\\.so");
    let refused =
        installation.attest(&host, |claims| claims.submods.component.mappings.push(file(&path, "x"))).await;
    let (id, codes) = refused.refusal();
    assert_eq!(codes, ["library-unknown"]);
    let answer = installation.get(&format!("/v1/decisions/{id}/explanation")).await;
    // Nothing in the answer, as it is sent, could move a terminal's cursor.
    assert!(answer.body.iter().all(|byte| !byte.is_ascii_control()));
    let explanation: Explanation = answer.json();
    let [difference] = explanation.differences.as_slice() else { panic!("{explanation:?}") };
    assert_eq!((difference.part.as_str(), &difference.item), ("library", &path));
    let record: DecisionRecord = installation.get(&format!("/v1/decisions/{id}")).await.json();
    assert!(record.evidence.unwrap().submods.component.mappings.iter().any(|file| file.path == path));
    assert!(record.summary.reasons[0].detail.contains(&path));
    // It is an identity like any other: what was approved under it is recognised.
    let approved: Value = installation.approve(&refused, |_| {}).await.json();
    assert_eq!(approved["approved"]["version"], "1.0");
    let again = installation.attest(&host, |claims| claims.submods.component.mappings.push(file(&path, "x")));
    assert!(again.await.status.is_success());
}
