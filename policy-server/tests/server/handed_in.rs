//! Trust tokens that operators have issued to be handed in by the application.

use attestation::api::{
    AttestResponse, DecidedBy, DecisionRecord, IssueRequest, IssueResponse, Outcome, TokenRecord,
};
use attestation::decision::DecisionId;
use attestation::evidence::EvidenceClaims;
use attestation::token::{Anchors, Expected, Mode, Presented, TokenError, verify_token};
use policy_server::appraisal::approval::Latitude;
use policy_server::appraisal::{Circumstances, Occasion, appraise};
use policy_server::store::commit;
use serde_json::json;

use crate::host::{BOOT_ID, BOOTTIME_MS, Host};
use crate::installation::{Answer, Installation, claims_of};

async fn issue(installation: &Installation, decision: DecisionId, lifetime_s: Option<u64>) -> Answer {
    installation.post("/v1/tokens", &IssueRequest { decision, lifetime_s }).await
}

#[tokio::test]
async fn a_token_from_an_allowed_decision_is_accepted_where_one_is_handed_in() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let allowed = installation.token(&host).await;
    let answer = issue(&installation, allowed.decision, Some(600)).await;
    assert_eq!(answer.status, 201);
    let issued: IssueResponse = answer.json();

    let anchors = std::fs::read_to_string(installation.path().join("anchors.jwks")).unwrap();
    let anchors = Anchors::parse(&anchors).unwrap();
    let measurement = host.claims("").submods.component.measurement_digest();
    let fingerprint = host.fingerprint();
    let expected = |presented| Expected {
        hsm: &fingerprint,
        host: "build-1",
        mode: Mode::Inline,
        boot_id: BOOT_ID,
        measurement,
        presented,
    };
    let verified =
        verify_token(&issued.token, &anchors, &expected(Presented::HandedIn), BOOTTIME_MS + 1).unwrap();
    let after_challenge = verified.deadline_boottime_ms() - BOOTTIME_MS;
    // 600 s from now, as far as the decision is in the past.
    assert!((600_000..610_000).contains(&after_challenge), "{after_challenge}");
    // It is bound to no attester, and so it is no answer to one; nor is an answer one to be handed in.
    let cnf = host.cnf.thumbprint();
    let answer = Presented::Answer { cnf: &cnf, nonce: "x" };
    let refused = verify_token(&issued.token, &anchors, &expected(answer), BOOTTIME_MS + 1);
    assert!(matches!(refused, Err(TokenError::Unbound)));
    let bound = verify_token(&allowed.token, &anchors, &expected(Presented::HandedIn), BOOTTIME_MS + 1);
    assert!(matches!(bound, Err(TokenError::Bound)));

    let record: DecisionRecord =
        installation.get(&format!("/v1/decisions/{}", issued.record.decision)).await.json();
    assert_eq!((record.summary.decided_by, record.summary.outcome), (DecidedBy::Operator, Outcome::Allowed));
    assert_eq!(record.summary.basis, Some(allowed.decision));
    assert!(record.summary.operator.is_some());
    assert!(record.evidence.is_some(), "what it rests on is shown with it");
    let tokens: Vec<TokenRecord> = installation.get("/v1/tokens").await.json();
    assert_eq!(tokens.len(), 2);
    assert!(tokens.contains(&issued.record));
    assert!(tokens.iter().any(|token| token.decision == allowed.decision && token.operator.is_none()));
    assert_eq!(installation.get("/v1/tokens?limit=1").await.json::<Vec<TokenRecord>>().len(), 1);
}

#[tokio::test]
async fn the_policy_of_today_decides_and_a_refusal_is_on_record() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let allowed = installation.token(&host).await.decision;
    let path = format!("/v1/hsms/{}/suspend", host.fingerprint());
    assert!(installation.post(&path, &json!({})).await.status.is_success());
    let (id, codes) = issue(&installation, allowed, None).await.refusal();
    assert_eq!(codes, ["key-suspended"]);
    let decision = installation.decision(id).await;
    assert_eq!((decision.decided_by, decision.outcome), (DecidedBy::Operator, Outcome::Denied));
    installation.approve_key(&host).await;
    let _: IssueResponse = issue(&installation, allowed, None).await.json();
    let retire = "/v1/components/signer/versions/1.0/retire";
    assert!(installation.post(retire, &json!({})).await.status.is_success());
    assert_eq!(issue(&installation, allowed, None).await.refusal().1, ["version-retired"]);
    assert_eq!(installation.get("/v1/tokens").await.json::<Vec<TokenRecord>>().len(), 2);
}

#[tokio::test]
async fn decisions_from_which_no_token_is_issued() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let allowed = installation.token(&host).await.decision;
    let (denied, _) =
        installation.attest(&host, |claims| claims.submods.component.argv.clear()).await.refusal();
    let issued: IssueResponse = issue(&installation, allowed, None).await.json();
    issue(&installation, denied, None).await.assert_problem(409, "conflict");
    issue(&installation, issued.record.decision, None).await.assert_problem(409, "conflict");
    issue(&installation, DecisionId::from_random(0), None).await.assert_problem(404, "not-found");
    for lifetime in [0, 3601, u64::MAX] {
        issue(&installation, allowed, Some(lifetime)).await.assert_problem(400, "malformed");
    }
    for (shift, least) in [(-24 * 3600 - 60, "older than a day"), (25 * 3600 + 60, "set back")] {
        let mut transaction = installation.server.store.write().await.unwrap();
        sqlx::query("UPDATE decisions SET decided_at = decided_at + $1 WHERE id = $2")
            .bind(shift)
            .bind(allowed.to_string())
            .execute(&mut *transaction)
            .await
            .unwrap();
        commit(transaction).await.unwrap();
        let problem = issue(&installation, allowed, None).await.assert_problem(409, "conflict");
        assert!(problem.detail.unwrap().contains(least));
    }
}

#[tokio::test]
async fn the_age_of_the_evidence_moves_the_deadline_and_the_end_of_grants() {
    let host = Host::new("build-1");
    let claims: EvidenceClaims = host.claims(&attestation::base64url::encode(&[9; 32]));
    let mut policy = crate::appraisal::policy_for(&claims, &Latitude::default());
    policy.grants[0].terms.expires_at = Some(crate::appraisal::NOW + 60);
    let record = crate::appraisal::record(&host);
    let circumstances = Circumstances { hsm: &record, occasion: Occasion::Kept { age_s: 7200 } };
    let appraised =
        appraise(&host.verified(&claims), &circumstances, &policy, crate::appraisal::NOW).unwrap();
    assert_eq!(appraised.binding(), None);
    assert_eq!(appraised.boottime_ms(), BOOTTIME_MS + 7_200_000);
    assert_eq!(appraised.grants()[0].deadline_boottime_ms, Some(BOOTTIME_MS + 7_260_000));
}

#[tokio::test]
async fn an_observed_decision_is_handed_in_with_its_warning() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let observe = "/v1/components/signer/observe";
    assert!(installation.post(observe, &json!({})).await.status.is_success());
    let differing = |claims: &mut EvidenceClaims| claims.submods.component.argv.clear();
    let AttestResponse { decision, .. } = installation.attest(&host, differing).await.json();
    let issued: IssueResponse = issue(&installation, decision, None).await.json();
    let status = claims_of(&issued.token).submods.component.ear_status;
    assert_eq!(status, attestation::token::Tier::Warning);
    assert!(installation.decision(issued.record.decision).await.observed);
}
