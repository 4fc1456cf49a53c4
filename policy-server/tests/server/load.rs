//! What clients do to a running server, and what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use attestation::api::{
    ApproveRequest, ApproveResponse, AttestRequest, AttestResponse, Challenge, ChallengeRequest,
    DecisionRecord, GrantTerms, Problem, VersionName,
};
use attestation::decision::DecisionId;
use attestation::evidence::EvidenceClaims;
use attestation::grant::Operation;

use crate::host::Host;
use crate::installation::{Answer, KEY, claims_of};
use crate::process::Client;

/// Everything that the server has acknowledged.
#[derive(Default)]
pub struct Acknowledged {
    /// Decisions, each with the id of its token where evidence was allowed.
    pub decisions: Mutex<BTreeMap<DecisionId, Option<String>>>,
    /// Approved versions, each with its grant.
    pub approvals: Mutex<BTreeMap<String, String>>,
}

impl Acknowledged {
    /// Decisions and approvals so far.
    pub fn count(&self) -> (usize, usize) {
        (self.decisions.lock().unwrap().len(), self.approvals.lock().unwrap().len())
    }

    /// One attestation; what was not acknowledged may be on record or not.
    pub fn attest(
        &self,
        client: &Client,
        host: &Host,
        change: impl FnOnce(&mut EvidenceClaims),
    ) -> Option<DecisionId> {
        let answer = attest(client, host, change)?;
        let (decision, token) = match answer.success::<AttestResponse>() {
            Some(response) => (response.decision, Some(claims_of(&response.token).jti)),
            None => (serde_json::from_slice::<Problem>(&answer.body).ok()?.decision?, None),
        };
        self.decisions.lock().unwrap().insert(decision, token);
        Some(decision)
    }

    /// Another start of the program, refused, and its approval as a version of its own with a grant of its own.
    pub fn approve(&self, client: &Client, host: &Host, admin: &str, version: &str) -> Option<()> {
        let argument = version.to_owned();
        let id = self.attest(client, host, |claims| claims.submods.component.argv.push(argument))?;
        let record: DecisionRecord = client.get(&format!("/v1/decisions/{id}"), admin)?;
        let name = VersionName { component: "load".to_owned(), version: version.to_owned() };
        let terms = GrantTerms {
            min_version: Some(version.to_owned()),
            ..GrantTerms::new(KEY.to_owned(), vec![Operation::Sign])
        };
        let measurement = record.summary.measurement?;
        let request = ApproveRequest { grant: Some(terms), ..ApproveRequest::exactly(measurement, name) };
        let response: ApproveResponse =
            client.post(&format!("/v1/decisions/{id}/approve"), Some(admin), &request)?;
        let grant = response.grant.unwrap().id;
        self.approvals.lock().unwrap().insert(response.approved.version, grant);
        Some(())
    }
}

/// A challenge and the answer to evidence for it.
pub fn attest(client: &Client, host: &Host, change: impl FnOnce(&mut EvidenceClaims)) -> Option<Answer> {
    let request = ChallengeRequest { kid: host.fingerprint(), cnf: host.cnf.thumbprint() };
    let challenge: Challenge = client.post("/v1/challenge", None, &request)?;
    let mut claims = host.claims(&challenge.nonce);
    change(&mut claims);
    present(client, &host.evidence(&claims))
}

/// The answer to evidence.
pub fn present(client: &Client, evidence: &str) -> Option<Answer> {
    let request = AttestRequest { evidence: evidence.to_owned(), decisions: vec![], lost: 0 };
    client.exchange("POST", "/v1/attest", None, serde_json::to_vec(&request).unwrap())
}

/// What the database holds, read beside the server.
pub struct Recorded {
    pool: sqlx::SqlitePool,
}

impl Recorded {
    pub async fn open(database: &std::path::Path) -> Self {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database).read_only(true);
        Self { pool: sqlx::SqlitePool::connect_with(options).await.unwrap() }
    }

    async fn pairs(&self, query: &'static str) -> BTreeSet<(String, String)> {
        let rows: Vec<(String, String)> = sqlx::query_as(query).fetch_all(&self.pool).await.unwrap();
        rows.into_iter().collect()
    }

    async fn texts(&self, query: &'static str) -> BTreeSet<String> {
        let rows: Vec<String> = sqlx::query_scalar(query).fetch_all(&self.pool).await.unwrap();
        rows.into_iter().collect()
    }

    /// That all that was acknowledged is there.
    pub async fn assert_holds(&self, acknowledged: &Acknowledged) {
        let decisions = self.texts("SELECT id FROM decisions").await;
        let tokens = self.pairs("SELECT decision, jti FROM tokens").await;
        for (decision, token) in &*acknowledged.decisions.lock().unwrap() {
            let decision = decision.to_string();
            assert!(decisions.contains(&decision), "the decision {decision} was lost");
            if let Some(token) = token {
                assert!(tokens.contains(&(decision, token.clone())), "the token {token} was lost");
            }
        }
        let grants = self.pairs("SELECT min_version, 'G-' || id FROM grants WHERE component = 'load'").await;
        let versions = self.texts("SELECT version FROM versions WHERE component = 'load'").await;
        for (version, grant) in &*acknowledged.approvals.lock().unwrap() {
            assert!(versions.contains(version), "the approval of {version} was lost");
            assert!(grants.contains(&(version.clone(), grant.clone())), "the grant {grant} was lost");
        }
    }

    /// That nothing is there in part.
    pub async fn assert_nothing_is_half_written(&self) {
        for (what, query) in [
            (
                "decisions without their evidence",
                "SELECT id FROM decisions WHERE decided_by = 'server' AND evidence IS NULL",
            ),
            (
                "allowed evidence without its token",
                "SELECT id FROM decisions WHERE outcome = 'allowed' AND id NOT IN (SELECT decision FROM tokens)",
            ),
            (
                "tokens without their decision",
                "SELECT jti FROM tokens WHERE decision NOT IN (SELECT id FROM decisions)",
            ),
            (
                "approvals without their grant",
                "SELECT version FROM versions WHERE component = 'load' \
                 AND version NOT IN (SELECT min_version FROM grants WHERE component = 'load')",
            ),
            (
                "grants without their approval",
                "SELECT min_version FROM grants WHERE component = 'load' \
                 AND min_version NOT IN (SELECT version FROM versions WHERE component = 'load')",
            ),
            (
                "components without a version",
                "SELECT name FROM components WHERE name NOT IN (SELECT component FROM versions)",
            ),
        ] {
            assert_eq!(self.texts(query).await, BTreeSet::new(), "{what}");
        }
        assert_eq!(self.texts("PRAGMA integrity_check").await, BTreeSet::from(["ok".to_owned()]));
    }

    pub async fn close(self) {
        self.pool.close().await;
    }
}
