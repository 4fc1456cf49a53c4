//! What the database keeps: over a restart, and over `kill -9` in the middle of work.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attestation::api::{
    AttestRequest, AttestResponse, Challenge, ChallengeRequest, DecisionSummary, HsmRecord,
};
use serde_json::json;

use crate::host::Host;
use crate::installation::Installation;
use crate::process::{Client, Running};

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
    assert_eq!(replayed.refusal().1, ["nonce-used"]);
    let decisions: Vec<DecisionSummary> = installation.get("/v1/decisions").await.json();
    let older: Vec<DecisionSummary> = serde_json::from_slice(&before[3]).unwrap();
    assert_eq!(decisions[2..], older);
    assert_eq!(installation.get("/v1/hsms").await.body, before[0]);
    assert_eq!(installation.get("/v1/components").await.body, before[1]);
    assert_eq!(installation.get("/v1/grants").await.body, before[2]);
    assert_eq!(installation.get(&format!("/v1/decisions/{}", response.decision)).await.body, before[4]);
    installation.token(&host).await;
}

/// One attestation over TLS; the decision, once the server has acknowledged it.
fn attest(client: &Client, host: &Host) -> Option<AttestResponse> {
    let request = ChallengeRequest { kid: host.fingerprint(), cnf: host.cnf.thumbprint() };
    let challenge: Challenge = client.post("/v1/challenge", None, &request)?;
    let evidence = host.evidence(&host.claims(&challenge.nonce));
    client.post("/v1/attest", None, &AttestRequest { evidence, decisions: vec![], lost: 0 })
}

#[test]
fn kill_9_loses_no_acknowledged_decision() {
    const ROUNDS: u32 = 4;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (directory, host, admin) = runtime.block_on(async {
        let installation = Installation::new().await;
        let host = installation.approved_program().await;
        let admin = installation.admin.clone();
        installation.server.store.close().await;
        (installation.directory, host, admin)
    });
    let path = directory.path().join("server");
    let acknowledged = Mutex::new(BTreeSet::new());
    let mut least = 0;
    for round in 0..ROUNDS {
        let running = Running::start(&path);
        let killed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let client = running.client();
                    while !killed.load(Ordering::Relaxed) {
                        // What was not acknowledged may be on record or not.
                        if let Some(response) = attest(&client, &host) {
                            acknowledged.lock().unwrap().insert(response.decision);
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(400 + u64::from(round) * 130));
            running.kill();
            killed.store(true, Ordering::Relaxed);
        });
        let held = acknowledged.lock().unwrap().len();
        assert!(held > least, "no attestation was acknowledged in round {round}");
        least = held;

        let running = Running::start(&path);
        let client = running.client();
        let mut recorded = BTreeSet::new();
        let mut query = "/v1/decisions?limit=1000".to_owned();
        loop {
            let page: Vec<DecisionSummary> = client.get(&query, &admin).unwrap();
            let Some(last) = page.last() else { break };
            query = format!("/v1/decisions?limit=1000&before={}", last.id);
            recorded.extend(page.into_iter().map(|decision| decision.id));
        }
        let lost: Vec<_> = acknowledged.lock().unwrap().difference(&recorded).copied().collect();
        assert_eq!(lost, [], "round {round}");
        let hsms: Vec<HsmRecord> = client.get("/v1/hsms", &admin).unwrap();
        assert_eq!(hsms.len(), 1);
        assert!(attest(&client, &host).is_some());
        let suspended: Option<HsmRecord> = client.post("/v1/hsms/x/suspend", Some(&admin), &json!({}));
        assert_eq!(suspended, None);
        assert!(running.terminate().success());
    }
}
