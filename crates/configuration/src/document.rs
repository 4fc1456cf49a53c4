//! From the text of the file to settings: the layout as TOML, then each value's own rule.

use std::path::{Path, PathBuf};

use attestation::digest::Digest;
use attestation::key_uri::KeyUri;
use attestation::token::Mode;
use pkcs11_table::FlatMechanisms;
use serde::Deserialize;

use crate::error::ConfigurationError;
use crate::guard::{Client, Installation};
use crate::settings::{
    Attestation, Component, Configuration, DenyCode, Gate, Loaded, Log, LogTarget, PolicyServer, RealModule,
    Scope,
};
use crate::value;

pub(crate) use guard::parse_guard;

mod guard;
mod guard_limits;

const DEFAULT_TIMEOUT_MS: u64 = 5_000;
const MAX_TIMEOUT_MS: u64 = 60_000;
/// Each is hashed at every attestation, and listed in the evidence.
const MAX_FILES: usize = 256;
/// A module has one or two.
const MAX_INTERFACES: usize = 16;
/// The component's name where the file does not say it.
const ANY_COMPONENT: &str = "auto";
const DEFAULT_SOCKET: &str = "/run/trustshim/guard.sock";

/// What decides how the rest is read.
#[derive(Deserialize)]
struct Kind {
    mode: Mode,
}

/// An application's file in inline mode.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    mode: Mode,
    real_module: RealModuleTable,
    policy_server: PolicyServerTable,
    attestation: AttestationTable,
    #[serde(default)]
    gate: GateTable,
    #[serde(default)]
    component: ComponentTable,
    #[serde(default)]
    log: LogTable,
}

/// An application's file in guarded mode. `mode` has been looked at when this is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientDocument {
    #[serde(rename = "mode")]
    _mode: Mode,
    #[serde(default)]
    guard: ClientGuardTable,
    real_module: Option<ClientModuleTable>,
    #[serde(default)]
    log: LogTable,
}

