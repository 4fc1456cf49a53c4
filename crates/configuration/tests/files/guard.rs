//! The guard's file: what is read from a good one, and each rule.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use attestation::digest::Digest;
use attestation::token::Mode;
use configuration::{
    Account, ConfigurationError, Declared, DenyCode, Guard, GuardLimits, Installation, Loaded, LogTarget,
    Login, Need, Scope, load_from, load_guard, load_installation,
};

use crate::{SMALLEST_OF_GUARD, written};

const FULL: &str = r#"
mode = "guarded"
[real_module]
path = "/usr/lib/vendor/libhsm.so"
init_args = "slots=2"
needs = ["turns", "network"]
[policy_server]
url = "https://policy.example:8443"
ca = "/etc/trustshim/ca.pem"
anchors = "/etc/trustshim/anchors.jwks"
timeout_ms = 1500
[attestation]
key = "pkcs11:token=trustshim;object=attestation"
pin_file = "/etc/trustshim/attestation.pin"
host = "build-7.example"
[gate]
scope = "everything"
deny_code = "vendor"
[log]
target = "syslog"
[guard]
socket = "/run/other/guard.sock"
group = "trustshim-clients"
login = "guard"
pin_file = "/etc/trustshim/token.pin"
component_pins = { nginx = "/etc/trustshim/nginx.pin" }
worker_user = "trustshim-token"
attester_user = 4711
worker_environment = { SOFTHSM2_CONF = "/etc/trustshim/token.conf", VENDOR_LOG = "" }
max_processes = 20
max_processes_per_user = 10
max_connections = 5
max_sessions = 40
[guard.attester_environment]
SOFTHSM2_CONF = "/etc/trustshim/attestation.conf"
[guard.limits]
worker_memory_mib = 300
starts_at_once = 30
starts_per_second = 3
[[declared]]
executable = "/usr/sbin/nginx"
files = ["/etc/nginx/nginx.conf", "/etc/nginx/mime.types"]
[[declared]]
executable = "/usr/bin/jarsigner"
files = ["/etc/java/java.security"]
"#;

pub(crate) fn guard(text: &str) -> Result<Guard, ConfigurationError> {
    let (_directory, path) = written(text);
    load_guard(&path)
}

/// The smallest file of the guard with a table `[guard]`.
pub(crate) fn with_guard(table: &str) -> Result<Guard, ConfigurationError> {
    guard(&format!("{SMALLEST_OF_GUARD}[guard]\n{table}\n"))
}

/// The smallest file of the guard with one line replaced.
pub(crate) fn refused(line: &str, by: &str) -> ConfigurationError {
    assert!(SMALLEST_OF_GUARD.contains(line), "{line}");
    guard(&SMALLEST_OF_GUARD.replace(line, by)).expect_err(by)
}

pub(crate) fn is_about(error: &ConfigurationError, name: &str) -> bool {
    matches!(error, ConfigurationError::Value { key, .. } if *key == name)
}

#[test]
fn a_full_file_of_the_guard_is_read_value_by_value() {
    let (_directory, path) = written(FULL);
    let guard = load_guard(&path).unwrap();
    let configuration = &guard.configuration;
    assert_eq!(configuration.path, path);
    assert_eq!(configuration.digest, Digest::of(FULL.as_bytes()));
    assert_eq!(configuration.mode, Mode::Guarded);
    assert_eq!(configuration.real_module.path, Path::new("/usr/lib/vendor/libhsm.so"));
    assert_eq!(configuration.real_module.init_args, "slots=2");
    assert_eq!(configuration.policy_server.url, "https://policy.example:8443");
    assert_eq!(configuration.policy_server.timeout_ms, 1500);
    assert_eq!(configuration.attestation.key, "pkcs11:token=trustshim;object=attestation");
    assert_eq!(
        configuration.attestation.pin_file.as_deref(),
        Some(Path::new("/etc/trustshim/attestation.pin"))
    );
    assert_eq!(configuration.attestation.host.as_deref(), Some("build-7.example"));
    assert_eq!(configuration.gate.scope, Scope::Everything);
    assert_eq!(configuration.gate.deny_code, DenyCode::Vendor);
    assert_eq!(configuration.component.name, "auto");
    assert_eq!(configuration.log.target, LogTarget::Syslog);
    assert_eq!(guard.needs, [Need::Network, Need::Turns]);
    assert_eq!(guard.socket, Path::new("/run/other/guard.sock"));
    assert_eq!(guard.group, Some(Account::Name("trustshim-clients".into())));
    let component_pins = BTreeMap::from([("nginx".to_owned(), PathBuf::from("/etc/trustshim/nginx.pin"))]);
    assert_eq!(guard.login, Login::Guard { pin_file: "/etc/trustshim/token.pin".into(), component_pins });
    assert_eq!(guard.worker_user, Some(Account::Name("trustshim-token".into())));
    assert_eq!(guard.attester_user, Some(Account::Number(4711)));
    let variables = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(
        guard.worker_environment,
        variables(&[("SOFTHSM2_CONF", "/etc/trustshim/token.conf"), ("VENDOR_LOG", "")])
    );
    assert_eq!(
        guard.attester_environment,
        variables(&[("SOFTHSM2_CONF", "/etc/trustshim/attestation.conf")])
    );
    let limits = GuardLimits {
        processes: 20,
        processes_per_user: 10,
        connections: 5,
        sessions: 40,
        memory: 300 << 20,
        starts_at_once: 30,
        starts_per_second: 3,
    };
    assert_eq!(guard.limits, limits);
    let declared = [
        Declared { executable: "/usr/bin/jarsigner".into(), files: vec!["/etc/java/java.security".into()] },
        Declared {
            executable: "/usr/sbin/nginx".into(),
            files: vec!["/etc/nginx/mime.types".into(), "/etc/nginx/nginx.conf".into()],
        },
    ];
    assert_eq!(guard.declared, declared);
}

