//! The approved program executed under a seccomp filter whose supervisor answers its system calls: what the program takes for
//! its configuration is the attacker's file, though every file of it is as it was approved.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use e2e::attacked::{Approved, FAILED, Told};
use e2e::client::run;
use e2e::compiled::compile;

const OWN: &str = "read as approved";
const ATTACKERS: &str = "read as an attacker likes it";

struct Scene {
    approved: Approved,
    settings: PathBuf,
    attackers: PathBuf,
    supervisor: PathBuf,
    launcher: PathBuf,
}

impl Scene {
    fn up() -> Self {
        let approved = Approved::up();
        let settings = approved.guarded.write("service.conf", "as approved\n");
        let attackers = approved.guarded.write("attackers.conf", "as an attacker likes it\n");
        let supervisor = approved.guarded.compiled("supervisor", "supervisor");
        let launcher = compile("filtered.c", &approved.guarded.file("filtered"), &[]);
        Self { approved, settings, attackers, supervisor, launcher }
    }

    /// The program with its calls answered by a supervisor, who is of the same user and has no approval.
    fn supervised(&self, path: &Path, other: &Path) -> Told {
        let mut command = self.approved.guarded.of_service(&self.supervisor);
        self.started(command.arg(path).arg(other))
    }

    /// With the attacker's file in the place of its configuration.
    fn misled(&self) -> Told {
        self.supervised(&self.settings, &self.attackers)
    }

    /// The program under so many filters that answer nothing themselves, as systemd sets them for a service.
    fn filtered(&self, filters: u32) -> Told {
        let mut command = self.approved.guarded.of_service(&self.launcher);
        self.started(command.arg(filters.to_string()))
    }

    fn started(&self, command: &mut Command) -> Told {
        Told::start(command.arg(&self.approved.service).arg(self.approved.module()))
    }

    fn reads(&self, service: &mut Told) -> String {
        service.ask(&format!("read {}", self.settings.display()))
    }

    #[track_caller]
    fn must_be_refused(&self, mut service: Told) {
        assert_eq!(service.ask("open"), "open 0x200");
        self.approved.guarded.must_have_refused(service.own_pid(), "sandbox-mismatch");
        drop(service);
        // One failure stands for all processes that measure alike, for a second.
        thread::sleep(FAILED);
    }

    /// Approves what is started as by systemd under one filter, which is refused before.
    fn approve_under_a_filter(&self) {
        self.must_be_refused(self.filtered(1));
        let approve = ["approve", "--last", "--component", "service", "--version", "2", "--yes"];
        run(&mut self.approved.guarded.operator(&approve)).must_succeed();
        thread::sleep(FAILED);
    }

    #[track_caller]
    fn must_sign(&self, mut service: Told) {
        assert_eq!([service.ask("open"), service.ask("sign")], ["open 0x0", "sign 0x0"]);
    }
}

#[test]
fn a_program_whose_system_calls_somebody_else_answers_is_denied() {
    let scene = Scene::up();
    let mut alone = scene.approved.signing();
    assert_eq!(scene.reads(&mut alone), OWN);
    drop(alone);

    let mut misled = scene.misled();
    assert_eq!(scene.reads(&mut misled), ATTACKERS, "the attack is carried out");
    scene.must_be_refused(misled);
    scene.approved.must_be_permitted();
}

/// And that the number of filters is what stops the attack: with as many approved, it comes about (docs/LIMITATIONS.md).
#[test]
fn what_was_approved_under_a_filter_is_not_told_from_what_is_supervised_by_one() {
    let scene = Scene::up();
    scene.approve_under_a_filter();
    scene.must_sign(scene.filtered(1));
    scene.must_be_refused(scene.filtered(2));

    let mut misled = scene.misled();
    assert_eq!(scene.reads(&mut misled), ATTACKERS);
    scene.must_sign(misled);
}

/// The connection to the guard is the supervisor's own: it is pinned, and what the program sends is another's.
#[test]
fn a_connection_that_a_supervisor_has_made_is_closed_whatever_is_approved() {
    let scene = Scene::up();
    scene.approve_under_a_filter();
    let socket = scene.approved.guarded.socket();
    let mut connected = scene.supervised(&socket, &socket);
    assert_eq!(connected.ask("open"), "open 0x5");
    scene.approved.guarded.must_say("it came from another process");
    drop(connected);
    scene.must_sign(scene.supervised(Path::new("/no/such/path"), &socket));
}
