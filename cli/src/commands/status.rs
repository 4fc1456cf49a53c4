//! `trustshim status`: the installation at a glance, as the policy server sees it.

use std::collections::BTreeMap;

use attestation::api::{DecisionSummary, HsmRecord, HsmState};
use policy_client::Client;
use serde::Serialize;

use super::hsm;
use crate::date;
use crate::error::{CliError, Ended};
use crate::output;
use crate::profile::Connection;

const DAY: u64 = 86_400;
/// Refusals that are looked at.
const RECENT: u32 = 1000;

/// Shows whether the policy server is there, its keys, the enrolled hosts and recent refusals
///
/// Without a credential only what is public is shown.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim status
  trustshim status --json
  trustshim status --server https://policy.example:8443 --ca ./ca.pem --admin-token-file ./admin-token")]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// What is shown.
#[derive(Serialize)]
struct Status {
    ready: bool,
    /// Seconds by which the server's clock is ahead of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_ahead_s: Option<i64>,
    /// Key ids of the keys that sign trust tokens.
    token_keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hsms: Option<Vec<HsmRecord>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusals: Option<Refusals>,
}

/// Refusals of the last 24 hours.
#[derive(Serialize)]
struct Refusals {
    count: usize,
    /// There may be more than were looked at.
    at_least: bool,
    by_reason: BTreeMap<String, usize>,
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let (client, has_credential) = args.connection.client()?;
    let status = Status::ask(&client, has_credential)?;
    if args.json {
        output::print_json(&status)?;
    } else {
        output::print(&status.text())?;
    }
    Ok(Ended::Well)
}

impl Status {
    fn ask(client: &Client, has_credential: bool) -> Result<Self, CliError> {
        let date = client.ready()?;
        let mut status = Self {
            ready: true,
            clock_ahead_s: date.and_then(|date| clock_ahead(&date, date::now())),
            token_keys: key_ids(&client.get("/v1/keys")?),
            hsms: None,
            refusals: None,
        };
        if has_credential {
            let denied: Vec<DecisionSummary> =
                client.get(&format!("/v1/decisions?limit={RECENT}&outcome=denied"))?;
            status.hsms = Some(client.get("/v1/hsms")?);
            status.refusals = Some(Refusals::of(&denied, date::now()));
        }
        Ok(status)
    }

    fn text(&self) -> String {
        let mut text = "Policy server  ready\n".to_owned();
        if let Some(ahead) = self.clock_ahead_s {
            text.push_str(&format!("Clocks         differ by {} s\n", ahead.abs()));
        }
        text.push_str(&format!("Token keys     {}\n", output::one_line(&self.token_keys.join(", "))));
        let (Some(hsms), Some(refusals)) = (&self.hsms, &self.refusals) else {
            text.push_str(
                "\nEnrolments and refusals need a credential: --admin-token-file or TRUSTSHIM_ADMIN_TOKEN.\n",
            );
            return text;
        };
        let count = |state| hsms.iter().filter(|record| record.state == state).count();
        text.push_str(&format!(
            "Enrolments     {} approved, {} pending, {} suspended\n{}\n{}",
            count(HsmState::Approved),
            count(HsmState::Pending),
            count(HsmState::Suspended),
            refusals.text(),
            hsm::list(hsms)
        ));
        text
    }
}

impl Refusals {
    fn of(denied: &[DecisionSummary], now: u64) -> Self {
        let recent: Vec<_> = denied.iter().filter(|decision| decision.at + DAY > now).collect();
        let mut by_reason = BTreeMap::new();
        for reason in recent.iter().flat_map(|decision| &decision.reasons) {
            *by_reason.entry(reason.code.clone()).or_default() += 1;
        }
        let at_least =
            recent.len() == denied.len() && u32::try_from(denied.len()).is_ok_and(|len| len >= RECENT);
        Self { count: recent.len(), at_least, by_reason }
    }

    fn text(&self) -> String {
        let reasons: Vec<String> = self
            .by_reason
            .iter()
            .map(|(code, count)| format!("{} {count}", output::one_line(code)))
            .collect();
        let at_least = if self.at_least { "at least " } else { "" };
        let colon = if reasons.is_empty() { "" } else { ": " };
        format!("Refusals       {at_least}{} in the last 24 hours{colon}{}\n", self.count, reasons.join(", "))
    }
}

/// Seconds by which the server's clock is ahead.
pub fn clock_ahead(http_date: &str, now: u64) -> Option<i64> {
    let theirs = i64::try_from(date::from_http(http_date)?).ok()?;
    Some(theirs - i64::try_from(now).ok()?)
}

/// The key ids of a JWKS.
pub fn key_ids(jwks: &serde_json::Value) -> Vec<String> {
    let keys = jwks.get("keys").and_then(serde_json::Value::as_array);
    keys.into_iter().flatten().filter_map(|key| key.get("kid")?.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use attestation::api::{DecidedBy, Outcome};
    use attestation::decision::{DecisionId, Reason};

    use super::*;

    #[test]
    fn only_refusals_of_the_last_day_count() {
        let denied = |at| DecisionSummary {
            id: DecisionId::from_random(0),
            at,
            outcome: Outcome::Denied,
            decided_by: DecidedBy::Server,
            host: None,
            hsm: None,
            component: None,
            version: None,
            executable: None,
            measurement: None,
            operation: None,
            key: None,
            reasons: vec![Reason { code: "key-pending".to_owned(), detail: String::new() }],
            observed: false,
            operator: None,
            basis: None,
        };
        let now = 10 * DAY;
        let refusals = Refusals::of(&[denied(now), denied(now - DAY + 1), denied(now - DAY)], now);
        assert_eq!(refusals.text(), "Refusals       2 in the last 24 hours: key-pending 2\n");
        assert!(!refusals.at_least);
        let many: Vec<_> = (0..RECENT).map(|_| denied(now)).collect();
        assert!(Refusals::of(&many, now).text().contains("at least 1000"));
    }

    #[test]
    fn clocks_are_compared_in_both_directions() {
        let date = "Thu, 01 Jan 1970 00:01:40 GMT";
        assert_eq!(clock_ahead(date, 90), Some(10));
        assert_eq!(clock_ahead(date, 110), Some(-10));
        assert_eq!(clock_ahead("yesterday", 0), None);
    }
}
