//! Requests that are not what they must be: each is answered with a problem document.

use attestation::api::{AttestRequest, DecisionSummary};
use serde_json::json;

use crate::installation::Installation;

#[tokio::test]
async fn bodies_over_their_limit() {
    let installation = Installation::new().await;
    let body = vec![b' '; 64 * 1024 + 1];
    installation.send("POST", "/v1/challenge", None, body.clone()).await.assert_problem(413, "too-large");
    installation.send("POST", "/v1/hsms", None, body).await.assert_problem(413, "too-large");
    let body = vec![b' '; 512 * 1024 + 1];
    installation.send("POST", "/v1/attest", None, body).await.assert_problem(413, "too-large");
    let fits = AttestRequest { evidence: "x".repeat(500 * 1024), decisions: vec![], lost: 0 };
    installation.post_anonymous("/v1/attest", &fits).await.assert_problem(403, "evidence-refused");
}

#[tokio::test]
async fn bodies_that_are_not_the_right_json() {
    let installation = Installation::new().await;
    let thumbprint = "A".repeat(43);
    for body in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "\u{0}".to_owned(),
        "[".repeat(60_000),
        format!(r#"{{"kid":"{thumbprint}","cnf":"{thumbprint}","more":1}}"#),
        format!(r#"{{"kid":"{thumbprint}","kid":"{thumbprint}","cnf":"{thumbprint}"}}"#),
        format!(r#"{{"kid":"short","cnf":"{thumbprint}"}}"#),
        format!(r#"{{"kid":"{thumbprint}","cnf":"{}"}}"#, "B".repeat(43)),
    ] {
        let answer = installation.send("POST", "/v1/challenge", None, body.clone().into_bytes()).await;
        answer.assert_problem(400, "malformed");
    }
    let not_utf8 = installation.send("POST", "/v1/attest", None, b"{\"evidence\":\"\xff\"}".to_vec()).await;
    not_utf8.assert_problem(400, "malformed");
}

#[tokio::test]
async fn resources_and_methods_that_do_not_exist() {
    let installation = Installation::new().await;
    installation.get("/").await.assert_problem(404, "not-found");
    installation.get("/v1/decisions/D-000000000000").await.assert_problem(404, "not-found");
    installation.get("/v1/decisions/x%0Ay").await.assert_problem(404, "not-found");
    installation.get("/v1/components/x").await.assert_problem(404, "not-found");
    installation.get("/v1/attest").await.assert_problem(405, "method-not-allowed");
    let path = "/v1/hsms/unknown/approve";
    installation.post(path, &json!({})).await.assert_problem(404, "not-found");
}

#[tokio::test]
async fn open_resources() {
    let installation = Installation::new().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(installation.send("GET", path, None, vec![]).await.status, 200);
    }
    let keys = installation.send("GET", "/v1/keys", None, vec![]).await;
    assert_eq!(keys.body, std::fs::read(installation.path().join("anchors.jwks")).unwrap());
}

#[tokio::test]
async fn decisions_are_listed_newest_first_in_pages() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    for _ in 0..3 {
        installation.present("x").await;
        installation.token(&host).await;
    }
    let list = async |query: &str| -> Vec<DecisionSummary> {
        installation.get(&format!("/v1/decisions{query}")).await.json()
    };
    let all = list("").await;
    assert_eq!(all.len(), 7);
    assert_eq!(list("?outcome=allowed").await.len(), 3);
    assert_eq!(list("?limit=2").await, all[..2]);
    assert_eq!(list(&format!("?limit=2&before={}", all[1].id)).await, all[2..4]);
    assert_eq!(list("?limit=100000").await.len(), 7);
    for query in ["?limit=-1", "?limit=x", "?outcome=maybe", "?typo=1", "?before=x"] {
        installation.get(&format!("/v1/decisions{query}")).await.assert_problem(400, "malformed");
    }
}
