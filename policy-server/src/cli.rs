//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::authentication::Role;

/// The verifier of Trustshim: appraises evidence and issues trust tokens
#[derive(Debug, Parser)]
#[command(name = "policy-server", version, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a new installation in a directory: configuration, certificates, keys, database
    #[command(after_help = INIT_EXAMPLES)]
    Init(Init),
    /// Runs the server of an installation until SIGTERM or SIGINT
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Serve),
    /// Adds, removes and lists those who may use an installation with a credential
    #[command(subcommand, after_help = OPERATOR_EXAMPLES)]
    Operator(Operator),
}

const INIT_EXAMPLES: &str = "\
Examples:
  policy-server init /var/lib/policy-server --listen 0.0.0.0:8443 --dns policy.example.net
  policy-server init ./try            listens on a free port of 127.0.0.1

Afterwards DIR/admin-token holds the first administrator's credential: take it away. Clients need
DIR/ca.pem, relying parties also DIR/anchors.jwks.";

const SERVE_EXAMPLES: &str = "\
Examples:
  policy-server serve /var/lib/policy-server
  policy-server serve ./try --print-address      prints https://127.0.0.1:PORT once it listens

RUST_LOG sets what is logged to standard error: error, warn, info (default), debug.";

const OPERATOR_EXAMPLES: &str = "\
Examples:
  policy-server operator add /var/lib/policy-server alice --role approver --credential ./alice-token
  policy-server operator remove /var/lib/policy-server admin
  policy-server operator list /var/lib/policy-server --json

Run it as the server's user. A running server goes by it from the next request on.";

/// `policy-server init`.
#[derive(Debug, Args)]
pub struct Init {
    /// A directory that does not exist, or is empty
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Address and port to listen on; port 0 takes a free one at each start
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// A DNS name of the server for its certificate; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub dns: Vec<String>,
}

/// `policy-server serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The directory that `init` made
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Prints the server's address on standard output, once, when it listens
    #[arg(long)]
    pub print_address: bool,
}

/// `policy-server operator`.
#[derive(Debug, Subcommand)]
pub enum Operator {
    /// Adds one, and writes a new credential into a file for them to take away
    Add {
        /// The directory that `init` made
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Who: 1 to 64 of A-Z a-z 0-9 . _ + -
        #[arg(value_name = "NAME")]
        name: String,
        /// What they may do: each role may do what the one before it may
        #[arg(long, value_enum)]
        role: Role,
        /// The file that is made, readable to its owner alone
        #[arg(long, value_name = "FILE")]
        credential: PathBuf,
    },
    /// Takes one's credential away
    Remove {
        /// The directory that `init` made
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Who
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Lists them with their roles
    List {
        /// The directory that `init` made
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Prints a list of objects with `name`, `role` and `created_at`, in seconds since 1970
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
