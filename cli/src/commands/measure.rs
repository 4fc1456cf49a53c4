//! `trustshim measure`: the manifest of a program, without running it and without the HSM.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use attestation::api::{MANIFEST_FORMAT, Manifest};
use attestation::component::MeasuredFile;
use attestation::digest::escape;
use attestation::evidence::AttesterClaims;
use attestation::reference::ReferenceValues;
use configuration::Installation;
use measurement::{Hashing, Program, measure_file, measure_program};

use super::component;
use crate::error::{CliError, Ended};
use crate::local_attester::ConfigurationFile;
use crate::output;

/// Seccomp mode of a process with filters.
const FILTER: u8 = 2;

/// Measures a program that is not running, and writes the manifest that approves it
///
/// What a program loads by itself later (plug-ins, NSS, character sets) is not known before it runs: name such
/// libraries with --library. Options come before the program; what follows it are its arguments.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim measure --shim /usr/lib/libtrustshim.so --user signer --unit signer.service \\
      --output signer.json /usr/bin/signer --daemon
  trustshim component import signer.json --component signer --version 2.0")]
pub struct Args {
    #[command(flatten)]
    file: ConfigurationFile,
    /// libtrustshim.so as the program will load it: it is mapped too
    #[arg(long, value_name = "FILE")]
    shim: PathBuf,
    /// trustshim-guard, in guarded mode: there it is what measures, and loads the real module
    #[arg(long, value_name = "FILE")]
    guard: Option<PathBuf>,
    /// The user that will run it, by name or as UID or UID:GID; without it this one
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The systemd service that will run it
    #[arg(long, value_name = "NAME.service")]
    unit: Option<String>,
    /// Under how many seccomp filters it will run: `Seccomp_filters` in the status of a process started like it
    #[arg(long, value_name = "N", default_value_t = 0)]
    seccomp_filters: u32,
    /// A library that it loads while it runs; may be given several times
    #[arg(long = "library", value_name = "FILE")]
    libraries: Vec<PathBuf>,
    /// A variable that will be set; only those that steer the loading of code are kept
    #[arg(long, value_name = "NAME=VALUE", value_parser = clap::builder::OsStringValueParser::new())]
    environment: Vec<OsString>,
    /// argv[0], where it is not the program's path as given
    #[arg(long, value_name = "NAME")]
    argv0: Option<OsString>,
    /// Where to; without it to standard output. Nothing is overwritten
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The manifest on standard output, instead of a text for people
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// The program, and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let installation = args.file.load_installation()?;
    let configuration = installation.configuration();
    let (measurer, mut libraries) = match (&installation, &args.guard) {
        (Installation::Inline(_), None) => {
            (&args.shim, vec![real(&args.shim)?, real(&configuration.real_module.path)?])
        }
        (Installation::Guarded(_), Some(guard)) => (guard, vec![real(&args.shim)?]),
        (Installation::Inline(_), Some(_)) => {
            return Err(CliError::Usage(
                "--guard is for guarded mode; the configuration is inline".to_owned(),
            ));
        }
        (Installation::Guarded(_), None) => {
            return Err(CliError::Usage(
                "in guarded mode the guard measures: name it with --guard".to_owned(),
            ));
        }
    };
    let (path, rest) =
        args.program.split_first().ok_or_else(|| CliError::Usage("name a program".to_owned()))?;
    if !path.as_bytes().contains(&b'/') {
        return Err(CliError::Usage(format!("name the program by its path: {}", path.display())));
    }
    let first = args.argv0.as_ref().unwrap_or(path);
    let arguments: Vec<OsString> = [first].into_iter().chain(rest).cloned().collect();
    let (uid, gid) = user(args.user.as_deref())?;
    for library in &args.libraries {
        libraries.push(real(library)?);
    }
    let environment: Vec<_> = args.environment.iter().map(|text| setting(text)).collect::<Result<_, _>>()?;
    let mut component = measure_program(
        &Program {
            name: &configuration.component.name,
            path: Path::new(path),
            arguments: &arguments,
            environment: &environment,
            uid,
            gid,
            libraries: &libraries,
            configuration: installation.declared(&real(Path::new(path))?),
        },
        &Hashing::afresh(),
    )?;
    component.principal.unit = args.unit.as_ref().map(|unit| escape(unit.as_bytes()));
    component.runtime.seccomp_filters = args.seccomp_filters;
    component.runtime.seccomp = if args.seccomp_filters == 0 { 0 } else { FILTER };
    let attester = AttesterClaims {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        shim: measure_file(measurer, &Hashing::afresh())?,
        real_module: measure_file(&configuration.real_module.path, &Hashing::afresh())?,
        configuration: MeasuredFile {
            path: escape(configuration.path.as_os_str().as_bytes()),
            sha256: configuration.digest,
            build_id: None,
        },
    };
    let mut reference = ReferenceValues::of(&component, &attester);
    // How it will be started says nothing about it here, and an approval after that start compares it.
    reference.sandbox.no_new_privs = None;
    let manifest = Manifest { format: MANIFEST_FORMAT.to_owned(), name: None, reference };
    if args.json || args.output.is_some() {
        component::write_manifest(&manifest, args.output.as_deref())?;
    } else {
        let digest = component.measurement_digest();
        output::print(&format!("Measurement  {digest}\n{}", component::values(&manifest.reference)))?;
    }
    Ok(Ended::Well)
}

