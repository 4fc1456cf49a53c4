//! The child's side: brings itself into a state and measures itself.

use std::env;
use std::ffi::c_int;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::ptr;

use attestation::component::Component;
use measurement::{Hashing, Request, measure_self};

pub const STATE: &str = "SUBJECT_STATE";
pub const DIRECTORY: &str = "SUBJECT_DIRECTORY";

const PAGE: usize = 4096;
const READ_EXECUTE: c_int = libc::PROT_READ | libc::PROT_EXEC;

macro_rules! states {
    ($($state:ident),+ $(,)?) => {
        /// What the child does before it measures itself.
        #[derive(Clone, Copy, Debug)]
        pub enum State { $($state),+ }

        impl State {
            pub fn name(self) -> &'static str {
                match self { $(Self::$state => stringify!($state)),+ }
            }

            fn named(name: &str) -> Self {
                match name { $(stringify!($state) => Self::$state,)+ _ => panic!("{name}") }
            }
        }
    };
}

states! {
    AnonymousCode,
    CountsDescriptors,
    CoveredFile,
    DeletedFile,
    DeletesItsExecutable,
    FileWithLineFeed,
    MemfdCode,
    NotDumpable,
    Ordinary,
    PatchedFile,
    PatchedProgram,
    ReplacedFile,
    RestrictedProcess,
    RestrictedThread,
    SharedAnonymousCode,
    WritableCode,
}

/// What the child in `directory` has measured, or the error in its debugging form.
pub fn result(directory: &Path) -> Result<Component, String> {
    match fs::read_to_string(directory.join("measured.json")) {
        Ok(json) => Ok(serde_json::from_str(&json).unwrap()),
        Err(_) => Err(fs::read_to_string(directory.join("refused")).unwrap()),
    }
}

pub fn play() {
    let Ok(state) = env::var(STATE) else { panic!("started by hand") };
    let directory = PathBuf::from(env::var_os(DIRECTORY).unwrap());
    let mut declared = Vec::new();
    match State::named(&state) {
        State::Ordinary => declared.push(directory.join("app.conf")),
        State::AnonymousCode => drop(map(None, READ_EXECUTE, libc::MAP_PRIVATE)),
        State::SharedAnonymousCode => drop(map(None, READ_EXECUTE, libc::MAP_SHARED)),
        State::WritableCode => drop(map(None, READ_EXECUTE | libc::PROT_WRITE, libc::MAP_PRIVATE)),
        State::MemfdCode => {
            // SAFETY: the name is a literal that ends in NUL.
            let memory = unsafe { libc::memfd_create(c"code".as_ptr(), 0) };
            assert!(memory >= 0);
            // SAFETY: the descriptor is our own and new.
            let memory = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(memory) };
            memory.set_len(PAGE as u64).unwrap();
            map(Some(&memory), READ_EXECUTE, libc::MAP_SHARED);
        }
        State::FileWithLineFeed => {
            map_file(&directory.join("line\nfeed"));
            fs::write(directory.join(r"line\012feed"), "decoy").unwrap();
            map_file(&directory.join(r"line\012kept"));
            fs::write(directory.join("line\nkept"), "decoy").unwrap();
        }
        State::DeletedFile => {
            map_file(&directory.join("mapped"));
            fs::remove_file(directory.join("mapped")).unwrap();
            fs::write(directory.join("mapped (deleted)"), "namesake").unwrap();
        }
        State::ReplacedFile => {
            map_file(&directory.join("mapped"));
            fs::write(directory.join("new"), "another").unwrap();
            fs::rename(directory.join("new"), directory.join("mapped")).unwrap();
        }
        State::CoveredFile => {
            map_file(&directory.join("mapped"));
            fs::write(directory.join("cover"), "another").unwrap();
            let [cover, mapped] = ["cover", "mapped"].map(|name| {
                std::ffi::CString::new(directory.join(name).into_os_string().into_encoded_bytes()).unwrap()
            });
            // SAFETY: both names end in NUL, and a bind mount takes neither a type nor data.
            let status = unsafe {
                libc::mount(cover.as_ptr(), mapped.as_ptr(), ptr::null(), libc::MS_BIND, ptr::null())
            };
            assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
        }
        State::DeletesItsExecutable => fs::remove_file(env::current_exe().unwrap()).unwrap(),
        State::PatchedFile => patch(map_file(&directory.join("mapped"))),
        State::PatchedProgram => {
            let function = measure_and_write as fn(&Path, &[PathBuf]) as *mut u8;
            patch(function.map_addr(|address| address & !(PAGE - 1)));
        }
        State::NotDumpable => set(libc::PR_SET_DUMPABLE, 0),
        State::RestrictedThread => {
            let (started, has_started) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                set(libc::PR_SET_NO_NEW_PRIVS, 1);
                started.send(()).unwrap();
                std::thread::park();
            });
            has_started.recv().unwrap();
        }
        State::RestrictedProcess => {
            // The harness's own thread cannot be reached from here: this process starts itself again.
            if env::var_os("RESTRICTED").is_none() {
                use std::os::unix::process::CommandExt as _;
                set(libc::PR_SET_NO_NEW_PRIVS, 1);
                let error = std::process::Command::new("/proc/self/exe")
                    .args(env::args_os().skip(1))
                    .env("RESTRICTED", "1")
                    .exec();
                panic!("{error}");
            }
        }
        State::CountsDescriptors => {
            let open = || fs::read_dir("/proc/self/fd").unwrap().count();
            let before = open();
            measure_self(&Request { name: "subject", configuration: &[] }, &Hashing::afresh()).unwrap();
            assert_eq!(open(), before);
        }
    }
    measure_and_write(&directory, &declared);
}

fn measure_and_write(directory: &Path, declared: &[PathBuf]) {
    match measure_self(&Request { name: "subject", configuration: declared }, &Hashing::afresh()) {
        Ok(component) => {
            fs::write(directory.join("measured.json"), serde_json::to_vec(&component).unwrap()).unwrap();
        }
        Err(error) => fs::write(directory.join("refused"), format!("{error:?}")).unwrap(),
    }
}

/// Writes a file and maps it as text is mapped.
fn map_file(path: &Path) -> *mut u8 {
    fs::write(path, "real").unwrap();
    map(Some(&File::open(path).unwrap()), READ_EXECUTE, libc::MAP_PRIVATE)
}

fn map(file: Option<&File>, protection: c_int, kind: c_int) -> *mut u8 {
    let (flags, descriptor) = match file {
        Some(file) => (kind, file.as_raw_fd()),
        None => (kind | libc::MAP_ANONYMOUS, -1),
    };
    // SAFETY: a new mapping at an address of the kernel's choice, which stays until the process ends.
    let address = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, descriptor, 0) };
    assert_ne!(address, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    address.cast()
}

/// Writes to a page of text what stands there already, and puts the protection back.
fn patch(page: *mut u8) {
    let protect = |protection| {
        // SAFETY: the page stays readable and executable all the time, so that code in it goes on.
        assert_eq!(unsafe { libc::mprotect(page.cast(), PAGE, protection) }, 0);
    };
    protect(READ_EXECUTE | libc::PROT_WRITE);
    // SAFETY: the page is mapped and writable here, and the byte keeps its value.
    unsafe { page.write_volatile(page.read_volatile()) };
    protect(READ_EXECUTE);
}

fn set(option: c_int, value: libc::c_ulong) {
    // SAFETY: these options take numbers and change only this process or thread.
    assert_eq!(unsafe { libc::prctl(option, value, 0, 0, 0) }, 0, "{}", std::io::Error::last_os_error());
}
