//! Operators' credentials and roles.

use policy_server::authentication::Role;
use serde_json::json;

use crate::installation::{Installation, KEY};

const READS: [&str; 10] = [
    "/v1/retired-files",
    "/v1/sets",
    "/v1/sets/debian-12",
    "/v1/tokens",
    "/v1/hsms",
    "/v1/components",
    "/v1/components/signer",
    "/v1/decisions",
    "/v1/grants",
    "/v1/decisions?limit=1",
];

#[tokio::test]
async fn nothing_of_the_operators_is_open() {
    let installation = Installation::new().await;
    installation.approved_program().await;
    for path in READS {
        for credential in [None, Some(""), Some("wrong"), Some(installation.admin.to_lowercase().as_str())] {
            let answer = installation.send("GET", path, credential, vec![]).await;
            answer.assert_problem(401, "not-authenticated");
        }
    }
    for path in [
        "/v1/hsms/x/approve",
        "/v1/hsms/x/suspend",
        "/v1/components/signer/versions/1.0/retire",
        "/v1/decisions/D-000000000000/approve",
        "/v1/grants",
        "/v1/components/signer/versions",
        "/v1/components/signer/observe",
        "/v1/components/signer/enforce",
        "/v1/components/signer/floor",
        "/v1/retired-files/x",
        "/v1/sets",
        "/v1/sets/debian-12/files",
        "/v1/sets/debian-12/files/x/retire",
        "/v1/sets/debian-12/floor",
        "/v1/tokens",
    ] {
        // Nobody's body is read before it is known who sends it.
        let answer = installation.send("POST", path, None, b"not json".to_vec()).await;
        answer.assert_problem(401, "not-authenticated");
    }
    for path in [
        "/v1/grants/G-1",
        "/v1/components/signer/floor",
        "/v1/retired-files/x",
        "/v1/sets/debian-12",
        "/v1/sets/debian-12/files/x",
        "/v1/sets/debian-12/floor",
    ] {
        installation.send("DELETE", path, None, vec![]).await.assert_problem(401, "not-authenticated");
    }
}

#[tokio::test]
async fn each_role_may_do_what_it_is_for() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let refused = installation.attest(&host, |claims| claims.submods.component.argv.clear()).await;
    let (id, _) = refused.refusal();
    let measurement = installation.decision(id).await.measurement;
    let allowed = installation.token(&host).await.decision;
    let set = json!({"name": "debian-12"});
    assert!(installation.post("/v1/sets", &set).await.status.is_success());
    let viewer = installation.operator("viewer", Role::Viewer).await;
    let operator = installation.operator("operator", Role::Operator).await;
    let approver = installation.operator("approver", Role::Approver).await;

    for path in READS {
        for credential in [&viewer, &operator, &approver] {
            assert!(
                installation.send("GET", path, Some(credential), vec![]).await.status.is_success(),
                "{path}"
            );
        }
    }
    let approve = json!({"measurement": measurement, "component": "signer", "version": "2"});
    let grant = json!({"component": "signer", "terms": {"key": KEY, "operations": ["decrypt"]}});
    let fingerprint = host.fingerprint();
    let libc = attestation::digest::Digest::of(b"libc");
    let claims = host.claims("");
    let reference =
        attestation::reference::ReferenceValues::of(&claims.submods.component, &claims.submods.attester);
    let import = json!({"version": "3", "reference": reference});
    let files = json!({"files": [["/lib/libc.so.6", libc]]});
    for (least, method, path, body) in [
        (Role::Operator, "POST", "/v1/tokens".to_owned(), json!({"decision": allowed})),
        (Role::Approver, "POST", "/v1/components/signer/versions".to_owned(), import),
        (Role::Approver, "POST", "/v1/components/signer/observe".to_owned(), json!({})),
        (Role::Operator, "POST", "/v1/components/signer/enforce".to_owned(), json!({})),
        (Role::Operator, "POST", "/v1/components/signer/floor".to_owned(), json!({"version": "1.0"})),
        (Role::Approver, "DELETE", "/v1/components/signer/floor".to_owned(), json!({})),
        (Role::Approver, "POST", "/v1/sets".to_owned(), json!({"name": "other"})),
        (Role::Approver, "POST", "/v1/sets/debian-12/files".to_owned(), files),
        (Role::Operator, "POST", "/v1/sets/debian-12/floor".to_owned(), json!({"since": 1})),
        (Role::Approver, "DELETE", "/v1/sets/debian-12/floor".to_owned(), json!({})),
        (Role::Operator, "POST", format!("/v1/sets/debian-12/files/{libc}/retire"), json!({})),
        (Role::Approver, "DELETE", format!("/v1/sets/debian-12/files/{libc}"), json!({})),
        (Role::Approver, "DELETE", "/v1/sets/debian-12".to_owned(), json!({})),
        (Role::Operator, "POST", format!("/v1/retired-files/{libc}"), json!({})),
        (Role::Approver, "DELETE", format!("/v1/retired-files/{libc}"), json!({})),
        (Role::Operator, "POST", "/v1/components/signer/versions/1.0/retire".to_owned(), json!({})),
        (Role::Operator, "POST", format!("/v1/hsms/{fingerprint}/suspend"), json!({})),
        (Role::Approver, "POST", format!("/v1/hsms/{fingerprint}/approve"), json!({})),
        (Role::Approver, "POST", format!("/v1/decisions/{id}/approve"), approve),
        (Role::Approver, "POST", "/v1/grants".to_owned(), grant),
        (Role::Operator, "DELETE", "/v1/grants/G-1".to_owned(), json!({})),
    ] {
        let body = serde_json::to_vec(&body).unwrap();
        let lower = if least == Role::Operator { vec![&viewer] } else { vec![&viewer, &operator] };
        for credential in lower {
            let answer = installation.send(method, &path, Some(credential), body.clone()).await;
            answer.assert_problem(403, "not-permitted");
        }
        let enough = if least == Role::Operator { &operator } else { &approver };
        let answer = installation.send(method, &path, Some(enough), body).await;
        assert!(answer.status.is_success(), "{path} {answer}");
    }
}

#[tokio::test]
async fn only_hashes_of_credentials_are_stored() {
    let installation = Installation::new().await;
    let admin = installation.admin.clone();
    let path = installation.path();
    installation.server.store.close().await;
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let content = std::fs::read(entry.path()).unwrap();
        let holds = content.windows(admin.len()).any(|window| window == admin.as_bytes());
        assert_eq!(holds, entry.file_name() == "admin-token", "{:?}", entry.file_name());
    }
}
