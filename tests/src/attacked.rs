//! An installation with the guard that is attacked: an approved program of a user of its own, told line by line what to do, and
//! what other unprivileged users do to it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Finished, run};
use crate::compiled::compile;
use crate::processes::in_role;
use crate::root::as_root;
use crate::stack::{build, reasons, sandbox_script};

/// The user of the approved program: of nobody on this host.
pub const SERVICE: u32 = 3_999_011;
/// Another user.
pub const STRANGER: u32 = 3_999_012;
/// Longer than any answer takes on a busy machine.
const BOUND: Duration = Duration::from_secs(60);
/// After it a failed attestation is tried again.
pub const FAILED: Duration = Duration::from_millis(1100);

/// An installation with the guard running. No component is approved.
pub struct Guarded {
    scratch: TempDir,
    variables: BTreeMap<String, String>,
    clients: String,
}

impl Guarded {
    /// Makes one.
    pub fn up() -> Self {
        // Not on a file system whose files the guard does not believe.
        let scratch =
            tempfile::Builder::new().prefix("trustshim-e2e-").tempdir_in("/var/tmp").expect("a directory");
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("our own directory");
        let mut guarded = Self { scratch, variables: BTreeMap::new(), clients: String::new() };
        guarded.sandbox(&["up"], &["--mode", "guarded"]);
        let env = run(as_root("cat").arg(guarded.directory().join("env"))).must_succeed().text();
        guarded.variables = env.lines().filter_map(variable).collect();
        let group = run(Command::new("getent").args(["group", "trustshim-clients"])).must_succeed().text();
        group.split(':').nth(2).expect("a number").clone_into(&mut guarded.clients);
        guarded
    }

    /// Stops guard and policy server, changes the guard's configuration, and starts both.
    pub fn restart_with(&self, change: impl FnOnce(&str) -> String) {
        self.sandbox(&["down"], &[]);
        let file = self.directory().join("guard.toml");
        let changed = change(&fs::read_to_string(&file).expect("guard.toml"));
        let changed = self.write("guard.toml", changed);
        run(as_root("cp").arg(changed).arg(file)).must_succeed();
        self.sandbox(&["up"], &[]);
    }

    fn sandbox(&self, command: &[&str], options: &[&str]) {
        let script = sandbox_script();
        let mut command_line = as_root("env");
        command_line.arg(format!("TRUSTSHIM_BUILD={}", build().display())).arg(script.get_program());
        run(command_line.args(command).arg(self.directory()).args(options)).must_succeed();
    }

    /// `DIR` of `scripts/sandbox`.
    pub fn directory(&self) -> PathBuf {
        self.scratch.path().join("sandbox")
    }

