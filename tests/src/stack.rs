//! A complete installation in a temporary directory, made by `scripts/sandbox`; stopped and removed when dropped.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki_sys::{
    CKA_ID, CKA_LABEL, CKA_PRIVATE, CKA_SENSITIVE, CKA_SIGN, CKA_TOKEN, CKA_VALUE_LEN, CKA_VERIFY,
    CKM_GENERIC_SECRET_KEY_GEN,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Finished, run};
use crate::probe::{Probe, TRUE, hex, ulong};

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

/// An installation.
pub struct Stack {
    scratch: TempDir,
    variables: BTreeMap<String, String>,
    token: Token,
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
    pub fn up() -> Self {
        Self::on(Token::SoftHsm)
    }

    /// The same on any token.
    pub fn on(token: Token) -> Self {
        let scratch =
            tempfile::Builder::new().prefix("trustshim-e2e-").tempdir().expect("a temporary directory");
        let mut stack = Self { scratch, variables: BTreeMap::new(), token };
        stack.sandbox("up").must_succeed();
        let env = fs::read_to_string(stack.directory().join("env")).expect("DIR/env");
        stack.variables = env.lines().filter_map(variable).collect();
        if token == Token::Kryoptic {
            stack.make_demo_hmac();
        }
        stack
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
        let mut script = sandbox_script();
        script.arg(command).arg(self.directory());
        if self.token == Token::Kryoptic && command == "up" {
            script.args(["--token", "kryoptic"]);
        }
        run(&mut script)
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

    /// A command in the environment of an application: nothing of the test's own, and no operator's credential.
    pub fn application(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.scratch.path());
        for name in [self.token.settings(), "TRUSTSHIM_CONFIG"] {
            command.env(name, self.variable(name));
        }
        // Of scripts/asan.
        if let Some(options) = env::var_os("ASAN_OPTIONS") {
            command.env("ASAN_OPTIONS", options);
        }
        command
    }

    /// The same with the shim preloaded.
    pub fn preloaded(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.application(program);
        command.env("LD_PRELOAD", self.shim());
        command
    }

    /// A command in the environment of an application that root runs: by `sudo` where the tests are not root's.
    pub fn as_root(&self, program: &str) -> Command {
        let is_root = run(Command::new("id").arg("-u")).text().trim() == "0";
        let mut command = self.application(if is_root { program } else { "sudo" });
        if !is_root {
            command.args(["-n", "--preserve-env", program]);
        }
        command
    }

    /// A `trustshim` command in the environment of the operator.
    pub fn operator(&self, arguments: &[&str]) -> Command {
        let mut command = self.application(build().join("trustshim"));
        for name in ["TRUSTSHIM_SERVER", "TRUSTSHIM_CA", "TRUSTSHIM_ADMIN_TOKEN"] {
            command.env(name, self.variable(name));
        }
        command.args(arguments);
        command
    }

    /// Runs `trustshim`, which must succeed, and reads its `--json`.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let finished = run(self.operator(arguments).arg("--json")).must_succeed();
        serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"))
    }

    /// `trustshim explain --last`.
    #[track_caller]
    pub fn explain_last(&self) -> Value {
        self.json(&["explain", "--last"])
    }

    /// The codes of the reasons of the newest refusal on the server's record.
    #[track_caller]
    pub fn last_reasons(&self) -> Vec<String> {
        reasons(&self.explain_last()["decision"])
    }

    /// Approves the newest refusal.
    #[track_caller]
    pub fn approve_last(&self, approval: &Approval<'_>) {
        let mut command = self.operator(&["approve", "--last", "--component", approval.component]);
        command.args(["--version", approval.version, "--yes"]).args(approval.options);
        if let Some((key, operations)) = approval.grant {
            command.args(["--grant", key, "--operations", operations]);
        }
        run(&mut command).must_succeed();
    }

    /// Grants a component the use of every key that a URI matches.
    #[track_caller]
    pub fn grant(&self, component: &str, key: &str, operations: &str) {
        let arguments =
            ["grant", "add", "--component", component, "--key", key, "--operations", operations, "--many"];
        run(&mut self.operator(&arguments)).must_succeed();
    }

    /// Grants a component the use of one key within limits, such as `--total 3`.
    #[track_caller]
    pub fn grant_within(&self, component: &str, key: &str, operations: &str, limits: &[&str]) {
        let arguments = ["grant", "add", "--component", component, "--key", key, "--operations", operations];
        run(self.operator(&arguments).args(limits)).must_succeed();
    }

    /// Grants a component the use of keys of which the URI states the name in part, as no server does that knows what that
    /// means, but older ones did.
    #[track_caller]
    pub fn grant_in_part(&self, component: &str, key: &str, operations: &str) {
        self.grant(component, key, operations);
        let statement = format!(
            "UPDATE grants SET many = 0 WHERE component = '{component}' AND key_uri = '{key}'; \
             UPDATE meta SET value = value + 1 WHERE name = 'policy-revision';"
        );
        let database = self.directory().join("policy-server/policy.db");
        let mut sqlite = Command::new("sqlite3");
        // The server may be writing.
        sqlite.args(["-bail", "-cmd", ".timeout 10000"]).arg(database).arg(statement);
        run(&mut sqlite).must_succeed();
    }

    /// Retires version 1 of a component.
    #[track_caller]
    pub fn retire(&self, component: &str) {
        run(&mut self.operator(&["component", "retire", component, "1"])).must_succeed();
    }

    /// Stops the policy server and starts it again with another setting in its configuration.
    pub fn restart_server(&self, setting: &str) {
        self.sandbox("down").must_succeed();
        let path = self.directory().join("policy-server/policy-server.toml");
        let key = setting.split(' ').next().expect("a setting");
        let text = fs::read_to_string(&path).expect("policy-server.toml");
        let kept: String =
            text.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        fs::write(&path, format!("{setting}\n{kept}")).expect("policy-server.toml");
        self.sandbox("up").must_succeed();
    }

    /// A copy of the shim's configuration under another name, changed by `change`.
    pub fn configuration(&self, name: &str, change: impl FnOnce(String) -> String) -> PathBuf {
        let text = fs::read_to_string(self.variable("TRUSTSHIM_CONFIG")).expect("trustshim.toml");
        let changed = change(text.clone());
        assert_ne!(changed, text, "{name} does not differ");
        self.write(name, changed)
    }

    /// The shim's configuration with a policy server that is not there: the port on this host is free for whoever listens.
    pub fn silent_configuration(&self) -> (PathBuf, u16) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = self.variable("TRUSTSHIM_SERVER");
        let path = self
            .configuration("silent.toml", |text| text.replace(server, &format!("https://127.0.0.1:{port}")));
        (path, port)
    }

    /// The lines of the shim's log.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory().join("trustshim.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.directory().join("tokens").exists() {
            let finished = self.sandbox("down");
            if !finished.success && !std::thread::panicking() {
                panic!("{finished}");
            }
        }
    }
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
    for file in ["libspytoken.so", "libtrustshim.so", "policy-server", "probe", "trustshim"] {
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
