//! Whole files: what is read from a good one, and that each defect is refused by its own name.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use attestation::digest::Digest;
use attestation::token::Mode;
use configuration::{Configuration, ConfigurationError, DenyCode, Loaded, LogTarget, Scope};

use crate::written;

const SMALLEST: &str = r#"
mode = "inline"
[real_module]
path = "/usr/lib/softhsm/libsofthsm2.so"
[policy_server]
url = "https://127.0.0.1:8443"
ca = "/etc/trustshim/ca.pem"
anchors = "/etc/trustshim/anchors.jwks"
[attestation]
key = "pkcs11:token=trustshim;object=attestation"
"#;

const FULL: &str = r#"
mode = "inline"
[real_module]
path = "/usr/lib/softhsm/libsofthsm2.so"
init_args = "configdir='/etc/nss'"
vendor_interfaces = ["Vendor NSS Module Interface", "Vendor NSS FIPS Interface"]
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
scope = "keys"
deny_code = "vendor"
[component]
name = "nginx"
files = ["/etc/nginx/nginx.conf", "/etc/nginx/mime.types"]
[log]
target = "file:/var/log/trustshim.log"
"#;

/// Loads a file of an application in inline mode.
fn load_from(path: &Path) -> Result<Configuration, ConfigurationError> {
    match configuration::load_from(path)? {
        Loaded::Inline(configuration) => Ok(configuration),
        other => panic!("{other:?}"),
    }
}

fn loaded(text: &str) -> Result<Configuration, ConfigurationError> {
    let (_directory, path) = written(text);
    load_from(&path)
}

/// The smallest file with one line replaced.
fn refused(line: &str, by: &str) -> ConfigurationError {
    assert!(SMALLEST.contains(line), "{line}");
    loaded(&SMALLEST.replace(line, by)).expect_err(by)
}

#[test]
fn a_full_file_is_read_value_by_value() {
    let (_directory, path) = written(FULL);
    let configuration = load_from(&path).unwrap();
    assert_eq!(configuration.path, path);
    assert_eq!(configuration.digest, Digest::of(FULL.as_bytes()));
    assert_eq!(configuration.mode, Mode::Inline);
    assert_eq!(configuration.real_module.path, Path::new("/usr/lib/softhsm/libsofthsm2.so"));
    assert_eq!(configuration.real_module.init_args, "configdir='/etc/nss'");
    assert_eq!(
        configuration.real_module.vendor_interfaces,
        ["Vendor NSS FIPS Interface", "Vendor NSS Module Interface"]
    );
    assert_eq!(configuration.policy_server.url, "https://policy.example:8443");
    assert_eq!(configuration.policy_server.ca, Path::new("/etc/trustshim/ca.pem"));
    assert_eq!(configuration.policy_server.anchors, Path::new("/etc/trustshim/anchors.jwks"));
    assert_eq!(configuration.policy_server.timeout_ms, 1500);
    assert_eq!(configuration.attestation.key, "pkcs11:token=trustshim;object=attestation");
    assert_eq!(
        configuration.attestation.pin_file.as_deref(),
        Some(Path::new("/etc/trustshim/attestation.pin"))
    );
    assert_eq!(configuration.attestation.host.as_deref(), Some("build-7.example"));
    assert_eq!(configuration.gate.scope, Scope::Keys);
    assert_eq!(configuration.gate.deny_code, DenyCode::Vendor);
    assert_eq!(configuration.component.name, "nginx");
    assert_eq!(
        configuration.component.files,
        [PathBuf::from("/etc/nginx/mime.types"), PathBuf::from("/etc/nginx/nginx.conf")]
    );
    assert_eq!(configuration.log.target, LogTarget::File("/var/log/trustshim.log".into()));
}

#[test]
fn what_may_be_left_out_has_the_documented_values() {
    let configuration = loaded(SMALLEST).unwrap();
    assert_eq!(configuration.real_module.init_args, "");
    assert!(configuration.real_module.vendor_interfaces.is_empty());
    assert_eq!(configuration.policy_server.timeout_ms, 5000);
    assert_eq!(configuration.attestation.pin_file, None);
    assert_eq!(configuration.attestation.host, None);
    assert_eq!(configuration.gate.scope, Scope::Keys);
    assert_eq!(configuration.gate.deny_code, DenyCode::FunctionRejected);
    assert_eq!(configuration.component.name, "auto");
    assert!(configuration.component.files.is_empty());
    assert_eq!(configuration.log.target, LogTarget::Journal);
}

#[test]
fn the_standards_interfaces_are_no_vendors() {
    let path = "path = \"/usr/lib/softhsm/libsofthsm2.so\"";
    for names in [r#"["PKCS 11"]"#, r#"[""]"#, r#"["Vendor A", "Vendor A"]"#] {
        let error = refused(path, &format!("{path}\nvendor_interfaces = {names}"));
        assert!(error.to_string().contains("real_module.vendor_interfaces"), "{names}: {error}");
    }
}

