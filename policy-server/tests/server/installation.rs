//! An installation in a temporary directory, its routes called in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use attestation::api::{
    ApproveRequest, ApproveResponse, AttestRequest, AttestResponse, Challenge, ChallengeRequest,
    DecisionSummary, EnrollRequest, GrantTerms, HsmRecord, PROBLEM_JSON, Problem, VersionName,
};
use attestation::decision::DecisionId;
use attestation::digest::Digest;
use attestation::evidence::EvidenceClaims;
use attestation::grant::Operation;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use policy_server::authentication::Role;
use policy_server::configuration::Layout;
use policy_server::routes::router;
use policy_server::state::Server;
use policy_server::store::administrators::{self, Administrator};
use policy_server::store::commit;
use policy_server::{init, serve};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use crate::host::Host;

pub const KEY: &str = "pkcs11:token=sandbox;object=demo-rsa;type=private";

pub struct Installation {
    pub directory: tempfile::TempDir,
    pub server: Arc<Server>,
    pub admin: String,
    router: Router,
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> T {
        assert!(self.status.is_success(), "{self}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The value of a success.
    pub fn success<T: DeserializeOwned>(&self) -> Option<T> {
        self.status.is_success().then(|| serde_json::from_slice(&self.body).ok())?
    }

    /// The problem document, whose status must be the response's.
    pub fn problem(&self) -> Problem {
        assert_eq!(self.content_type, PROBLEM_JSON, "{self}");
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status.as_u16());
        problem
    }

    pub fn assert_problem(&self, status: u16, code: &str) -> Problem {
        let problem = self.problem();
        let kind = format!("urn:trustshim:problem:{code}");
        assert_eq!((problem.status, problem.kind.as_str()), (status, kind.as_str()), "{self}");
        problem
    }

    /// The codes of a refusal, and its decision.
    pub fn refusal(&self) -> (DecisionId, Vec<String>) {
        let problem = self.assert_problem(403, "evidence-refused");
        (problem.decision.unwrap(), problem.reasons.into_iter().map(|reason| reason.code).collect())
    }
}

impl core::fmt::Display for Answer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

impl Installation {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server");
        init::init(&path, "127.0.0.1:0".parse().unwrap(), &[]).await.unwrap();
        Self::open(directory).await
    }

    async fn open(directory: tempfile::TempDir) -> Self {
        let layout = Layout::new(&directory.path().join("server"));
        let server = Arc::new(serve::open(&layout).await.unwrap());
        let admin = std::fs::read_to_string(layout.admin_token()).unwrap();
        Self { directory, router: router(Arc::clone(&server)), server, admin }
    }

    /// Closes the database and opens everything anew from the files.
    pub async fn restart(self) -> Self {
        self.server.store.close().await;
        Self::open(self.directory).await
    }

    pub fn path(&self) -> PathBuf {
        let path: &Path = self.directory.path();
        path.join("server")
    }

    pub async fn send(&self, method: &str, path: &str, credential: Option<&str>, body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(credential) = credential {
            request = request.header(header::AUTHORIZATION, format!("Bearer {credential}"));
        }
        let request =
            request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let body = to_bytes(response.into_body(), 1 << 24).await.unwrap().to_vec();
        Answer { status, content_type, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Some(&self.admin), vec![]).await
    }

    pub async fn post(&self, path: &str, body: &impl Serialize) -> Answer {
        self.send("POST", path, Some(&self.admin), serde_json::to_vec(body).unwrap()).await
    }

    pub async fn post_anonymous(&self, path: &str, body: &impl Serialize) -> Answer {
        self.send("POST", path, None, serde_json::to_vec(body).unwrap()).await
    }

    /// Adds an operator and returns their credential.
    pub async fn operator(&self, name: &str, role: Role) -> String {
        let credential = format!("credential-of-{name}");
        let administrator = Administrator {
            name: name.to_owned(),
            role,
            credential: Digest::of(credential.as_bytes()),
            created_at: 0,
        };
        let mut transaction = self.server.store.write().await.unwrap();
        administrators::add(&mut transaction, &administrator).await.unwrap();
        commit(transaction).await.unwrap();
        credential
    }

    pub async fn challenge(&self, kid: &str, cnf: &str) -> String {
        let request = ChallengeRequest { kid: kid.to_owned(), cnf: cnf.to_owned() };
        let challenge: Challenge = self.post_anonymous("/v1/challenge", &request).await.json();
        assert_eq!(challenge.expires_in, 60);
        challenge.nonce
    }

    pub async fn enroll(&self, host: &Host) -> HsmRecord {
        let nonce = self.challenge(&host.fingerprint(), &host.fingerprint()).await;
        let proof = host.proof(&host.enrollment(&nonce));
        self.post_anonymous("/v1/hsms", &EnrollRequest { proof }).await.json()
    }

    pub async fn approve_key(&self, host: &Host) -> HsmRecord {
        let path = format!("/v1/hsms/{}/approve", host.fingerprint());
        self.post(&path, &serde_json::json!({})).await.json()
    }

    /// A host whose attestation key is approved.
    pub async fn approved_host(&self, name: &str) -> Host {
        let host = Host::new(name);
        self.enroll(&host).await;
        self.approve_key(&host).await;
        host
    }

    /// A new challenge, evidence as `change` makes it, and the answer to it.
    pub async fn attest(&self, host: &Host, change: impl FnOnce(&mut EvidenceClaims)) -> Answer {
        let nonce = self.challenge(&host.fingerprint(), &host.cnf.thumbprint()).await;
        let mut claims = host.claims(&nonce);
        change(&mut claims);
        self.present(&host.evidence(&claims)).await
    }

    pub async fn present(&self, evidence: &str) -> Answer {
        let request = AttestRequest { evidence: evidence.to_owned(), decisions: vec![], lost: 0 };
        self.post_anonymous("/v1/attest", &request).await
    }

    pub async fn decision(&self, id: DecisionId) -> DecisionSummary {
        let record: attestation::api::DecisionRecord = self.get(&format!("/v1/decisions/{id}")).await.json();
        record.summary
    }

    /// Approves what a refusal was about, with a grant, as `change` makes the request.
    pub async fn approve(&self, refused: &Answer, change: impl FnOnce(&mut ApproveRequest)) -> Answer {
        let (id, _) = refused.refusal();
        let measurement = self.decision(id).await.measurement.unwrap();
        let name = VersionName { component: "signer".to_owned(), version: "1.0".to_owned() };
        let mut request =
            ApproveRequest { grant: Some(terms()), ..ApproveRequest::exactly(measurement, name) };
        change(&mut request);
        self.post(&format!("/v1/decisions/{id}/approve"), &request).await
    }

    /// An approved host on which the program is approved as signer 1.0 and has a grant.
    pub async fn approved_program(&self) -> Host {
        let host = self.approved_host("build-1").await;
        let refused = self.attest(&host, |_| {}).await;
        let _: ApproveResponse = self.approve(&refused, |_| {}).await.json();
        host
    }

    pub async fn token(&self, host: &Host) -> AttestResponse {
        self.attest(host, |_| {}).await.json()
    }
}

pub fn terms() -> GrantTerms {
    GrantTerms::new(KEY.to_owned(), vec![Operation::Sign])
}

/// What a trust token claims, its signature left aside.
pub fn claims_of(token: &str) -> attestation::token::TokenClaims {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&attestation::base64url::decode(payload).unwrap()).unwrap()
}
