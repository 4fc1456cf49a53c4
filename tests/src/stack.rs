//! A complete installation in a temporary directory, in either mode, made by `scripts/sandbox`; stopped and removed when
//! dropped.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use cryptoki_sys::{
    CKA_ID, CKA_LABEL, CKA_PRIVATE, CKA_SENSITIVE, CKA_SIGN, CKA_TOKEN, CKA_VALUE_LEN, CKA_VERIFY, CKM_ECDSA,
    CKM_GENERIC_SECRET_KEY_GEN, CKO_PRIVATE_KEY, CKR_FUNCTION_REJECTED,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Finished, run};
use crate::guarded::Guarded;
use crate::mode::Mode;
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

/// For so long a failed attestation is the answer to further calls of the process.
pub const FAILURE_STANDS: Duration = Duration::from_millis(1_200);

/// An installation.
pub struct Stack {
    scratch: TempDir,
    variables: BTreeMap<String, String>,
    token: Token,
    /// In guarded mode.
    guarded: Option<Guarded>,
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
        let mut stack = Self { scratch, variables: BTreeMap::new(), token, guarded: None };
        stack.make(mode);
        let env = fs::read_to_string(stack.directory().join("env")).expect("DIR/env");
        stack.variables = env.lines().filter_map(variable).collect();
        if mode == Mode::Guarded {
            stack.guarded = Some(Guarded::new());
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
        if self.guarded.is_some() { Mode::Guarded } else { Mode::Inline }
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
        if let Some(guarded) = &self.guarded {
            self.only("guard", "down");
            self.only("guard", "up");
            guarded.restart();
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
        if self.guarded.is_some() {
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

    /// A program or library of this build, where every user reaches it and none can change it.
    pub fn built(&self, name: &str) -> PathBuf {
        if self.guarded.is_none() {
            return build().join(name);
        }
        let copy = self.directory().join("lib").join(name);
        if !copy.exists() {
            fs::copy(build().join(name), &copy).expect("a program of this build");
        }
        copy
    }

    /// A command in the environment of an application: nothing of the test's own, and no operator's credential. In guarded
    /// mode its user is none of the installation's.
    pub fn application(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(program);
        command.env("TRUSTSHIM_CONFIG", self.variable("TRUSTSHIM_CONFIG"));
        match &self.guarded {
            None => drop(command.env(self.token.settings(), self.variable(self.token.settings()))),
            Some(guarded) => guarded.become_client(&mut command),
        }
        command
    }

    /// A command that reaches the real module's tokens by itself.
    pub fn owner(&self, program: impl AsRef<OsStr>) -> Command {
        let Some(guarded) = &self.guarded else { return self.application(program) };
        let mut command = self.command(program);
        guarded.become_owner(&mut command);
        command.env(self.token.settings(), self.variable(self.token.settings()));
        command
    }

    /// Has a directory and all in it belong to whoever owns the tokens.
    pub fn give_to_owner(&self, directory: &Path) {
        if let Some(guarded) = &self.guarded {
            guarded.give_to_owner(directory);
        }
    }

    /// The command of whoever may open this module: of the keys' owner for the vendor's, else of an application.
    pub fn user_of(&self, module: &Path, program: impl AsRef<OsStr>) -> Command {
        if module == self.real_module() { self.owner(program) } else { self.application(program) }
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.scratch.path());
        // Of scripts/asan.
        if let Some(options) = env::var_os("ASAN_OPTIONS") {
            command.env("ASAN_OPTIONS", options);
        }
        command
    }

    /// The same with the shim preloaded.
    pub fn preloaded(&self, program: impl AsRef<OsStr>) -> Command {
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
        let mut command = self.command(build().join("trustshim"));
        command.env("TRUSTSHIM_CONFIG", self.gates_configuration());
        command.env(self.token.settings(), self.variable(self.token.settings()));
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

    /// Has a probe refused, and approved then: by signing with `demo-ec` or, since a guard lets no unapproved program log in,
    /// by that. Gives a session on the token `sandbox` with the user logged in.
    #[track_caller]
    pub fn approve_probe(&self, probe: &mut Probe, approval: &Approval<'_>) -> u64 {
        probe.initialize();
        let slot = probe.slot("sandbox").expect("the token sandbox");
        let session = probe.open(slot);
        if self.mode() == Mode::Inline {
            probe.login(session);
            let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
            let init = json!({ "session": session, "mechanism": CKM_ECDSA, "key": key });
            assert_eq!(probe.call("C_SignInit", init).rv, CKR_FUNCTION_REJECTED);
        } else {
            assert_eq!(probe.try_login(session), CKR_FUNCTION_REJECTED);
        }
        self.approve_last(approval);
        sleep(FAILURE_STANDS);
        if self.mode() == Mode::Guarded {
            probe.login(session);
        }
        session
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

    /// Retires version 1 of a component.
    #[track_caller]
    pub fn retire(&self, component: &str) {
        run(&mut self.operator(&["component", "retire", component, "1"])).must_succeed();
    }

    /// Stops the policy server and starts it again with another setting in its configuration.
    pub fn restart_server(&self, setting: &str) {
        self.stop_server();
        let path = self.directory().join("policy-server/policy-server.toml");
        let key = setting.split(' ').next().expect("a setting");
        let text = fs::read_to_string(&path).expect("policy-server.toml");
        let kept: String =
            text.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        fs::write(&path, format!("{setting}\n{kept}")).expect("policy-server.toml");
        self.start_server();
    }

    /// The file that says what the gate does: the application's own or, in guarded mode, the guard's.
    pub fn gates_configuration(&self) -> PathBuf {
        match self.guarded {
            None => self.variable("TRUSTSHIM_CONFIG").into(),
            Some(_) => self.directory().join("guard.toml"),
        }
    }

    /// What an application's `TRUSTSHIM_CONFIG` has to be for the gate to have its configuration changed by `change`.
    pub fn configuration(&self, name: &str, change: impl FnOnce(String) -> String) -> PathBuf {
        self.gate(name, &[], change).remove("TRUSTSHIM_CONFIG").expect("a configuration")
    }

    /// A gate with its configuration changed by `change`, and these variables in the environment of the real module: the
    /// variables of an application that comes to it. In guarded mode it has a guard of its own.
    pub fn gate(
        &self,
        name: &str,
        of_module: &[(&str, PathBuf)],
        change: impl FnOnce(String) -> String,
    ) -> BTreeMap<String, PathBuf> {
        let text = fs::read_to_string(self.gates_configuration()).expect("a configuration");
        let changed = change(text.clone());
        assert_ne!(changed, text, "{name} does not differ");
        let Some(guarded) = &self.guarded else {
            let variables = of_module.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            let configuration = ("TRUSTSHIM_CONFIG".to_owned(), self.write(name, changed));
            return variables.chain([configuration]).collect();
        };
        let (guards, sockets) = (self.file(&format!("guard-of-{name}")), self.file(&format!("{name}.sock")));
        let socket = self.directory().join("guard.sock");
        let moved = changed.replace(text_of(&socket), text_of(&sockets));
        fs::write(&guards, with_variables(&moved, of_module)).expect("a file of the test");
        guarded.start(&build().join("trustshim-guard"), &guards, &sockets);
        let application = fs::read_to_string(self.variable("TRUSTSHIM_CONFIG")).expect("trustshim.toml");
        let application = self.write(name, application.replace(text_of(&socket), text_of(&sockets)));
        BTreeMap::from([("TRUSTSHIM_CONFIG".to_owned(), application)])
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
        self.guarded = None;
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

/// A guard's configuration with these variables for both its users of the real module.
fn with_variables(configuration: &str, variables: &[(&str, PathBuf)]) -> String {
    let more: String = variables.iter().map(|(name, value)| format!(", {name} = {value:?}")).collect();
    let lines = configuration.lines().map(|line| match line.strip_suffix(" }") {
        Some(start) if line.contains("_environment = {") => format!("{start}{more} }}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// `export NAME='VALUE'`.
fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
    Some((name.to_owned(), value.strip_prefix('\'')?.strip_suffix('\'')?.to_owned()))
}