#[test]
fn every_deny_code_has_its_name() {
    for (name, code) in [
        ("function-rejected", DenyCode::FunctionRejected),
        ("key-function-not-permitted", DenyCode::KeyFunctionNotPermitted),
        ("vendor", DenyCode::Vendor),
    ] {
        let configuration = loaded(&format!("{SMALLEST}[gate]\ndeny_code = \"{name}\"\n")).unwrap();
        assert_eq!(configuration.gate.deny_code, code);
    }
    let error = loaded(&format!("{SMALLEST}[gate]\ndeny_code = \"ok\"\n")).unwrap_err();
    assert!(matches!(error, ConfigurationError::Syntax { .. }), "{error}");
}

#[test]
fn a_missing_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let error = load_from(&directory.path().join("absent.toml")).unwrap_err();
    assert!(matches!(error, ConfigurationError::Missing { .. }), "{error}");
}

#[test]
fn a_file_behind_a_loop_of_links_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("loop.toml");
    symlink(&path, &path).unwrap();
    let error = load_from(&path).unwrap_err();
    assert!(matches!(error, ConfigurationError::Unreadable { .. }), "{error}");
}

#[test]
fn whatever_is_not_a_regular_file_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for path in [pipe.as_path(), directory.path(), Path::new("/dev/null")] {
        let error = load_from(path).unwrap_err();
        assert!(matches!(error, ConfigurationError::NotRegular { .. }), "{}: {error}", path.display());
    }
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let (_directory, path) = written(SMALLEST);
    for mode in [0o664, 0o646, 0o620, 0o602, 0o777] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = load_from(&path).unwrap_err();
        assert!(
            matches!(error, ConfigurationError::Writable { mode: shown, .. } if shown == mode),
            "{error}"
        );
    }
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    load_from(&path).unwrap();
}

#[test]
fn a_link_does_not_lend_its_own_permissions() {
    let (directory, path) = written(SMALLEST);
    let link = directory.path().join("link.toml");
    symlink(&path, &link).unwrap();
    load_from(&link).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(load_from(&link).unwrap_err(), ConfigurationError::Writable { .. }));
}

#[test]
fn a_file_of_another_user_is_refused() {
    let (_directory, path) = written(SMALLEST);
    // Takes root, as the suite does: nobody else can give a file away.
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    let error = load_from(&path).unwrap_err();
    assert!(matches!(error, ConfigurationError::Owner { owner: 12_345, .. }), "{error}");
}

#[test]
fn a_file_that_is_not_utf_8_is_refused() {
    let (_directory, path) = written(b"mode = \"\xff\"");
    let error = load_from(&path).unwrap_err();
    assert!(matches!(error, ConfigurationError::NotUtf8 { offset: 8, .. }), "{error}");
}

