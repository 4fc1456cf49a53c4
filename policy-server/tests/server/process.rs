//! The real `policy-server` command in a process of its own, and a client that reaches it over TLS.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::installation::Answer;

pub fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_policy-server"))
}

pub struct Running {
    child: Mutex<Child>,
    address: String,
    directory: PathBuf,
}

impl Running {
    pub fn start(directory: &Path) -> Self {
        Self::spawn(command().arg("serve").arg(directory), directory)
    }

    /// Starts what serves an installation; its public files are read from `directory`.
    pub fn spawn(command: &mut Command, directory: &Path) -> Self {
        let mut child =
            command.arg("--print-address").env("RUST_LOG", "error").stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("https://127.0.0.1:"), "{address}");
        let (address, directory) = (address.trim_end().to_owned(), directory.to_owned());
        Self { child: Mutex::new(child), address, directory }
    }

    /// SIGKILL.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and the orderly end.
    pub fn terminate(&self) -> ExitStatus {
        let mut child = self.child.lock().unwrap();
        let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(killed.success());
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "SIGTERM was not obeyed");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn socket(&self) -> &str {
        self.address.trim_start_matches("https://")
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn client(&self) -> Client {
        let ca = CertificateDer::from_pem_file(self.directory.join("ca.pem")).unwrap();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[Certificate::from_der(&ca).to_owned()]))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(Duration::from_secs(15)))
            .http_status_as_error(false)
            .build();
        Client { agent: config.new_agent(), address: self.address.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        // Ended already in the good case.
        let _ = child.kill();
        let _ = child.wait();
    }
}

pub struct Client {
    agent: Agent,
    address: String,
}

impl Client {
    /// `None` for every answer but a success that arrived whole.
    pub fn get<T: DeserializeOwned>(&self, path: &str, credential: &str) -> Option<T> {
        self.exchange("GET", path, Some(credential), vec![])?.success()
    }

    /// `None` for every answer but a success that arrived whole.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        credential: Option<&str>,
        body: &impl Serialize,
    ) -> Option<T> {
        self.exchange("POST", path, credential, serde_json::to_vec(body).unwrap())?.success()
    }

    /// Whatever was answered, if it arrived whole.
    pub fn exchange(
        &self,
        method: &str,
        path: &str,
        credential: Option<&str>,
        body: Vec<u8>,
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.address));
        if let Some(credential) = credential {
            request = request.header("Authorization", format!("Bearer {credential}"));
        }
        let mut response = self.agent.run(request.body(body).unwrap()).ok()?;
        let content_type = response.headers().get("content-type");
        Some(Answer {
            status: response.status(),
            content_type: content_type.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default(),
            body: response.body_mut().read_to_vec().ok()?,
        })
    }
}

/// A new installation under `server`.
pub fn installed() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server");
    assert!(command().arg("init").arg(&path).env("RUST_LOG", "off").status().unwrap().success());
    directory
}

#[test]
fn init_makes_files_with_the_right_modes_and_refuses_to_overwrite() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server");
    let init = || command().arg("init").arg(&path).env("RUST_LOG", "off").output().unwrap();
    assert!(init().status.success());
    for (name, mode) in [
        ("policy-server.toml", 0o644),
        ("ca.pem", 0o644),
        ("ca.key", 0o600),
        ("tls.pem", 0o644),
        ("tls.key", 0o600),
        ("token-signing.pem", 0o600),
        ("anchors.jwks", 0o644),
        ("policy.db", 0o600),
        ("admin-token", 0o600),
    ] {
        let found = std::fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
    }
    let token = std::fs::read(path.join("admin-token")).unwrap();
    let again = init();
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"));
    assert_eq!(std::fs::read(path.join("admin-token")).unwrap(), token);
}

#[test]
fn serve_refuses_a_signing_key_that_others_may_read() {
    let directory = installed();
    let path = directory.path().join("server");
    let key = path.join("token-signing.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let output = command().arg("serve").arg(&path).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("token-signing.pem"));
    assert_eq!(output.stdout, b"");
}

#[test]
fn the_server_answers_over_tls_and_ends_at_sigterm() {
    let directory = installed();
    let path = directory.path().join("server");
    let running = Running::start(&path);
    let admin = std::fs::read_to_string(path.join("admin-token")).unwrap();
    let decisions: Option<Vec<serde_json::Value>> = running.client().get("/v1/decisions", &admin);
    assert_eq!(decisions, Some(vec![]));
    // Plain HTTP gets no answer.
    let plain = running.address.replace("https://", "http://");
    assert!(ureq::get(format!("{plain}/healthz")).call().is_err());
    assert!(running.terminate().success());
}

#[test]
fn a_log_that_nobody_reads_any_more_does_not_keep_the_server_from_ending() {
    let directory = installed();
    let path = directory.path().join("server");
    let mut serve = command();
    serve.arg("serve").arg(&path).arg("--print-address").env("RUST_LOG", "info");
    let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    drop(child.stderr.take());
    let running = Running { child: Mutex::new(child), address, directory: path };
    assert!(running.terminate().success());
}
