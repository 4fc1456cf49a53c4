//! The guard's side: a place for a client, its start, and its commands.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use attestation::component::{Component, MeasuredFile};
use attestation::digest::Digest;
use linux_ffi::NONCE;
use measurement::peer::{Confirmed, Connected, Measurement};
use measurement::{Hashing, MeasurementError, Request};

use crate::client;

pub const NOBODY: u32 = 65534;
/// Longer than anything takes; a client that does not answer is a failed test.
const PATIENCE: Duration = Duration::from_secs(30);

/// Both ways to tell who has connected: of kernels with `SO_PEERPIDFD`, and of older ones.
pub const WAYS: [Way; 2] = [Connected::of, Connected::by_number];
pub type Way = fn(std::os::fd::BorrowedFd<'_>) -> Result<Connected, MeasurementError>;

/// A directory that root alone can change, everybody can look into, and that holds the client's program.
pub struct Stage {
    _keep: tempfile::TempDir,
    pub directory: PathBuf,
    pub program: PathBuf,
    listener: UnixListener,
}

impl Stage {
    pub fn new() -> Self {
        let keep = tempfile::tempdir_in("/var/tmp").unwrap();
        let directory = keep.path().canonicalize().unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        let program = directory.join("client");
        copy_program(&std::env::current_exe().unwrap(), &program);
        let socket = directory.join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
        Self { _keep: keep, directory, program, listener }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A file of root's that everybody can read.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        path
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(client::ARGUMENTS).env_clear().env(client::SOCKET, self.path("socket"));
        command
    }

    /// A shell that runs `script` and then executes the client.
    pub fn after(&self, options: &[&str], script: &str) -> Command {
        let inner = self.command();
        let mut command = Command::new("unshare");
        let arguments = client::ARGUMENTS.join(" ");
        command
            .args(options)
            .args(["sh", "-ec"])
            .arg(format!("{script}\nexec {} {arguments}", self.program.display()));
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap());
        }
        command
    }

    /// A client of root's that has connected.
    pub fn start(&self) -> Client {
        self.run(self.command())
    }

    /// A client of another user's that has connected.
    pub fn start_as(&self, uid: u32) -> Client {
        let mut command = self.command();
        command.uid(uid).gid(uid);
        self.run(command)
    }

    pub fn run(&self, mut command: Command) -> Client {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        self.accept(child)
    }

    /// The next one that connects, which belongs to `child`.
    pub fn accept(&self, child: Child) -> Client {
        let (socket, _) = self.listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let answers = BufReader::new(socket.try_clone().unwrap());
        Client { child, socket, answers }
    }
}

/// By a process of its own: a child that another test starts meanwhile would keep the copy open for writing, and it could
/// not be executed.
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).args([from, to]).status().unwrap();
    assert!(status.success());
}

/// A client that has connected, killed at the end of the test.
pub struct Client {
    pub child: Child,
    pub socket: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Client {
    /// Tells the client to do something, and what it answers.
    pub fn tell(&mut self, command: &str) -> String {
        self.socket.write_all(format!("{command}\n").as_bytes()).unwrap();
        self.answer()
    }

    pub fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Has a nonce placed, and where whoever answers says that it is.
    pub fn challenge(&mut self) -> (u64, [u8; NONCE]) {
        let mut nonce = [0; NONCE];
        rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty()).unwrap();
        self.socket.write_all(b"challenge\n").unwrap();
        self.socket.write_all(&nonce).unwrap();
        (self.answer().parse().unwrap(), nonce)
    }

    pub fn connected(&self, way: Way) -> Result<Connected, MeasurementError> {
        way(self.socket.as_fd())
    }

    pub fn confirmed(&mut self, way: Way) -> Result<Confirmed, MeasurementError> {
        let pinned = self.connected(way)?.pin()?;
        let (address, nonce) = self.challenge();
        pinned.confirm(address, nonce)
    }

    pub fn confirm(&mut self) -> Confirmed {
        self.confirmed(Connected::of).unwrap()
    }

    pub fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn measure(confirmed: &Confirmed, configuration: &[PathBuf]) -> Result<Measurement, MeasurementError> {
    confirmed.measure(&Request { name: "client", configuration }, &Hashing::afresh())
}

pub fn component(confirmed: &Confirmed) -> Component {
    measure(confirmed, &[]).unwrap().component
}

pub fn mapped<'a>(component: &'a Component, path: &Path) -> Option<&'a MeasuredFile> {
    component.mappings.iter().find(|file| file.path == path.to_str().unwrap())
}

pub fn digest_of(path: &Path) -> Digest {
    Digest::of(&fs::read(path).unwrap())
}

/// That it is refused as not trusted, and which file is named.
pub fn assert_untrusted(result: Result<Measurement, MeasurementError>, file: &Path) {
    match result {
        Err(MeasurementError::Untrusted { path, .. }) => assert_eq!(path, file.to_str().unwrap()),
        other => panic!("{other:?}"),
    }
}
