//! `trustshim`, the operator's tool: reads the command line, runs one command, says how it ended.

#![forbid(unsafe_code)]

mod access;
mod commands;
mod confirm;
mod date;
mod error;
mod hsm;
mod local_attester;
mod mechanism;
mod output;
mod private_file;
mod profile;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{
    approve, attest, component, decisions, doctor, enroll, explain, grant, hsm as hsms, init, measure,
    probe_access, set, status, token,
};

const AFTER_HELP: &str = "\
Exit status:
  0  done
  1  failed; standard error says what happened and what to do next
  2  the command line is wrong, or a question needs a terminal
  3  denied: the evidence was refused

The policy server is found by --server, --ca and --admin-token-file,
else by TRUSTSHIM_SERVER, TRUSTSHIM_CA and TRUSTSHIM_ADMIN_TOKEN,
else in $XDG_CONFIG_HOME/trustshim/profile.toml:
  server = \"https://policy.example:8443\"
  ca = \"/etc/trustshim/ca.pem\"
  admin_token_file = \"/home/me/.config/trustshim/admin-token\"

A refusal, from the log line to the approval:
  trustshim explain --last
  trustshim approve --last --component nginx --version 1.24.0-1 \\
      --grant 'pkcs11:token=web;object=tls;type=private' --operations sign";

/// Lets only attested software use the keys of an HSM: the operator's tool.
#[derive(Parser)]
#[command(name = "trustshim", version, after_help = AFTER_HELP, max_term_width = 110)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Args),
    Enroll(enroll::Args),
    Attest(attest::Args),
    Measure(measure::Args),
    Status(status::Args),
    Doctor(doctor::Args),
    ProbeAccess(probe_access::Args),
    Hsm(hsms::Args),
    Component(component::Args),
    Set(set::Args),
    Decisions(decisions::Args),
    Explain(explain::Args),
    Approve(approve::Args),
    Grant(grant::Args),
    Token(token::Args),
}

