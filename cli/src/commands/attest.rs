//! `trustshim attest`: the whole way of the evidence, walked once by this very program.

use serde_json::json;

use crate::error::{CliError, Ended};
use crate::hsm::{AttestationKey, AttestationKeyUri, AttestationToken, Module};
use crate::local_attester::{self, ConfigurationFile, Verdict};
use crate::output;

/// Measures this program, has the HSM sign, and shows what the policy server decides
///
/// A diagnosis: `denied` as long as nobody has approved `trustshim` itself, which nobody needs to.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim attest
  trustshim attest --config ./trustshim.toml --json

Exit status 0: allowed. 3: denied, with the reasons. 1: the server could not be asked.")]
pub struct Args {
    #[command(flatten)]
    file: ConfigurationFile,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let configuration = args.file.load_for_module()?.into_configuration();
    let client = local_attester::client(&configuration)?;
    let uri = AttestationKeyUri::parse(&configuration.attestation.key)?;
    let module = Module::open(&configuration)?;
    let token = AttestationToken::find(&module, &uri)?;
    let pin = local_attester::pin(&configuration, &token.describe())?;
    let key = AttestationKey::find(token.log_in(&pin, false)?, &uri)?
        .map_err(|_| CliError::NoAttestationKey { uri: uri.as_str().to_owned() })?;
    match local_attester::attest(&configuration, &key, &client)? {
        Verdict::Allowed(response) => {
            if args.json {
                output::print_json(&json!({ "outcome": "allowed", "decision": response.decision }))?;
            } else {
                output::print(&format!("Allowed, decision {}.", response.decision))?;
            }
            Ok(Ended::Well)
        }
        Verdict::Denied(problem) => {
            if args.json {
                let denied =
                    json!({ "outcome": "denied", "decision": problem.decision, "reasons": problem.reasons });
                output::print_json(&denied)?;
            } else {
                let reasons: String = problem
                    .reasons
                    .iter()
                    .map(|reason| {
                        format!(
                            "  {}: {}\n",
                            output::one_line(&reason.code),
                            output::one_line(&reason.detail)
                        )
                    })
                    .collect();
                let decision = output::or_dash(problem.decision);
                output::print(&format!(
                    "DENIED, decision {decision}:\n{reasons}Next: trustshim explain {decision}"
                ))?;
            }
            Ok(Ended::Denied)
        }
    }
}
