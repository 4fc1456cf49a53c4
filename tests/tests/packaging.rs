//! What `packaging/` installs, as Debian's systemd understands it: units, their exposure, users and directories.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::Finished;
use e2e::client::run;
use e2e::root::as_root;
use serde_json::Value;
use tempfile::TempDir;

const SERVICE: &str = "trustshim-guard.service";
const SOCKET: &str = "trustshim-guard.socket";
const SERVER: &str = "policy-server.service";
/// Tenths, from 0 to 100; systemd calls up to 49 "OK". Root, its capabilities and the network make up most of it.
const MOST_EXPOSURE: &str = "31";
/// What the policy server has is the network, and files of the host to read.
const MOST_EXPOSURE_OF_SERVER: &str = "11";
/// The reasons are in the unit.
const NEEDED: [&str; 18] = [
    "CapabilityBoundingSet_CAP_DAC_FOWNER_IPC_OWNER",
    "CapabilityBoundingSet_CAP_KILL",
    "CapabilityBoundingSet_CAP_SET_UID_GID_PCAP",
    "CapabilityBoundingSet_CAP_SYS_ADMIN",
    "CapabilityBoundingSet_CAP_SYS_PTRACE",
    // The clock's device, to read.
    "DeviceAllow",
    "IPAddressDeny",
    "PrivateNetwork",
    "PrivateUsers",
    "ProcSubset",
    "ProtectHome",
    "RestrictAddressFamilies_AF_INET_INET6",
    "RestrictAddressFamilies_AF_UNIX",
    "RestrictNamespaces_net",
    "RootDirectoryOrRootImage",
    "SystemCallFilter_privileged",
    "SystemCallFilter_resources",
    "UserOrDynamicUser",
];

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(file)
}

/// A file system with systemd's own units and ours, and the programs that ours start.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for directory in ["etc", "run", "usr/bin", "usr/lib/systemd"] {
            fs::create_dir_all(root.path(directory)).unwrap();
        }
        run(Command::new("cp")
            .args(["--archive", "/usr/lib/systemd/system"])
            .arg(root.path("usr/lib/systemd/")))
        .must_succeed();
        for program in ["trustshim-guard", "policy-server", "install"] {
            let path = root.path("usr/bin").join(program);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for unit in [SERVICE, SOCKET, SERVER] {
            root.install(unit, &unit_text(unit));
        }
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn install(&self, unit: &str, text: &str) {
        let path = self.path("usr/lib/systemd/system").join(unit);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What `systemd-analyze verify` has to say; nothing, where all is well.
    fn complaints(&self) -> String {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["verify", "--man=no", "--root"]).arg(self.0.path()).args([SERVICE, SOCKET, SERVER]);
        let finished = run(&mut analyze);
        let text = finished.all_text();
        if finished.success { text } else { format!("failed: {text}") }
    }

    fn security(&self, unit: &str, options: &[&str]) -> Finished {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=true", "--no-pager", "--root"]).arg(self.0.path());
        run(analyze.args(options).arg(unit))
    }

    /// What the unit leaves open, in the words of systemd.
    fn left_open(&self, unit: &str) -> BTreeSet<String> {
        let finished = self.security(unit, &["--json=short"]).must_succeed();
        let checks: Vec<Value> = serde_json::from_slice(&finished.stdout).unwrap();
        assert!(checks.len() > 70, "{finished}");
        let name = |check: &Value| check["json_field"].as_str().unwrap().to_owned();
        checks.iter().filter(|check| check["set"] == false).map(name).collect()
    }
}

fn unit_text(unit: &str) -> String {
    fs::read_to_string(packaging("systemd").join(unit)).unwrap()
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let root = Root::new();
    assert_eq!(root.complaints(), "");
    for example in fs::read_dir(packaging("systemd/examples")).unwrap() {
        let example = example.unwrap().path();
        root.install("trustshim-guard.service.d/example.conf", &fs::read_to_string(&example).unwrap());
        assert_eq!(root.complaints(), "", "{}", example.display());
    }
    root.install(SERVICE, &unit_text(SERVICE).replace("ProtectClock", "ProtectClok"));
    assert!(root.complaints().contains("ProtectClok"));
    root.install(SERVICE, &unit_text(SERVICE).replace("/usr/bin/trustshim-guard", "/usr/bin/absent"));
    assert!(root.complaints().contains("/usr/bin/absent is not executable"));
}

