//! Recorded decisions, with the evidence that led to them.

use attestation::api::{DecidedBy, DecisionSummary, Outcome};
use attestation::decision::DecisionId;
use attestation::digest::Digest;

use super::meta::{self, Counter};
use super::{Connection, StoreError, from_json, from_word, loaded, parsed, stored, to_json, to_word};

/// Most decisions that are kept of senders whom no operator ever approved; the oldest give way.
const MAX_NOT_AUTHENTIC: i64 = 10_000;

/// A decision to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDecision {
    /// What the list shows.
    pub summary: DecisionSummary,
    /// Whether the sender held an attestation key that an operator has approved at some time.
    pub authentic: bool,
    /// The evidence as it came, where it was verified and is authentic.
    pub evidence: Option<String>,
}

/// Records a decision. One of the gate whose id is known is left as it is; the verifier's own must be new.
///
/// # Errors
/// [`StoreError`].
pub async fn add(connection: &mut Connection, decision: &NewDecision, now: u64) -> Result<(), StoreError> {
    let summary = &decision.summary;
    if summary.decided_by == DecidedBy::Gate && exists(connection, summary.id).await? {
        return Ok(());
    }
    let sequence = meta::raise(connection, Counter::Decision).await?;
    sqlx::query(
        "INSERT INTO decisions (id, sequence, decided_at, recorded_at, outcome, decided_by, authentic, host, \
         hsm, component, version, executable, measurement, operation, key_uri, reasons, evidence, observed, \
         operator, basis) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
    )
    .bind(summary.id.to_string())
    .bind(stored(sequence)?)
    .bind(stored(summary.at)?)
    .bind(stored(now)?)
    .bind(to_word("decisions.outcome", &summary.outcome)?)
    .bind(to_word("decisions.decided_by", &summary.decided_by)?)
    .bind(i64::from(decision.authentic))
    .bind(&summary.host)
    .bind(&summary.hsm)
    .bind(&summary.component)
    .bind(&summary.version)
    .bind(&summary.executable)
    .bind(summary.measurement.map(|digest| digest.to_string()))
    .bind(&summary.operation)
    .bind(&summary.key)
    .bind(to_json("decisions.reasons", &summary.reasons)?)
    .bind(&decision.evidence)
    .bind(i64::from(summary.observed))
    .bind(&summary.operator)
    .bind(summary.basis.map(|id| id.to_string()))
    .execute(&mut *connection)
    .await?;
    if !decision.authentic {
        forget_oldest(connection).await?;
    }
    Ok(())
}

async fn exists(connection: &mut Connection, id: DecisionId) -> Result<bool, StoreError> {
    let known: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM decisions WHERE id = $1")
        .bind(id.to_string())
        .fetch_one(connection)
        .await?;
    Ok(known > 0)
}

async fn forget_oldest(connection: &mut Connection) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM decisions WHERE authentic = 0 AND sequence <= \
         (SELECT sequence FROM decisions WHERE authentic = 0 ORDER BY sequence DESC LIMIT 1 OFFSET $1)",
    )
    .bind(MAX_NOT_AUTHENTIC)
    .execute(connection)
    .await?;
    Ok(())
}

/// Which decisions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only older ones than this one.
    pub before: Option<DecisionId>,
    /// Only with this answer.
    pub outcome: Option<Outcome>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    decided_at: i64,
    outcome: String,
    decided_by: String,
    host: Option<String>,
    hsm: Option<String>,
    component: Option<String>,
    version: Option<String>,
    executable: Option<String>,
    measurement: Option<String>,
    operation: Option<String>,
    key_uri: Option<String>,
    reasons: String,
    observed: i64,
    operator: Option<String>,
    basis: Option<String>,
}

/// The columns of [`Row`].
macro_rules! columns {
    () => {
        "id, decided_at, outcome, decided_by, host, hsm, component, version, executable, measurement, operation, \
         key_uri, reasons, observed, operator, basis"
    };
}

impl Row {
    fn summary(self) -> Result<DecisionSummary, StoreError> {
        Ok(DecisionSummary {
            id: parsed("decisions.id", &self.id)?,
            at: loaded("decisions.decided_at", self.decided_at)?,
            outcome: from_word("decisions.outcome", &self.outcome)?,
            decided_by: from_word("decisions.decided_by", &self.decided_by)?,
            host: self.host,
            hsm: self.hsm,
            component: self.component,
            version: self.version,
            executable: self.executable,
            measurement: self
                .measurement
                .map(|digest| parsed("decisions.measurement", &digest))
                .transpose()?,
            operation: self.operation,
            key: self.key_uri,
            reasons: from_json("decisions.reasons", &self.reasons)?,
            observed: self.observed != 0,
            operator: self.operator,
            basis: self.basis.map(|id| parsed("decisions.basis", &id)).transpose()?,
        })
    }
}

/// The newest `limit` decisions that pass the filter, newest first.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    connection: &mut Connection,
    filter: &Filter,
    limit: u32,
) -> Result<Vec<DecisionSummary>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM decisions WHERE ($1 IS NULL OR sequence < (SELECT sequence FROM decisions WHERE id = $1)) \
         AND ($2 IS NULL OR outcome = $2) ORDER BY sequence DESC LIMIT $3"
    ))
    .bind(filter.before.map(|id| id.to_string()))
    .bind(filter.outcome.map(|outcome| to_word("decisions.outcome", &outcome)).transpose()?)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::summary).collect()
}

/// One decision.
///
/// # Errors
/// [`StoreError`].
pub async fn find(
    connection: &mut Connection,
    id: DecisionId,
) -> Result<Option<DecisionSummary>, StoreError> {
    let row: Option<Row> = sqlx::query_as(concat!("SELECT ", columns!(), " FROM decisions WHERE id = $1"))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(Row::summary).transpose()
}

/// The evidence that led to a decision of the verifier.
///
/// # Errors
/// [`StoreError`].
pub async fn evidence(connection: &mut Connection, id: DecisionId) -> Result<Option<String>, StoreError> {
    let evidence: Option<Option<String>> = sqlx::query_scalar("SELECT evidence FROM decisions WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    Ok(evidence.flatten())
}

/// The latest decision of the verifier with evidence of this measurement from this key: what a refusal by the
/// gate refers to.
///
/// # Errors
/// [`StoreError`].
pub async fn latest_of_measurement(
    connection: &mut Connection,
    hsm: &str,
    measurement: Digest,
) -> Result<Option<DecisionId>, StoreError> {
    let id: Option<String> = sqlx::query_scalar(
        "SELECT id FROM decisions WHERE hsm = $1 AND measurement = $2 AND evidence IS NOT NULL \
         ORDER BY sequence DESC LIMIT 1",
    )
    .bind(hsm)
    .bind(measurement.to_string())
    .fetch_optional(connection)
    .await?;
    id.map(|id| parsed("decisions.id", &id)).transpose()
}
