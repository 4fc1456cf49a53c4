//! Measures programs without running them, and compares with what the kernel has mapped once they run.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use attestation::component::{Component, MeasuredFile};
use attestation::digest::Digest;
use measurement::{Hashing, MeasurementError, Program, measure_program};

fn program<'a>(path: &'a Path, arguments: &'a [OsString]) -> Program<'a> {
    Program {
        name: "auto",
        path,
        arguments,
        environment: &[],
        uid: 1000,
        gid: 100,
        libraries: &[],
        configuration: &[],
    }
}

fn measured(program: &Program<'_>) -> Component {
    measure_program(program, &Hashing::afresh()).unwrap()
}

fn paths(component: &Component) -> BTreeSet<String> {
    component.mappings.iter().map(|file| file.path.clone()).collect()
}

/// What is mapped executable in a process.
fn mapped(child: &Child) -> BTreeSet<String> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
    let executable = maps.lines().filter(|line| line.split(' ').nth(1).unwrap().contains('x'));
    executable.filter_map(|line| line.find('/').map(|at| line[at..].to_owned())).collect()
}

/// Starts `command`, which waits for something once it has loaded everything, and compares.
fn assert_maps(command: &mut Command, expected: &BTreeSet<String>) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut found = mapped(&child);
    for _ in 0..100 {
        if found == *expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        found = mapped(&child);
    }
    // Nothing more comes after that.
    std::thread::sleep(Duration::from_millis(200));
    let last = mapped(&child);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(last, *expected, "before: {found:?}");
}

#[test]
fn a_programs_files_are_those_that_it_maps() {
    let path = Path::new("/usr/bin/sleep");
    let component = measured(&program(path, &["sleep".into(), "60".into()]));
    assert_maps(Command::new(path).env_clear().arg("60"), &paths(&component));
    for MeasuredFile { path, sha256, .. } in &component.mappings {
        assert_eq!(*sha256, Digest::of(&fs::read(path).unwrap()), "{path}");
    }
    assert_eq!(component.executable.path, "/usr/bin/sleep");
    assert!(component.mappings.contains(&component.executable));
    assert_eq!(component.argv, ["sleep", "60"]);
    assert_eq!((component.principal.uid, component.principal.gid), (1000, 100));
    assert_eq!(component.principal.unit, None);
}

#[test]
fn a_client_and_its_module_are_those_that_it_maps() {
    let keep = tempfile::tempdir().unwrap();
    let copy = keep.path().canonicalize().unwrap().join("client");
    fs::copy("/usr/bin/pkcs11-tool", &copy).unwrap();
    let module = PathBuf::from("/usr/lib/softhsm/libsofthsm2.so");
    let modules = [module.clone()];
    let arguments: Vec<OsString> = vec![copy.clone().into(), "--module".into(), module.into(), "-L".into()];
    let component = measured(&Program { libraries: &modules, ..program(&copy, &arguments) });
    assert_eq!(component.executable.sha256, Digest::of(&fs::read("/usr/bin/pkcs11-tool").unwrap()));
    assert!(component.mappings.len() > 10, "{:?}", paths(&component));

    // It waits while it reads its configuration from a pipe that nobody writes to.
    let pipe = keep.path().join("softhsm2.conf");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut command = Command::new(&copy);
    assert_maps(command.args(&arguments[1..]).env_clear().env("SOFTHSM2_CONF", &pipe), &paths(&component));
}

#[test]
fn the_measurement_is_this_processs_own_but_for_its_state_and_place() {
    let path = std::env::current_exe().unwrap();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let environment: Vec<_> = std::env::vars_os().collect();
    let configuration = [PathBuf::from("/etc/passwd")];
    let request = measurement::Request { name: "auto", configuration: &configuration };
    let own = measurement::measure_self(&request, &Hashing::afresh()).unwrap();
    let foretold = measured(&Program {
        environment: &environment,
        uid: own.principal.uid,
        gid: own.principal.gid,
        configuration: &configuration,
        ..program(&path, &arguments)
    });
    let expected =
        Component { principal: foretold.principal.clone(), runtime: foretold.runtime.clone(), ..own };
    assert_eq!(foretold, expected);
}