#[test]
fn the_guard_is_confined_to_what_it_needs() {
    let root = Root::new();
    let needed = NEEDED.map(str::to_owned).into();
    assert_eq!(root.left_open(SERVICE), needed);
    root.security(SERVICE, &["--threshold", MOST_EXPOSURE]).must_succeed();
    let unit = unit_text(SERVICE);
    for (line, weaker) in [
        ("NoNewPrivileges=yes", ""),
        ("PrivateTmp=yes", ""),
        ("MemoryDenyWriteExecute=yes", ""),
        ("RestrictNamespaces=net", "RestrictNamespaces=net user"),
        ("CAP_KILL CAP_SYS_ADMIN", "CAP_KILL CAP_SYS_ADMIN CAP_CHOWN"),
        ("~@privileged @resources @keyring", "@module"),
    ] {
        let weaker = unit.replace(line, weaker);
        assert_ne!(weaker, unit, "{line} is not in the unit");
        root.install(SERVICE, &weaker);
        assert_ne!(root.left_open(SERVICE), needed, "{line} makes no difference");
    }
    root.install(SERVICE, "[Service]\nExecStart=/usr/bin/trustshim-guard\n");
    root.security(SERVICE, &["--threshold", MOST_EXPOSURE]).must_fail();
}

#[test]
fn the_policy_server_has_the_network_and_its_directory() {
    let root = Root::new();
    let open = [
        // The clock's device, to read.
        "DeviceAllow",
        "IPAddressDeny",
        "PrivateNetwork",
        "RestrictAddressFamilies_AF_INET_INET6",
        "RootDirectoryOrRootImage",
    ];
    assert_eq!(root.left_open(SERVER), open.map(str::to_owned).into());
    root.security(SERVER, &["--threshold", MOST_EXPOSURE_OF_SERVER]).must_succeed();
    root.install(
        SERVER,
        &unit_text(SERVER).replace("CapabilityBoundingSet=", "CapabilityBoundingSet=CAP_KILL"),
    );
    assert!(root.left_open(SERVER).contains("CapabilityBoundingSet_CAP_KILL"));
}

#[test]
fn only_members_of_the_clients_group_reach_the_socket() {
    let socket = unit_text(SOCKET);
    for line in [
        "ListenStream=/run/trustshim/guard.sock",
        "SocketUser=root",
        "SocketGroup=trustshim-clients",
        "SocketMode=0660",
    ] {
        assert!(socket.lines().any(|other| other == line), "{line}");
    }
}

#[test]
fn users_and_directories_are_made_as_they_are_meant() {
    let root = Root::new();
    for file in ["passwd", "group"] {
        fs::write(root.path("etc").join(file), "root:x:0:\n").unwrap();
    }
    let make = |program: &str, options: &[&str], file: &str| {
        let mut command = as_root(program);
        run(command.arg("--root").arg(root.0.path()).args(options).arg(packaging(file))).must_succeed();
    };
    make("systemd-sysusers", &[], "sysusers.d/trustshim.conf");
    make("systemd-sysusers", &[], "sysusers.d/policy-server.conf");
    make("systemd-tmpfiles", &["--create"], "tmpfiles.d/trustshim.conf");
    let ids = |file: &str| {
        let text = fs::read_to_string(root.path("etc").join(file)).unwrap();
        let id = |line: &str| {
            let mut fields = line.split(':');
            Some((fields.next()?.to_owned(), fields.nth(1)?.parse::<u32>().ok()?))
        };
        text.lines().filter_map(id).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (users, groups) = (ids("passwd"), ids("group"));
    let passwd = fs::read_to_string(root.path("etc/passwd")).unwrap();
    for user in ["trustshim-token", "trustshim-attester", "policy-server"] {
        let line = passwd.lines().find(|line| line.starts_with(user)).unwrap();
        assert!(line.ends_with("nologin"), "{line}");
        assert!(users[user] > 0 && users[user] < 1000, "{line}");
    }
    assert_ne!(users["trustshim-token"], users["trustshim-attester"]);
    assert!(!users.contains_key("trustshim-clients") && groups.contains_key("trustshim-clients"));
    for (directory, user, mode) in [
        ("etc/trustshim", None, 0o755),
        ("run/trustshim", None, 0o755),
        ("var/lib/trustshim", None, 0o755),
        ("var/lib/trustshim/token", Some("trustshim-token"), 0o700),
        ("var/lib/trustshim/attestation", Some("trustshim-attester"), 0o700),
    ] {
        let metadata = fs::metadata(root.path(directory)).unwrap();
        let owner = user.map_or((0, 0), |user| (users[user], groups[user]));
        assert_eq!((metadata.uid(), metadata.gid()), owner, "{directory}");
        assert_eq!(metadata.mode() & 0o7777, mode, "{directory}");
    }
    // Such directories are not for the test's own user to remove.
    run(as_root("rm").args(["--recursive", "--force"]).args([
        root.path("etc"),
        root.path("run"),
        root.path("var"),
    ]))
    .must_succeed();
}
