//! A guarded sandbox, and in front of the same token a second guard, which has no shared memory, and a `p11-kit server`.
//! Applications are an unprivileged user's, of a program that root alone can change.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Way;
use crate::error::BenchError;
use crate::installation::{APPROVAL_TAKES_EFFECT, approve_last, run};
use crate::series::Worker;

/// Where Debian's p11-kit-modules has it.
const REMOTING: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so";

const APPLICATION_USER: &str = "nobody";
const APPLICATION_GROUP: &str = "nogroup";
const TOKEN_USER: &str = "trustshim-token";
const CLIENTS: &str = "trustshim-clients";

/// What a worker says that has read a token while it was written.
const TORN: [&str; 2] = ["there is no token", "C_Login answers 0x102"];
const MOST_TORN: usize = 5;

/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// A sandbox of `scripts/sandbox --mode guarded`, in `DIR/sandbox`, with files of the benchmark in `DIR`.
pub struct Site {
    directory: PathBuf,
    environment: BTreeMap<String, String>,
    /// The number of the group of those who may use the guard.
    clients: String,
    program: PathBuf,
    servers: Vec<Server>,
}

/// A process that the benchmark has started; ended when dropped.
pub struct Server(Child);

impl Server {
    fn start(mut command: Command, output: &Path) -> Result<Self, BenchError> {
        let file = File::create(output).map_err(BenchError::io(output.display().to_string()))?;
        let errors = file.try_clone().map_err(BenchError::io(output.display().to_string()))?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        child.map(Self).map_err(BenchError::io(format!("{command:?}")))
    }

