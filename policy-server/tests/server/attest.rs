//! `POST /v1/challenge` and `POST /v1/attest`: what earns a token, and that every refusal is on record.

use attestation::api::{
    AttestRequest, AttestResponse, DecidedBy, DecisionRecord, DecisionSummary, HsmState, Outcome,
};
use attestation::decision::{DecisionId, LocalDecision, Reason};
use attestation::digest::Digest;
use attestation::grant::Operation;
use attestation::token::{Anchors, Expected, Mode, Presented, TokenError, VerifiedToken, verify_token};
use serde_json::json;

use crate::host::{BOOT_ID, BOOTTIME_MS, Host};
use crate::installation::{Answer, Installation, KEY};

#[tokio::test]
async fn approved_software_gets_a_token_that_the_gate_accepts() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let nonce = installation.challenge(&host.fingerprint(), &host.cnf.thumbprint()).await;
    let claims = host.claims(&nonce);
    let answer = installation.present(&host.evidence(&claims)).await;
    let AttestResponse { token, decision } = answer.json();

    let anchors = std::fs::read_to_string(installation.path().join("anchors.jwks")).unwrap();
    let expected = Expected {
        hsm: &host.fingerprint(),
        host: "build-1",
        mode: Mode::Inline,
        boot_id: BOOT_ID,
        measurement: claims.submods.component.measurement_digest(),
        presented: Presented::Answer { cnf: &host.cnf.thumbprint(), nonce: &nonce },
    };
    let anchors = Anchors::parse(&anchors).unwrap();
    let verified = verify_token(&token, &anchors, &expected, BOOTTIME_MS + 1).unwrap();
    assert_eq!(verified.deadline_boottime_ms(), BOOTTIME_MS + 300_000);
    assert_eq!((verified.claims().component.as_str(), verified.claims().version.as_str()), ("signer", "1.0"));
    assert_eq!(verified.grants().len(), 1);
    assert_eq!(verified.claims().grants[0].key, KEY);
    assert_eq!(verified.grants()[0].operations, [Operation::Sign]);

    let record: DecisionRecord = installation.get(&format!("/v1/decisions/{decision}")).await.json();
    assert_eq!(record.summary.outcome, Outcome::Allowed);
    assert_eq!(record.summary.decided_by, DecidedBy::Server);
    assert_eq!(record.evidence, Some(claims));
}

async fn assert_refused(installation: &Installation, answer: &Answer, code: &str) -> DecisionSummary {
    let (id, codes) = answer.refusal();
    assert_eq!(codes, [code], "{answer}");
    let summary = installation.decision(id).await;
    assert_eq!(summary.outcome, Outcome::Denied);
    assert_eq!(summary.reasons.iter().map(|reason| reason.code.as_str()).collect::<Vec<_>>(), [code]);
    summary
}

#[tokio::test]
async fn evidence_replayed() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let nonce = installation.challenge(&host.fingerprint(), &host.cnf.thumbprint()).await;
    let evidence = host.evidence(&host.claims(&nonce));
    let _: AttestResponse = installation.present(&evidence).await.json();
    assert_refused(&installation, &installation.present(&evidence).await, "nonce-used").await;
}

#[tokio::test]
async fn evidence_presented_many_times_at_once_counts_once() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let nonce = installation.challenge(&host.fingerprint(), &host.cnf.thumbprint()).await;
    let evidence = host.evidence(&host.claims(&nonce));
    let present = || installation.present(&evidence);
    let answers = tokio::join!(present(), present(), present(), present(), present(), present());
    let answers = [answers.0, answers.1, answers.2, answers.3, answers.4, answers.5];
    assert_eq!(answers.iter().filter(|answer| answer.status.is_success()).count(), 1);
}

#[tokio::test]
async fn nonce_reused_for_other_evidence() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let nonce = installation.challenge(&host.fingerprint(), &host.cnf.thumbprint()).await;
    let _: AttestResponse = installation.present(&host.evidence(&host.claims(&nonce))).await.json();
    let mut other = host.claims(&nonce);
    other.iat += 1;
    assert_refused(&installation, &installation.present(&host.evidence(&other)).await, "nonce-used").await;
}

#[tokio::test]
async fn nonce_too_old() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let challenges = &installation.server.challenges;
    let a_minute_ago = challenges.now() - 60;
    let nonce = challenges.give(&host.fingerprint(), &host.cnf.thumbprint(), a_minute_ago).unwrap();
    let answer = installation.present(&host.evidence(&host.claims(&nonce))).await;
    assert_refused(&installation, &answer, "nonce-expired").await;
}

#[tokio::test]
async fn nonce_made_up() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let nonce = attestation::base64url::encode(&[7; 32]);
    let answer = installation.present(&host.evidence(&host.claims(&nonce))).await;
    assert_refused(&installation, &answer, "nonce-unknown").await;
}

#[tokio::test]
async fn nonce_given_to_another_attestation_key() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let other = installation.approved_host("build-2").await;
    let nonce = installation.challenge(&other.fingerprint(), &host.cnf.thumbprint()).await;
    let answer = installation.present(&host.evidence(&host.claims(&nonce))).await;
    assert_refused(&installation, &answer, "nonce-unknown").await;
    // It was not used up by that: its owner may still use it.
    let mut claims = other.claims(&nonce);
    claims.cnf.jwk = host.cnf.clone();
    let _: AttestResponse = installation.present(&other.evidence(&claims)).await.json();
}

