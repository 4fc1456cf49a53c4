//! Floors, retired files and modes of components.

use attestation::api::{ApproveResponse, ComponentMode, ComponentRecord, Explanation, Outcome, RetiredFile};
use attestation::digest::Digest;
use attestation::evidence::EvidenceClaims;
use attestation::token::Tier;
use serde_json::json;

use crate::host::{Host, file};
use crate::installation::{Installation, claims_of};

/// The program of `host.rs` as 1.0, and with another argument as 2.0.
async fn two_versions() -> (Installation, Host) {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let refused = installation.attest(&host, newer).await;
    let _: ApproveResponse =
        installation.approve(&refused, |request| request.version = "2.0".to_owned()).await.json();
    (installation, host)
}

fn newer(claims: &mut EvidenceClaims) {
    claims.submods.component.argv.push("--new".to_owned());
}

#[tokio::test]
async fn versions_below_the_floor_count_no_more() {
    let (installation, host) = two_versions().await;
    let path = "/v1/components/signer/floor";
    let raised: ComponentRecord = installation.post(path, &json!({"version": "2.0"})).await.json();
    assert_eq!(raised.floor.as_deref(), Some("2.0"));
    assert_eq!(raised.versions.iter().map(|version| version.below_floor).collect::<Vec<_>>(), [true, false]);
    let refused = installation.attest(&host, |_| {}).await;
    let (id, codes) = refused.refusal();
    assert_eq!(codes, ["version-below-floor"]);
    assert_eq!(installation.decision(id).await.version.as_deref(), Some("1.0"));
    let explanation: Explanation = installation.get(&format!("/v1/decisions/{id}/explanation")).await.json();
    assert!(explanation.advice.iter().any(|advice| advice.contains("component show signer")));
    assert!(installation.attest(&host, newer).await.status.is_success());

    installation.post(path, &json!({"version": "1.0"})).await.assert_problem(409, "conflict");
    installation.post(path, &json!({"version": "3.0"})).await.assert_problem(404, "not-found");
    let lowered: ComponentRecord =
        installation.send("DELETE", path, Some(&installation.admin), vec![]).await.json();
    assert_eq!(lowered.floor, None);
    installation.token(&host).await;
}

#[tokio::test]
async fn a_retired_file_is_refused_in_every_component_and_set() {
    let (installation, host) = two_versions().await;
    let digest = Digest::of(b"libc");
    let path = format!("/v1/retired-files/{digest}");
    let retired: Vec<RetiredFile> = installation.post(&path, &json!({})).await.json();
    assert_eq!(retired.iter().map(|file| file.sha256).collect::<Vec<_>>(), [digest]);
    for change in [|_: &mut EvidenceClaims| {}, newer] {
        let refused = installation.attest(&host, change).await;
        let (id, codes) = refused.refusal();
        assert_eq!(codes, ["file-retired"]);
        installation
            .approve(&refused, |request| request.version = "3".to_owned())
            .await
            .assert_problem(409, "cannot-approve");
        let explanation: Explanation =
            installation.get(&format!("/v1/decisions/{id}/explanation")).await.json();
        assert!(!explanation.advice.iter().any(|advice| advice.contains("trustshim approve")));
    }
    let _: serde_json::Value = installation.post("/v1/sets", &json!({"name": "debian-12"})).await.json();
    let again = json!({"files": [["/lib/libc.so.6", digest]]});
    installation.post("/v1/sets/debian-12/files", &again).await.assert_problem(409, "conflict");
    installation.post("/v1/retired-files/abc", &json!({})).await.assert_problem(400, "malformed");

    let undo = || installation.send("DELETE", &path, Some(&installation.admin), vec![]);
    assert_eq!(undo().await.status, 204);
    undo().await.assert_problem(404, "not-found");
    installation.token(&host).await;
}

async fn observe(installation: &Installation) {
    let record: ComponentRecord = installation.post("/v1/components/signer/observe", &json!({})).await.json();
    assert_eq!(record.mode, ComponentMode::Observe);
}

