//! Who is given a credential and who loses it, by the real command beside a server that runs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::process::{Running, command};

/// Of `policy-server operator`.
fn operator(arguments: &[&str], directory: &Path) -> Output {
    let [subcommand, rest @ ..] = arguments else { panic!("{arguments:?}") };
    command().args(["operator", subcommand]).arg(directory).args(rest).output().unwrap()
}

fn done(arguments: &[&str], directory: &Path) -> String {
    let output = operator(arguments, directory);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str], directory: &Path) -> String {
    let output = operator(arguments, directory);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn who_is_added_may_do_what_the_role_permits_until_removed() {
    let outside = tempfile::tempdir().unwrap();
    let directory = outside.path().join("server");
    assert!(command().arg("init").arg(&directory).status().unwrap().success());
    let server = Running::start(&directory);
    let client = server.client();
    let admin = fs::read_to_string(directory.join("admin-token")).unwrap();

    let file = outside.path().join("alice-token");
    let path = file.to_str().unwrap();
    let said = done(&["add", "alice", "--role", "viewer", "--credential", path], &directory);
    let credential = fs::read_to_string(&file).unwrap();
    assert!(said.is_empty() && credential.len() == 43, "32 bytes in base64url");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let body = json!({ "name": "debian-12" });
    assert!(client.get::<Value>("/v1/hsms", &credential).is_some(), "a viewer reads");
    assert!(client.post::<Value>("/v1/sets", Some(&credential), &body).is_none(), "and nothing else");
    assert!(client.post::<Value>("/v1/sets", Some(&admin), &body).is_some());

    assert_eq!(done(&["list"], &directory), "admin  approver\nalice  viewer\n");
    let listed: Value = serde_json::from_str(&done(&["list", "--json"], &directory)).unwrap();
    assert_eq!([&listed[1]["name"], &listed[1]["role"]], ["alice", "viewer"]);
    assert!(listed[1]["created_at"].as_u64().unwrap() > 1_700_000_000);
    for secret in [&credential, &admin] {
        assert!(!listed.to_string().contains(secret.as_str()));
    }

    // Whoever replaces a credential adds somebody first.
    done(&["remove", "alice"], &directory);
    assert!(client.get::<Value>("/v1/hsms", &credential).is_none());
    let left = operator(&["remove", "admin"], &directory);
    assert!(left.status.success());
    assert!(String::from_utf8_lossy(&left.stderr).contains("nobody is left who may approve"));
    assert!(client.get::<Value>("/v1/hsms", &admin).is_none());
    assert_eq!(done(&["list"], &directory), "");
    assert_eq!(done(&["list", "--json"], &directory), "[]\n");
}

#[test]
fn what_cannot_be_done_leaves_nothing_behind() {
    let outside = tempfile::tempdir().unwrap();
    let directory = outside.path().join("server");
    assert!(command().arg("init").arg(&directory).status().unwrap().success());
    let (new, taken) = (outside.path().join("new"), outside.path().join("taken"));
    fs::write(&taken, "something else").unwrap();
    let (new_path, taken_path) = (new.to_str().unwrap(), taken.to_str().unwrap());
    let add = |name, path| refused(&["add", name, "--role", "approver", "--credential", path], &directory);
    assert!(add("admin", new_path).contains("there is an operator admin already"));
    assert!(add("a b", new_path).contains("`NAME` must be"));
    assert!(add("alice", taken_path).contains(taken_path));
    assert!(refused(&["remove", "alice"], &directory).contains("there is no operator alice"));
    assert_eq!(done(&["list"], &directory), "admin  approver\n");
    assert!(!new.exists());
    assert_eq!(fs::read_to_string(&taken).unwrap(), "something else");
    // A directory that is no installation is none afterwards.
    assert!(refused(&["list"], outside.path()).contains("policy-server.toml"));
    assert!(!outside.path().join("policy.db").exists());
}
