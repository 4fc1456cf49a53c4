//! A look changes when the process does, and only then.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use measurement::peer::{Confirmed, Measurement};

use crate::stage::{Client, NOBODY, Stage, mapped, measure};

/// A client, and what it was measured as.
struct Measured {
    stage: Stage,
    client: Client,
    confirmed: Confirmed,
    declared: [PathBuf; 1],
    before: Measurement,
}

impl Measured {
    fn new() -> Self {
        Self::prepared(|_, _| {})
    }

    fn prepared(prepare: impl FnOnce(&Stage, &mut Client)) -> Self {
        let stage = Stage::new();
        let mut client = stage.start_as(NOBODY);
        prepare(&stage, &mut client);
        let declared = [stage.file("app.conf", b"setting")];
        let confirmed = client.confirm();
        let before = measure(&confirmed, &declared).unwrap();
        let measured = Self { stage, client, confirmed, declared, before };
        measured.assert_unchanged();
        measured
    }

    fn has_changed(&self) -> bool {
        self.confirmed.look(&self.before.watched).unwrap() != self.before.state
    }

    fn assert_unchanged(&self) {
        for _ in 0..3 {
            assert!(!self.has_changed());
        }
    }

    fn again(&self) -> Measurement {
        measure(&self.confirmed, &self.declared).unwrap()
    }
}

#[test]
fn nothing_changes_where_nothing_happens() {
    let mut measured = Measured::new();
    measured.client.tell("text");
    std::thread::sleep(Duration::from_millis(300));
    measured.assert_unchanged();
    let again = measured.again();
    assert_eq!((again.state, again.component), (measured.before.state, measured.before.component.clone()));
    // What is asked of one process says nothing about another.
    let mut other = measured.stage.start_as(NOBODY);
    assert_ne!(other.confirm().look(&measured.before.watched).unwrap(), measured.before.state);
}

#[test]
fn a_library_loaded_later_is_seen() {
    let mut measured = Measured::new();
    measured.client.tell("load libutil.so.1");
    assert!(measured.has_changed());
    let libraries = |measurement: &Measurement| measurement.component.mappings.len();
    assert_eq!(libraries(&measured.again()), libraries(&measured.before) + 1);
}

#[test]
fn code_without_a_file_is_seen() {
    for command in ["map-anonymous", "map-shared-anonymous", "map-memory-file"] {
        let mut measured = Measured::new();
        measured.client.tell(command);
        assert!(measured.has_changed(), "{command}");
        let runtime = measured.again().component.runtime;
        assert_eq!(runtime.anonymous_executable + runtime.memfd_executable, 1, "{command}");
    }
}

#[test]
fn a_tracer_is_seen_for_as_long_as_it_is_there() {
    let measured = Measured::new();
    let pid = libc::pid_t::try_from(measured.client.child.id()).unwrap();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread: libc::pid_t = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
        // SAFETY: the child is ours; it is not stopped.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, thread, 0, 0) }, 0);
        assert!(measured.has_changed(), "{thread} of {pid}");
        assert!(measured.again().component.runtime.traced);
        // SAFETY: the thread is stopped, waited for, and let go by its tracer, this thread.
        unsafe {
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0), 0);
            assert_eq!(libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL), thread);
            assert_eq!(libc::ptrace(libc::PTRACE_DETACH, thread, 0, 0), 0);
        }
        assert!(!measured.has_changed());
    }
}

#[test]
fn text_that_somebody_writes_to_is_seen() {
    let mut measured = Measured::new();
    let address: u64 = measured.client.tell("text").parse().unwrap();
    let memory = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/{}/mem", measured.client.child.id()))
        .unwrap();
    let mut byte = [0];
    memory.read_exact_at(&mut byte, address).unwrap();
    assert!(!measured.has_changed(), "reading changes nothing");
    memory.write_all_at(&byte, address).unwrap();
    assert!(measured.has_changed(), "the same byte written is a change");
    assert_eq!(measured.again().component.runtime.modified_text_pages, 1);
}

#[test]
fn a_declared_file_that_changes_is_seen() {
    let changes: [fn(&Measured); 4] = [
        |measured| {
            let mut file = OpenOptions::new().write(true).open(&measured.declared[0]).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.write_all(b"SETTING").unwrap();
            file.set_modified(modified).unwrap();
        },
        |measured| fs::rename(measured.stage.file("new", b"setting"), &measured.declared[0]).unwrap(),
        |measured| {
            fs::rename(&measured.declared[0], measured.stage.path("kept")).unwrap();
            std::os::unix::fs::symlink(measured.stage.file("new", b"setting"), &measured.declared[0])
                .unwrap();
        },
        |measured| {
            fs::set_permissions(&measured.declared[0], std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .unwrap()
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let measured = Measured::new();
        // The clock of file times moves in steps of some milliseconds.
        std::thread::sleep(Duration::from_millis(30));
        change(&measured);
        assert!(measured.has_changed(), "{index}");
    }
    let measured = Measured::new();
    fs::remove_file(&measured.declared[0]).unwrap();
    assert!(measured.confirmed.look(&measured.before.watched).is_err());
}

#[test]
fn a_mapped_file_that_is_changed_where_it_is_is_seen() {
    let mut library = PathBuf::new();
    let measured = Measured::prepared(|stage, client| {
        library = stage.file("library", b"code");
        client.tell(&format!("map {}", library.display()));
    });
    assert!(mapped(&measured.before.component, &library).is_some());
    std::thread::sleep(Duration::from_millis(30));
    OpenOptions::new().write(true).open(&library).unwrap().write_all(b"CODE").unwrap();
    assert!(measured.has_changed());
}

#[test]
fn restrictions_are_seen() {
    let mut measured = Measured::new();
    measured.client.tell("not-dumpable");
    assert!(measured.has_changed());
}

#[test]
fn a_change_of_user_is_seen() {
    let stage = Stage::new();
    let mut client = stage.start();
    let confirmed = client.confirm();
    let before = measure(&confirmed, &[]).unwrap();
    client.tell(&format!("become {NOBODY}"));
    assert_ne!(confirmed.look(&[]).unwrap(), before.state);
    assert_eq!(measure(&confirmed, &[]).unwrap().component.principal.uid, NOBODY);
}
