//! What a guarded installation has besides: a user who owns the tokens, one who owns nothing, and further guards.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::{panicking, sleep};
use std::time::{Duration, Instant};

use crate::client::run;

/// Of the applications: `nobody`, who has no right but to come to the guard.
const CLIENT: u32 = 65_534;
/// Longer than a guard takes to start or to end.
const BOUND: Duration = Duration::from_secs(60);

/// Users and further guards.
pub(super) struct Apart {
    clients: u32,
    owner: (u32, u32),
    guards: Mutex<Vec<Guard>>,
}

impl Apart {
    /// The users that `scripts/sandbox` has made.
    pub(super) fn new() -> Self {
        let [_, _, clients, _] = entry("group", "trustshim-clients");
        let [_, _, uid, gid] = entry("passwd", "trustshim-token");
        let number = |text: String| text.parse().expect("a number");
        Self { clients: number(clients), owner: (number(uid), number(gid)), guards: Mutex::default() }
    }

    /// User and group of the applications.
    pub(super) fn client(&self) -> String {
        format!("{CLIENT}:{}", self.clients)
    }

    /// Has the command run as an application's user. Its group is one that may come to the guard.
    pub(super) fn become_client(&self, command: &mut Command) {
        command.uid(CLIENT).gid(self.clients);
    }

    /// Has the command run as the user who owns the tokens.
    pub(super) fn become_owner(&self, command: &mut Command) {
        command.uid(self.owner.0).gid(self.owner.1);
    }

    /// Has a directory and all in it belong to the user who owns the tokens.
    pub(super) fn give_to_owner(&self, directory: &Path) {
        let owner = format!("{}:{}", self.owner.0, self.owner.1);
        run(Command::new("chown").args(["--recursive", &owner]).arg(directory)).must_succeed();
    }

    /// Starts a guard, and waits until it is ready.
    pub(super) fn start(&self, program: &Path, configuration: &Path, socket: &Path) {
        let guard = Guard::start(program, configuration, socket);
        self.guards.lock().expect("no test fails in here").push(guard);
    }

    /// Ends every guard that was started so, and starts it anew.
    pub(super) fn restart(&self) {
        let mut guards = self.guards.lock().expect("no test fails in here");
        for guard in std::mem::take(&mut *guards) {
            let files = guard.files.clone();
            drop(guard);
            let [program, configuration, socket] = &files;
            guards.push(Guard::start(program, configuration, socket));
        }
    }
}

/// The first four fields of an entry that the system knows.
fn entry(database: &str, name: &str) -> [String; 4] {
    let text = run(Command::new("getent").args([database, name])).must_succeed().text();
    let mut fields = text.trim().split(':').map(str::to_owned);
    std::array::from_fn(|_| fields.next().expect("a field"))
}

/// A guard that ends with the test, in the way that a service manager has it end.
struct Guard {
    process: Child,
    /// The program, its configuration, and its socket.
    files: [PathBuf; 3],
}

impl Guard {
    fn start(program: &Path, configuration: &Path, socket: &Path) -> Self {
        let output = configuration.with_extension("out");
        let file = File::create(&output).expect("a file of the test");
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").args(["run", "--config"]).arg(configuration);
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file of the test")).stderr(file);
        let process = command.spawn().expect("the guard");
        let mut guard = Self { process, files: [program, configuration, socket].map(Path::to_owned) };
        let end = Instant::now() + BOUND;
        // It listens before it has its own token.
        let said = || fs::read_to_string(&output).unwrap_or_default();
        while !said().contains(" ready ") {
            let ended = guard.process.try_wait().expect("our own child");
            assert!(ended.is_none(), "the guard has ended: {}", said());
            assert!(Instant::now() < end, "the guard is not ready: {}", said());
            sleep(Duration::from_millis(10));
        }
        guard
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        let end = Instant::now() + BOUND;
        while self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > end {
                let _ = self.process.kill();
                let _ = self.process.wait();
                assert!(panicking(), "a guard does not end");
            }
            sleep(Duration::from_millis(10));
        }
        let [_, _, socket] = &self.files;
        let _ = fs::remove_file(socket);
    }
}
