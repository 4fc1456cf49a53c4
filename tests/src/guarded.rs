//! An installation in guarded mode, which only root can make: its clients are an unprivileged user, in the group that the
//! guard serves. Its processes can be stopped and started one by one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Finished, run};
use crate::probe::Probe;
use crate::processes::{eventually, in_role, is_alive};
use crate::root::as_root;
use crate::stack::{Approval, build, reasons, sandbox_script};

/// Whom the clients run as.
pub const CLIENT: u32 = 65_534;
const GROUP: &str = "trustshim-clients";

/// The installation; stopped and removed when dropped.
pub struct Guarded {
    scratch: TempDir,
    variables: BTreeMap<String, String>,
    started: BTreeMap<&'static str, Child>,
}

impl Guarded {
    /// Makes an installation with guard and policy server running, and no component approved.
    pub fn up() -> Self {
        // Not below /tmp, which may be a file system of its own without rights to run programs from.
        let scratch = tempfile::Builder::new().prefix("trustshim-guarded-").tempdir_in("/var/tmp");
        let scratch = scratch.expect("a temporary directory");
        run(Command::new("chmod").arg("755").arg(scratch.path())).must_succeed();
        let mut guarded = Self { scratch, variables: BTreeMap::new(), started: BTreeMap::new() };
        guarded.sandbox("up").must_succeed();
        let env = run(as_root("cat").arg(guarded.directory().join("env"))).must_succeed().text();
        guarded.variables = env.lines().filter_map(variable).collect();
        let own = guarded.file("clients");
        run(as_root("install").args(["-d", "-m", "755", "-o", &CLIENT.to_string()]).arg(own)).must_succeed();
        guarded
    }

    /// The same with a change to the guard's configuration.
    pub fn up_with(change: impl FnOnce(String) -> String) -> Self {
        let mut guarded = Self::up();
        guarded.reconfigure(change);
        guarded
    }

    /// Stops the guard, and starts it with another configuration.
    pub fn reconfigure(&mut self, change: impl FnOnce(String) -> String) {
        self.stop("guard");
        let path = self.directory().join("guard.toml");
        let text = run(as_root("cat").arg(&path)).must_succeed().text();
        let changed = change(text.clone());
        assert_ne!(changed, text, "guard.toml does not differ");
        let new = self.file("new.toml");
        fs::write(&new, changed).expect("a file of the test");
        run(as_root("install").args(["-m", "644"]).args([&new, &path])).must_succeed();
        self.start("guard");
    }

    fn sandbox(&self, command: &str) -> Finished {
        let script = sandbox_script();
        let mut root = as_root("env");
        for (name, value) in script.get_envs() {
            let value = value.expect("a variable that is set");
            root.arg(format!("{}={}", name.display(), value.display()));
        }
        root.arg(script.get_program()).arg(command).arg(self.directory());
        run(root.args(["--mode", "guarded"]))
    }

    /// `DIR` of `scripts/sandbox`.
    pub fn directory(&self) -> PathBuf {
        self.scratch.path().join("sandbox")
    }

    /// A file outside `DIR` that nobody but root and the tests can write.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A file that the clients may write.
    pub fn clients_file(&self, name: &str) -> PathBuf {
        self.scratch.path().join("clients").join(name)
    }

    /// Copies a program to a place of its own, as root's. One that runs is not replaced.
    pub fn install(&self, program: &Path, name: &str) -> PathBuf {
        let installed = self.file(name);
        if installed.exists() {
            return installed;
        }
        run(as_root("install").args(["-m", "755"]).args([program, &installed])).must_succeed();
        installed
    }

