//! The guard's file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use attestation::token::Mode;
use serde::Deserialize;

use super::guard_limits::{LimitsTable, Most};
use super::{
    AttestationTable, Checker, GateTable, LogTable, MAX_FILES, PolicyServerTable, RealModuleTable, digest_of,
    is_without_doubles, syntax,
};
use crate::error::ConfigurationError;
use crate::guard::{Account, Declared, Guard, Login, Need, Transport};
use crate::settings::{Component, Configuration};
use crate::value;

/// Each is opened by every worker.
const MAX_COMPONENT_PINS: usize = 64;
/// Each is looked through at every measurement.
const MAX_DECLARED: usize = 256;
/// A vendor's module looks at a few.
const MAX_VARIABLES: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardDocument {
    mode: Mode,
    real_module: GuardedModuleTable,
    policy_server: PolicyServerTable,
    attestation: GuardedAttestationTable,
    #[serde(default)]
    gate: GateTable,
    #[serde(default)]
    log: LogTable,
    #[serde(default)]
    guard: GuardTable,
    #[serde(default)]
    declared: Vec<DeclaredTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardedModuleTable {
    path: PathBuf,
    #[serde(default)]
    init_args: String,
    #[serde(default)]
    needs: Vec<NeedName>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum NeedName {
    Network,
    Turns,
}

/// Without a file of trust tokens: a token counts for one measurement, and a guard has many processes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardedAttestationTable {
    key: String,
    pin_file: PathBuf,
    host: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardTable {
    socket: Option<PathBuf>,
    group: Option<AccountName>,
    #[serde(default)]
    transport: TransportName,
    #[serde(default)]
    login: LoginName,
    pin_file: Option<PathBuf>,
    #[serde(default)]
    component_pins: BTreeMap<String, PathBuf>,
    worker_user: Option<AccountName>,
    attester_user: Option<AccountName>,
    #[serde(default)]
    worker_environment: BTreeMap<String, String>,
    #[serde(default)]
    attester_environment: BTreeMap<String, String>,
    max_processes: Option<u32>,
    max_processes_per_user: Option<u32>,
    max_connections: Option<u32>,
    max_sessions: Option<u32>,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TransportName {
    #[default]
    SharedMemory,
    Socket,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LoginName {
    #[default]
    PassThrough,
    Guard,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AccountName {
    Number(i64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredTable {
    executable: PathBuf,
    files: Vec<PathBuf>,
}

/// Reads the text of the guard's file `path`.
pub(crate) fn parse_guard(text: &str, path: PathBuf) -> Result<Guard, ConfigurationError> {
    let checker = Checker { path };
    // First, since what else is wrong with another kind of file is beside the point.
    let mode = super::mode_of(text, &checker.path)?;
    checker.require(mode == Mode::Guarded, "mode", "must be `guarded` in the guard's file")?;
    let document: GuardDocument =
        toml::from_str(text).map_err(|error| syntax(&error, text, checker.path.clone()))?;
    let attestation = checker.attestation(AttestationTable {
        key: document.attestation.key,
        pin_file: Some(document.attestation.pin_file),
        host: document.attestation.host,
        trust_token_file: None,
    })?;
    let real_module = checker.real_module(RealModuleTable {
        path: document.real_module.path,
        init_args: document.real_module.init_args,
        vendor_interfaces: Vec::new(),
    })?;
    let needs = checker.needs(&document.real_module.needs)?;
    let policy_server = checker.policy_server(document.policy_server)?;
    let gate = checker.gate(&document.gate, &attestation)?;
    let log = checker.log(document.log)?;
    let declared = checker.declared(document.declared)?;
    let table = document.guard;
    let transport = match table.transport {
        TransportName::SharedMemory => Transport::SharedMemory,
        TransportName::Socket => Transport::Socket,
    };
    let login = checker.login(table.login, table.pin_file, table.component_pins)?;
    let limits = checker.limits(&Most {
        processes: table.max_processes,
        processes_per_user: table.max_processes_per_user,
        connections: table.max_connections,
        sessions: table.max_sessions,
        others: table.limits,
    })?;
    let socket = checker.socket(table.socket)?;
    let group = checker.account("guard.group", table.group)?;
    let worker_user = checker.account("guard.worker_user", table.worker_user)?;
    let attester_user = checker.account("guard.attester_user", table.attester_user)?;
    let worker_environment = checker.environment("guard.worker_environment", table.worker_environment)?;
    let attester_environment =
        checker.environment("guard.attester_environment", table.attester_environment)?;
    let configuration = Configuration {
        path: checker.path,
        digest: digest_of(text),
        mode: document.mode,
        real_module,
        policy_server,
        attestation,
        gate,
        component: Component { name: super::ANY_COMPONENT.to_owned(), files: Vec::new() },
        log,
    };
    Ok(Guard {
        configuration,
        needs,
        declared,
        socket,
        group,
        transport,
        login,
        worker_user,
        attester_user,
        worker_environment,
        attester_environment,
        limits,
    })
}

impl Checker {
    fn needs(&self, names: &[NeedName]) -> Result<Vec<Need>, ConfigurationError> {
        let mut needs: Vec<_> = names
            .iter()
            .map(|name| match name {
                NeedName::Network => Need::Network,
                NeedName::Turns => Need::Turns,
            })
            .collect();
        needs.sort();
        self.require(is_without_doubles(&needs), "real_module.needs", "must not name anything twice")?;
        Ok(needs)
    }

    fn declared(&self, tables: Vec<DeclaredTable>) -> Result<Vec<Declared>, ConfigurationError> {
        self.require(tables.len() <= MAX_DECLARED, "declared", "must not be there more than 256 times")?;
        let mut declared = tables
            .into_iter()
            .map(|table| {
                let executable = self.absolute("declared.executable", table.executable)?;
                let count = table.files.len();
                self.require((1..=MAX_FILES).contains(&count), "declared.files", "must hold 1 to 256 files")?;
                let files = self.files("declared.files", table.files)?;
                Ok(Declared { executable, files })
            })
            .collect::<Result<Vec<_>, ConfigurationError>>()?;
        declared.sort_by(|one, other| one.executable.cmp(&other.executable));
        let executables: Vec<_> = declared.iter().map(|declared| &declared.executable).collect();
        self.require(is_without_doubles(&executables), "declared.executable", "must not be there twice")?;
        Ok(declared)
    }

    fn login(
        &self,
        name: LoginName,
        pin_file: Option<PathBuf>,
        component_pins: BTreeMap<String, PathBuf>,
    ) -> Result<Login, ConfigurationError> {
        self.require(
            component_pins.is_empty() || matches!(name, LoginName::Guard),
            "guard.component_pins",
            "are used only where `guard.login` is `guard`: otherwise applications have the token's own PIN",
        )?;
        match (name, pin_file) {
            (LoginName::PassThrough, None) => Ok(Login::PassThrough),
            (LoginName::Guard, Some(file)) => Ok(Login::Guard {
                pin_file: self.absolute("guard.pin_file", file)?,
                component_pins: self.component_pins(component_pins)?,
            }),
            (LoginName::PassThrough, Some(_)) => Err(self.refuse(
                "guard.pin_file",
                "is used only where `guard.login` is `guard`: otherwise applications have their own PIN",
            )),
            (LoginName::Guard, None) => {
                Err(self.refuse("guard.pin_file", "must name the PIN's file where `guard.login` is `guard`"))
            }
        }
    }

    fn component_pins(
        &self,
        files: BTreeMap<String, PathBuf>,
    ) -> Result<BTreeMap<String, PathBuf>, ConfigurationError> {
        const KEY: &str = "guard.component_pins";
        self.require(files.len() <= MAX_COMPONENT_PINS, KEY, "must not be more than 64")?;
        self.require(
            files.keys().all(|name| value::is_component_name(name)),
            KEY,
            "must be named after components: 1 to 64 letters, digits, `.`, `_` or `-`",
        )?;
        files.into_iter().map(|(name, file)| Ok((name, self.absolute(KEY, file)?))).collect()
    }

    fn environment(
        &self,
        key: &'static str,
        variables: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, ConfigurationError> {
        self.require(variables.len() <= MAX_VARIABLES, key, "must not hold more than 32 variables")?;
        self.require(
            variables.keys().all(|name| value::is_variable(name)),
            key,
            "must have names of 1 to 64 letters, digits and `_`, none of them `LD_…`, `GLIBC_TUNABLES`, `GCONV_PATH` \
             or `TRUSTSHIM_…`",
        )?;
        self.require(
            variables.values().all(|value| value::is_value_of_variable(value)),
            key,
            "must have values of up to 4096 bytes without a NUL character",
        )?;
        Ok(variables)
    }

    fn account(
        &self,
        key: &'static str,
        name: Option<AccountName>,
    ) -> Result<Option<Account>, ConfigurationError> {
        let Some(name) = name else { return Ok(None) };
        let account = match name {
            AccountName::Number(number) => value::account_number(number),
            AccountName::Text(text) => value::account(&text),
        };
        let rule = "must be the name of a user or group, or a number from 0 to 4294967294";
        account.map(Some).ok_or_else(|| self.refuse(key, rule))
    }
}
