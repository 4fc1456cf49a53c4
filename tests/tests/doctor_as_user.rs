//! `trustshim doctor --as-user`: whatever leads around the guard is found by trying it as that user, each thing by itself.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use e2e::Finished;
use e2e::client::{copy_program, run};
use e2e::root::as_root;
use e2e::stack::build;
use serde_json::Value;
use tempfile::TempDir;

const NOBODY: u32 = 65_534;
/// Of nobody on this host.
const WORKER: u32 = 3_999_001;
const ATTESTER: u32 = 3_999_002;
const CLIENTS: u32 = 3_999_003;

/// A host as the guard's packaging leaves it, with something that listens and a process of the guard's name.
struct Host {
    scratch: TempDir,
    guard: Sleeper,
    _socket: UnixListener,
    _alone: MutexGuard<'static, ()>,
}

/// The doctor looks at every process of the guard's name.
static ONE_GUARD: Mutex<()> = Mutex::new(());

impl Host {
    fn new() -> Self {
        // Another test's failure is its own.
        let _alone = ONE_GUARD.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = tempfile::Builder::new().prefix("trustshim-doctor-").tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        fs::create_dir_all(path("token/inner")).unwrap();
        fs::create_dir(path("attestation")).unwrap();
        for file in
            ["token/inner/key", "attestation/key", "attestation.pin", "token.pin", "device", "vendor.so"]
        {
            fs::write(path(file), "content").unwrap();
        }
        for part in ["token", "attestation"] {
            let conf = format!("directories.tokendir = {}\n", path(part).display());
            fs::write(path(&format!("{part}.conf")), conf).unwrap();
        }
        let directory = scratch.path().display();
        let text = format!(
            r#"
            mode = "guarded"
            [real_module]
            path = "{directory}/vendor.so"
            [policy_server]
            url = "https://127.0.0.1:1"
            ca = "{directory}/vendor.so"
            anchors = "{directory}/vendor.so"
            [attestation]
            key = "pkcs11:token=trustshim;object=attestation"
            pin_file = "{directory}/attestation.pin"
            [guard]
            socket = "{directory}/guard.sock"
            login = "guard"
            pin_file = "{directory}/token.pin"
            worker_user = {WORKER}
            attester_user = {ATTESTER}
            worker_environment = {{ SOFTHSM2_CONF = "{directory}/token.conf" }}
            attester_environment = {{ SOFTHSM2_CONF = "{directory}/attestation.conf" }}
            "#
        );
        fs::write(path("guard.toml"), text).unwrap();
        let _socket = UnixListener::bind(path("guard.sock")).unwrap();
        let program = path("trustshim-guard");
        copy_program("/bin/sleep", &program);
        for (file, owner, group, mode) in [
            ("", 0, 0, 0o755),
            ("token", WORKER, WORKER, 0o700),
            ("token/inner", WORKER, WORKER, 0o700),
            ("token/inner/key", WORKER, WORKER, 0o600),
            ("token.pin", WORKER, WORKER, 0o400),
            ("attestation", ATTESTER, ATTESTER, 0o700),
            ("attestation/key", ATTESTER, ATTESTER, 0o600),
            ("attestation.pin", ATTESTER, ATTESTER, 0o400),
            ("token.conf", 0, 0, 0o644),
            ("attestation.conf", 0, 0, 0o644),
            ("guard.toml", 0, 0, 0o644),
            ("vendor.so", 0, 0, 0o644),
            ("device", WORKER, WORKER, 0o600),
            ("guard.sock", 0, CLIENTS, 0o660),
            ("trustshim-guard", 0, 0, 0o755),
        ] {
            fs::set_permissions(path(file), fs::Permissions::from_mode(mode)).unwrap();
            chown(path(file), Some(owner), Some(group)).unwrap();
        }
        let guard = Sleeper(Command::new(program).arg("600").spawn().unwrap());
        Self { scratch, guard, _socket, _alone }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn doctor(&self, user: &str, options: &[&str]) -> Finished {
        let mut command = as_root(build().join("trustshim"));
        command.args(["doctor", "--json", "--config"]).arg(self.path("guard.toml"));
        run(command.args(["--as-user", user]).args(options))
    }

    /// The names of the lines that failed.
    #[track_caller]
    fn failures(&self, options: &[&str]) -> Vec<String> {
        let finished = self.doctor("nobody", options);
        let lines: Vec<Value> =
            serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"));
        let failed: Vec<String> = lines
            .iter()
            .filter(|line| line["outcome"] == "fail")
            .map(|line| line["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(finished.code, Some(i32::from(!failed.is_empty())), "{finished}");
        failed
    }

    fn set(&self, file: &str, owner: u32, mode: u32) {
        chown(self.path(file), Some(owner), None).unwrap();
        fs::set_permissions(self.path(file), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// A process that does nothing, and ends with the test.
struct Sleeper(Child);

impl Sleeper {
    /// One that is nobody's.
    fn of_nobody(program: &Path) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).arg("600");
        let sleeper = Self(command.spawn().unwrap());
        let link = format!("/proc/{}/exe", sleeper.0.id());
        // Until setpriv has become the program.
        for _ in 0..1000 {
            if fs::read_link(&link).is_ok_and(|link| link.file_name() == program.file_name()) {
                return sleeper;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("setpriv did not start {}", program.display());
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn where_everything_is_refused_the_doctor_is_content() {
    let host = Host::new();
    let device = host.path("device");
    let pid = host.guard.0.id().to_string();
    let options = ["--path", device.to_str().unwrap(), "--process", &pid];
    assert_eq!(host.failures(&options), [] as [&str; 0]);
    let text = host.doctor("nobody", &options).text();
    assert!(text.contains("is not in the group"), "{text}");
    let group = CLIENTS.to_string();
    let text = host.doctor("nobody", &["--group", &group]).must_succeed().text();
    assert!(text.contains("can connect to"), "{text}");
}

#[test]
fn each_thing_that_can_be_opened_is_found_by_itself() {
    let host = Host::new();
    let device = host.path("device");
    let options = ["--path", device.to_str().unwrap(), "--group", &CLIENTS.to_string()];
    for (file, owner, mode, line) in [
        ("token", WORKER, 0o704, "token"),
        ("token", NOBODY, 0o700, "token"),
        ("attestation", ATTESTER, 0o705, "attestation token"),
        ("token.pin", WORKER, 0o404, "PIN files"),
        ("attestation.pin", ATTESTER, 0o402, "PIN files"),
        ("attestation.pin", NOBODY, 0o000, "PIN files"),
        ("device", WORKER, 0o602, "named paths"),
        ("vendor.so", 0, 0o646, "guard's files"),
        ("attestation.conf", NOBODY, 0o444, "guard's files"),
        ("trustshim-guard", NOBODY, 0o755, "guard's processes"),
        ("trustshim-guard", 0, 0o757, "guard's processes"),
        ("guard.sock", 0, 0o600, "socket"),
    ] {
        let before = fs::metadata(host.path(file)).unwrap();
        let owner_before = std::os::unix::fs::MetadataExt::uid(&before);
        host.set(file, owner, mode);
        assert_eq!(host.failures(&options), [line], "{file} of {owner}, {mode:o}");
        host.set(file, owner_before, before.permissions().mode());
        assert_eq!(host.failures(&options), [] as [&str; 0], "after {file}");
    }
    // A file deep in the token, behind directories that let it be reached.
    for (directory, mode) in [("token", 0o711), ("token/inner", 0o711), ("token/inner/key", 0o604)] {
        host.set(directory, WORKER, mode);
    }
    assert_eq!(host.failures(&options), ["token"]);
}

#[test]
fn a_directory_above_decides_over_everything_in_it() {
    let host = Host::new();
    host.set("", NOBODY, 0o755);
    let failed = host.failures(&[]);
    assert_eq!(failed, ["token", "attestation token", "PIN files", "guard's files", "guard's processes"]);
    host.set("", 0, 0o757);
    assert_eq!(host.failures(&[]), failed);
    // Of whose entries, as in /tmp, only the owner disposes.
    host.set("", 0, 0o1757);
    assert_eq!(host.failures(&[]), [] as [&str; 0]);
}

#[test]
fn processes_of_the_users_own_are_found() {
    let host = Host::new();
    let service = Sleeper::of_nobody(Path::new("/bin/sleep"));
    let failed = host.failures(&["--process", &service.0.id().to_string()]);
    // Yama may keep the memory from others than parents; that is no separation.
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "" | "0" => assert_eq!(failed, ["process's memory", "separation"]),
        "1" => assert_eq!(failed, ["separation"]),
        _ => assert_eq!(failed, [] as [&str; 0]),
    }
    let _worker = Sleeper::of_nobody(&host.path("trustshim-guard"));
    let failed = host.failures(&[]);
    assert!(failed.contains(&"separation".to_owned()), "{failed:?}");
}

#[test]
fn what_cannot_be_tried_is_no_proof() {
    let host = Host::new();
    assert_eq!(host.failures(&["--path", "/nonexistent/device"]), ["named paths"]);
    assert_eq!(host.failures(&["--path", "/dev/null"]), ["named paths"]);
    assert_eq!(host.failures(&["--process", "4000000"]), ["process"]);
    let absent = host.doctor("no-such-user", &[]).must_fail();
    assert!(absent.all_text().contains("no-such-user"), "{absent}");
    assert_eq!(host.doctor("root", &[]).code, Some(2));
    assert_eq!(host.doctor("nobody", &["--group", "no-such-group"]).code, Some(1));

    let text = fs::read_to_string(host.path("guard.toml")).unwrap();
    let unknown = text.lines().filter(|line| !line.contains("_environment")).map(|line| format!("{line}\n"));
    fs::write(host.path("guard.toml"), unknown.collect::<String>()).unwrap();
    assert_eq!(host.failures(&[]), ["token", "attestation token"]);
    assert_eq!(host.failures(&["--path", host.path("device").to_str().unwrap()]), [] as [&str; 0]);
    fs::write(host.path("guard.toml"), text).unwrap();

    fs::remove_file(host.path("token.conf")).unwrap();
    assert_eq!(host.failures(&[]), ["token"]);
    fs::remove_file(host.path("guard.sock")).unwrap();
    assert_eq!(host.failures(&[]), ["token", "guard"]);
}

#[test]
fn without_root_nothing_is_claimed() {
    let host = Host::new();
    let copy = host.path("trustshim");
    copy_program(build().join("trustshim"), &copy);
    let mut doctor = as_root("setpriv");
    doctor.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
    doctor.args(["doctor", "--as-user", "daemon", "--config"]).arg(host.path("guard.toml"));
    let finished = run(&mut doctor).must_fail();
    assert!(finished.all_text().contains("it takes root"), "{finished}");
    assert_eq!(finished.text(), "");
}
