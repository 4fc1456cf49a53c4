//! Other programs, and the approved one as it was not approved: by another user, with other arguments or files, under
//! another's path, in namespaces, and by way of programs that run others.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use e2e::attacked::{Approved, Guarded, Told};
use e2e::attacked::{FAILED, SERVICE, STRANGER};
use e2e::client::run;
use e2e::root::as_root;

use crate::signed::{SLACK, STANDS, Signed};

/// The program does not get its token's user logged in.
fn must_be_refused(approved: &Approved, command: &mut Command, reason: &str) {
    let mut service = Told::start(command);
    assert_eq!(service.ask("open"), "open 0x200", "{reason}");
    approved.guarded.must_have_refused(service.own_pid(), reason);
    drop(service);
    // One failure stands for all processes that measure alike, for a second.
    thread::sleep(FAILED);
}

#[test]
fn the_approved_program_is_denied_to_other_users_and_with_other_arguments_or_environment() {
    let approved = Approved::up();
    must_be_refused(&approved, &mut approved.command_of(STRANGER), "principal-mismatch");
    must_be_refused(&approved, approved.command().arg("more"), "argv-mismatch");
    let mut elsewhere = approved.guarded.of_service("env");
    elsewhere.arg("LD_LIBRARY_PATH=/tmp").arg(&approved.service).arg(approved.module());
    must_be_refused(&approved, &mut elsewhere, "environment-mismatch");
    approved.must_be_permitted();
}

#[test]
fn programs_that_run_others_are_not_taken_for_those() {
    let approved = Approved::up();
    let (service, module) = (approved.service.to_str().unwrap(), approved.module().to_str().unwrap());
    let mut loader = approved.guarded.of_service("/lib64/ld-linux-x86-64.so.2");
    must_be_refused(&approved, loader.args([service, module]), "component-forbidden");

    let code = format!(
        "import ctypes\nm = ctypes.CDLL({module:?})\nm.C_Initialize(None)\ns = (ctypes.c_ulong * 64)()\n\
         n = ctypes.c_ulong(64)\nm.C_GetSlotList(1, s, ctypes.byref(n))\nh = ctypes.c_ulong()\n\
         for i in range(n.value):\n    m.C_OpenSession(ctypes.c_ulong(s[i]), ctypes.c_ulong(4), None, None, \
         ctypes.byref(h))\n    print(hex(m.C_Login(h, ctypes.c_ulong(1), b'1234', ctypes.c_ulong(4))))\n"
    );
    let python = run(approved.guarded.of_service("python3").args(["-c", &code])).must_succeed();
    assert!(python.text().contains("0x200") && !python.text().contains("0x0\n"), "{python}");
    let approve = ["approve", "--last", "--component", "python", "--version", "1", "--yes"];
    let refused = run(&mut approved.guarded.operator(&approve)).must_fail();
    assert!(refused.all_text().contains("script"), "code from an option is approved by nobody: {refused}");

    // Who has executed the approved program does not matter: it is that program, of that user, with those arguments.
    let mut shell = approved.guarded.of_service("sh");
    let mut shell = Told::start(shell.args(["-c", &format!("exec {service} {module}")]));
    assert_eq!([shell.ask("open"), shell.ask("sign")], ["open 0x0", "sign 0x0"]);
}

#[test]
fn another_file_under_the_approved_path_is_denied() {
    let approved = Approved::up();
    let service = approved.service.to_str().unwrap().to_owned();
    let (other, kept) = (approved.guarded.file("other"), approved.guarded.file("kept"));
    let mut content = fs::read(&service).unwrap();
    content.push(0);
    fs::write(&other, content).unwrap();
    fs::set_permissions(&other, fs::metadata(&service).unwrap().permissions()).unwrap();

    let mut running = approved.signing();
    fs::rename(&service, &kept).unwrap();
    fs::rename(&other, &service).unwrap();
    must_be_refused(&approved, &mut approved.command(), "executable-unknown");
    let signed = Signed::by(&mut running, STANDS * 2);
    assert_eq!(signed.rv, "0x200", "nor does the one count whose file has another name now");
    drop(running);
    fs::rename(&service, &other).unwrap();
    fs::rename(&kept, &service).unwrap();
    approved.must_be_permitted();

    // The same by a mount that only this process sees.
    let in_mounts_of_its_own = |mount: &str| {
        let mut command = as_root("unshare");
        let setpriv = format!("{:?}", approved.command()).replace("\" \"", "' '").replace('"', "'");
        let setpriv = setpriv.trim_start_matches("'sudo' '-n' ");
        command.args(["--mount", "sh", "-c", &format!("{mount} && exec {setpriv}")]);
        command
    };
    let bind = format!("mount --bind {} {service}", other.display());
    must_be_refused(&approved, &mut in_mounts_of_its_own(&bind), "executable-unknown");
    let mut plain = Told::start(&mut in_mounts_of_its_own("true"));
    assert_eq!([plain.ask("open"), plain.ask("sign")], ["open 0x0", "sign 0x0"], "mounts alone do no harm");
}