#[tokio::test]
async fn nonce_given_to_another_attester() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let other = Host::new("x").cnf.thumbprint();
    let nonce = installation.challenge(&host.fingerprint(), &other).await;
    let answer = installation.present(&host.evidence(&host.claims(&nonce))).await;
    assert_refused(&installation, &answer, "nonce-unknown").await;
}

#[tokio::test]
async fn nonce_of_an_enrolment() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let nonce = installation.challenge(&host.fingerprint(), &host.fingerprint()).await;
    let answer = installation.present(&host.evidence(&host.claims(&nonce))).await;
    assert_refused(&installation, &answer, "nonce-unknown").await;
}

#[tokio::test]
async fn key_never_enrolled() {
    let installation = Installation::new().await;
    let host = Host::new("stranger");
    let answer = installation.attest(&host, |_| {}).await;
    let summary = assert_refused(&installation, &answer, "key-unknown").await;
    assert_eq!((summary.hsm, summary.host), (Some(host.fingerprint()), None));
    assert_eq!(summary.executable, None, "nothing in it was verified");
}

#[tokio::test]
async fn key_pending() {
    let installation = Installation::new().await;
    let host = Host::new("build-1");
    installation.enroll(&host).await;
    let answer = installation.attest(&host, |_| {}).await;
    assert_refused(&installation, &answer, "key-pending").await;
    // What a key measured before anybody vouched for it cannot be approved later.
    installation.approve_key(&host).await;
    let refused = installation.approve(&answer, |_| {}).await;
    refused.assert_problem(409, "cannot-approve");
}

#[tokio::test]
async fn key_suspended() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    installation.token(&host).await;
    let path = format!("/v1/hsms/{}/suspend", host.fingerprint());
    assert!(installation.post(&path, &json!({})).await.status.is_success());
    let answer = installation.attest(&host, |_| {}).await;
    assert_refused(&installation, &answer, "key-suspended").await;
    installation.approve_key(&host).await;
    installation.token(&host).await;
}

#[tokio::test]
async fn signature_by_another_key() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let mut thief = Host::new("build-1");
    thief.jwk = host.jwk.clone();
    let answer = installation.attest(&thief, |_| {}).await;
    assert_refused(&installation, &answer, "signature-invalid").await;
}

#[tokio::test]
async fn evidence_that_is_none() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let proof = host.proof(&host.enrollment(&attestation::base64url::encode(&[1; 32])));
    let too_long = "a".repeat(300 * 1024);
    for evidence in ["", "a.b", "a.b.c", proof.as_str(), too_long.as_str()] {
        let answer = installation.present(evidence).await;
        assert_refused(&installation, &answer, "evidence-malformed").await;
    }
    let answer = installation.attest(&host, |claims| claims.aud = "somebody else".to_owned()).await;
    assert_refused(&installation, &answer, "evidence-malformed").await;
}

#[tokio::test]
async fn host_and_mode_come_from_the_approved_record() {
    let installation = Installation::new().await;
    let mut host = Host::new("build-1");
    host.mode = Mode::Guarded;
    installation.enroll(&host).await;
    installation.approve_key(&host).await;
    let refused = installation.attest(&host, |_| {}).await;
    let only_inline = |request: &mut attestation::api::ApproveRequest| {
        request.grant.as_mut().unwrap().mode = Some(Mode::Inline);
    };
    assert!(installation.approve(&refused, only_inline).await.status.is_success());
    let answer = installation.attest(&host, |_| {}).await;
    let summary = assert_refused(&installation, &answer, "no-grant").await;
    assert_eq!(summary.component.as_deref(), Some("signer"));
}

/// What the gate makes of a token for this host and its approved program, in a mode.
async fn verified_in(
    installation: &Installation,
    host: &Host,
    mode: Mode,
) -> Result<VerifiedToken, TokenError> {
    let nonce = installation.challenge(&host.fingerprint(), &host.cnf.thumbprint()).await;
    let claims = host.claims(&nonce);
    let answer = installation.present(&host.evidence(&claims)).await;
    let AttestResponse { token, .. } = answer.json();
    let anchors = std::fs::read_to_string(installation.path().join("anchors.jwks")).unwrap();
    let expected = Expected {
        hsm: &host.fingerprint(),
        host: &host.name,
        mode,
        boot_id: BOOT_ID,
        measurement: claims.submods.component.measurement_digest(),
        presented: Presented::Answer { cnf: &host.cnf.thumbprint(), nonce: &nonce },
    };
    verify_token(&token, &Anchors::parse(&anchors).unwrap(), &expected, BOOTTIME_MS + 1)
}