#[test]
fn files_are_declared_for_one_program() {
    let guard = guard(FULL).unwrap();
    let declared = guard.declared(Path::new("/usr/sbin/nginx"));
    assert_eq!(declared, ["/etc/nginx/mime.types", "/etc/nginx/nginx.conf"].map(PathBuf::from));
    let none: [PathBuf; 0] = [];
    assert_eq!(guard.declared(Path::new("/usr/sbin/nginx2")), none);
    let configuration = guard.configuration.clone();
    let installation = Installation::Guarded(guard);
    assert_eq!(installation.declared(Path::new("/usr/bin/jarsigner")).len(), 1);
    assert_eq!(*installation.configuration(), configuration);
    assert_eq!(installation.into_configuration(), configuration);
    let inline = SMALLEST_OF_GUARD.replace("guarded", "inline") + "[component]\nfiles = [\"/etc/a.conf\"]\n";
    let (_directory, path) = written(&inline);
    let installation = load_installation(Some(&path)).unwrap();
    assert_eq!(installation.declared(Path::new("/usr/bin/any")), [PathBuf::from("/etc/a.conf")]);
}

#[test]
fn what_the_guards_file_may_leave_out_has_the_documented_values() {
    let guard = guard(SMALLEST_OF_GUARD).unwrap();
    assert_eq!(guard.configuration.gate.scope, Scope::Keys);
    assert_eq!(guard.configuration.gate.deny_code, DenyCode::FunctionRejected);
    assert_eq!(guard.configuration.log.target, LogTarget::Journal);
    assert_eq!(guard.configuration.attestation.trust_token_file, None);
    assert!(guard.configuration.real_module.vendor_interfaces.is_empty());
    assert!(guard.configuration.component.files.is_empty());
    assert!(guard.needs.is_empty() && guard.declared.is_empty());
    assert_eq!(guard.socket, Path::new("/run/trustshim/guard.sock"));
    assert_eq!((guard.group, guard.worker_user, guard.attester_user), (None, None, None));
    assert!(guard.worker_environment.is_empty() && guard.attester_environment.is_empty());
    assert_eq!(guard.login, Login::PassThrough);
    let limits = GuardLimits {
        processes: 512,
        processes_per_user: 256,
        connections: 64,
        sessions: 1024,
        memory: 1 << 30,
        starts_at_once: 256,
        starts_per_second: 100,
    };
    assert_eq!(guard.limits, limits);
}

