//! `trustshim init`: writes a commented configuration for the shim.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{CliError, Ended};
use crate::hsm::{AttestationKeyUri, check_module};
use crate::output;

/// Writes the shim's configuration file; never over an existing one
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim init --real-module /usr/lib/softhsm/libsofthsm2.so --server https://policy.example:8443
  trustshim init --output ./trustshim.toml --real-module /opt/vendor/libpkcs11.so \\
      --server https://policy.example:8443 --ca ./ca.pem --anchors ./anchors.jwks \\
      --key 'pkcs11:serial=0123;object=attestation' --pin-file ./attestation.pin

ca.pem and anchors.jwks come from the directory of `policy-server init`.")]
pub struct Args {
    /// The vendor's PKCS#11 library
    #[arg(long, value_name = "FILE")]
    real_module: PathBuf,
    /// The policy server, such as https://policy.example:8443
    #[arg(long, value_name = "URL")]
    server: String,
    /// PEM file with the policy server's CA
    #[arg(long, value_name = "FILE", default_value = "/etc/trustshim/ca.pem")]
    ca: PathBuf,
    /// JWKS file with the keys that sign trust tokens
    #[arg(long, value_name = "FILE", default_value = "/etc/trustshim/anchors.jwks")]
    anchors: PathBuf,
    /// RFC 7512 URI of the attestation key
    #[arg(long, value_name = "URI", default_value = "pkcs11:token=trustshim;object=attestation")]
    key: String,
    /// File with the PIN of the attestation key's token; without it the application's login is used
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Where to write
    #[arg(long, value_name = "FILE", default_value = "/etc/trustshim/trustshim.toml")]
    output: PathBuf,
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    AttestationKeyUri::parse(&args.key)?;
    let real_module = absolute(&args.real_module)?;
    let module = check_module(&real_module)?;
    let text = configuration_text(&Settings {
        real_module: &real_module,
        server: &args.server,
        ca: &absolute(&args.ca)?,
        anchors: &absolute(&args.anchors)?,
        key: &args.key,
        pin_file: args.pin_file.as_deref().map(absolute).transpose()?.as_deref(),
    })?;
    create(&args.output, &text)?;
    // What the shim would refuse must not be left behind.
    if let Err(error) = configuration::load_installation(Some(&args.output)) {
        let _ = fs::remove_file(&args.output);
        return Err(error.into());
    }
    output::print(&format!(
        "Wrote {}.\nReal module: {}\nNext: trustshim enroll --config {}",
        args.output.display(),
        output::one_line(&module),
        args.output.display()
    ))?;
    Ok(Ended::Well)
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| CliError::File { path: path.to_owned(), source })
}

fn create(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |source| CliError::File { path: path.to_owned(), source };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(CliError::Exists { path: path.to_owned() });
        }
        other => other.map_err(failed)?,
    };
    file.write_all(text.as_bytes()).map_err(failed)
}

struct Settings<'a> {
    real_module: &'a Path,
    server: &'a str,
    ca: &'a Path,
    anchors: &'a Path,
    key: &'a str,
    pin_file: Option<&'a Path>,
}

fn configuration_text(settings: &Settings<'_>) -> Result<String, CliError> {
    let path = |path: &Path| match path.to_str() {
        Some(text) => Ok(quoted(text)),
        None => Err(CliError::Usage(format!("the path {} is not UTF-8", path.display()))),
    };
    let pin_file = match settings.pin_file {
        Some(file) => format!("pin_file = {}", path(file)?),
        None => "# pin_file = \"/etc/trustshim/attestation.pin\"".to_owned(),
    };
    Ok(format!(
        r#"# Configuration of the Trustshim PKCS#11 provider, libtrustshim.so.
# Unknown keys are errors. Refused where anybody but its owner may write it.
# It is measured: a changed file needs the approval of the software that uses it anew.

# Measures and decides in the application's own process.
mode = "inline"

[real_module]
# The vendor's PKCS#11 library, which does the work.
path = {real_module}
# Passed as pReserved to its C_Initialize; NSS softokn needs it.
init_args = ""
# Interfaces of the vendor's own that are passed on. Calls through them are not gated.
vendor_interfaces = []

[policy_server]
url = {server}
# The only CA that counts for that address.
ca = {ca}
# The keys that sign trust tokens; never updated from the network.
anchors = {anchors}
# For one request, in milliseconds.
timeout_ms = 5000

[attestation]
# The key that `trustshim enroll` makes. Applications cannot see or use it.
key = {key}
# The PIN of its token. Without it the application's login is used.
{pin_file}
# The host's name in policies; without it the host's own.
# host = "web1.example"

[gate]
# keys: what uses keys. Everything else is forwarded untouched.
scope = "keys"
# What an application gets for a refusal: function-rejected, key-function-not-permitted or vendor.
deny_code = "function-rejected"

[component]
# A hint for people; the policy server recognises software by its digests.
name = "auto"
# Configuration files of the application that are measured with it.
files = []

[log]
# journal, syslog or file:PATH
target = "journal"
"#,
        real_module = path(settings.real_module)?,
        server = quoted(settings.server),
        ca = path(settings.ca)?,
        anchors = path(settings.anchors)?,
        key = quoted(settings.key),
    ))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(server: &str) -> Settings<'_> {
        Settings {
            real_module: Path::new("/usr/lib/softhsm/libsofthsm2.so"),
            server,
            ca: Path::new("/etc/trustshim/ca.pem"),
            anchors: Path::new("/etc/trustshim/anchors.jwks"),
            key: "pkcs11:token=trustshim;object=attestation",
            pin_file: None,
        }
    }

    #[test]
    fn the_shim_takes_the_file_that_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/trustshim.toml");
        create(&path, &configuration_text(&settings("https://policy.example:8443")).unwrap()).unwrap();
        let configuration = configuration::load_installation(Some(&path)).unwrap().into_configuration();
        assert_eq!(configuration.policy_server.url, "https://policy.example:8443");
        assert_eq!(configuration.attestation.pin_file, None);
    }

    #[test]
    fn values_cannot_break_out_of_their_line() {
        let hostile = "https://a\"\nmode = \"guarded\"\n\\";
        let text = configuration_text(&settings(hostile)).unwrap();
        let parsed: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(parsed["policy_server"]["url"].as_str(), Some(hostile));
        assert_eq!(parsed["mode"].as_str(), Some("inline"));
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trustshim.toml");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(create(&path, "new"), Err(CliError::Exists { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