#[test]
fn an_interpreters_script_is_measured() {
    let keep = tempfile::tempdir().unwrap();
    let script = keep.path().canonicalize().unwrap().join("sign.sh");
    fs::write(&script, "echo\n").unwrap();
    let arguments = ["dash".into(), script.clone().into_os_string()];
    let component = measured(&program(Path::new("/usr/bin/dash"), &arguments));
    assert_eq!(component.scripts[0].path, script.to_str().unwrap());
    assert_eq!(component.scripts[0].sha256, Digest::of(b"echo\n"));
}

#[test]
fn what_is_no_program_or_lacks_a_library_is_refused() {
    let keep = tempfile::tempdir().unwrap();
    let path = keep.path().join("program");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    let refused = |path: &Path| measure_program(&program(path, &[]), &Hashing::afresh()).unwrap_err();
    assert!(matches!(refused(&path), MeasurementError::NotAProgram { .. }));
    assert!(matches!(refused(keep.path()), MeasurementError::NotRegular { .. }));
    let mut content = fs::read("/usr/bin/env").unwrap();
    let at = content.windows(10).position(|window| window == b"libc.so.6\0").unwrap();
    content[at..at + 9].copy_from_slice(b"libc.so.7");
    fs::write(&path, content).unwrap();
    match refused(&path) {
        MeasurementError::LibraryNotFound { name, .. } => assert_eq!(name, "libc.so.7"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_library_without_code_is_not_counted() {
    let keep = tempfile::tempdir().unwrap();
    let directory = keep.path().canonicalize().unwrap();
    fs::write(directory.join("data.c"), "int data = 1;\n").unwrap();
    fs::write(directory.join("main.c"), "int pause(void); int main(void) { return pause(); }\n").unwrap();
    let compile = |arguments: &[&str]| {
        let status = Command::new("cc").current_dir(&directory).args(arguments).status().unwrap();
        assert!(status.success());
    };
    compile(&["-shared", "-fPIC", "-nostdlib", "-Wl,-z,separate-code", "-o", "libdata.so", "data.c"]);
    compile(&["-o", "program", "main.c", "-Wl,--no-as-needed", "-L.", "-ldata", "-Wl,-rpath,$ORIGIN"]);
    let path = directory.join("program");
    let component = measured(&program(&path, &[]));
    assert!(!paths(&component).contains(directory.join("libdata.so").to_str().unwrap()));
    assert_maps(Command::new(&path).env_clear(), &paths(&component));
}

#[test]
fn a_library_beside_the_program_is_found_by_its_run_path_and_nowhere_else() {
    let keep = tempfile::tempdir().unwrap();
    let directory = keep.path().canonicalize().unwrap();
    fs::create_dir(directory.join("lib")).unwrap();
    fs::write(directory.join("own.c"), "int own(void) { return 0; }\n").unwrap();
    fs::write(directory.join("main.c"), "int own(void); int main(void) { return own(); }\n").unwrap();
    let compile = |arguments: &[&str]| {
        let status = Command::new("cc").current_dir(&directory).args(arguments).status().unwrap();
        assert!(status.success());
    };
    compile(&["-shared", "-fPIC", "-o", "lib/libown.so", "own.c"]);
    for (flags, is_found) in [
        ("-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib", true),
        ("-Wl,--disable-new-dtags,-rpath,$ORIGIN/lib", true),
        ("-Wl,--no-undefined", false),
    ] {
        compile(&["-o", "program", "main.c", "-Llib", "-lown", flags]);
        let path = directory.join("program");
        let result = measure_program(&program(&path, &[]), &Hashing::afresh());
        let own = directory.join("lib/libown.so");
        match result {
            Ok(component) => {
                assert!(is_found, "{flags}");
                assert!(paths(&component).contains(own.to_str().unwrap()), "{flags}");
                assert!(Command::new(&path).env_clear().status().unwrap().success());
            }
            Err(error) => {
                assert!(!is_found, "{flags}: {error}");
                assert!(matches!(error, MeasurementError::LibraryNotFound { .. }), "{error}");
            }
        }
    }
}