    /// Waits until `is_ready`.
    fn wait(&mut self, output: &Path, is_ready: impl Fn() -> bool) -> Result<(), BenchError> {
        let end = Instant::now() + READY;
        while !is_ready() {
            let ended = self.0.try_wait().map_err(BenchError::io("a server of the benchmark"))?;
            if ended.is_some() || Instant::now() > end {
                let output = fs::read_to_string(output).unwrap_or_default();
                return Err(BenchError::Command { command: "a server of the benchmark".to_owned(), output });
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `DIR/env` of a sandbox exports, but for the path of programs.
fn exported(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
        Some((name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

fn read(path: &Path) -> Result<String, BenchError> {
    fs::read_to_string(path).map_err(BenchError::io(path.display().to_string()))
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    fs::write(path, text).map_err(BenchError::io(path.display().to_string()))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), BenchError> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(BenchError::io(path.display().to_string()))
}

fn make_directory(path: &Path) -> Result<(), BenchError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(BenchError::Io { what: path.display().to_string(), source: error })
        }
        _ => set_mode(path, 0o755),
    }
}

impl Site {
    /// The sandbox in `directory/sandbox`. Puts the program there that is measured, and starts what stands in front of the
    /// token besides the sandbox's guard.
    pub fn open(directory: &Path) -> Result<Self, BenchError> {
        let groups = run(Command::new("getent").args(["group", CLIENTS]))?;
        let clients = groups.split(':').nth(2).unwrap_or_default().to_owned();
        let mut site = Self {
            directory: directory.to_owned(),
            environment: exported(&read(&directory.join("sandbox/env"))?),
            clients,
            program: directory.join("bin/bench"),
            servers: Vec::new(),
        };
        make_directory(&directory.join("bin"))?;
        let this = env::current_exe().map_err(BenchError::io("this program"))?;
        fs::copy(&this, &site.program).map_err(BenchError::io(site.program.display().to_string()))?;
        set_mode(&site.program, 0o755)?;
        let second = site.start_second_guard()?;
        let remoting = site.start_remoting()?;
        site.servers.extend([second, remoting]);
        Ok(site)
    }

    fn variable(&self, name: &'static str) -> Result<&str, BenchError> {
        self.environment.get(name).map(String::as_str).ok_or(BenchError::Environment(name))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// In the sandbox.
    fn in_sandbox(&self, name: &str) -> PathBuf {
        self.directory.join("sandbox").join(name)
    }

    /// Files of a second guard for the same token, and the guard itself.
    fn start_second_guard(&self) -> Result<Server, BenchError> {
        let line = |name: &str| format!("socket = \"{}\"", self.in_sandbox(name).display());
        let other = line("guard-socket.sock");
        let guard = read(&self.in_sandbox("guard.toml"))?;
        let by_socket = format!("{other}\ntransport = \"socket\"");
        write(&self.second_guard(), &guard.replace(&line("guard.sock"), &by_socket))?;
        let application = read(&self.in_sandbox("trustshim.toml"))?;
        write(&self.second_application(), &application.replace(&line("guard.sock"), &other))?;
        for file in [self.second_guard(), self.second_application()] {
            set_mode(&file, 0o644)?;
        }
        self.start_guard(&self.second_guard())
    }

    fn second_guard(&self) -> PathBuf {
        self.in_sandbox("guard-socket.toml")
    }

    fn second_application(&self) -> PathBuf {
        self.in_sandbox("trustshim-socket.toml")
    }

    /// The configuration of the sandbox's guard.
    pub fn first_guard(&self) -> PathBuf {
        self.in_sandbox("guard.toml")
    }

    /// Starts a guard, and waits until it is ready.
    pub fn start_guard(&self, configuration: &Path) -> Result<Server, BenchError> {
        let output = configuration.with_extension("out");
        let program = env::current_exe().map_err(BenchError::io("this program"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).arg(program.with_file_name("trustshim-guard"));
        command.arg("run").arg("--config").arg(configuration).env_clear().env("PATH", "/usr/bin:/bin");
        let mut server = Server::start(command, &output)?;
        server.wait(&output, || read(&output).is_ok_and(|text| text.contains(" ready ")))?;
        Ok(server)
    }

    fn start_remoting(&self) -> Result<Server, BenchError> {
        // The server gives its socket to nobody else, and whoever runs as another user cannot.
        let place = self.file("remoting");
        make_directory(&place)?;
        run(Command::new("chown").arg(TOKEN_USER).arg(&place))?;
        let (output, socket) = (self.file("remoting.out"), self.remoting_socket());
        let mut command = self.as_token_user("p11-kit".as_ref())?;
        command.args(["server", "--foreground", "--provider", self.variable("REAL_MODULE")?, "--name"]);
        command.arg(&socket).arg("pkcs11:token=sandbox");
        let mut server = Server::start(command, &output)?;
        server.wait(&output, || {
            socket.exists() && read(&output).is_ok_and(|text| text.contains("P11_KIT_SERVER_PID"))
        })?;
        set_mode(&socket, 0o666)?;
        Ok(server)
    }

    fn remoting_socket(&self) -> PathBuf {
        self.file("remoting/socket")
    }

    fn as_token_user(&self, program: &Path) -> Result<Command, BenchError> {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", TOKEN_USER, "--regid", TOKEN_USER, "--clear-groups", "--pdeathsig", "TERM"])
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("SOFTHSM2_CONF", self.variable("SOFTHSM2_CONF")?);
        Ok(command)
    }

    /// The program that is measured, as an application that reaches the token this way. `role` is what it does.
    pub fn application(&self, way: Way, role: &str) -> Result<Command, BenchError> {
        let mut command = if way == Way::Direct {
            self.as_token_user(&self.program)?
        } else {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", APPLICATION_USER, "--regid", APPLICATION_GROUP])
                .args(["--groups", &self.clients, "--inh-caps=-all"])
                .arg(&self.program)
                .env_clear()
                .env("PATH", "/usr/bin:/bin");
            command
        };
        command.arg(role).arg("--behind").arg(self.variable("REAL_MODULE")?);
        match way {
            Way::Direct => command.arg(self.variable("REAL_MODULE")?),
            Way::Memory => command
                .env("TRUSTSHIM_CONFIG", self.variable("TRUSTSHIM_CONFIG")?)
                .arg("--apart")
                .arg(self.variable("TRUSTSHIM_MODULE")?),
            Way::Socket => command
                .env("TRUSTSHIM_CONFIG", self.second_application())
                .arg("--apart")
                .arg(self.variable("TRUSTSHIM_MODULE")?),
            Way::Remoting => command
                .env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", self.remoting_socket().display()))
                .arg("--apart")
                .arg(REMOTING),
        };
        Ok(command)
    }

    /// Starts a worker that has logged in. Of SoftHSM, a process that initialises while another logs in may read no token, or
    /// one without a PIN: then another is started.
    pub fn worker(&self, way: Way) -> Result<Worker, BenchError> {
        let is_torn = |message: &str| TORN.iter().any(|sign| message.contains(sign));
        for _ in 0..MOST_TORN {
            match Worker::spawn(way.to_string(), self.application(way, "worker")?) {
                Err(BenchError::Worker { message, .. }) if is_torn(&message) => eprintln!("bench: {message}"),
                other => return other,
            }
        }
        Worker::spawn(way.to_string(), self.application(way, "worker")?)
    }

    /// Has an application refused, approves it as `component`, and waits until it is let in; what it gives then.
    pub fn admit<T>(
        &self,
        component: &str,
        mut start: impl FnMut() -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        let complaint = |message: String| BenchError::Worker { series: component.to_owned(), message };
        if start().is_ok() {
            return Err(complaint("was let in before anybody had approved it".to_owned()));
        }
        approve_last(|arguments| self.operator(arguments), component)?;
        let end = Instant::now() + APPROVAL_TAKES_EFFECT;
        loop {
            match start() {
                Ok(started) => return Ok(started),
                Err(error) if Instant::now() > end => {
                    let explained = self.operator(&["explain", "--last"]).unwrap_or_default();
                    return Err(complaint(format!("is not let in though approved: {error}: {explained}")));
                }
                Err(_) => thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn operator(&self, arguments: &[&str]) -> Result<String, BenchError> {
        let program = env::current_exe().map_err(BenchError::io("this program"))?;
        run(Command::new(program.with_file_name("trustshim")).args(arguments).envs(&self.environment))
    }

    /// The process of the sandbox's guard.
    pub fn guard_pid(&self) -> Result<u32, BenchError> {
        let text = read(&self.in_sandbox("guard.pid"))?;
        let pid = text.split(' ').next().and_then(|pid| pid.parse().ok());
        pid.ok_or_else(|| BenchError::Worker { series: "guard.pid".to_owned(), message: text })
    }

    /// Ends the sandbox's guard.
    pub fn stop_first_guard(&self) -> Result<(), BenchError> {
        let pid = self.guard_pid()?;
        run(Command::new("kill").args(["-TERM", &pid.to_string()]))?;
        let end = Instant::now() + READY;
        while Path::new(&format!("/proc/{pid}")).exists() && Instant::now() < end {
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// How long the newest of the files that an application maps has been as it is.
    pub fn settled(&self) -> Duration {
        let age = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok()?.elapsed().ok();
        let files = [Some(self.program.as_path()), self.variable("TRUSTSHIM_MODULE").ok().map(Path::new)];
        files.into_iter().flatten().filter_map(age).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_env_file_the_quoted_values_are_taken() {
        let text = "export A='/x y'\nexport PATH='/build':\"$PATH\"\nB='c'\n";
        assert_eq!(exported(text), BTreeMap::from([("A".to_owned(), "/x y".to_owned())]));
    }
}