    /// A file for the test's own use, which its processes can read and not change.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Writes one.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, content).expect("a file of the test");
        path
    }

    /// A directory that everybody may write to.
    pub fn meeting_place(&self) -> PathBuf {
        let path = self.file("everybodys");
        fs::create_dir_all(&path).expect("a directory of the test");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777)).expect("our own directory");
        path
    }

    /// Compiles `tests/programs/attacks/NAME.c`.
    pub fn compiled(&self, name: &str, output: &str) -> PathBuf {
        compile(&format!("attacks/{name}.c"), &self.file(output), &[])
    }

    /// A variable of `DIR/env`.
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).unwrap_or_else(|| panic!("{name} is not in DIR/env"))
    }

    /// The guard's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory().join("guard.sock")
    }

    /// A command of a user, in the group of those who may connect to the guard, and in an application's environment.
    pub fn of_user(&self, user: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = as_root("setpriv");
        command.args([
            format!("--reuid={user}"),
            format!("--regid={user}"),
            format!("--groups={}", self.clients),
        ]);
        command.args(["env", "--ignore-environment", "PATH=/usr/bin:/bin"]);
        command.arg(format!("TRUSTSHIM_CONFIG={}", self.variable("TRUSTSHIM_CONFIG"))).arg(program);
        command
    }

    /// The same of the user of the approved program.
    pub fn of_service(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.of_user(SERVICE, program)
    }

    /// A `trustshim` command of the operator.
    pub fn operator(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(build().join("trustshim"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.scratch.path());
        for name in ["TRUSTSHIM_SERVER", "TRUSTSHIM_CA", "TRUSTSHIM_ADMIN_TOKEN"] {
            command.env(name, self.variable(name));
        }
        command.args(arguments);
        command
    }

    /// What `trustshim` says with `--json`.
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

    /// Approves the newest refusal, and lets the component sign with `demo-ec`.
    #[track_caller]
    pub fn approve_last(&self, component: &str, options: &[&str]) {
        let mut command =
            self.operator(&["approve", "--last", "--component", component, "--version", "1", "--yes"]);
        command.args(["--grant", "pkcs11:token=sandbox;object=demo-ec;type=private", "--operations", "sign"]);
        run(command.args(options)).must_succeed();
    }

    /// Approves the newest refusal as a further version of a component that has its grants.
    #[track_caller]
    pub fn approve_version(&self, component: &str, version: &str) {
        let command = ["approve", "--last", "--component", component, "--version", version, "--yes"];
        run(&mut self.operator(&command)).must_succeed();
    }

    /// The guard's own process.
    pub fn guard_pid(&self) -> u32 {
        let text = fs::read_to_string(self.directory().join("guard.pid")).expect("guard.pid");
        text.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a number")
    }

    /// How many workers the guard has; without clients, one in reserve.
    pub fn workers(&self) -> usize {
        in_role(self.guard_pid(), "worker").len()
    }

    /// Sends a process a signal, as root.
    pub fn signal(&self, pid: u32, signal: &str) {
        run(as_root("kill").arg(format!("-{signal}")).arg(pid.to_string())).must_succeed();
    }

    /// What the guard has said.
    pub fn said(&self) -> String {
        fs::read_to_string(self.directory().join("guard.out")).expect("guard.out")
    }

    /// Waits until the guard has said this.
    #[track_caller]
    pub fn must_say(&self, what: &str) {
        let end = Instant::now() + Duration::from_secs(15);
        while !self.said().contains(what) {
            assert!(Instant::now() < end, "the guard has not said {what:?}:\n{}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A call of this process was refused, for this reason.
    #[track_caller]
    pub fn must_have_refused(&self, pid: u32, reason: &str) {
        let reasons: Vec<_> = self.log().into_iter().filter(|line| line["pid"] == pid).collect();
        assert!(reasons.iter().any(|line| line["reason"] == reason), "{reason} is not in {reasons:#?}");
    }

    /// The lines of the guard's log of refusals.
    pub fn log(&self) -> Vec<Value> {
        let text = run(as_root("cat").arg(self.directory().join("trustshim.log"))).must_succeed().text();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.directory().exists() {
            let mut down = as_root(sandbox_script().get_program());
            let finished = run(down.arg("down").arg(self.directory()));
            // What is in it is root's and the tokens' users'.
            let removed = run(as_root("rm").arg("-r").arg(self.directory()));
            if !thread::panicking() {
                finished.must_succeed();
                removed.must_succeed();
            }
        }
    }
}

/// A process that is told what to do line by line, and says in one line what came of it. Ended when dropped.
pub struct Told {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Told {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, input, lines }
    }

    /// The number of the approved program: its own, not that of whatever has started it.
    #[track_caller]
    pub fn own_pid(&mut self) -> u32 {
        self.ask("pid").parse().expect("a number")
    }

    /// Tells it something, without waiting for what it says.
    #[track_caller]
    pub fn tell(&mut self, what: &str) {
        let input = self.input.as_mut().expect("not ended");
        writeln!(input, "{what}").expect("it listens");
    }

    /// What it says next.
    #[track_caller]
    pub fn hear(&self) -> String {
        self.lines.recv_timeout(BOUND).unwrap_or_else(|error| panic!("it says nothing: {error}"))
    }

    /// Tells it something and gives its answer.
    #[track_caller]
    pub fn ask(&mut self, what: &str) -> String {
        self.tell(what);
        self.hear()
    }

    /// Tells it that there is nothing more to do, and waits for its end.
    pub fn end(mut self) {
        self.input = None;
        let end = Instant::now() + BOUND;
        while self.child.try_wait().expect("our own child").is_none() {
            assert!(Instant::now() < end, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An installation with an approved program of user `SERVICE`: `service MODULE`, of `tests/programs/attacks`.
pub struct Approved {
    /// The installation.
    pub guarded: Guarded,
    /// The program.
    pub service: PathBuf,
    /// What others use.
    pub attacker: PathBuf,
}

impl Approved {
    /// Makes one.
    pub fn up() -> Self {
        Self::up_with(&[])
    }

    /// Makes one whose program was approved with these options.
    pub fn up_with(options: &[&str]) -> Self {
        // What is sent over the socket by hand is the same as what a shim sends.
        let guarded = Guarded::up();
        guarded.restart_with(by_socket);
        Self::on(guarded, options)
    }

    /// Compiles the programs for an installation, and approves of the one with these options.
    pub fn on(guarded: Guarded, options: &[&str]) -> Self {
        let (service, attacker) =
            (guarded.compiled("service", "service"), guarded.compiled("attacker", "attacker"));
        let approved = Self { guarded, service, attacker };
        let mut first = approved.start();
        assert_eq!(first.ask("open"), "open 0x200", "nothing is approved by default");
        drop(first);
        approved.guarded.approve_last("service", options);
        thread::sleep(FAILED);
        approved.must_be_permitted();
        approved
    }

    /// The approved program as its user starts it.
    pub fn command(&self) -> Command {
        self.command_of(SERVICE)
    }

    /// The same of another user.
    pub fn command_of(&self, user: u32) -> Command {
        let mut command = self.guarded.of_user(user, &self.service);
        command.arg(self.module());
        command
    }

    /// The shim.
    pub fn module(&self) -> &Path {
        Path::new(self.guarded.variable("TRUSTSHIM_MODULE"))
    }

    /// Starts the approved program.
    pub fn start(&self) -> Told {
        Told::start(&mut self.command())
    }

    /// Starts it, with a session and a signature made.
    #[track_caller]
    pub fn signing(&self) -> Told {
        let mut service = self.start();
        assert_eq!(service.ask("open"), "open 0x0");
        assert_eq!(service.ask("sign"), "sign 0x0");
        service
    }

    /// The control of every attack: the approved program alone signs.
    #[track_caller]
    pub fn must_be_permitted(&self) {
        let service = self.signing();
        service.end();
    }

    /// Runs the attacker.
    pub fn attack(&self, user: u32, arguments: &[&str]) -> Finished {
        run(self.guarded.of_user(user, &self.attacker).args(arguments))
    }
}

/// The guard's configuration without memory for frames.
pub fn by_socket(text: &str) -> String {
    text.replace("[guard]\n", "[guard]\ntransport = \"socket\"\n")
}

/// `export NAME='VALUE'`.
fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
    Some((name.to_owned(), value.strip_prefix('\'')?.strip_suffix('\'')?.to_owned()))
}