#[test]
fn an_oversized_file_is_refused() {
    let (_directory, path) = written(format!("{SMALLEST}#{}", " ".repeat(64 * 1024)));
    let error = load_from(&path).unwrap_err();
    assert!(matches!(error, ConfigurationError::TooLarge { .. }), "{error}");
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand() {
    for (after, key) in [
        ("mode = \"inline\"", "insecure = true"),
        ("[real_module]", "init_arg = \"\""),
        ("[policy_server]", "insecure = true"),
        ("[attestation]", "pin = \"1234\""),
    ] {
        let error = refused(after, &format!("{after}\n{key}"));
        assert!(matches!(error, ConfigurationError::Syntax { .. }), "{key}: {error}");
    }
    for table in
        ["[gate]\nfail_open = true\n", "[component]\nfile = []\n", "[log]\nlevel = \"debug\"\n", "[guard]\n"]
    {
        let error = loaded(&format!("{SMALLEST}{table}")).unwrap_err();
        assert!(matches!(error, ConfigurationError::Syntax { .. }), "{table}: {error}");
    }
}

#[test]
fn missing_keys_and_double_keys_are_refused() {
    for line in SMALLEST.lines().filter(|line| !line.is_empty()) {
        let error = refused(line, "");
        assert!(matches!(error, ConfigurationError::Syntax { .. }), "{line}: {error}");
    }
    let error = refused("mode = \"inline\"", "mode = \"inline\"\nmode = \"inline\"");
    assert!(matches!(error, ConfigurationError::Syntax { line: 3, .. }), "{error}");
}

#[test]
fn relative_paths_are_refused_wherever_a_path_stands() {
    for (line, by, name) in [
        ("path = \"/usr/lib/softhsm/libsofthsm2.so\"", "path = \"libsofthsm2.so\"", "real_module.path"),
        ("ca = \"/etc/trustshim/ca.pem\"", "ca = \"ca.pem\"", "policy_server.ca"),
        ("anchors = \"/etc/trustshim/anchors.jwks\"", "anchors = \"\"", "policy_server.anchors"),
        ("[attestation]", "[attestation]\npin_file = \"./pin\"", "attestation.pin_file"),
        ("[attestation]", "[component]\nfiles = [\"nginx.conf\"]\n[attestation]", "component.files"),
        ("[attestation]", "[log]\ntarget = \"file:log\"\n[attestation]", "log.target"),
        ("ca = \"/etc/trustshim/ca.pem\"", "ca = \"/etc/\\u0000\"", "policy_server.ca"),
    ] {
        let error = refused(line, by);
        assert!(matches!(error, ConfigurationError::Value { key, .. } if key == name), "{by}: {error}");
    }
}

#[test]
fn values_against_their_rule_are_refused() {
    let url = "url = \"https://127.0.0.1:8443\"";
    for (line, by, name) in [
        (url, "url = \"http://127.0.0.1:8443\"".to_owned(), "policy_server.url"),
        (url, format!("{url}\ntimeout_ms = 0"), "policy_server.timeout_ms"),
        (url, format!("{url}\ntimeout_ms = 60001"), "policy_server.timeout_ms"),
        ("[attestation]", "[attestation]\nhost = \"\"".to_owned(), "attestation.host"),
        ("[attestation]", "[component]\nname = \"\"\n[attestation]".to_owned(), "component.name"),
        (
            "[attestation]",
            "[component]\nfiles = [\"/a\", \"/a\"]\n[attestation]".to_owned(),
            "component.files",
        ),
        (
            "[attestation]",
            format!("[component]\nfiles = {:?}\n[attestation]", vec!["/a"; 257]),
            "component.files",
        ),
        ("[attestation]", "[log]\ntarget = \"stderr\"\n[attestation]".to_owned(), "log.target"),
        ("[real_module]", "[real_module]\ninit_args = \"a\\u0000b\"".to_owned(), "real_module.init_args"),
    ] {
        let error = refused(line, &by);
        assert!(matches!(error, ConfigurationError::Value { key, .. } if key == name), "{by}: {error}");
    }
}

#[test]
fn a_mode_that_is_not_known_is_refused() {
    for mode in ["\"observe\"", "\"Inline\"", "1"] {
        let error = refused("mode = \"inline\"", &format!("mode = {mode}"));
        assert!(matches!(error, ConfigurationError::Syntax { line: 2, .. }), "{error}");
    }
}

#[test]
fn the_scope_everything_needs_a_login_of_the_attesters_own() {
    let everything = |pin_file: &str| {
        let attestation = SMALLEST.replace("[attestation]\n", &format!("[attestation]\n{pin_file}"));
        loaded(&format!("{attestation}[gate]\nscope = \"everything\"\n"))
    };
    let error = everything("").unwrap_err();
    assert!(matches!(error, ConfigurationError::Value { key: "gate.scope", .. }), "{error}");
    let configuration = everything("pin_file = \"/etc/trustshim/attestation.pin\"\n").unwrap();
    assert_eq!(configuration.gate.scope, configuration::Scope::Everything);
}

#[test]
fn a_file_with_a_trust_token_is_named_by_an_absolute_path() {
    let with = |path: &str| {
        let line = format!("[attestation]\ntrust_token_file = \"{path}\"\n");
        loaded(&SMALLEST.replace("[attestation]\n", &line))
    };
    let configuration = with("/run/trustshim/token.jwt").unwrap();
    assert_eq!(
        configuration.attestation.trust_token_file.unwrap().to_str(),
        Some("/run/trustshim/token.jwt")
    );
    let error = with("token.jwt").unwrap_err();
    assert!(
        matches!(error, ConfigurationError::Value { key: "attestation.trust_token_file", .. }),
        "{error}"
    );
}

#[test]
fn a_key_uri_that_does_not_parse_is_refused_without_repeating_a_pin() {
    let line = "key = \"pkcs11:token=trustshim;object=attestation\"";
    for by in ["key = \"attestation\"", "key = \"pkcs11:\"", "key = \"pkcs11:token=a;token=b\""] {
        let error = refused(line, by);
        assert!(matches!(error, ConfigurationError::Key { key: "attestation.key", .. }), "{by}: {error}");
    }
    for uri in ["pkcs11:token=a;pin-value=98765", "pkcs11:token=a?pin-value=98765", "pkcs11:pin-value=98765"]
    {
        let error = refused(line, &format!("key = \"{uri}\""));
        assert!(matches!(error, ConfigurationError::Value { key: "attestation.key", .. }), "{error}");
        assert!(!error.to_string().contains("98765"), "{error}");
        assert!(!format!("{error:?}").contains("98765"), "{error:?}");
    }
}

#[test]
fn an_error_of_the_syntax_names_the_line_and_not_its_content() {
    let error = refused("[attestation]", "[attestation]\npin = secret-98765");
    assert!(matches!(error, ConfigurationError::Syntax { line: 10, .. }), "{error}");
    assert!(!error.to_string().contains("98765"), "{error}");
    assert!(!format!("{error:?}").contains("98765"), "{error:?}");
}
