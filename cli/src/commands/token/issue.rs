//! `trustshim token issue`: a token into a file that only its application reads.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use attestation::api::{DecidedBy, DecisionSummary, IssueRequest, IssueResponse};
use attestation::decision::DecisionId;
use policy_client::Client;

use super::super::decisions;
use crate::date;
use crate::error::CliError;
use crate::output;

/// Allowed decisions among which `--last-allowed` looks for one of the server.
const RECENT: u32 = 100;

#[derive(clap::Args)]
pub struct Issue {
    /// Such as D-7F3K2QW0X4MZ
    #[arg(value_parser = decisions::id, required_unless_present = "last_allowed", conflicts_with = "last_allowed")]
    decision: Option<DecisionId>,
    /// The newest decision by which the server allowed evidence
    #[arg(long)]
    last_allowed: bool,
    /// Seconds for which it counts; without it the server's lifetime of tokens
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    lifetime: Option<u64>,
    /// Where to; a file that is there is replaced at once and as a whole. Without it to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Of the file: 0600, or 0640 where its group reads it
    #[arg(long, default_value = "0600", value_parser = mode, requires = "output")]
    mode: u32,
    /// For programs
    #[arg(long)]
    json: bool,
}

fn mode(text: &str) -> Result<u32, String> {
    match text {
        "0600" | "600" => Ok(0o600),
        "0640" | "640" => Ok(0o640),
        _ => Err("a token is a secret: 0600, or 0640 for a group".to_owned()),
    }
}

/// Asks for the token and puts it where it is wanted.
pub fn issue(client: &Client, arguments: &Issue) -> Result<(), CliError> {
    let decision = match arguments.decision {
        Some(decision) => decision,
        None => last_allowed(client)?,
    };
    let request = IssueRequest { decision, lifetime_s: arguments.lifetime };
    let response: IssueResponse = client.post("/v1/tokens", &request)?;
    let Some(path) = &arguments.output else {
        return if arguments.json { output::print_json(&response) } else { output::print(&response.token) };
    };
    write(path, &response.token, arguments.mode)
        .map_err(|source| CliError::File { path: path.clone(), source })?;
    if arguments.json {
        // The token itself is in the file and nowhere else.
        return output::print_json(&response.record);
    }
    let record = &response.record;
    output::print(&output::one_line(&format!(
        "Token {} for {} {} on {}, until {}; decision {}.",
        record.jti,
        output::or_dash(record.component.as_ref()),
        output::or_dash(record.version.as_ref()),
        output::or_dash(record.host.as_ref()),
        date::utc(record.expires_at),
        record.decision
    )))
}

fn last_allowed(client: &Client) -> Result<DecisionId, CliError> {
    let recent: Vec<DecisionSummary> =
        client.get(&format!("/v1/decisions?limit={RECENT}&outcome=allowed"))?;
    newest_of_server(&recent).ok_or(CliError::NoAllowed)
}

fn newest_of_server(recent: &[DecisionSummary]) -> Option<DecisionId> {
    recent.iter().find(|decision| decision.decided_by == DecidedBy::Server).map(|decision| decision.id)
}

/// Writes beside the file and renames, so that a reader sees the old token or the new one.
fn write(path: &Path, token: &str, mode: u32) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Left behind by one that was ended in the middle.
            fs::remove_file(&beside)?;
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?
        }
        other => other?,
    };
    let written = writeln!(file, "{token}")
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one that counts.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_private_and_replaces_the_one_before_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token.jwt");
        let found = || {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            (fs::read_to_string(&path).unwrap(), mode)
        };
        write(&path, "first", 0o600).unwrap();
        assert_eq!(found(), ("first\n".to_owned(), 0o600));
        fs::write(directory.path().join("token.jwt.new"), "left behind, and longer than a token").unwrap();
        write(&path, "second", 0o640).unwrap();
        assert_eq!(found(), ("second\n".to_owned(), 0o640));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(write(&directory.path().join("absent/token"), "x", 0o600).is_err());
    }

    #[test]
    fn other_modes_are_refused() {
        assert_eq!((mode("0600"), mode("640")), (Ok(0o600), Ok(0o640)));
        for text in ["0644", "0666", "0700", "", "u+rw"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
