//! `LD_PRELOAD`: what is not the vendor's module is opened as if the shim were not there, and the vendor's is recognised
//! by its file alone.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::client::run;
use e2e::compiled::{compile, compile_library};
use e2e::{Finished, Mode, Stack};

const SHIM: &str = "libtrustshim.so";
const NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

/// `tests/programs/loads.c` with the libraries that its own search path has.
fn loads(stack: &Stack, name: &str, options: &[&str]) -> PathBuf {
    let directory = stack.file(name);
    let private = directory.join("private");
    compile_library("private.c", &private.join("libprivate.so"), &["-DNUMBER=1"]);
    // Not the vendor's, whatever it is called.
    compile_library("private.c", &private.join("libsofthsm2.so"), &["-DNUMBER=2", "-Wl,-soname,libmine.so"]);
    compile_library("private.c", &private.join("inner/libinner.so"), &["-DNUMBER=3"]);
    compile_library("nested.c", &private.join("libnested.so"), &["-Wl,-rpath,$ORIGIN/inner"]);
    compile("loads.c", &directory.join("loads"), &[&["-Wl,-rpath,$ORIGIN/private"], options].concat())
}

fn loading(mut command: Command, program: &Path) -> String {
    command.current_dir(program.parent().unwrap());
    let text = run(&mut command).must_succeed().text();
    for line in [
        "dlopen(libprivate.so, 0x2): opened, file /libprivate.so, number 1, error none",
        "dlopen(libsofthsm2.so, 0x2): opened, file /libsofthsm2.so, number 2, error none",
        "dlopen(libabsent.so, 0x2): not opened, file -, number -1, error libabsent.so: cannot open",
        "nested: opened, file /libnested.so, number 3, error none",
        "new namespace: opened, file /libprivate.so, number 1, error none",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    text
}

#[test]
fn every_other_library_is_opened_as_without_the_shim() {
    let stack = Stack::up(Mode::Inline);
    let runpath = loads(&stack, "runpath", &["-Wl,--enable-new-dtags"]);
    let rpath = loads(&stack, "rpath", &["-Wl,--disable-new-dtags"]);
    let without = stack.write("without.toml", "[real_module]\npath = \"/nonexistent/module.so\"\n");
    for program in [&runpath, &rpath] {
        let bare = loading(stack.application(program), program);
        assert_eq!(loading(stack.preloaded(program), program), bare);
        let mut command = stack.preloaded(program);
        command.env("TRUSTSHIM_CONFIG", &without);
        assert_eq!(loading(command, program), bare);
    }
    // A program that is linked with the shim.
    let build = e2e::stack::build();
    let library_path = format!("-Wl,--no-as-needed,-rpath,{}", build.display());
    let options = ["-Wl,--enable-new-dtags", &library_path, "-L", build.to_str().unwrap(), "-ltrustshim"];
    let linked = loads(&stack, "linked", &options);
    let needed = run(Command::new("readelf").arg("-d").arg(&linked)).must_succeed().text();
    assert!(needed.contains(SHIM), "{needed}");
    assert_eq!(loading(stack.application(&linked), &linked), loading(stack.application(&runpath), &runpath));
}

/// `tests/programs/whose.c` on an installation whose real module is a copy of the vendor's in a directory of its own.
struct Names {
    stack: Stack,
    directory: PathBuf,
    program: PathBuf,
    configuration: PathBuf,
}

impl Names {
    fn up() -> Self {
        let stack = Stack::up(Mode::Inline);
        let directory = stack.file("names");
        let program = compile("whose.c", &directory.join("bin/whose"), &["-Wl,-rpath,$ORIGIN/../runpath"]);
        for name in ["vendor", "runpath", "other"] {
            fs::create_dir(directory.join(name)).unwrap();
        }
        let module = directory.join("vendor/libvendor.so");
        fs::copy(stack.real_module(), &module).unwrap();
        fs::copy(stack.real_module(), directory.join("other/libvendor.so")).unwrap();
        symlink(&module, directory.join("vendor/libsofthsm2.so")).unwrap();
        symlink(&module, directory.join("runpath/libanything.so")).unwrap();
        fs::hard_link(&module, directory.join("vendor/libhard.so")).unwrap();
        let configuration = stack.configuration("names.toml", |text| {
            text.replace(stack.variable("REAL_MODULE"), module.to_str().unwrap())
        });
        Self { stack, directory, program, configuration }
    }

    fn command(&self, names: &[&str]) -> Command {
        let mut command = self.stack.application(&self.program);
        command.args(names).current_dir(&self.directory).env("TRUSTSHIM_CONFIG", &self.configuration);
        command
    }

    fn preloaded(&self, names: &[&str]) -> Command {
        let mut command = self.command(names);
        command.env("LD_PRELOAD", self.stack.shim());
        command
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }
}

/// Where the functions behind each name are.
#[track_caller]
fn assert_whose(finished: Finished, names: &[&str], file: &str) {
    let finished = finished.must_succeed();
    let text = finished.text();
    for name in names {
        assert!(text.lines().any(|line| line == format!("{name}: {file}")), "{name}: {finished}");
    }
}

#[test]
fn every_name_of_the_file_leads_to_the_shim_and_no_other_does() {
    let host = Names::up();
    let (path, hard) = (host.path("vendor/libvendor.so"), host.path("vendor/libhard.so"));
    let paths = [
        path.as_str(),
        &hard,
        "vendor/libvendor.so",
        "./other/../vendor/libsofthsm2.so",
        "$ORIGIN/../vendor/libvendor.so",
        "${ORIGIN}/../vendor/libhard.so",
        // By the program's own search path, under a name that the file itself does not have.
        "libanything.so",
    ];
    assert_whose(run(&mut host.preloaded(&paths)), &paths, SHIM);
    // Each by itself: what was opened before has no part in it.
    for name in paths {
        assert_whose(run(&mut host.preloaded(&[name])), &[name], SHIM);
    }
    let bare = ["libvendor.so", "libsofthsm2.so", "libhard.so"];
    for name in bare {
        let mut command = host.preloaded(&[name]);
        assert_whose(run(command.env("LD_LIBRARY_PATH", host.path("vendor"))), &[name], SHIM);
        let nowhere = run(&mut host.preloaded(&[name])).must_succeed();
        assert!(nowhere.text().contains("cannot open shared object file"), "{nowhere}");
    }
    // A copy is another file. Its own list is relocated by names that are the shim's here.
    let mut command = host.preloaded(&["libvendor.so"]);
    command.env("LD_LIBRARY_PATH", host.path("other"));
    assert_whose(run(&mut command), &["libvendor.so"], "several files");
    // Without the shim all of them are the vendor's.
    let finished = run(&mut host.command(&[&path])).must_succeed();
    assert_eq!(finished.text(), format!("dlopen: libc.so.6\n{path}: libvendor.so\n"));
}

#[test]
fn a_name_in_the_loaders_cache_leads_to_the_shim() {
    let host = Names::up();
    let (list, cache) = (host.stack.write("ld.so.conf", host.path("vendor")), host.stack.file("ld.so.cache"));
    let mut ldconfig = Command::new("/sbin/ldconfig");
    run(ldconfig.arg("-X").arg("-f").arg(list).arg("-C").arg(&cache)).must_succeed();
    // In a mount namespace of its own, where this is the system's cache.
    const WITH_CACHE: &str = r#"mount --bind "$1" /etc/ld.so.cache && shift && exec env LD_PRELOAD="$@""#;
    let mut command = host.stack.as_root("unshare");
    command.args(["--mount", "--", "sh", "-c", WITH_CACHE, "sh"]).arg(&cache).arg(host.stack.shim());
    command.arg(&host.program).arg("libsofthsm2.so").env("TRUSTSHIM_CONFIG", &host.configuration);
    assert_whose(run(&mut command), &["libsofthsm2.so"], SHIM);
}

#[test]
fn a_module_that_is_out_of_sight_leads_to_the_shim_by_every_path_that_is_left() {
    let host = Names::up();
    let jail = host.directory.join("jail");
    fs::create_dir(&jail).unwrap();
    fs::hard_link(host.path("vendor/libvendor.so"), jail.join("libelse.so")).unwrap();
    fs::copy(host.path("vendor/libvendor.so"), jail.join("libcopy.so")).unwrap();
    let whose = |names: &[&str]| {
        let mut command = host.stack.as_root("env");
        command.arg(format!("LD_PRELOAD={}", host.stack.shim().display())).arg(&host.program).args(names);
        run(command.env("TRUSTSHIM_CONFIG", &host.configuration))
    };
    let chroot = format!("chroot:{}", jail.display());
    // The shim looks at the module when the first library is opened, whichever that is.
    let finished = whose(&["libm.so.6", &chroot, "/libelse.so", "/libcopy.so"]);
    let text = finished.text();
    assert!(!text.contains("/libcopy.so: libtrustshim.so"), "{finished}");
    assert_whose(finished, &["/libelse.so"], SHIM);
    // Opened before, it is still the shim's afterwards, also by the name that is gone.
    let path = host.path("vendor/libvendor.so");
    assert_whose(whose(&[&path, &chroot, &path, "/libelse.so"]), &[&path, "/libelse.so"], SHIM);
}

#[test]
fn a_shim_that_is_not_preloaded_is_in_nobodys_way() {
    let host = Names::up();
    let path = host.path("vendor/libvendor.so");
    let shim = host.stack.shim().to_str().unwrap();
    let finished = run(&mut host.command(&["--global", shim, &path, shim])).must_succeed();
    let text = finished.text();
    for line in ["dlopen: libc.so.6".to_owned(), format!("{shim}: {SHIM}")] {
        assert!(text.lines().any(|other| other == line), "{line}: {finished}");
    }
    // The vendor's functions are in front where the program is linked with them, and are not the shim's all the same.
    let library_path = format!("-Wl,-rpath,{}", host.path("vendor"));
    let options = ["-Wl,--no-as-needed", &path, &library_path];
    let linked = compile("whose.c", &host.directory.join("bin/linked"), &options);
    let mut command = host.stack.application(linked);
    command.arg(shim).env("TRUSTSHIM_CONFIG", &host.configuration);
    assert_whose(run(&mut command), &[shim], SHIM);
}

#[test]
fn what_is_opened_before_the_program_has_begun_is_the_shim_too() {
    let host = Names::up();
    let early = compile_library("early.c", &host.directory.join("early.so"), &[]);
    let (shim, early) = (host.stack.shim().display(), early.display());
    for preload in [format!("{shim}:{early}"), format!("{early}:{shim}")] {
        let mut command = host.command(&[]);
        command.env("EARLY", host.path("vendor/libvendor.so")).env("LD_PRELOAD", &preload);
        let finished = run(&mut command).must_succeed();
        assert_eq!(finished.text(), format!("early: {SHIM}, libm too\ndlopen: {SHIM}\n"), "{preload}");
    }
}

#[test]
fn a_setuid_program_ignores_it() {
    let host = Names::up();
    let path = host.path("vendor/libvendor.so");
    for directory in [host.stack.file(""), host.directory.clone()] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o711)).unwrap();
    }
    let shim = host.stack.file(SHIM);
    fs::copy(host.stack.shim(), &shim).unwrap();
    let as_nobody = |mode: u32| {
        fs::set_permissions(&host.program, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = host.stack.as_root("setpriv");
        command.args(NOBODY).args(["env", &format!("LD_PRELOAD={}", shim.display())]).arg(&host.program);
        run(command.arg(&path).env("TRUSTSHIM_CONFIG", &host.configuration)).must_succeed().text()
    };
    assert_eq!(as_nobody(0o755), format!("dlopen: {SHIM}\n{path}: {SHIM}\n"));
    assert_eq!(as_nobody(0o4755), format!("dlopen: libc.so.6\n{path}: libvendor.so\n"));
}