#[tokio::test]
async fn a_key_that_is_approved_for_guarded_mode_and_no_other_gets_tokens_of_that_mode() {
    let installation = Installation::new().await;
    let inline = installation.approved_program().await;
    let mut guarded = Host::new("build-1");
    guarded.mode = Mode::Guarded;
    let record = installation.enroll(&guarded).await;
    assert_eq!((record.mode, record.state), (Mode::Guarded, HsmState::Pending));
    installation.approve_key(&guarded).await;
    for (host, mode, other) in
        [(&inline, Mode::Inline, Mode::Guarded), (&guarded, Mode::Guarded, Mode::Inline)]
    {
        assert_eq!(verified_in(&installation, host, mode).await.unwrap().claims().mode, mode);
        let refused = verified_in(&installation, host, other).await.unwrap_err();
        assert!(matches!(refused, TokenError::OtherMode { found } if found == mode), "{refused}");
    }
}

#[tokio::test]
async fn a_grant_for_guarded_mode_counts_for_no_inline_key() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let refused = installation.attest(&host, |_| {}).await;
    let only_guarded = |request: &mut attestation::api::ApproveRequest| {
        request.grant.as_mut().unwrap().mode = Some(Mode::Guarded);
    };
    assert!(installation.approve(&refused, only_guarded).await.status.is_success());
    let answer = installation.attest(&host, |_| {}).await;
    assert_refused(&installation, &answer, "no-grant").await;
    let mut guarded = Host::new("build-1");
    guarded.mode = Mode::Guarded;
    installation.enroll(&guarded).await;
    installation.approve_key(&guarded).await;
    let verified = verified_in(&installation, &guarded, Mode::Guarded).await.unwrap();
    assert_eq!(verified.claims().grants[0].key, KEY);
}

fn local(id: u64, detail: &str) -> LocalDecision {
    LocalDecision {
        id: DecisionId::from_random(id << 4),
        at: 1_700_000_000,
        function: "C_SignInit".to_owned(),
        operation: "sign".to_owned(),
        key: Some(KEY.to_owned()),
        reason: Reason { code: "no-grant".to_owned(), detail: detail.to_owned() },
        measurement: None,
    }
}

async fn attest_with(installation: &Installation, host: &Host, decisions: Vec<LocalDecision>) -> Answer {
    let nonce = installation.challenge(&host.fingerprint(), &host.cnf.thumbprint()).await;
    let request = AttestRequest { evidence: host.evidence(&host.claims(&nonce)), decisions, lost: 3 };
    installation.post_anonymous("/v1/attest", &request).await
}

#[tokio::test]
async fn refusals_by_the_gate_are_recorded_for_the_host_that_signed() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let first = local(1, "first\u{1b}[31m");
    assert!(attest_with(&installation, &host, vec![first.clone()]).await.status.is_success());
    let summary = installation.decision(first.id).await;
    assert_eq!((summary.decided_by, summary.outcome), (DecidedBy::Gate, Outcome::Denied));
    assert_eq!((summary.host.as_deref(), summary.hsm), (Some("build-1"), Some(host.fingerprint())));
    assert_eq!(summary.operation.as_deref(), Some("sign (C_SignInit)"));
    assert_eq!(summary.reasons[0].detail, r"first\x1b[31m");

    // Another host can neither overwrite it nor put words into this host's mouth.
    let other = installation.approved_host("build-2").await;
    let again = local(1, "overwritten");
    assert!(attest_with(&installation, &other, vec![again]).await.status.is_success());
    assert_eq!(installation.decision(first.id).await.reasons[0].detail, r"first\x1b[31m");
    let mut thief = Host::new("thief");
    thief.jwk = host.jwk.clone();
    let forged = local(2, "forged");
    attest_with(&installation, &thief, vec![forged.clone()]).await;
    installation.get(&format!("/v1/decisions/{}", forged.id)).await.assert_problem(404, "not-found");
}

#[tokio::test]
async fn a_refusal_by_the_gate_is_explained_and_approved_by_the_evidence_of_its_process() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let mut refused = local(9, "not for decrypt");
    refused.measurement = Some(host.claims("").submods.component.measurement_digest());
    attest_with(&installation, &host, vec![refused.clone()]).await;
    let summary = installation.decision(refused.id).await;
    assert_eq!(summary.component.as_deref(), Some("signer"));
    assert_eq!(summary.executable.as_deref(), Some("/usr/bin/signer"));
    let path = format!("/v1/decisions/{}", refused.id);
    let explanation: attestation::api::Explanation =
        installation.get(&format!("{path}/explanation")).await.json();
    assert_eq!(explanation.measured.unwrap().executable.path, "/usr/bin/signer");
    let request = json!({
        "measurement": refused.measurement, "component": "signer", "version": "1.0",
        "grant": {"key": KEY, "operations": ["decrypt"]},
    });
    assert!(installation.post(&format!("{path}/approve"), &request).await.status.is_success());
    let unrelated = json!({"measurement": Digest::of(b"x"), "component": "signer", "version": "1.0"});
    installation.post(&format!("{path}/approve"), &unrelated).await.assert_problem(409, "cannot-approve");
}

#[tokio::test]
async fn more_refusals_by_the_gate_than_one_request_may_carry() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let many = (0..65).map(|id| local(id, "")).collect();
    attest_with(&installation, &host, many).await.assert_problem(400, "malformed");
}