fn real(path: &Path) -> Result<PathBuf, CliError> {
    path.canonicalize().map_err(|source| CliError::File { path: path.to_owned(), source })
}

fn setting(text: &OsStr) -> Result<(OsString, OsString), CliError> {
    let bytes = text.as_bytes();
    let split = bytes.iter().position(|byte| *byte == b'=').and_then(|at| bytes.split_at_checked(at));
    match split {
        Some((name, [_, value @ ..])) if !name.is_empty() => {
            Ok((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
        }
        _ => Err(CliError::Usage(format!("--environment is NAME=VALUE, not {}", text.display()))),
    }
}

/// User and group id: this process's, numbers, or those of a name in `/etc/passwd`.
fn user(text: Option<&str>) -> Result<(u32, u32), CliError> {
    let failed = |path: &str| {
        let path = PathBuf::from(path);
        move |source| CliError::File { path, source }
    };
    let Some(text) = text else {
        let own = fs::metadata("/proc/self").map_err(failed("/proc/self"))?;
        return Ok((own.uid(), own.gid()));
    };
    if let Some((uid, gid)) = text.split_once(':')
        && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
    {
        return Ok((uid, gid));
    }
    let accounts = fs::read("/etc/passwd").map_err(failed("/etc/passwd"))?;
    account(&String::from_utf8_lossy(&accounts), text)
        .ok_or_else(|| CliError::Usage(format!("/etc/passwd has no user {text}; give numbers, as UID:GID")))
}

/// A user by name or number (passwd(5)).
fn account(accounts: &str, user: &str) -> Option<(u32, u32)> {
    accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
        (*name == user || *uid == user).then(|| Some((uid.parse().ok()?, gid.parse().ok()?)))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nsigner:x:33:34::/:/bin/false\n";
        assert_eq!(account(accounts, "signer"), Some((33, 34)));
        assert_eq!(account(accounts, "33"), Some((33, 34)));
        assert_eq!(account(accounts, "nobody"), None);
        assert_eq!(user(Some("5:6")).unwrap(), (5, 6));
        assert!(matches!(user(Some("no such user")), Err(CliError::Usage(_))));
    }

    #[test]
    fn settings_have_a_name_and_a_value() {
        assert_eq!(setting(OsStr::new("A=b=c")).unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(setting(OsStr::new("A=")).unwrap(), ("A".into(), "".into()));
        for text in ["A", "=b", ""] {
            assert!(setting(OsStr::new(text)).is_err(), "{text}");
        }
    }
}
