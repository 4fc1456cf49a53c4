//! A complete installation in a temporary directory, in either mode, made by `scripts/sandbox`; stopped and removed when
//! dropped.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cryptoki_sys::{
    CKA_ID, CKA_LABEL, CKA_PRIVATE, CKA_SENSITIVE, CKA_SIGN, CKA_TOKEN, CKA_VALUE_LEN, CKA_VERIFY,
    CKM_GENERIC_SECRET_KEY_GEN,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Finished, run};
use crate::mode::Mode;
use crate::probe::{Probe, TRUE, hex, ulong};
use apart::Apart;

mod apart;
mod clients;
mod gates;
mod policy;

/// What the real module and its tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// SoftHSM 2.6, which speaks PKCS#11 2.40.
    SoftHsm,
    /// Kryoptic, which speaks PKCS#11 3.2. It has no `demo-ed`.
    Kryoptic,
}

impl Token {
    /// The variable that names the file with the module's settings.
    pub const fn settings(self) -> &'static str {
        match self {
            Self::SoftHsm => "SOFTHSM2_CONF",
            Self::Kryoptic => "KRYOPTIC_CONF",
        }
    }
}

/// For so long a failed attestation is the answer to further calls of the process.
pub const FAILURE_STANDS: Duration = Duration::from_millis(1_200);

/// A key that is not there.
pub const NO_KEY: &str = "pkcs11:token=sandbox;object=none;type=private";

/// An installation.
pub struct Stack {
    scratch: TempDir,
    variables: BTreeMap<String, String>,
    token: Token,
    /// In guarded mode, what it has besides.
    apart: Option<Apart>,
}

/// What an operator says when approving the newest refusal.
pub struct Approval<'a> {
    /// Name of the software.
    pub component: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Key URI and operations.
    pub grant: Option<(&'a str, &'a str)>,
    /// Further options, such as `--any-arguments`.
    pub options: &'a [&'a str],
}

impl<'a> Approval<'a> {
    /// Version 1 of `component`, with one key for the given operations.
    pub const fn of(component: &'a str, key: &'a str, operations: &'a str) -> Self {
        Self { component, version: "1", grant: Some((key, operations)), options: &[] }
    }

    /// The same with further options.
    pub const fn with(self, options: &'a [&'a str]) -> Self {
        Self { options, ..self }
    }
}

impl Stack {
    /// Makes an installation on SoftHSM with the policy server running, and no component approved.
    pub fn up(mode: Mode) -> Self {
        Self::on(Token::SoftHsm, mode)
    }

    /// The same on any token.
    pub fn on(token: Token, mode: Mode) -> Self {
        let mut directory = tempfile::Builder::new();
        directory.prefix("trustshim-e2e-");
        let scratch = match mode {
            Mode::Inline => directory.tempdir(),
            // On a file system whose files a guard may trust: a temporary one in memory is none.
            Mode::Guarded => directory.tempdir_in("/var/tmp"),
        };
        let scratch = scratch.expect("a temporary directory");
        if mode == Mode::Guarded {
            open_to_clients(scratch.path());
        }
        let mut stack = Self { scratch, variables: BTreeMap::new(), token, apart: None };
        stack.make(mode);
        let env = fs::read_to_string(stack.directory().join("env")).expect("DIR/env");
        stack.variables = env.lines().filter_map(variable).collect();
        if mode == Mode::Guarded {
            stack.apart = Some(Apart::new());
        }
        if token == Token::Kryoptic {
            stack.make_demo_hmac();
        }
        stack
    }

    fn make(&self, mode: Mode) {
        let mut script = sandbox_script();
        script.arg("up").arg(self.directory());
        if mode == Mode::Guarded {
            script.args(["--mode", "guarded"]);
        }
        if self.token == Token::Kryoptic {
            script.args(["--token", "kryoptic"]);
        }
        run(&mut script).must_succeed();
    }

    /// Where the gate is.
    pub fn mode(&self) -> Mode {
        if self.apart.is_some() { Mode::Guarded } else { Mode::Inline }
    }