#[test]
fn keys_that_the_guard_does_not_know_are_refused() {
    for (after, key) in [
        ("mode = \"guarded\"", "insecure = true"),
        ("[real_module]", "vendor_interfaces = [\"Vendor A\"]"),
        ("[real_module]", "needs = [\"usb\"]"),
        ("[policy_server]", "insecure = true"),
        ("[attestation]", "pin = \"1234\""),
        ("[attestation]", "trust_token_file = \"/run/token.jwt\""),
    ] {
        let error = refused(after, &format!("{after}\n{key}"));
        assert!(matches!(error, ConfigurationError::Syntax { .. }), "{key}: {error}");
    }
    for table in [
        "[gate]\nfail_open = true",
        "[component]\nname = \"nginx\"",
        "[log]\nlevel = \"debug\"",
        "[guard]\nmax_session = 1",
        "[guard.limits]\nworker_memory = 1",
        "[guard]\nlogin = \"nobody\"",
        "[guard]\nlogin = \"guard\"\npin = \"1234\"",
        "[guard]\nmax_processes = -1",
        "[guard]\nmax_processes = \"many\"",
        "[guard]\ngroup = [\"a\"]",
        "[guard]\nworker_environment = \"A=b\"",
        "[guard]\nworker_environment = { A = 1 }",
        "[guard]\nworker_environment = { A = \"b\", A = \"c\" }",
        "[[declared]]\nexecutable = \"/a\"",
        "[[declared]]\nfiles = [\"/a\"]",
        "[[declared]]\nexecutable = \"/a\"\nfiles = [\"/a\"]\nuser = \"root\"",
        "[declared]\nexecutable = \"/a\"\nfiles = [\"/a\"]",
    ] {
        let error = guard(&format!("{SMALLEST_OF_GUARD}{table}\n")).unwrap_err();
        assert!(matches!(error, ConfigurationError::Syntax { .. }), "{table}: {error}");
    }
}

#[test]
fn every_line_of_the_guards_smallest_file_is_needed() {
    for line in SMALLEST_OF_GUARD.lines().filter(|line| !line.is_empty()) {
        let error = refused(line, "");
        assert!(matches!(error, ConfigurationError::Syntax { .. }), "{line}: {error}");
    }
}

#[test]
fn the_guards_paths_are_absolute() {
    for (line, by, name) in [
        ("path = \"/usr/lib/softhsm/libsofthsm2.so\"", "path = \"libsofthsm2.so\"", "real_module.path"),
        ("ca = \"/etc/trustshim/ca.pem\"", "ca = \"ca.pem\"", "policy_server.ca"),
        ("anchors = \"/etc/trustshim/anchors.jwks\"", "anchors = \"\"", "policy_server.anchors"),
        ("pin_file = \"/etc/trustshim/attestation.pin\"", "pin_file = \"./pin\"", "attestation.pin_file"),
    ] {
        let error = refused(line, by);
        assert!(is_about(&error, name), "{by}: {error}");
    }
    for (table, name) in [
        ("[log]\ntarget = \"file:log\"", "log.target"),
        ("[guard]\nsocket = \"guard.sock\"", "guard.socket"),
        ("[guard]\nsocket = \"/run/\\u0000\"", "guard.socket"),
        ("[guard]\nlogin = \"guard\"\npin_file = \"pin\"", "guard.pin_file"),
        ("[[declared]]\nexecutable = \"nginx\"\nfiles = [\"/a\"]", "declared.executable"),
        ("[[declared]]\nexecutable = \"/a\"\nfiles = [\"/b\", \"c\"]", "declared.files"),
    ] {
        let error = guard(&format!("{SMALLEST_OF_GUARD}{table}\n")).unwrap_err();
        assert!(is_about(&error, name), "{table}: {error}");
    }
}

#[test]
fn an_error_in_the_guards_file_names_the_line_and_no_pin() {
    let error = refused("[attestation]", "[attestation]\npin = secret-98765");
    assert!(matches!(error, ConfigurationError::Syntax { line: 10, .. }), "{error}");
    let uri = "key = \"pkcs11:token=trustshim;object=attestation\"";
    let with_pin = refused(uri, "key = \"pkcs11:token=a?pin-value=98765\"");
    assert!(is_about(&with_pin, "attestation.key"), "{with_pin}");
    for error in [error, with_pin] {
        assert!(!format!("{error} {error:?}").contains("98765"), "{error:?}");
    }
}

#[test]
fn the_packages_examples_are_good_and_fit_each_other() {
    let guard = guard(include_str!("../../../../packaging/guard.toml")).unwrap();
    let (_directory, path) = written(include_str!("../../../../packaging/trustshim.toml"));
    let Loaded::Guarded(client) = load_from(&path).unwrap() else { panic!("of another mode") };
    let unit = include_str!("../../../../packaging/systemd/trustshim-guard.socket");
    assert_eq!(guard.socket, client.socket);
    assert!(unit.contains(&format!("\nListenStream={}\n", guard.socket.display())));
    let users = include_str!("../../../../packaging/sysusers.d/trustshim.conf");
    for account in [guard.worker_user, guard.attester_user] {
        let Some(Account::Name(name)) = account else { panic!("{account:?}") };
        assert!(users.contains(&format!("\nu {name} ")), "{name}");
    }
}