#[test]
fn a_process_in_namespaces_of_its_own_is_not_let_in() {
    let approved = Approved::up();
    let socket = approved.guarded.socket();
    let greeted = |unshare: &[&str]| {
        let mut command = approved.guarded.of_service("env");
        command.args(unshare).arg(&approved.attacker).args(["greet", socket.to_str().unwrap()]);
        run(&mut command).must_succeed().text()
    };
    assert_eq!(
        greeted(&[]),
        "welcome info 0\n",
        "by hand, without the shim, everybody of the group is let in"
    );
    for unshare in [
        &["unshare", "--user"][..],
        &["unshare", "--user", "--map-root-user"],
        &["unshare", "--user", "--map-root-user", "--pid", "--fork"],
        &["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork"],
    ] {
        let said = greeted(unshare);
        assert!(said.contains("turned the process is in a user namespace of its own"), "{unshare:?}: {said}");
    }
    // By the shim: it does not talk to a guard that is not root to it.
    let mut inside = approved.guarded.of_service("unshare");
    inside.args(["--user", "--map-root-user"]).arg(&approved.service).arg(approved.module());
    assert_eq!(Told::start(&mut inside).ask("open"), "open 0x5");
    approved.must_be_permitted();
}

/// As a container runtime does it that leaves users as they are.
#[test]
fn a_process_in_a_container_is_another_version_and_served_once_that_is_approved() {
    let approved = Approved::up();
    let root = approved.guarded.file("root");
    fs::create_dir(&root).unwrap();
    let root = root.display();
    let own_proc = "mount -t proc proc /proc".to_owned();
    let own_root =
        format!("mount --bind / {root} && cd {root} && pivot_root . mnt && {own_proc} && umount -l /mnt");
    let contained = |mounts: &str| {
        let mut command = as_root("unshare");
        let setpriv = format!("{:?}", approved.command()).replace("\" \"", "' '").replace('"', "'");
        let setpriv = setpriv.trim_start_matches("'sudo' '-n' ");
        command.args(["--pid", "--mount", "--fork", "--kill-child", "--"]);
        command.args(["sh", "-c", &format!("{mounts} && exec {setpriv}")]);
        command
    };
    let mut service = Told::start(&mut contained(&own_proc));
    assert_eq!(service.ask("pid"), "1", "it is in a PID namespace of its own");
    assert_eq!(service.ask("open"), "open 0x200");
    assert_eq!(approved.guarded.last_reasons(), ["principal-mismatch"]);
    drop(service);
    thread::sleep(FAILED);
    approved.guarded.approve_version("service", "2");

    // The log has the number that the guard knows it by.
    let outside = approved.guarded.log().last().unwrap()["pid"].as_u64().unwrap();
    assert!(outside > 1, "{outside}");
    for mounts in [own_proc, own_root] {
        let mut service = Told::start(&mut contained(&mounts));
        assert_eq!([service.ask("open"), service.ask("sign")], ["open 0x0", "sign 0x0"], "{mounts}");
        let signed = Signed::by(&mut service, STANDS * 3);
        assert!(signed.all > 0 && signed.rv == "0x0", "it is looked at like any other: {}", signed.rv);
    }
    approved.must_be_permitted();
}

#[test]
fn declared_configuration_of_ones_own_is_denied() {
    let guarded = Guarded::up();
    let (service, settings) = (guarded.file("service"), guarded.write("service.conf", "as approved"));
    guarded.restart_with(|text| {
        format!("{text}\n[[declared]]\nexecutable = {service:?}\nfiles = [{settings:?}]\n")
    });
    let approved = Approved::on(guarded, &[]);

    let change = |content: &str| fs::write(&settings, content).unwrap();
    let mut running = approved.signing();
    change("as an attacker likes it");
    let began = std::time::Instant::now();
    assert_eq!(Signed::by(&mut running, STANDS * 8).rv, "0x200");
    assert!(began.elapsed() < STANDS + SLACK, "{:?}", began.elapsed());
    drop(running);
    thread::sleep(FAILED);
    must_be_refused(&approved, &mut approved.command(), "configuration-changed");
    fs::rename(&settings, approved.guarded.file("away")).unwrap();
    must_be_refused(&approved, &mut approved.command(), "measurement-failed");
    change("as approved");
    approved.must_be_permitted();

    // A file that the program's own user may change is none, whatever is in it.
    run(as_root("chown").arg(SERVICE.to_string()).arg(&settings)).must_succeed();
    must_be_refused(&approved, &mut approved.command(), "measurement-failed");
    run(as_root("chown").arg("0").arg(&settings)).must_succeed();
    approved.must_be_permitted();
}

#[test]
fn a_program_that_its_own_user_can_change_is_none() {
    let approved = Approved::up();
    let place = approved.guarded.meeting_place();
    let copy = place.join("service");
    let mut copying = approved.guarded.of_service("cp");
    run(copying.arg(&approved.service).arg(&copy)).must_succeed();
    let mut command = approved.guarded.of_service(&copy);
    must_be_refused(&approved, command.arg(approved.module()), "measurement-failed");
    assert!(Path::new(&copy).exists());
    approved.must_be_permitted();
}