/// What is loaded, the guard says. This is the file whose place a preloaded shim takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientModuleTable {
    path: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientGuardTable {
    socket: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RealModuleTable {
    path: PathBuf,
    #[serde(default)]
    init_args: String,
    #[serde(default)]
    vendor_interfaces: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyServerTable {
    url: String,
    ca: PathBuf,
    anchors: PathBuf,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttestationTable {
    key: String,
    pin_file: Option<PathBuf>,
    host: Option<String>,
    trust_token_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GateTable {
    #[serde(default)]
    scope: ScopeName,
    #[serde(default)]
    deny_code: DenyCodeName,
    #[serde(default)]
    flat_mechanisms: Vec<MechanismNumber>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum MechanismNumber {
    Number(i64),
    Text(String),
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ScopeName {
    #[default]
    Keys,
    Everything,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DenyCodeName {
    #[default]
    FunctionRejected,
    KeyFunctionNotPermitted,
    Vendor,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentTable {
    name: Option<String>,
    #[serde(default)]
    files: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogTable {
    target: Option<String>,
}

/// Reads the text of an application's file `path`.
pub(crate) fn parse(text: &str, path: PathBuf) -> Result<Loaded, ConfigurationError> {
    match mode_of(text, &path)? {
        Mode::Inline => parse_inline(text, path).map(Loaded::Inline),
        Mode::Guarded => parse_client(text, path).map(Loaded::Guarded),
    }
}

/// Reads the text of the file `path` for what gates on this host: of an application in inline mode, or of the guard.
pub(crate) fn parse_installation(text: &str, path: PathBuf) -> Result<Installation, ConfigurationError> {
    match mode_of(text, &path)? {
        Mode::Inline => parse_inline(text, path).map(Installation::Inline),
        Mode::Guarded if parse_client(text, path.clone()).is_ok() => {
            Err(ConfigurationError::OfApplication { path })
        }
        Mode::Guarded => parse_guard(text, path).map(Installation::Guarded),
    }
}

fn mode_of(text: &str, path: &Path) -> Result<Mode, ConfigurationError> {
    let kind: Kind = toml::from_str(text).map_err(|error| syntax(&error, text, path.to_owned()))?;
    Ok(kind.mode)
}

fn parse_inline(text: &str, path: PathBuf) -> Result<Configuration, ConfigurationError> {
    let document: Document = toml::from_str(text).map_err(|error| syntax(&error, text, path.clone()))?;
    let checker = Checker { path };
    let mode = document.mode;
    let real_module = checker.real_module(document.real_module)?;
    let policy_server = checker.policy_server(document.policy_server)?;
    let attestation = checker.attestation(document.attestation)?;
    let gate = checker.gate(&document.gate, &attestation)?;
    let component = checker.component(document.component)?;
    let log = checker.log(document.log)?;
    let (path, digest) = (checker.path, digest_of(text));
    Ok(Configuration { path, digest, mode, real_module, policy_server, attestation, gate, component, log })
}

fn parse_client(text: &str, path: PathBuf) -> Result<Client, ConfigurationError> {
    let document: ClientDocument =
        toml::from_str(text).map_err(|error| syntax(&error, text, path.clone()))?;
    let checker = Checker { path };
    let socket = checker.socket(document.guard.socket)?;
    let stands_for = document.real_module.map(|table| checker.absolute("real_module.path", table.path));
    let stands_for = stands_for.transpose()?;
    let log = checker.log(document.log)?;
    Ok(Client { path: checker.path, digest: digest_of(text), socket, stands_for, log })
}

fn digest_of(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// The parser's own text would quote the line, and with it the value: its message and the line's number must do.
pub(crate) fn syntax(error: &toml::de::Error, text: &str, path: PathBuf) -> ConfigurationError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    ConfigurationError::Syntax { path, line, reason: attestation::digest::escape(error.message().as_bytes()) }
}

/// Applies the rules of single values, and names the file in what it refuses.
struct Checker {
    path: PathBuf,
}

impl Checker {
    fn real_module(&self, table: RealModuleTable) -> Result<RealModule, ConfigurationError> {
        self.require(
            !table.init_args.contains('\0'),
            "real_module.init_args",
            "must not hold a NUL character",
        )?;
        let mut vendor_interfaces = table.vendor_interfaces;
        vendor_interfaces.sort();
        self.require(
            vendor_interfaces.iter().all(|name| value::is_vendors_interface(name))
                && vendor_interfaces.len() <= MAX_INTERFACES,
            "real_module.vendor_interfaces",
            "must be up to 16 names of 1 to 64 printable ASCII characters, none of them `PKCS 11`",
        )?;
        self.require(
            is_without_doubles(&vendor_interfaces),
            "real_module.vendor_interfaces",
            "must not name an interface twice",
        )?;
        let path = self.absolute("real_module.path", table.path)?;
        Ok(RealModule { path, init_args: table.init_args, vendor_interfaces })
    }

    fn policy_server(&self, table: PolicyServerTable) -> Result<PolicyServer, ConfigurationError> {
        self.require(
            value::is_https_url(&table.url),
            "policy_server.url",
            "must be an address such as https://HOST:PORT, without credentials, query or fragment",
        )?;
        let timeout_ms = table.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS);
        self.require(
            (1..=MAX_TIMEOUT_MS).contains(&timeout_ms),
            "policy_server.timeout_ms",
            "must be between 1 and 60000",
        )?;
        Ok(PolicyServer {
            url: table.url,
            ca: self.absolute("policy_server.ca", table.ca)?,
            anchors: self.absolute("policy_server.anchors", table.anchors)?,
            timeout_ms,
        })
    }

    fn attestation(&self, table: AttestationTable) -> Result<Attestation, ConfigurationError> {
        // RFC 7512 section 2.4. Refused ahead of the parser, whose errors repeat what they do not know.
        self.require(
            !table.key.contains("pin-"),
            "attestation.key",
            "must not hold a PIN or its source; `pin_file` names the file that holds it",
        )?;
        KeyUri::parse(&table.key).map_err(|source| ConfigurationError::Key {
            path: self.path.clone(),
            key: "attestation.key",
            source,
        })?;
        if let Some(host) = &table.host {
            self.require(value::is_host_name(host), "attestation.host", "must be a host name")?;
        }
        let pin_file = table.pin_file.map(|file| self.absolute("attestation.pin_file", file)).transpose()?;
        let trust_token_file = table
            .trust_token_file
            .map(|file| self.absolute("attestation.trust_token_file", file))
            .transpose()?;
        Ok(Attestation { key: table.key, pin_file, host: table.host, trust_token_file })
    }

    fn gate(&self, table: &GateTable, attestation: &Attestation) -> Result<Gate, ConfigurationError> {
        let scope = match table.scope {
            ScopeName::Keys => Scope::Keys,
            ScopeName::Everything => Scope::Everything,
        };
        // Else the login would wait for a trust token, and the attestation for the login.
        self.require(
            scope == Scope::Keys || attestation.pin_file.is_some(),
            "gate.scope",
            "can be `everything` only where `attestation.pin_file` gives the attestation key a login of its own",
        )?;
        let deny_code = match table.deny_code {
            DenyCodeName::FunctionRejected => DenyCode::FunctionRejected,
            DenyCodeName::KeyFunctionNotPermitted => DenyCode::KeyFunctionNotPermitted,
            DenyCodeName::Vendor => DenyCode::Vendor,
        };
        let flat_mechanisms = self.flat_mechanisms(&table.flat_mechanisms)?;
        Ok(Gate { scope, deny_code, flat_mechanisms })
    }

    fn flat_mechanisms(&self, numbers: &[MechanismNumber]) -> Result<FlatMechanisms, ConfigurationError> {
        let key = "gate.flat_mechanisms";
        let numbers = numbers.iter().map(|number| match number {
            MechanismNumber::Number(number) => u64::try_from(*number).ok(),
            MechanismNumber::Text(text) => value::hexadecimal(text),
        });
        let mut numbers: Vec<_> = numbers
            .map(|number| number.filter(|number| pkcs11_table::is_vendors(*number)))
            .collect::<Option<_>>()
            .ok_or_else(|| {
                let rule = "must be numbers of 32 bits, or texts such as 0x80000101, of mechanisms that have \
                            CKM_VENDOR_DEFINED (0x80000000) set: the standard's are known";
                self.refuse(key, rule)
            })?;
        numbers.sort_unstable();
        self.require(is_without_doubles(&numbers), key, "must not name a mechanism twice")?;
        FlatMechanisms::new(numbers).ok_or_else(|| self.refuse(key, "must not hold more than 64 mechanisms"))
    }

    fn component(&self, table: ComponentTable) -> Result<Component, ConfigurationError> {
        let name = table.name.unwrap_or_else(|| ANY_COMPONENT.to_owned());
        self.require(
            value::is_component_name(&name),
            "component.name",
            "must be 1 to 64 letters, digits, `.`, `_` or `-`",
        )?;
        self.require(table.files.len() <= MAX_FILES, "component.files", "must not hold more than 256 files")?;
        let files = self.files("component.files", table.files)?;
        Ok(Component { name, files })
    }

    fn files(&self, key: &'static str, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, ConfigurationError> {
        let mut files =
            files.into_iter().map(|file| self.absolute(key, file)).collect::<Result<Vec<_>, _>>()?;
        files.sort();
        self.require(is_without_doubles(&files), key, "must not name a file twice")?;
        Ok(files)
    }

    fn socket(&self, path: Option<PathBuf>) -> Result<PathBuf, ConfigurationError> {
        let path = self.absolute("guard.socket", path.unwrap_or_else(|| DEFAULT_SOCKET.into()))?;
        self.require(
            value::is_socket_path(&path),
            "guard.socket",
            "must not be longer than 107 bytes, which is what a socket's address holds",
        )?;
        Ok(path)
    }

    fn log(&self, table: LogTable) -> Result<Log, ConfigurationError> {
        let target = match table.target.as_deref() {
            None | Some("journal") => LogTarget::Journal,
            Some("syslog") => LogTarget::Syslog,
            Some(other) => match other.strip_prefix("file:") {
                Some(file) => LogTarget::File(self.absolute("log.target", file.into())?),
                None => return Err(self.refuse("log.target", "must be journal, syslog or file:PATH")),
            },
        };
        Ok(Log { target })
    }

    fn absolute(&self, key: &'static str, path: PathBuf) -> Result<PathBuf, ConfigurationError> {
        self.require(value::is_absolute_path(&path), key, "must be an absolute path")?;
        Ok(path)
    }

    fn require(&self, holds: bool, key: &'static str, rule: &'static str) -> Result<(), ConfigurationError> {
        if holds { Ok(()) } else { Err(self.refuse(key, rule)) }
    }

    fn refuse(&self, key: &'static str, rule: &'static str) -> ConfigurationError {
        ConfigurationError::Value { path: self.path.clone(), key, rule }
    }
}

/// Of a list that is sorted.
fn is_without_doubles<T: PartialEq>(sorted: &[T]) -> bool {
    !sorted.windows(2).any(|pair| matches!(pair, [one, other] if one == other))
}
