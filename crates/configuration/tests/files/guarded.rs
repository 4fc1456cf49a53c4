//! Guarded mode: what an application's file may say there, and that each kind of file is taken only for what it is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use attestation::digest::Digest;
use attestation::token::Mode;
use configuration::{
    Client, ConfigurationError, Installation, Loaded, LogTarget, load_from, load_guard, load_installation,
};

use crate::{SMALLEST_OF_GUARD, written};

const CLIENT: &str = "mode = \"guarded\"\n";

fn client(text: &str) -> Result<Client, ConfigurationError> {
    let (_directory, path) = written(text);
    match load_from(&path)? {
        Loaded::Guarded(client) => Ok(client),
        other => panic!("{other:?}"),
    }
}

fn is_about(error: &ConfigurationError, name: &str) -> bool {
    matches!(error, ConfigurationError::Value { key, .. } if *key == name)
}

#[test]
fn an_application_knows_the_guards_socket_and_its_own_log() {
    let text =
        format!("{CLIENT}[guard]\nsocket = \"/run/other.sock\"\n[log]\ntarget = \"file:/var/log/t.log\"\n");
    let (_directory, path) = written(&text);
    let Loaded::Guarded(client) = load_from(&path).unwrap() else { panic!("not guarded") };
    assert_eq!(client.path, path);
    assert_eq!(client.digest, Digest::of(text.as_bytes()));
    assert_eq!(client.socket, Path::new("/run/other.sock"));
    assert_eq!(client.log.target, LogTarget::File("/var/log/t.log".into()));
    let client = self::client(CLIENT).unwrap();
    assert_eq!(client.socket, Path::new("/run/trustshim/guard.sock"));
    assert_eq!((client.log.target, client.stands_for), (LogTarget::Journal, None));
    let client = self::client(&format!("{CLIENT}[real_module]\npath = \"/usr/lib/module.so\"\n")).unwrap();
    assert_eq!(client.stands_for.as_deref(), Some(Path::new("/usr/lib/module.so")));
}

#[test]
fn nothing_else_may_stand_in_an_applications_file() {
    for more in [
        "insecure = true",
        "[guard]\ngroup = \"trustshim\"",
        "[guard]\nworker_user = 0",
        "[log]\nlevel = \"debug\"",
        "[gate]\nscope = \"keys\"",
        "[component]\nname = \"nginx\"",
        "[real_module]\npath = \"/usr/lib/softhsm/libsofthsm2.so\"\ninit_args = \"a\"",
        "[real_module]",
        "[attestation]\nkey = \"pkcs11:token=a;object=b\"",
        "[policy_server]\nurl = \"https://127.0.0.1\"",
        "[[declared]]\nexecutable = \"/a\"\nfiles = [\"/b\"]",
    ] {
        let error = client(&format!("{CLIENT}{more}\n")).unwrap_err();
        assert!(matches!(error, ConfigurationError::Syntax { .. }), "{more}: {error}");
    }
    let error = client(&format!("{CLIENT}[guard]\nsocket = \"guard.sock\"\n")).unwrap_err();
    assert!(is_about(&error, "guard.socket"), "{error}");
    let long = format!("/{}", "s".repeat(107));
    let error = client(&format!("{CLIENT}[guard]\nsocket = {long:?}\n")).unwrap_err();
    assert!(is_about(&error, "guard.socket"), "{error}");
    let error = client(&format!("{CLIENT}[real_module]\npath = \"module.so\"\n")).unwrap_err();
    assert!(is_about(&error, "real_module.path"), "{error}");
    let error = client(&format!("{CLIENT}[log]\ntarget = \"stderr\"\n")).unwrap_err();
    assert!(is_about(&error, "log.target"), "{error}");
}

#[test]
fn a_file_is_taken_only_for_what_it_is() {
    let inline = SMALLEST_OF_GUARD.replace("guarded", "inline");
    let (_directory, path) = written(&inline);
    let error = load_guard(&path).unwrap_err();
    assert!(is_about(&error, "mode"), "{error}");
    let installation = load_installation(Some(&path)).unwrap();
    assert_eq!(installation.configuration().mode, Mode::Inline);
    assert!(matches!(installation, Installation::Inline(_)));

    let (_directory, path) = written(SMALLEST_OF_GUARD);
    let error = load_from(&path).unwrap_err();
    assert!(matches!(error, ConfigurationError::Syntax { .. }), "the guard's is no application's: {error}");
    let guard = load_guard(&path).unwrap();
    assert_eq!(load_installation(Some(&path)).unwrap(), Installation::Guarded(guard));

    let (_directory, path) = written(CLIENT);
    let error = load_guard(&path).unwrap_err();
    assert!(matches!(error, ConfigurationError::Syntax { .. }), "{error}");
    let error = load_installation(Some(&path)).unwrap_err();
    assert!(matches!(error, ConfigurationError::OfApplication { .. }), "{error}");
    assert!(error.to_string().contains("/etc/trustshim/guard.toml"), "{error}");

    let (_directory, path) = written(SMALLEST_OF_GUARD.replace("url = \"https", "url = \"http"));
    let error = load_installation(Some(&path)).unwrap_err();
    assert!(is_about(&error, "policy_server.url"), "by the guard's own rules: {error}");
}

#[test]
fn a_file_that_others_may_write_counts_for_nobody() {
    for text in [SMALLEST_OF_GUARD, CLIENT] {
        let (_directory, path) = written(text);
        for mode in [0o664, 0o646, 0o666] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            for error in [
                load_from(&path).unwrap_err(),
                load_guard(&path).unwrap_err(),
                load_installation(Some(&path)).unwrap_err(),
            ] {
                let is_it =
                    matches!(error, ConfigurationError::Writable { mode: shown, .. } if shown == mode);
                assert!(is_it, "{error}");
            }
        }
    }
}
