//! What the database keeps over a restart.

use attestation::api::DecisionSummary;

use crate::installation::Installation;

#[tokio::test]
async fn a_restart_keeps_everything() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let response = installation.token(&host).await;
    let before = [
        installation.get("/v1/hsms").await.body,
        installation.get("/v1/components").await.body,
        installation.get("/v1/grants").await.body,
        installation.get("/v1/decisions").await.body,
        installation.get(&format!("/v1/decisions/{}", response.decision)).await.body,
    ];
    let nonce = installation.challenge(&host.fingerprint(), &host.cnf.thumbprint()).await;
    let evidence = host.evidence(&host.claims(&nonce));
    assert!(installation.present(&evidence).await.status.is_success());

    let installation = installation.restart().await;
    let replayed = installation.present(&evidence).await;
    // Nonces end with the process that gave them out.
    assert_eq!(replayed.refusal().1, ["nonce-unknown"]);
    let decisions: Vec<DecisionSummary> = installation.get("/v1/decisions").await.json();
    let older: Vec<DecisionSummary> = serde_json::from_slice(&before[3]).unwrap();
    assert_eq!(decisions[2..], older);
    assert_eq!(installation.get("/v1/hsms").await.body, before[0]);
    assert_eq!(installation.get("/v1/components").await.body, before[1]);
    assert_eq!(installation.get("/v1/grants").await.body, before[2]);
    assert_eq!(installation.get(&format!("/v1/decisions/{}", response.decision)).await.body, before[4]);
    installation.token(&host).await;
}
