//! Ways around the guard: the vendor's module itself, the guard's own files and processes, and evidence of an inline
//! installation that would pass for the guard's.

use std::path::PathBuf;
use std::process::Command;
use std::thread;

use e2e::attacked::{Approved, Told};
use e2e::attacked::{FAILED, SERVICE, STRANGER};
use e2e::client::run;
use e2e::root::as_root;

/// `pkcs11-tool` on the vendor's module, with the token's own settings and the right PIN.
fn directly(approved: &Approved, user: &str) -> e2e::Finished {
    let mut command = as_root("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
    command.args([
        "env",
        &format!("SOFTHSM2_CONF={}", approved.guarded.directory().join("softhsm2.conf").display()),
    ]);
    command.args([
        "pkcs11-tool",
        "--module",
        approved.guarded.variable("REAL_MODULE"),
        "--token-label",
        "sandbox",
    ]);
    run(command.args(["--login", "--pin", "1234", "--list-objects", "--type", "privkey"]))
}

#[test]
fn the_vendors_module_itself_finds_no_token_whoever_has_the_pin() {
    let approved = Approved::up();
    for user in [SERVICE, STRANGER] {
        let finished = directly(&approved, &user.to_string());
        assert!(!finished.success && !finished.all_text().contains("demo-ec"), "{finished}");
        for file in ["tokens", "attestation/tokens", "attestation.pin"] {
            let path = approved.guarded.directory().join(file);
            let said = approved.attack(user, &["open", path.to_str().unwrap()]).must_succeed().text();
            assert!(said.contains("Permission denied"), "{file}: {said}");
        }
    }
    let finished = directly(&approved, "trustshim-token").must_succeed();
    assert!(finished.text().contains("demo-ec"), "the worker's user has it: {finished}");
    approved.must_be_permitted();
}

#[test]
fn nobody_outside_the_group_connects() {
    let approved = Approved::up();
    let greet = |groups: &str| {
        let mut command = as_root("setpriv");
        command.args([format!("--reuid={STRANGER}"), format!("--regid={STRANGER}"), groups.to_owned()]);
        run(command.arg(&approved.attacker).arg("greet").arg(approved.guarded.socket()))
    };
    assert!(greet("--clear-groups").must_fail().text().contains("connect: Permission denied"));
    assert!(greet("--groups=trustshim-clients").must_succeed().text().contains("welcome"));
}

#[test]
fn the_guards_processes_are_nobodys_to_look_into() {
    let approved = Approved::up();
    let service = approved.signing();
    let guard = approved.guarded.guard_pid().to_string();
    let children = run(Command::new("pgrep").args(["--parent", &guard])).must_succeed().text();
    let pids: Vec<&str> = children.lines().chain([guard.as_str()]).collect();
    assert!(pids.len() >= 4, "monitor, attester, measurer and worker: {pids:?}");
    for pid in pids {
        for user in [SERVICE, STRANGER] {
            for attack in [["mem", pid, "0x1000"], ["ptrace", pid, "0x1000"], ["open-fd", pid, "0"]] {
                let said = approved.attack(user, &attack).must_succeed().text();
                assert!(
                    said.contains("Permission denied") || said.contains("Operation not permitted"),
                    "{attack:?} as {user}: {said}"
                );
            }
        }
        // Nor does the user of the token look into the attester, or into another worker.
        let mut command = as_root("setpriv");
        command.args(["--reuid=trustshim-token", "--regid=trustshim-token", "--clear-groups"]);
        let said = run(command.arg(&approved.attacker).args(["mem", pid, "0x1000"])).must_succeed().text();
        assert!(said.contains("Permission denied"), "{said}");
    }
    drop(service);
    approved.must_be_permitted();
}

/// An installation in inline mode of the service's own, on tokens of its own, with a key that the operator has approved.
fn inline(approved: &Approved) -> PathBuf {
    let directory = approved.guarded.file("inline");
    let (guarded, place) = (&approved.guarded, directory.to_str().unwrap().to_owned());
    let path = |name: &str| format!("{place}/{name}");
    let module = guarded.variable("REAL_MODULE").to_owned();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../softhsm-config/create-tokens");
    std::fs::create_dir(&directory).unwrap();
    run(Command::new(script).args([&place, &module, "softhsm", "together"])).must_succeed();
    let anchors = guarded.directory().join("anchors.jwks");
    let with_settings = |arguments: &[&str]| {
        let mut command = guarded.operator(arguments);
        command.env("SOFTHSM2_CONF", path("softhsm2.conf")).env("TRUSTSHIM_CONFIG", path("inline.toml"));
        command
    };
    let mut init = with_settings(&["init", "--output", &path("inline.toml"), "--real-module", &module]);
    init.args(["--server", guarded.variable("TRUSTSHIM_SERVER"), "--ca", guarded.variable("TRUSTSHIM_CA")]);
    init.arg("--anchors").arg(&anchors).args(["--pin-file", &path("attestation.pin")]);
    run(&mut init).must_succeed();
    let enrolled = run(&mut with_settings(&["enroll", "--json"])).must_succeed().text();
    let enrolled: serde_json::Value = serde_json::from_str(&enrolled).unwrap();
    assert_eq!(enrolled["mode"], "inline");
    let fingerprint = enrolled["fingerprint"].as_str().unwrap();
    run(&mut guarded.operator(&["hsm", "approve", "--", fingerprint])).must_succeed();
    for file in ["tokens", "attestation.pin", "softhsm2.conf"] {
        run(as_root("chown").args(["-R", &SERVICE.to_string(), &path(file)])).must_succeed();
    }
    run(as_root("chmod").args(["755", &place])).must_succeed();
    directory
}

#[test]
fn evidence_of_an_inline_installation_does_not_pass_for_the_guards() {
    let approved = Approved::up_with(&["--mode", "guarded"]);
    let place = inline(&approved);
    let command = || {
        let mut command = approved.guarded.of_service("env");
        command.arg(format!("SOFTHSM2_CONF={}/softhsm2.conf", place.display()));
        command.arg(format!("TRUSTSHIM_CONFIG={}/inline.toml", place.display()));
        command.arg(&approved.service).arg(approved.module());
        command
    };
    let mut first = Told::start(&mut command());
    assert_eq!([first.ask("open"), first.ask("sign")], ["open 0x0", "sign 0x200"]);
    drop(first);
    // The operator approves of that program in inline mode, too, and grants it nothing more.
    let approve = ["approve", "--last", "--component", "service", "--version", "2", "--yes"];
    run(&mut approved.guarded.operator(&approve)).must_succeed();
    thread::sleep(FAILED);
    let mut inline = Told::start(&mut command());
    assert_eq!([inline.ask("open"), inline.ask("sign")], ["open 0x0", "sign 0x200"]);
    approved.must_be_permitted();

    // The same key is not enrolled as the guard's.
    let guard = std::fs::read_to_string(approved.guarded.directory().join("guard.toml")).unwrap();
    let guard = guard.replace("\n[guard]", "\n[guard_]").replace(
        approved.guarded.directory().join("attestation.pin").to_str().unwrap(),
        place.join("attestation.pin").to_str().unwrap(),
    );
    // Without the users and variables of the guard's own processes.
    let forged: Vec<&str> = guard.split("\n[").filter(|section| !section.starts_with("guard_]")).collect();
    let forged = approved.guarded.write("forged.toml", forged.join("\n["));
    let mut enroll = approved.guarded.operator(&["enroll", "--config", forged.to_str().unwrap()]);
    enroll.env("SOFTHSM2_CONF", place.join("softhsm2.conf"));
    let refused = run(&mut enroll).must_fail();
    assert!(refused.all_text().contains("inline mode"), "{refused}");
    assert_eq!(inline.ask("sign"), "sign 0x200");
}
