//! Configuration files of every kind: what is read from a good one, and that each defect is refused by its own name.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod flat_mechanisms;
mod guard;
mod guard_values;
mod guarded;
mod load;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

/// What is needed below the mode, of an attester that logs in for itself.
macro_rules! rest {
    () => {
        r#"
[real_module]
path = "/usr/lib/softhsm/libsofthsm2.so"
[policy_server]
url = "https://127.0.0.1:8443"
ca = "/etc/trustshim/ca.pem"
anchors = "/etc/trustshim/anchors.jwks"
[attestation]
key = "pkcs11:token=trustshim;object=attestation"
pin_file = "/etc/trustshim/attestation.pin"
"#
    };
}
const REST: &str = rest!();

/// The smallest file of a guard.
const SMALLEST_OF_GUARD: &str = concat!("\nmode = \"guarded\"", rest!());

/// A file with this in it that others may not write to, for as long as the directory is there.
fn written(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trustshim.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    (directory, path)
}
