//! Enrolment of attestation keys.

use attestation::api::{EnrollRequest, HsmRecord, HsmState};
use attestation::evidence::EnrollmentClaims;
use attestation::token::Mode;

use crate::host::Host;
use crate::installation::{Answer, Installation};

async fn enroll(
    installation: &Installation,
    host: &Host,
    change: impl FnOnce(&mut EnrollmentClaims),
) -> Answer {
    let nonce = installation.challenge(&host.fingerprint(), &host.fingerprint()).await;
    let mut claims = host.enrollment(&nonce);
    change(&mut claims);
    installation.post_anonymous("/v1/hsms", &EnrollRequest { proof: host.proof(&claims) }).await
}

#[tokio::test]
async fn a_new_key_is_pending_until_its_fingerprint_is_approved() {
    let installation = Installation::new().await;
    let host = Host::new("build-1");
    let answer = enroll(&installation, &host, |_| {}).await;
    assert_eq!(answer.status, 201);
    let record: HsmRecord = answer.json();
    assert_eq!((record.state, record.approved_at), (HsmState::Pending, None));
    assert_eq!(record.fingerprint, host.fingerprint());
    let record = installation.approve_key(&host).await;
    assert_eq!(record.state, HsmState::Approved);
    assert!(record.approved_at.is_some());
    let listed: Vec<HsmRecord> = installation.get("/v1/hsms").await.json();
    assert_eq!(listed.as_slice(), core::slice::from_ref(&record));
    // Enrolling once more neither harms nor changes an approved key.
    assert_eq!(enroll(&installation, &host, |_| {}).await.json::<HsmRecord>(), record);
    let elsewhere = enroll(&installation, &host, |claims| claims.host = "build-2".to_owned()).await;
    elsewhere.assert_problem(409, "conflict");
    let otherwise = enroll(&installation, &host, |claims| claims.mode = Mode::Guarded).await;
    otherwise.assert_problem(409, "conflict");
}

#[tokio::test]
async fn proofs_that_prove_nothing() {
    let installation = Installation::new().await;
    let host = Host::new("build-1");
    let garbage = EnrollRequest { proof: "a.b.c".to_owned() };
    installation.post_anonymous("/v1/hsms", &garbage).await.assert_problem(400, "malformed");

    // Signed by another key than the one in it.
    let mut thief = Host::new("build-1");
    thief.jwk = host.jwk.clone();
    enroll(&installation, &thief, |_| {}).await.assert_problem(400, "malformed");

    // Evidence is no proof of possession for enrolment.
    let evidence = host.evidence(&host.claims(&attestation::base64url::encode(&[1; 32])));
    let evidence = EnrollRequest { proof: evidence };
    installation.post_anonymous("/v1/hsms", &evidence).await.assert_problem(400, "malformed");

    // Replayed, with a nonce of its own making, and with the nonce of an attester.
    let nonce = installation.challenge(&host.fingerprint(), &host.fingerprint()).await;
    let proof = EnrollRequest { proof: host.proof(&host.enrollment(&nonce)) };
    assert!(installation.post_anonymous("/v1/hsms", &proof).await.status.is_success());
    installation.post_anonymous("/v1/hsms", &proof).await.assert_problem(409, "conflict");
    let own = |claims: &mut EnrollmentClaims| claims.eat_nonce = attestation::base64url::encode(&[1; 32]);
    enroll(&installation, &host, own).await.assert_problem(409, "conflict");
}

#[tokio::test]
async fn keys_and_descriptions_that_are_refused() {
    let installation = Installation::new().await;
    let host = Host::new("build-1");
    let extractable = |claims: &mut EnrollmentClaims| claims.hsm.key.extractable = true;
    enroll(&installation, &host, extractable).await.assert_problem(409, "conflict");
    for name in ["", "a b", "x\u{1b}[31m", &"x".repeat(254)] {
        let answer = enroll(&installation, &host, |claims| claims.host = name.to_owned()).await;
        answer.assert_problem(400, "malformed");
    }
    for label in ["x\n", &"x".repeat(129)] {
        let answer = enroll(&installation, &host, |claims| claims.hsm.label = label.to_owned()).await;
        answer.assert_problem(400, "malformed");
    }
    assert_eq!(installation.get("/v1/hsms").await.json::<Vec<HsmRecord>>(), []);
}

#[tokio::test]
async fn more_keys_than_may_wait_for_approval() {
    let installation = Installation::new().await;
    for number in 0..64 {
        installation.enroll(&Host::new(&format!("host-{number}"))).await;
    }
    let one_more = Host::new("one-more");
    enroll(&installation, &one_more, |_| {}).await.assert_problem(503, "too-many-pending");
    let pending: Vec<HsmRecord> = installation.get("/v1/hsms").await.json();
    let path = format!("/v1/hsms/{}/approve", pending[0].fingerprint);
    assert!(installation.post(&path, &serde_json::json!({})).await.status.is_success());
    assert_eq!(enroll(&installation, &one_more, |_| {}).await.status, 201);
}
