//! `trustshim token`: what was issued, what a token says, and tokens to be handed in.

mod inspect;
mod issue;

use attestation::api::TokenRecord;
use clap::Subcommand;

use crate::date;
use crate::error::{CliError, Ended};
use crate::output;
use crate::profile::Connection;

/// Trust tokens: looks into them, lists them, has them issued to be handed in
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim token inspect token.jwt --anchors /etc/trustshim/anchors.jwks
  trustshim token inspect - --json < token.jwt
  trustshim token issue D-7F3K2QW0X4MZ --lifetime 900 --output /run/signer/token.jwt
  trustshim token list")]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the claims of a trust token; with --anchors also whether it is genuine
    #[command(
        after_help = "Example: trustshim token inspect token.jwt --anchors /etc/trustshim/anchors.jwks"
    )]
    Inspect(inspect::Inspect),
    /// Has a token issued from an allowed decision, for an application that hands it in
    ///
    /// The decision's evidence, not older than a day, is appraised anew by today's policy. The token counts for that
    /// very measurement on that host and boot, and whoever has it can use it there: keep it like a password.
    #[command(after_help = "Examples:
  trustshim token issue D-7F3K2QW0X4MZ --output /run/signer/token.jwt
  trustshim token issue --last-allowed --lifetime 3600 --output /run/signer/token.jwt --mode 0640")]
    Issue(issue::Issue),
    /// Shows the newest tokens
    #[command(after_help = "Example: trustshim token list --limit 50")]
    List {
        /// At most so many
        #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    match &args.command {
        Command::Inspect(arguments) => return inspect::inspect(arguments),
        Command::Issue(arguments) => issue::issue(&args.connection.operator()?, arguments)?,
        Command::List { limit, json } => {
            let tokens: Vec<TokenRecord> =
                args.connection.operator()?.get(&format!("/v1/tokens?limit={limit}"))?;
            if *json { output::print_json(&tokens)? } else { output::print(&list(&tokens, date::now()))? }
        }
    }
    Ok(Ended::Well)
}

fn list(tokens: &[TokenRecord], now: u64) -> String {
    output::table(
        ["token", "issued", "expires", "host", "component", "for", "decision"],
        tokens.iter().map(|token| {
            let name: Vec<&str> =
                [&token.component, &token.version].into_iter().flatten().map(String::as_str).collect();
            [
                token.jti.clone(),
                date::utc(token.issued_at),
                date::relative(token.expires_at, now),
                output::or_dash(token.host.as_ref()),
                name.join(" "),
                match &token.operator {
                    Some(operator) => format!("handing in, by {operator}"),
                    None => "its attester".to_owned(),
                },
                token.decision.to_string(),
            ]
        }),
        "No token was issued.",
    )
}

#[cfg(test)]
mod tests {
    use attestation::decision::DecisionId;

    use super::*;

    #[test]
    fn tokens_to_be_handed_in_are_told_apart() {
        let record = |operator: Option<&str>| TokenRecord {
            jti: "j".to_owned(),
            decision: DecisionId::from_random(16),
            issued_at: 0,
            expires_at: 300,
            host: Some("web1".to_owned()),
            component: Some("nginx".to_owned()),
            version: Some("1".to_owned()),
            operator: operator.map(str::to_owned),
        };
        let text = list(&[record(None), record(Some("ann"))], 0);
        assert!(text.contains("in 5 min  web1  nginx 1    its attester"), "{text}");
        assert!(text.contains("handing in, by ann  D-000000000001"), "{text}");
    }
}
