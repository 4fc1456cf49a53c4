//! Measures real processes: each test starts this program again as a child, which brings itself into a certain
//! state, measures itself and writes down the result.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::print_stderr, clippy::unwrap_used)]

mod subject;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use attestation::component::Component;
use attestation::digest::Digest;
use measurement::{DigestCache, Hashing, MeasurementError, Request, measure_self};

use subject::State;

/// A place for one child, and the child's program: this one.
struct Stage {
    _keep: tempfile::TempDir,
    directory: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let directory = keep.path().canonicalize().unwrap();
        Self { _keep: keep, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A command that brings a child into `state`.
    fn command(&self, program: &Path, state: State) -> Command {
        let mut command = Command::new(program);
        command
            .args(["--exact", "the_child", "--ignored", "--quiet"])
            .env_clear()
            .env(subject::STATE, state.name())
            .env(subject::DIRECTORY, &self.directory)
            .stdout(Stdio::null());
        command
    }

    fn run(&self, mut command: Command) -> Result<Component, String> {
        let mut child = command.spawn().unwrap();
        self.result(&mut child)
    }

    fn result(&self, child: &mut Child) -> Result<Component, String> {
        assert!(child.wait().unwrap().success());
        subject::result(&self.directory)
    }
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn measured(state: State) -> Result<Component, String> {
    let stage = Stage::new();
    stage.run(stage.command(&this_program(), state))
}

#[test]
#[ignore = "the child of the other tests"]
fn the_child() {
    subject::play();
}

#[test]
fn an_ordinary_process_is_measured_whole() {
    let stage = Stage::new();
    let configuration = stage.path("app.conf");
    fs::write(&configuration, "setting").unwrap();
    let mut command = stage.command(&this_program(), State::Ordinary);
    command.env("LD_LIBRARY_PATH", "/nonexistent").env("UNRELATED", "x");
    let component = stage.run(command).unwrap();

    let program = this_program();
    assert_eq!(component.name, "subject");
    assert_eq!(component.executable.path, program.to_str().unwrap());
    assert_eq!(component.executable.sha256, Digest::of(&fs::read(&program).unwrap()));
    assert!(component.mappings.contains(&component.executable));
    assert!(
        component.mappings.iter().any(|file| file.path.contains("/libc.so.6") && file.build_id.is_some())
    );
    assert!(component.mappings.is_sorted_by(|one, other| one.path < other.path));
    for file in &component.mappings {
        assert_eq!(file.sha256, Digest::of(&fs::read(&file.path).unwrap()), "{}", file.path);
    }
    let declared: Vec<_> =
        component.configuration.iter().map(|file| (file.path.as_str(), file.sha256)).collect();
    assert_eq!(declared, [(configuration.to_str().unwrap(), Digest::of(b"setting"))]);
    assert!(component.scripts.is_empty());
    assert_eq!(component.argv[1..], ["--exact", "the_child", "--ignored", "--quiet"]);
    let environment: Vec<_> = component.environment.iter().collect();
    assert_eq!(environment, [(&"LD_LIBRARY_PATH".to_owned(), &"/nonexistent".to_owned())]);
    let runtime = &component.runtime;
    assert!(!runtime.traced && !runtime.no_new_privs && runtime.dumpable);
    assert_eq!(counters(&component), (0, 0, 0, 0, 0));
}

/// Anonymous, deleted, memfd, writable, modified pages.
fn counters(component: &Component) -> (u32, u32, u32, u32, u64) {
    let runtime = &component.runtime;
    (
        runtime.anonymous_executable,
        runtime.deleted_executable,
        runtime.memfd_executable,
        runtime.writable_executable,
        runtime.modified_text_pages,
    )
}

#[test]
fn measuring_twice_gives_the_same_digest() {
    let request = Request { name: "twice", configuration: &[PathBuf::from("/etc/passwd")] };
    let one = measure_self(&request, &Hashing::afresh()).unwrap();
    let other = measure_self(&request, &Hashing::afresh()).unwrap();
    assert_eq!(one, other);
    assert_eq!(one.measurement_digest(), other.measurement_digest());
    let renamed = measure_self(&Request { name: "another", ..request }, &Hashing::afresh()).unwrap();
    assert_eq!(one.measurement_digest(), renamed.measurement_digest(), "the name is a hint");
    let undeclared = measure_self(&Request { configuration: &[], ..request }, &Hashing::afresh()).unwrap();
    assert_ne!(one.measurement_digest(), undeclared.measurement_digest());
}

#[test]
fn a_cache_saves_the_reading_and_changes_nothing_else() {
    let request = Request { name: "cached", configuration: &[PathBuf::from("/etc/passwd")] };
    let cache = DigestCache::new();
    let afresh = measure_self(&request, &Hashing::afresh()).unwrap();
    let first = measure_self(&request, &Hashing::cached(&cache)).unwrap();
    let read = cache.figures();
    let second = measure_self(&request, &Hashing::cached(&cache)).unwrap();
    assert_eq!(first, afresh);
    assert_eq!(second, afresh);
    assert_eq!(read.hits, 0);
    let libc = afresh.mappings.iter().find(|file| file.path.contains("/libc.so.6")).unwrap();
    let saved = read.bytes_hashed - (cache.figures().bytes_hashed - read.bytes_hashed);
    assert!(saved >= fs::metadata(&libc.path).unwrap().len(), "{cache:?}");
}

#[test]
fn a_measurement_that_is_out_of_time_is_none() {
    let request = Request { name: "late", configuration: &[] };
    let over = Hashing::afresh().until(std::time::Instant::now());
    assert!(matches!(measure_self(&request, &over), Err(MeasurementError::OutOfTime)));
}

#[test]
fn measuring_leaves_no_descriptor_behind() {
    let component = measured(State::CountsDescriptors);
    assert!(component.is_ok(), "{component:?}");
}

#[test]
fn anonymous_code_is_counted() {
    assert_eq!(counters(&measured(State::AnonymousCode).unwrap()), (1, 0, 0, 0, 0));
}

#[test]
fn shared_anonymous_code_is_counted() {
    assert_eq!(counters(&measured(State::SharedAnonymousCode).unwrap()), (1, 0, 0, 0, 0));
}

#[test]
fn writable_code_is_counted() {
    assert_eq!(counters(&measured(State::WritableCode).unwrap()), (1, 0, 0, 1, 0));
}

#[test]
fn code_in_a_memory_file_is_counted() {
    assert_eq!(counters(&measured(State::MemfdCode).unwrap()), (0, 0, 1, 0, 0));
}

#[test]
fn a_mapped_file_is_measured_under_a_hostile_name() {
    let component = measured(State::FileWithLineFeed).unwrap();
    let hostile: Vec<_> = component.mappings.iter().filter(|file| file.path.contains("line")).collect();
    assert_eq!(hostile.len(), 2, "{hostile:?}");
    assert!(
        hostile
            .iter()
            .any(|file| file.path.ends_with(r"/line\x0afeed") && file.sha256 == Digest::of(b"real"))
    );
    assert!(
        hostile
            .iter()
            .any(|file| file.path.ends_with(r"/line\\012kept") && file.sha256 == Digest::of(b"real"))
    );
    assert_eq!(counters(&component), (0, 0, 0, 0, 0));
}

#[test]
fn a_mapped_file_that_is_deleted_is_counted_and_its_namesake_is_not_measured() {
    let component = measured(State::DeletedFile).unwrap();
    assert_eq!(counters(&component), (0, 1, 0, 0, 0));
    assert!(!component.mappings.iter().any(|file| file.path.contains("mapped")));
}

#[test]
fn a_mapped_file_that_is_replaced_on_disk_is_counted_and_the_new_one_is_not_measured() {
    let component = measured(State::ReplacedFile).unwrap();
    assert_eq!(counters(&component), (0, 1, 0, 0, 0));
    assert!(!component.mappings.iter().any(|file| file.path.contains("mapped")));
}

/// A command that brings a child into `state` where it may mount; it takes a host that permits user namespaces.
fn in_namespaces_of_its_own(stage: &Stage, state: State) -> Command {
    const OPTIONS: [&str; 3] = ["--user", "--map-root-user", "--mount"];
    let inner = stage.command(&this_program(), state);
    let mut command = Command::new("unshare");
    command.args(OPTIONS).arg(inner.get_program()).args(inner.get_args()).stdout(Stdio::null());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    command
}

#[test]
fn a_mapped_file_that_is_covered_by_a_mount_is_refused() {
    let stage = Stage::new();
    let command = in_namespaces_of_its_own(&stage, State::CoveredFile);
    let refused = stage.run(command).unwrap_err();
    assert!(refused.starts_with("MappingReplaced"), "{refused}");
    assert!(refused.contains("/mapped"), "{refused}");
}

#[test]
fn namespaces_of_ones_own_are_seen() {
    let stage = Stage::new();
    fs::write(stage.path("app.conf"), "").unwrap();
    let command = in_namespaces_of_its_own(&stage, State::Ordinary);
    let principal = stage.run(command).unwrap().principal;
    assert!(!principal.initial_user_namespace);
    assert_eq!(principal.uid, 0);
}

#[test]
fn the_executed_file_is_measured_where_it_was_deleted() {
    let stage = Stage::new();
    let program = stage.path("program");
    fs::copy(this_program(), &program).unwrap();
    let component = stage.run(stage.command(&program, State::DeletesItsExecutable)).unwrap();
    assert_eq!(component.executable.path, format!("{} (deleted)", program.display()));
    assert_eq!(component.executable.sha256, Digest::of(&fs::read(this_program()).unwrap()));
    assert_eq!(component.runtime.deleted_executable, 1);
    assert!(!component.mappings.contains(&component.executable));
}

#[test]
fn a_patched_page_of_text_is_counted_though_the_protection_was_put_back() {
    assert_eq!(counters(&measured(State::PatchedFile).unwrap()), (0, 0, 0, 0, 1));
}

#[test]
fn a_patched_page_of_the_program_itself_is_counted() {
    let (anonymous, deleted, memfd, writable, modified) = counters(&measured(State::PatchedProgram).unwrap());
    assert_eq!((anonymous, deleted, memfd, writable), (0, 0, 0, 0));
    assert!(modified >= 1);
}

#[test]
fn a_process_that_is_not_dumpable_says_so_or_cannot_be_measured() {
    match measured(State::NotDumpable) {
        // Root may read its own page map all the same.
        Ok(component) => assert!(!component.runtime.dumpable),
        Err(error) => assert!(error.starts_with("Unreadable"), "{error}"),
    }
}

#[test]
fn restrictions_count_only_where_every_thread_has_them() {
    let component = measured(State::RestrictedThread).unwrap();
    assert!(!component.runtime.no_new_privs);
    let component = measured(State::RestrictedProcess).unwrap();
    assert!(component.runtime.no_new_privs);
}

#[test]
#[allow(
    clippy::zombie_processes,
    reason = "waited for by waitpid, which sees the stops of a traced child, too"
)]
fn a_tracer_is_seen() {
    let stage = Stage::new();
    fs::write(stage.path("app.conf"), "").unwrap();
    let mut command = stage.command(&this_program(), State::Ordinary);
    // SAFETY: the closure makes one system call, which is safe between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = command.spawn().unwrap();
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    let mut signal = 0;
    loop {
        let mut status = 0;
        // SAFETY: waits for our own child; `status` is valid for the write of an int.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        if !libc::WIFSTOPPED(status) {
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
            break;
        }
        // The stop at exec is ours; everything else goes to the child.
        signal = if libc::WSTOPSIG(status) == libc::SIGTRAP { 0 } else { libc::WSTOPSIG(status) };
        // SAFETY: the child is ours and stopped, and this thread is its tracer.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, signal) }, 0);
    }
    assert_eq!(signal, 0);
    assert!(subject::result(&stage.directory).unwrap().runtime.traced);
}

#[test]
fn a_declared_file_that_is_missing_fails_the_whole_measurement() {
    // Nobody has written `app.conf` here.
    let refused = measured(State::Ordinary).unwrap_err();
    assert!(refused.starts_with("Unreadable") && refused.contains("app.conf"), "{refused}");
}

#[test]
fn a_loaded_object_is_measured_by_an_address_in_it() {
    let measured = measurement::measure_object(libc::getpid as *const (), &Hashing::afresh()).unwrap();
    assert!(measured.path.contains("/libc.so.6"), "{}", measured.path);
    assert_eq!(measured.sha256, Digest::of(&fs::read(&measured.path).unwrap()));
    let nowhere =
        measurement::measure_object(core::ptr::without_provenance(16), &Hashing::afresh()).unwrap_err();
    assert!(nowhere.to_string().contains("0x10"), "{nowhere}");
}