fn main() -> ExitCode {
    let ended = match CommandLine::parse().command {
        Command::Init(args) => init::run(&args),
        Command::Enroll(args) => enroll::run(&args),
        Command::Attest(args) => attest::run(&args),
        Command::Measure(args) => measure::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::ProbeAccess(_) => probe_access::run(),
        Command::Hsm(args) => hsms::run(&args),
        Command::Component(args) => component::run(&args),
        Command::Set(args) => set::run(&args),
        Command::Decisions(args) => decisions::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Approve(args) => approve::run(&args),
        Command::Grant(args) => grant::run(&args),
        Command::Token(args) => token::run(&args),
    };
    match ended {
        Ok(ended) => ended.into(),
        Err(error) => {
            output::tell(&format!("trustshim: {error}\n  what to do: {}\n", error.advice()));
            error.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<CommandLine, clap::error::ErrorKind> {
        CommandLine::try_parse_from(line.split_whitespace()).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn command_lines_of_the_documentation_are_understood() {
        for line in [
            "trustshim init --real-module /usr/lib/softhsm/libsofthsm2.so --server https://policy.example:8443",
            "trustshim enroll --config /etc/trustshim/trustshim.toml --algorithm rsa-pss --host web1 --json",
            "trustshim attest --json",
            "trustshim status --server https://127.0.0.1:8443 --ca ca.pem",
            "trustshim doctor --json",
            "trustshim doctor --config /etc/trustshim/guard.toml --as-user nginx --group trustshim-clients \
             --process 4711 --path /dev/hsm --path /etc/vendor --json",
            "trustshim hsm list --json",
            "trustshim hsm approve NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
            "trustshim hsm suspend NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs --server https://a",
            "trustshim component retire nginx 1.0",
            "trustshim component show nginx --json",
            "trustshim decisions",
            "trustshim decisions --json --limit 5 --denied",
            "trustshim decisions list --json",
            "trustshim decisions show D-7F3K2QW0X4MZ --json",
            "trustshim explain --last",
            "trustshim explain D-7F3K2QW0X4MZ --json",
            "trustshim approve --last --component c --version v --grant pkcs11:serial=1;id=%01;type=private \
             --operations sign,decrypt --any-arguments --any-user --allow-jit --many --yes",
            "trustshim approve D-7F3K2QW0X4MZ --component c --version v",
            "trustshim grant add --component c --key pkcs11:token=t;object=o;type=private --operations all",
            "trustshim grant list --json",
            "trustshim grant remove G-12",
            "trustshim token inspect - --anchors anchors.jwks --json",
            "trustshim token inspect",
            "trustshim token issue D-7F3K2QW0X4MZ --lifetime 900 --output token.jwt --mode 0640 --json",
            "trustshim token issue --last-allowed",
            "trustshim token list --limit 5 --json",
            "trustshim grant add --component c --key pkcs11:token=t --operations administer --mechanism 0x1041 \
             --mechanism 64 --per-second 5 --total 100 --expires 30d --min-version 1 --mode guarded --many --json",
            "trustshim approve --last --component c --version v --argument 2=--in=* --more-arguments 3=*.deb \
             --environment A=b --library-set debian-12 --grant pkcs11:token=t;object=o;type=private \
             --operations sign --expires 2026-12-31 --min-version v",
            "trustshim component retire nginx --file \
             9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --undo",
            "trustshim component retired-files --json",
            "trustshim component floor nginx 1.0",
            "trustshim component floor nginx --none",
            "trustshim component mode nginx observe",
            "trustshim component export nginx 1.0 --output nginx.json",
            "trustshim component import nginx.json --component nginx --version 2 --yes --json",
            "trustshim set list --json",
            "trustshim set show debian-12",
            "trustshim set create debian-12",
            "trustshim set add debian-12 /lib/a.so /lib/b.so",
            "trustshim set add debian-12 --decision D-7F3K2QW0X4MZ",
            "trustshim set floor debian-12 4",
            "trustshim set floor debian-12 --none",
            "trustshim set retire debian-12 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "trustshim set remove debian-12",
            "trustshim measure --config c.toml --shim /usr/lib/libtrustshim.so --user signer --unit signer.service \
             --library /lib/x.so --environment A=b --output m.json /usr/bin/signer --daemon -c x",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
    }

    #[test]
    fn incomplete_or_contradictory_command_lines_are_refused() {
        for line in [
            "trustshim",
            "trustshim approve --component c --version v",
            "trustshim approve --last --component c",
            "trustshim approve D-7F3K2QW0X4MZ --last --component c --version v",
            "trustshim approve --last --component c --version v --grant pkcs11:token=t;object=o;type=private",
            "trustshim approve --last --component c --version v --operations sign",
            "trustshim approve --last --component c --version v --grant x --operations sign",
            "trustshim grant add --component c --key pkcs11:token=t;object=o;type=private --operations sing",
            "trustshim grant add --component c --key pkcs11:token=t;object=o;type=private --operations ",
            "trustshim explain",
            "trustshim explain D-1",
            "trustshim hsm approve not-a-fingerprint",
            "trustshim enroll --algorithm rsa",
            "trustshim doctor --process 1",
            "trustshim doctor --group web",
            "trustshim doctor --path /dev/hsm",
            "trustshim doctor --as-user nginx --process 0",
            "trustshim grant add --component c --key pkcs11:token=t --operations sign --per-second 0",
            "trustshim grant add --component c --key pkcs11:token=t --operations sign --expires tomorrow",
            "trustshim grant add --component c --key pkcs11:token=t --operations sign --mechanism CKM_NOTHING",
            "trustshim component retire nginx",
            "trustshim component retire nginx 1.0 --file \
             9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "trustshim component retire nginx 1.0 --undo",
            "trustshim component floor nginx",
            "trustshim component floor nginx 1.0 --none",
            "trustshim component mode nginx off",
            "trustshim component import nginx.json --json",
            "trustshim approve --last --component c --version v --argument x=*",
            "trustshim approve --last --component c --version v --environment A",
            "trustshim set add debian-12",
            "trustshim set add debian-12 /lib/a.so --decision D-7F3K2QW0X4MZ",
            "trustshim set retire debian-12 abc",
            "trustshim token issue",
            "trustshim token issue D-7F3K2QW0X4MZ --lifetime 3601",
            "trustshim token issue D-7F3K2QW0X4MZ --output token.jwt --mode 0644",
            "trustshim measure /usr/bin/signer",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_command_shows_examples() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("trustshim "), "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&CommandLine::command());
    }
}