    /// A variable of `DIR/env`.
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).unwrap_or_else(|| panic!("{name} is not in DIR/env"))
    }

    /// The shim.
    pub fn shim(&self) -> &Path {
        Path::new(self.variable("TRUSTSHIM_MODULE"))
    }

    /// A command in the environment of an application, run by an unprivileged user in the group that the guard serves.
    pub fn client(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.client_in(GROUP, program)
    }

    /// The same, in another group.
    pub fn client_in(&self, group: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.client_as(CLIENT, group, program)
    }

    /// The same, of another user.
    pub fn client_as(&self, uid: u32, group: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = as_root("env");
        command.args(["-i", "PATH=/usr/bin:/bin"]).arg(format!("HOME={}", self.clients_file("").display()));
        command.arg(format!("TRUSTSHIM_CONFIG={}", self.variable("TRUSTSHIM_CONFIG")));
        let user = uid.to_string();
        command.args(["setpriv", "--reuid", &user, "--regid", &user, "--groups", group, "--"]);
        command.arg(program).current_dir("/");
        command
    }

    /// A command on the real token, of root in the environment of the administrator.
    pub fn administrator(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = as_root("env");
        command.arg(format!("SOFTHSM2_CONF={}", self.variable("SOFTHSM2_CONF"))).arg(program);
        command
    }

    /// A command on the real token, of the user that it belongs to.
    pub fn token_user(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = as_root("env");
        command.arg(format!("SOFTHSM2_CONF={}", self.variable("SOFTHSM2_CONF")));
        command.args([
            "setpriv",
            "--reuid",
            "trustshim-token",
            "--regid",
            "trustshim-token",
            "--clear-groups",
        ]);
        command.arg("--").arg(program);
        command
    }

    /// The public half of a key of the sandbox, in a PEM file.
    pub fn public_key(&self, label: &str) -> PathBuf {
        let (der, pem) = (self.file(&format!("{label}.der")), self.file(&format!("{label}.pem")));
        let mut command = self.administrator("pkcs11-tool");
        command.args(["--module", self.variable("REAL_MODULE"), "--token-label", "sandbox", "--read-object"]);
        run(command.args(["--type", "pubkey", "--label", label, "--output-file"]).arg(&der)).must_succeed();
        let mut command = Command::new("openssl");
        command.args(["pkey", "-pubin", "-inform", "DER", "-in"]).arg(&der).arg("-out").arg(&pem);
        run(&mut command).must_succeed();
        pem
    }

    /// OpenSSL's configuration with the PKCS#11 engine on `module`.
    pub fn engine_configuration(&self, name: &str, module: &Path) -> PathBuf {
        let path = self.file(name);
        let text = format!(
            "openssl_conf = start\n[start]\nengines = engines\n[engines]\npkcs11 = pkcs11\n[pkcs11]\n\
             engine_id = pkcs11\nMODULE_PATH = {}\nPIN = 1234\ninit = 0\n[req]\ndistinguished_name = name\n\
             [name]\n",
            module.display()
        );
        fs::write(&path, text).expect("a file of the test");
        path
    }

    /// Deletes `demo-ed`: where it meets an Ed25519 key, the engine (libp11 0.4.12) gives up looking for any key.
    pub fn make_fit_for_the_engine(&self) {
        let mut delete = self.token_user("pkcs11-tool");
        delete.args(["--module", self.variable("REAL_MODULE"), "--token-label", "sandbox", "--login"]);
        delete.args(["--pin", "1234", "--delete-object", "--type", "privkey", "--label", "demo-ed"]);
        run(&mut delete).must_succeed();
    }

    /// A self-signed certificate for a key of the sandbox, made on the vendor's module.
    pub fn certificate(&self, label: &str) -> PathBuf {
        let certificate = self.file(&format!("{label}.crt"));
        let real = self.engine_configuration("real.cnf", Path::new(self.variable("REAL_MODULE")));
        let mut command = self.administrator("env");
        command.arg(format!("OPENSSL_CONF={}", real.display()));
        command.args(["openssl", "req", "-x509", "-engine", "pkcs11", "-keyform", "engine", "-key"]);
        command.arg(format!("pkcs11:token=sandbox;object={label};type=private"));
        command.args(["-sha256", "-days", "2", "-subj", &format!("/CN={label}"), "-out"]).arg(&certificate);
        run(&mut command).must_succeed();
        certificate
    }

    /// Has the spy stand in the place of the vendor's module, with these variables in its environment.
    pub fn spy(&mut self, variables: &[(&str, &str)]) {
        let spy = self.install(&build().join("libspytoken.so"), "libspytoken.so");
        let real = self.variable("REAL_MODULE").to_owned();
        self.reconfigure(|text| {
            let text = text.replace(&real, spy.to_str().expect("UTF-8"));
            let all = [("SPY_REAL", real.as_str()), ("SPY_LOG", "/dev/null")];
            let all = all.iter().chain(variables).map(|(name, value)| format!("{name} = \"{value}\", "));
            text.replace("environment = { ", &format!("environment = {{ {}", all.collect::<String>()))
        });
    }

    /// Compiles the application of `tests/application` to a program of its own, as root's.
    pub fn application(&self) -> PathBuf {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("application");
        let sources = fs::read_dir(sources).expect("sources").map(|entry| entry.expect("a file").path());
        let mut compiler = Command::new("gcc");
        compiler.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]);
        let program = self.file("application");
        compiler.arg(&program);
        compiler.args(sources.filter(|path| path.extension().is_some_and(|extension| extension == "c")));
        run(compiler.arg("-ldl")).must_succeed();
        program
    }

    /// The application, which is approved for every signature, whatever its scene.
    pub fn approved_application(&self) -> PathBuf {
        let program = self.application();
        let refused = run(&mut self.scene(&program, &["sign"])).must_fail();
        assert!(refused.all_text().contains("0x200"), "not refused by the gate: {refused}");
        let approval = Approval::of("application", "pkcs11:token=sandbox", "sign");
        self.approve_last(&approval.with(&["--many", "--any-arguments"]));
        program
    }

    /// Plays a scene of the application on the shim.
    pub fn scene(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = self.client(program);
        command.arg(self.shim()).args(arguments);
        command
    }

    /// A probe of a client's, on the shim. Others of the same `name` are the same program to the policy server.
    pub fn probe(&self, name: &str) -> Probe {
        let program = self.install(&build().join("probe"), name);
        let mut command = self.client(program);
        command.arg(self.shim());
        Probe::spawn(command)
    }

    /// A `trustshim` command in the environment of the operator.
    pub fn operator(&self, arguments: &[&str]) -> Command {
        let mut command = as_root("env");
        for name in ["TRUSTSHIM_SERVER", "TRUSTSHIM_CA", "TRUSTSHIM_ADMIN_TOKEN"] {
            command.arg(format!("{name}={}", self.variable(name)));
        }
        command.arg(build().join("trustshim")).args(arguments);
        command
    }

    /// Runs `trustshim`, which must succeed, and reads its `--json`.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let finished = run(self.operator(arguments).arg("--json")).must_succeed();
        serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"))
    }

    /// The codes of the reasons of the newest refusal on the server's record.
    #[track_caller]
    pub fn last_reasons(&self) -> Vec<String> {
        reasons(&self.json(&["explain", "--last"])["decision"])
    }

    /// How many trust tokens the policy server has issued to a component.
    #[track_caller]
    pub fn tokens_of(&self, component: &str) -> usize {
        let tokens = self.json(&["token", "list"]);
        let tokens = tokens.as_array().unwrap_or_else(|| panic!("no list: {tokens}"));
        tokens.iter().filter(|token| token["component"] == component).count()
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

    /// The lines of the guard's log, which has what it refuses.
    pub fn log(&self) -> Vec<Value> {
        self.lines("trustshim.log")
    }

    /// The lines of the applications' own log.
    pub fn application_log(&self) -> Vec<Value> {
        self.lines("application.log")
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = run(as_root("cat").arg(self.directory().join(name))).must_succeed().text();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// What the guard has said about itself.
    pub fn guards_output(&self) -> String {
        run(as_root("cat").arg(self.directory().join("guard.out"))).must_succeed().text()
    }

    /// A process of the installation, `guard` or `policy-server`.
    pub fn pid(&self, name: &'static str) -> u32 {
        if let Some(child) = self.started.get(name) {
            return child.id();
        }
        let text = fs::read_to_string(self.directory().join(format!("{name}.pid"))).expect("a pid file");
        text.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id")
    }

    /// The guard's own processes of one role.
    pub fn role(&self, role: &str) -> Vec<u32> {
        in_role(self.pid("guard"), role)
    }

    /// Ends a process of the installation, and waits for its end.
    pub fn stop(&mut self, name: &'static str) {
        self.signal(name, "-TERM");
    }

    /// Ends it at once.
    pub fn kill(&mut self, name: &'static str) {
        self.signal(name, "-KILL");
    }

    fn signal(&mut self, name: &'static str, signal: &str) {
        let pid = self.pid(name);
        run(as_root("kill").arg(signal).arg(pid.to_string())).must_succeed();
        match self.started.remove(name) {
            Some(mut child) => drop(child.wait().expect("our own child")),
            None => eventually(&format!("the end of the {name}"), || !is_alive(pid)),
        }
    }

    /// Starts it again, and waits until it answers.
    pub fn start(&mut self, name: &'static str) {
        let directory = self.directory();
        let mut command = as_root("prlimit");
        // As a process has it on most hosts that does not ask for more.
        command.arg("--nofile=1024:");
        command.arg(build().join(if name == "guard" { "trustshim-guard" } else { name }));
        match name {
            "guard" => command.arg("run").arg("--config").arg(directory.join("guard.toml")),
            _ => command.arg("serve").arg(directory.join(name)),
        };
        let output = fs::OpenOptions::new().append(true).create(true).open(self.file(&format!("{name}.out")));
        let output = output.expect("a file of the test");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn();
        self.started.insert(name, child.expect("a program of ours"));
        match name {
            "guard" => eventually("the guard", || run(&mut self.asks()).success),
            _ => eventually("the policy server", || run(&mut self.operator(&["hsm", "list"])).success),
        }
    }

    /// Somebody whom the guard answers, and who becomes nothing to it.
    fn asks(&self) -> Command {
        let mut command = self.client("pkcs11-tool");
        command.arg("--module").arg(self.shim()).arg("--list-token-slots");
        command
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        for (name, mut child) in std::mem::take(&mut self.started) {
            // By sudo it is not ours to kill.
            let _ = run(as_root("kill").arg(child.id().to_string()));
            let ended = child.wait();
            assert!(ended.is_ok() || thread::panicking(), "{name}");
        }
        if self.directory().join("tokens").exists() {
            let finished = self.sandbox("down");
            assert!(finished.success || thread::panicking(), "{finished}");
        }
        // Most of it is root's.
        let _ = run(as_root("rm").arg("-rf").arg(self.scratch.path()));
    }
}

/// `export NAME='VALUE'`.
fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
    Some((name.to_owned(), value.strip_prefix('\'')?.strip_suffix('\'')?.to_owned()))
}
