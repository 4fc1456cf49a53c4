//! The sandbox that is measured in: environments of the workers, and what an operator does in it.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::BenchError;
use crate::row::{Operation, Token};
use crate::series::{Access, Outcome, Worker};

/// Where Debian's p11-kit-modules has it.
const PROXY: &str = "/usr/lib/x86_64-linux-gnu/p11-kit-proxy.so";

/// A failed attestation stands for a second; an approval takes effect after that.
pub const APPROVAL_TAKES_EFFECT: Duration = Duration::from_secs(15);

/// The keys that a component of the benchmark may use, for everything that is measured.
const KEYS: [&str; 2] = ["pkcs11:token=sandbox;type=private", "pkcs11:token=sandbox;type=secret-key"];
const OPERATIONS: &str = "sign,decrypt,encrypt,verify";

/// A sandbox of `scripts/sandbox`, in `DIR/sandbox`, with room for files of the benchmark in `DIR`.
pub struct Installation {
    directory: PathBuf,
    softhsm_conf: String,
    configuration: String,
    shim: PathBuf,
    real_module: PathBuf,
}

fn variable(name: &'static str) -> Result<String, BenchError> {
    env::var(name).map_err(|_| BenchError::Environment(name))
}

/// Whether this process is root's.
pub fn is_root() -> Result<bool, BenchError> {
    Ok(fs::metadata("/proc/self").map_err(BenchError::io("/proc/self"))?.uid() == 0)
}

/// Runs a program to its end; its standard output.
pub fn run(command: &mut Command) -> Result<String, BenchError> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(BenchError::io(&shown))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let output = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    Err(BenchError::Command { command: shown, output: output.trim().to_owned() })
}

/// Has `operator` approve the newest refusal as version 1 of `component`, for every key and use that is measured.
pub fn approve_last(
    operator: impl Fn(&[&str]) -> Result<String, BenchError>,
    component: &str,
) -> Result<(), BenchError> {
    let approve = ["approve", "--last", "--version", "1", "--many", "--yes", "--component", component];
    let [first, others @ ..] = KEYS;
    operator(&[&approve[..], &["--grant", first, "--operations", OPERATIONS]].concat())?;
    for key in others {
        let add = ["grant", "add", "--component", component, "--many"];
        operator(&[&add[..], &["--key", key, "--operations", OPERATIONS]].concat())?;
    }
    Ok(())
}

impl Installation {
    /// The sandbox whose `env` was sourced. Writes what the workers need in addition.
    pub fn open(directory: &Path) -> Result<Self, BenchError> {
        let installation = Self {
            directory: directory.to_owned(),
            softhsm_conf: variable("SOFTHSM2_CONF")?,
            configuration: variable("TRUSTSHIM_CONFIG")?,
            shim: variable("TRUSTSHIM_MODULE")?.into(),
            real_module: variable("REAL_MODULE")?.into(),
        };
        let text = fs::read_to_string(&installation.configuration)
            .map_err(BenchError::io(&installation.configuration))?;
        let real = installation.real_module.display().to_string();
        let null = installation.null_module().display().to_string();
        installation.write("null.toml", text.replace(&real, &null))?;
        for token in [Token::SoftHsm, Token::Null] {
            let pkcs11 = format!("{}/pkcs11", installation.proxy_home(token).display());
            let module = format!("module: {}\n", installation.behind(token).display());
            installation.write(&format!("{pkcs11}/pkcs11.conf"), "user-config: only\n")?;
            installation.write(&format!("{pkcs11}/modules/measured.module"), &module)?;
        }
        Ok(installation)
    }