#[test]
fn what_is_wrong_with_the_configuration_is_said_and_a_module_that_it_names_is_refused() {
    let host = Names::up();
    let path = host.path("vendor/libvendor.so");
    let socket = host.stack.file("journal");
    let journal = UnixDatagram::bind(&socket).unwrap();
    journal.set_nonblocking(true).unwrap();
    const WITH_JOURNAL: &str = r#"mount -t tmpfs none /run && mkdir -p /run/systemd/journal &&
        ln -s "$1" /run/systemd/journal/socket && shift && exec env LD_PRELOAD="$@""#;
    let whose = |configuration: &Path, program: &str, arguments: &[&str]| {
        let mut command = host.stack.as_root("unshare");
        command.args(["--mount", "--", "sh", "-c", WITH_JOURNAL, "sh"]).arg(&socket).arg(host.stack.shim());
        let finished = run(command.arg(program).args(arguments).env("TRUSTSHIM_CONFIG", configuration));
        let mut room = [0; 4096];
        let mut said = Vec::new();
        while let Ok(length) = journal.recv(&mut room) {
            said.push(String::from_utf8(room[..length].to_vec()).unwrap());
        }
        (finished, said)
    };
    let program = host.program.to_str().unwrap();
    // Whatever else is wrong with it, the module is recognised, and then refused.
    let broken = host.stack.write("broken.toml", format!("scoop = 1\n[real_module]\npath = {path:?}\n"));
    let others = host.stack.write("others.toml", fs::read(&host.configuration).unwrap());
    fs::set_permissions(&others, fs::Permissions::from_mode(0o666)).unwrap();
    for configuration in [&broken, &others] {
        let (finished, said) = whose(configuration, program, &[&path]);
        assert_whose(finished, &[&path], SHIM);
        assert!(said.is_empty(), "{said:?}");
        let (tool, said) = whose(configuration, "pkcs11-tool", &["--module", &path, "--list-slots"]);
        assert!(tool.must_fail().all_text().contains("C_Initialize"));
        assert!(matches!(&said[..], [one] if one.contains("start-failed")), "{said:?}");
    }
    // Where no module is named nothing can be recognised: said once, whatever is opened.
    let garbage = host.stack.write("garbage.toml", "[real_module\n");
    let nameless = host.stack.write("nameless.toml", "[gate]\n");
    for (configuration, word) in [
        (garbage.as_path(), "line 1"),
        (&nameless, "real_module"),
        (Path::new("relative.toml"), "TRUSTSHIM_CONFIG"),
        (&host.stack.file("absent.toml"), "no configuration"),
    ] {
        let (finished, said) = whose(configuration, program, &["libm.so.6", &path]);
        let finished = finished.must_succeed();
        assert!(!finished.text().contains(&format!("{path}: {SHIM}")), "{finished}");
        let [one] = &said[..] else { panic!("{configuration:?}: {said:?}") };
        for word in [word, "preload-inactive"] {
            assert!(one.contains(word), "{word} is not in {one}");
        }
    }
}