    /// `demo-hmac`, where the sandbox cannot make it.
    fn make_demo_hmac(&self) {
        let mut probe = Probe::start_on(self, self.real_module(), |_| {});
        let session = probe.session();
        let template = json!([
            [CKA_TOKEN, TRUE],
            [CKA_PRIVATE, TRUE],
            [CKA_SENSITIVE, TRUE],
            [CKA_SIGN, TRUE],
            [CKA_VERIFY, TRUE],
            [CKA_ID, "04"],
            [CKA_LABEL, hex(b"demo-hmac")],
            [CKA_VALUE_LEN, ulong(32)],
        ]);
        let arguments =
            json!({ "session": session, "mechanism": CKM_GENERIC_SECRET_KEY_GEN, "template": template });
        probe.must("C_GenerateKey", arguments);
    }

    /// Runs `scripts/sandbox up` or `down` on this installation.
    pub fn sandbox(&self, command: &str) -> Finished {
        run(sandbox_script().arg(command).arg(self.directory()))
    }

    /// Stops the policy server; a guard goes on.
    #[track_caller]
    pub fn stop_server(&self) {
        self.only("policy-server", "down");
    }

    /// Starts the policy server again.
    #[track_caller]
    pub fn start_server(&self) {
        self.only("policy-server", "up");
    }

    #[track_caller]
    fn only(&self, process: &str, command: &str) {
        let mut script = sandbox_script();
        run(script.arg(command).arg(self.directory()).args(["--only", process])).must_succeed();
    }

    /// From now on every new process of an application has to be attested. In inline mode that is always so; a guard holds a
    /// trust token for all that measure the same until its deadline, and is started anew here.
    #[track_caller]
    pub fn forget_tokens(&self) {
        if let Some(apart) = &self.apart {
            self.only("guard", "down");
            self.only("guard", "up");
            apart.restart();
        }
    }

    /// What the real module and its tokens are.
    pub fn token(&self) -> Token {
        self.token
    }

    /// `DIR` of `scripts/sandbox`.
    pub fn directory(&self) -> PathBuf {
        self.scratch.path().join("sandbox")
    }

    /// A file for the test's own use, outside `DIR`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Writes a file for the test's own use.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, content).expect("a file of the test");
        path
    }

    /// Makes a directory in which clients may leave files.
    pub fn make_directory(&self, name: &str) -> PathBuf {
        let path = self.file(name);
        fs::create_dir(&path).expect("a directory of the test");
        if self.apart.is_some() {
            open_to_clients(&path);
        }
        path
    }

    /// A variable of `DIR/env`.
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).unwrap_or_else(|| panic!("{name} is not in DIR/env"))
    }

    /// The shim.
    pub fn shim(&self) -> &Path {
        Path::new(self.variable("TRUSTSHIM_MODULE"))
    }

    /// The vendor's module.
    pub fn real_module(&self) -> &Path {
        Path::new(self.variable("REAL_MODULE"))
    }

    /// The lines of the shim's log.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory().join("trustshim.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.apart = None;
        if self.directory().join("tokens").exists() {
            let finished = self.sandbox("down");
            if !finished.success && !std::thread::panicking() {
                panic!("{finished}");
            }
        }
    }
}

/// Clients may leave files there, and cannot replace those of others.
fn open_to_clients(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o1777)).expect("our own directory");
}

/// The codes of a decision's reasons.
pub fn reasons(decision: &Value) -> Vec<String> {
    let reasons = decision["reasons"].as_array().unwrap_or_else(|| panic!("no reasons in {decision}"));
    reasons.iter().map(|reason| reason["code"].as_str().expect("a code").to_owned()).collect()
}

/// The directory of the built programs: that of this test program's own build.
pub fn build() -> PathBuf {
    let this = env::current_exe().expect("this program");
    let build = this.parent().and_then(Path::parent).expect("deps is in the build directory");
    for file in
        ["libspytoken.so", "libtrustshim.so", "policy-server", "probe", "trustshim", "trustshim-guard"]
    {
        assert!(build.join(file).exists(), "{} is missing: run scripts/build", build.join(file).display());
    }
    build.to_owned()
}

/// `scripts/sandbox`, told to use this build.
pub fn sandbox_script() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/sandbox"));
    command.env("TRUSTSHIM_BUILD", build());
    command
}

/// `export NAME='VALUE'`.
fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
    Some((name.to_owned(), value.strip_prefix('\'')?.strip_suffix('\'')?.to_owned()))
}
