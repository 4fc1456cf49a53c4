//! `trustshim hsm`: enrolled attestation keys.

use attestation::api::{HsmRecord, HsmState};
use clap::Subcommand;
use policy_client::segment;
use serde_json::json;

use crate::date;
use crate::error::{CliError, Ended};
use crate::output;
use crate::profile::Connection;

/// Bytes of a SHA-256 thumbprint in base64url without padding.
const FINGERPRINT_LENGTH: usize = 43;

/// Lists, approves and suspends enrolled attestation keys
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim hsm list
  trustshim hsm approve NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs
  trustshim hsm suspend NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows every enrolled attestation key
    #[command(after_help = "Example: trustshim hsm list --json")]
    List {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Lets the host attest with this key, in the mode in which it enrolled
    ///
    /// The fingerprint is the one that `trustshim enroll` printed on the host: copy it from there, not from
    /// `trustshim hsm list`.
    #[command(after_help = "Example: trustshim hsm approve NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")]
    Approve {
        /// What `trustshim enroll` printed on the host
        #[arg(value_parser = fingerprint, allow_hyphen_values = true)]
        fingerprint: String,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Refuses all further evidence from this key
    #[command(after_help = "Example: trustshim hsm suspend NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")]
    Suspend {
        /// As `trustshim hsm list` shows it
        #[arg(value_parser = fingerprint, allow_hyphen_values = true)]
        fingerprint: String,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

/// Takes the form in groups as well.
fn fingerprint(text: &str) -> Result<String, String> {
    let text: String = text.split_whitespace().collect();
    let is_base64url = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if text.len() == FINGERPRINT_LENGTH && is_base64url {
        Ok(text)
    } else {
        Err(format!("a fingerprint has {FINGERPRINT_LENGTH} letters, digits, - and _"))
    }
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let client = args.connection.operator()?;
    match &args.command {
        Command::List { json } => {
            let records: Vec<HsmRecord> = client.get("/v1/hsms")?;
            if *json { output::print_json(&records)? } else { output::print(&list(&records))? }
        }
        Command::Approve { fingerprint, json } => {
            let records: Vec<HsmRecord> = client.get("/v1/hsms")?;
            let before = records
                .into_iter()
                .find(|record| record.fingerprint == *fingerprint)
                .ok_or_else(|| CliError::NoSuchEnrolment(fingerprint.clone()))?;
            if !json {
                output::print(&describe(&before))?;
            }
            let after: HsmRecord = client.post(&path(fingerprint, "approve"), &json!({}))?;
            if *json {
                output::print_json(&after)?;
            } else {
                output::print(&format!(
                    "Approved: {} may attest in mode {}.",
                    after.host,
                    after.mode.name()
                ))?;
            }
        }
        Command::Suspend { fingerprint, json } => {
            let after: HsmRecord = client.post(&path(fingerprint, "suspend"), &json!({}))?;
            if *json {
                output::print_json(&after)?;
            } else {
                output::print(&format!(
                    "{}Suspended: no new trust token; those that are held end within their lifetime.",
                    describe(&after)
                ))?;
            }
        }
    }
    Ok(Ended::Well)
}

fn path(fingerprint: &str, action: &str) -> String {
    format!("/v1/hsms/{}/{action}", segment(fingerprint))
}

pub fn state(state: HsmState) -> &'static str {
    match state {
        HsmState::Approved => "approved",
        HsmState::Pending => "pending",
        HsmState::Suspended => "suspended",
    }
}

/// The table of `hsm list` and `status`.
pub fn list(records: &[HsmRecord]) -> String {
    output::table(
        ["fingerprint", "state", "host", "mode", "token", "serial", "enrolled"],
        records.iter().map(|record| {
            [
                record.fingerprint.clone(),
                state(record.state).to_owned(),
                record.host.clone(),
                record.mode.name().to_owned(),
                record.hsm.label.clone(),
                record.hsm.serial.clone(),
                date::utc(record.enrolled_at),
            ]
        }),
        "No attestation key is enrolled; `trustshim enroll` on a host enrols one.",
    )
}

fn describe(record: &HsmRecord) -> String {
    let key = record.hsm.key;
    let line = output::one_line;
    format!(
        "Fingerprint\n{}\n\
         Host         {}\n\
         Mode         {}\n\
         Token        {}, serial {}\n\
         Model        {} by {}, firmware {}\n\
         Key          sensitive {}, extractable {}, never extractable {}, generated in the token {}\n\
         State        {}, enrolled {}\n",
        output::grouped(&record.fingerprint),
        line(&record.host),
        record.mode.name(),
        line(&record.hsm.label),
        line(&record.hsm.serial),
        line(&record.hsm.model),
        line(&record.hsm.manufacturer),
        line(&record.hsm.firmware),
        yes(key.sensitive),
        yes(key.extractable),
        yes(key.never_extractable),
        yes(key.local),
        state(record.state),
        date::utc(record.enrolled_at),
    )
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use attestation::evidence::{HsmClaims, KeyClaims};
    use attestation::token::Mode;

    use super::*;

    #[test]
    fn fingerprints_are_taken_in_groups_and_refused_in_part() {
        let whole = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        assert_eq!(fingerprint(&output::grouped(whole)).unwrap(), whole);
        for text in ["", "NzbLsXh8", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9X/"] {
            assert!(fingerprint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_hostile_host_name_stays_on_its_line() {
        let record = HsmRecord {
            fingerprint: "f".to_owned(),
            state: HsmState::Pending,
            host: "web1\nMode         guarded\u{1b}[8m".to_owned(),
            mode: Mode::Inline,
            hsm: HsmClaims {
                label: "l".to_owned(),
                serial: "s".to_owned(),
                model: "m".to_owned(),
                manufacturer: "v".to_owned(),
                firmware: "1.0".to_owned(),
                key: KeyClaims { sensitive: true, extractable: false, never_extractable: true, local: true },
            },
            enrolled_at: 0,
            approved_at: None,
        };
        let text = describe(&record);
        assert!(
            text.contains("\nMode         inline\n") && !text.contains("\nMode         guarded"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
        assert_eq!(list(&[record]).lines().count(), 2);
    }
}