    /// A file of the benchmark's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes one.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, BenchError> {
        let path = self.file(name);
        let what = path.display().to_string();
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(BenchError::io(&what))?;
        }
        fs::write(&path, content).map_err(BenchError::io(what))?;
        Ok(path)
    }

    fn sandbox(&self) -> PathBuf {
        self.file("sandbox")
    }

    fn build(&self) -> &Path {
        self.shim.parent().unwrap_or(Path::new("."))
    }

    fn null_module(&self) -> PathBuf {
        self.build().join("libnulltoken.so")
    }

    /// Configuration of p11-kit that knows one module only.
    fn proxy_home(&self, token: Token) -> PathBuf {
        self.file(match token {
            Token::SoftHsm => "proxy-softhsm",
            Token::Null => "proxy-null",
        })
    }

    /// The module that every way leads to.
    fn behind(&self, token: Token) -> PathBuf {
        match token {
            Token::SoftHsm => self.real_module.clone(),
            Token::Null => self.null_module(),
        }
    }

    /// The shim.
    pub fn shim(&self) -> &Path {
        &self.shim
    }

    /// The vendor's module.
    pub fn real_module(&self) -> &Path {
        &self.real_module
    }

    /// The PIN of the attestation key's token.
    pub fn attestation_pin(&self) -> PathBuf {
        self.sandbox().join("attestation.pin")
    }

    /// Gives a command the environment of an application: no operator's credential in it.
    pub fn as_application<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &self.directory)
            .env("SOFTHSM2_CONF", &self.softhsm_conf)
            .env("TRUSTSHIM_CONFIG", &self.configuration)
    }

    /// The command of a worker.
    pub fn worker(&self, access: Access, token: Token) -> Result<Command, BenchError> {
        let program = env::current_exe().map_err(BenchError::io("this program"))?;
        let mut command = match access {
            Access::Proxy if is_root()? => {
                // As root p11-kit reads no user's configuration. In a user namespace of its own the worker is not root
                // to p11-kit, and still the owner of the files.
                let mut command = Command::new("unshare");
                command.args(["--user", "--map-user=1000", "--"]).arg(&program);
                command
            }
            Access::Direct | Access::Shim | Access::Proxy => Command::new(&program),
        };
        let module = match access {
            Access::Direct => self.behind(token),
            Access::Shim => self.shim.clone(),
            Access::Proxy => PROXY.into(),
        };
        self.as_application(&mut command);
        command.arg("worker").arg(module).arg("--behind").arg(self.behind(token));
        command.env("XDG_CONFIG_HOME", self.proxy_home(token));
        if token == Token::Null {
            command
                .env("TRUSTSHIM_CONFIG", self.file("null.toml"))
                .env("NULL_TOKEN_REAL", &self.real_module)
                .env("NULL_TOKEN_LABEL", "sandbox");
        }
        Ok(command)
    }

    /// Runs `trustshim` as the operator.
    pub fn operator(&self, arguments: &[&str]) -> Result<String, BenchError> {
        run(Command::new(self.build().join("trustshim")).args(arguments))
    }

    /// Approves the newest refusal as version 1 of `component`, for every key and use that is measured.
    pub fn approve_last(&self, component: &str) -> Result<(), BenchError> {
        approve_last(|arguments| self.operator(arguments), component)
    }

    /// Has a worker on the shim refused, approves what was measured, and waits until it is allowed.
    pub fn admit(&self, worker: &mut Worker, component: &str) -> Result<(), BenchError> {
        let complaint = |message: String| BenchError::Worker { series: component.to_owned(), message };
        if let Outcome::Measured(()) = worker.attempt(Operation::Hmac)? {
            return Err(complaint("signed before anybody had approved it".to_owned()));
        }
        self.approve_last(component)?;
        let end = Instant::now() + APPROVAL_TAKES_EFFECT;
        loop {
            match worker.attempt(Operation::Hmac)? {
                Outcome::Measured(()) => return Ok(()),
                Outcome::Refused(rv) if Instant::now() > end => {
                    let explained = self.operator(&["explain", "--last"]).unwrap_or_default();
                    return Err(complaint(format!("is refused with {rv:#x} though approved: {explained}")));
                }
                Outcome::Refused(_) => thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// How many attestations of the benchmark the server has on record as allowed (at most 1000).
    pub fn attestations(&self) -> Result<usize, BenchError> {
        let text = self.operator(&["decisions", "--allowed", "--limit", "1000", "--json"])?;
        let decisions: Vec<Value> =
            serde_json::from_str(&text).map_err(BenchError::json("trustshim decisions"))?;
        Ok(decisions.len())
    }

    /// Stops the policy server and starts it again with another lifetime of trust tokens.
    pub fn restart_server(&self, token_lifetime_s: u64) -> Result<(), BenchError> {
        self.sandbox_script("down")?;
        let path = self.sandbox().join("policy-server/policy-server.toml");
        let what = path.display().to_string();
        let text = fs::read_to_string(&path).map_err(BenchError::io(&what))?;
        let kept = text.lines().filter(|line| !line.starts_with("token_lifetime_s"));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        fs::write(&path, format!("token_lifetime_s = {token_lifetime_s}\n{kept}"))
            .map_err(BenchError::io(what))?;
        self.sandbox_script("up")
    }

    fn sandbox_script(&self, command: &str) -> Result<(), BenchError> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/sandbox");
        let mut sandbox = Command::new(script);
        sandbox.arg(command).arg(self.sandbox()).env("TRUSTSHIM_BUILD", self.build());
        // What it starts keeps standard error open, and would keep a pipe open too.
        let status = sandbox
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .map_err(BenchError::io("scripts/sandbox"))?;
        if status.success() {
            return Ok(());
        }
        let command = format!("scripts/sandbox {command}");
        Err(BenchError::Command { command, output: status.to_string() })
    }
}