#[tokio::test]
async fn an_observed_component_is_allowed_and_what_differs_is_on_record() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    observe(&installation).await;
    let differing = |claims: &mut EvidenceClaims| {
        claims.submods.component.mappings[0] = file("/lib/libc.so.6", "libc, updated");
        claims.submods.component.configuration[0] = file("/etc/signer.conf", "edited");
    };
    let response: attestation::api::AttestResponse = installation.attest(&host, differing).await.json();
    let claims = claims_of(&response.token);
    assert_eq!(claims.submods.component.ear_status, Tier::Warning);
    assert_eq!(claims.submods.attester.ear_status, Tier::Affirming);
    let decision = installation.decision(response.decision).await;
    assert_eq!((decision.outcome, decision.observed), (Outcome::Allowed, true));
    assert_eq!(decision.version.as_deref(), Some("1.0"));
    let codes: Vec<_> = decision.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["library-changed", "configuration-changed"]);
    let path = format!("/v1/decisions/{}/explanation", response.decision);
    let explanation: Explanation = installation.get(&path).await.json();
    assert_eq!(explanation.differences.len(), 2);
    assert!(explanation.advice[0].contains("is observed"));

    // It can be approved like a refusal.
    let renamed = |claims: &mut EvidenceClaims| claims.submods.component.argv.push("--x".to_owned());
    let allowed: attestation::api::AttestResponse = installation.attest(&host, renamed).await.json();
    let id = allowed.decision;
    let measurement = installation.decision(id).await.measurement;
    let request = json!({"measurement": measurement, "component": "signer", "version": "x"});
    assert_eq!(installation.post(&format!("/v1/decisions/{id}/approve"), &request).await.status, 200);
    let response: attestation::api::AttestResponse = installation.attest(&host, renamed).await.json();
    assert!(!installation.decision(response.decision).await.observed);

    // What matches is not marked, and an unknown measurer is.
    let response = installation.token(&host).await;
    assert_eq!(claims_of(&response.token).submods.component.ear_status, Tier::Affirming);
    assert!(!installation.decision(response.decision).await.observed);
    let other_shim = |claims: &mut EvidenceClaims| {
        claims.submods.attester.shim = file("/usr/lib/libtrustshim.so", "x");
    };
    let response: attestation::api::AttestResponse = installation.attest(&host, other_shim).await.json();
    assert_eq!(claims_of(&response.token).submods.attester.ear_status, Tier::Warning);

    let record: ComponentRecord = installation.post("/v1/components/signer/enforce", &json!({})).await.json();
    assert_eq!(record.mode, ComponentMode::Enforce);
    assert_eq!(
        installation.attest(&host, differing).await.refusal().1,
        ["library-changed", "configuration-changed"]
    );
}

#[tokio::test]
async fn observing_lets_pass_no_other_program_and_nothing_that_was_taken_back() {
    let (installation, host) = two_versions().await;
    observe(&installation).await;
    let elsewhere = |claims: &mut EvidenceClaims| {
        claims.submods.component.executable = file("/usr/bin/other", "signer 1.0");
    };
    assert_eq!(installation.attest(&host, elsewhere).await.refusal().1[0], "executable-unknown");
    let shell = |claims: &mut EvidenceClaims| {
        claims.submods.component.executable = file("/usr/bin/bash", "bash");
    };
    assert_eq!(installation.attest(&host, shell).await.refusal().1, ["component-forbidden"]);
    let allowed = |claims: &mut EvidenceClaims| claims.submods.component.argv.push("--x".to_owned());
    let observed: attestation::api::AttestResponse = installation.attest(&host, allowed).await.json();
    let other_user = |claims: &mut EvidenceClaims| claims.submods.component.principal.uid = 1000;
    assert_eq!(installation.attest(&host, other_user).await.refusal().1[0], "principal-mismatch");
    let other_hsm = |claims: &mut EvidenceClaims| claims.submods.hsm.serial = "x".to_owned();
    assert_eq!(installation.attest(&host, other_hsm).await.refusal().1, ["hsm-mismatch"]);

    let _: ComponentRecord =
        installation.post("/v1/components/signer/versions/1.0/retire", &json!({})).await.json();
    let one_more = |claims: &mut EvidenceClaims| claims.submods.component.argv.push("--x".to_owned());
    let newer_one_more = |claims: &mut EvidenceClaims| {
        newer(claims);
        claims.submods.component.argv.push("--x".to_owned());
    };
    for change in [(|_| {}) as fn(&mut EvidenceClaims), one_more, newer_one_more] {
        let refused = installation.attest(&host, change).await;
        assert_eq!(refused.refusal().1, ["version-retired"]);
    }
    // What was allowed before is no way round it: a token to be handed in needs the same.
    assert!(installation.attest(&host, newer).await.status.is_success());
    let issue = json!({"decision": observed.decision});
    let answer = installation.post("/v1/tokens", &issue).await;
    assert_eq!(answer.refusal().1, ["version-retired"]);
    let retired = format!("/v1/retired-files/{}", Digest::of(b"signer 1.0"));
    let _: Vec<RetiredFile> = installation.post(&retired, &json!({})).await.json();
    assert_eq!(installation.attest(&host, newer).await.refusal().1, ["file-retired"]);
}

#[tokio::test]
async fn a_component_without_a_grant_gets_no_token_by_being_observed() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    observe(&installation).await;
    let removed = installation.send("DELETE", "/v1/grants/G-1", Some(&installation.admin), vec![]).await;
    assert_eq!(removed.status, 204);
    assert_eq!(installation.attest(&host, newer).await.refusal().1, ["no-grant"]);
    installation.post("/v1/components/nobody/observe", &json!({})).await.assert_problem(404, "not-found");
}
