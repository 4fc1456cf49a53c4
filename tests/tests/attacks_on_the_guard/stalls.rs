//! Files and memory that whoever reads them waits for: a file system of the attacker's own. Only who came with it waits.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::attacked::{Approved, Guarded, Told};
use e2e::attacked::{SERVICE, STRANGER, by_socket};
use e2e::client::run;
use e2e::compiled::compile_library;
use e2e::root::as_root;

/// What an unhindered program takes at the most, on a busy machine; measurers are ended after 10 seconds.
const UNHINDERED: Duration = Duration::from_secs(5);

/// A file system of `SERVICE`'s own.
struct Own {
    place: PathBuf,
    server: Option<Told>,
}

impl Own {
    fn mounted(approved: &Approved, name: &str) -> Self {
        let place = approved.guarded.file(name);
        std::fs::create_dir(&place).unwrap();
        let server = approved.guarded.compiled("stalling", &format!("{name}-server"));
        let library = approved.guarded.file(&format!("lib{name}.so"));
        compile_library("private.c", &library, &["-DNUMBER=1"]);
        let mut command = as_root(server);
        let server = Told::start(command.arg(&place).arg(library).arg(SERVICE.to_string()));
        let own = Self { place, server: Some(server) };
        assert_eq!(own.server.as_ref().unwrap().hear(), "mounted");
        own
    }

    fn file(&self) -> String {
        self.place.join("file").to_str().unwrap().to_owned()
    }

    fn stall(&mut self) {
        assert_eq!(self.server.as_mut().unwrap().ask("stall"), "stalling");
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Who waits is told that there is nobody any more.
        self.server = None;
        let unmounted = run(as_root("umount").arg("--lazy").arg(&self.place));
        if !std::thread::panicking() {
            unmounted.must_succeed();
        }
    }
}

fn must_be_unhindered(approved: &Approved) {
    let began = Instant::now();
    approved.must_be_permitted();
    assert!(began.elapsed() < UNHINDERED, "another client has waited for {:?}", began.elapsed());
}

#[test]
fn nobody_waits_for_a_file_that_stalls_but_who_has_mapped_it() {
    let approved = Approved::up();
    let mut own = Own::mounted(&approved, "own");
    let open = format!("dlopen {}", own.file());
    // Its owner alone knows what is in it: it is not believed, stalled or not.
    let mut plain = approved.signing();
    assert_eq!(plain.ask(&open), "dlopen 1");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(plain.ask("sign"), "sign 0x200");
    approved.guarded.must_have_refused(plain.own_pid(), "measurement-failed");
    drop(plain);

    // More at once than measurers are kept.
    let mut waiting: Vec<Told> = (0..6).map(|_| approved.signing()).collect();
    for service in &mut waiting {
        assert_eq!(service.ask(&open), "dlopen 1");
    }
    std::thread::sleep(Duration::from_millis(300));
    own.stall();
    for service in &mut waiting {
        service.tell("sign");
    }
    // Until the guard has given up on them, and after that.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        must_be_unhindered(&approved);
    }
    // What the file system's owner has killed does not end before the file system does; the guard goes on.
    drop(own);
    for service in &waiting {
        assert_eq!(service.hear(), "sign 0x200");
    }
    must_be_unhindered(&approved);
}

/// An installation whose guard serves so few processes of a user at once.
fn few() -> Approved {
    let guarded = Guarded::up();
    guarded
        .restart_with(|text| by_socket(text).replace("[guard]\n", "[guard]\nmax_processes_per_user = 3\n"));
    Approved::on(guarded, &[])
}

/// `SERVICE` has all that it may have, also after its processes have ended, until nobody waits for its file system any more.
fn must_be_its_own_harm(approved: &Approved, own: Own) {
    let greet = |user| {
        let socket = approved.guarded.socket();
        approved.attack(user, &["greet", socket.to_str().unwrap()]).must_succeed().text()
    };
    assert!(greet(SERVICE).contains("as many processes as it may"), "what waits is counted");
    assert_eq!(greet(STRANGER), "welcome info 0\n");
    drop(own);
    let end = Instant::now() + Duration::from_secs(15);
    while greet(SERVICE) != "welcome info 0\n" {
        assert!(Instant::now() < end, "nobody waits any more");
    }
    approved.must_be_permitted();
}

#[test]
fn what_waits_for_a_file_after_its_client_has_gone_is_counted() {
    let approved = few();
    let mut own = Own::mounted(&approved, "own");
    let open = format!("dlopen {}", own.file());
    let mut waiting: Vec<Told> = (0..3).map(|_| approved.signing()).collect();
    for service in &mut waiting {
        assert_eq!(service.ask(&open), "dlopen 1");
    }
    std::thread::sleep(Duration::from_millis(300));
    own.stall();
    for service in &mut waiting {
        service.tell("sign");
    }
    // Longer than the guard waits for a measurement.
    std::thread::sleep(Duration::from_secs(12));
    drop(waiting);
    std::thread::sleep(Duration::from_secs(3));
    must_be_its_own_harm(&approved, own);
}

#[test]
fn nobody_waits_for_memory_that_stalls_but_who_has_said_that_the_nonce_is_there() {
    let approved = few();
    let mut own = Own::mounted(&approved, "own");
    let socket = approved.guarded.socket();
    let start = || {
        let mut command = approved.guarded.of_service(&approved.attacker);
        Told::start(command.arg("greet-at").arg(&socket).arg(own.file()))
    };
    let mut greeting: Vec<Told> = (0..3).map(|_| start()).collect();
    for one in &greeting {
        assert_eq!(one.hear(), "mapped 1");
    }
    own.stall();
    for one in &mut greeting {
        assert_eq!(one.ask(""), "placed");
    }
    std::thread::sleep(Duration::from_millis(300));
    drop(greeting);
    must_be_its_own_harm(&approved, own);
}
