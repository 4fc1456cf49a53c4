//! The client's side: answers the challenge, and does what the test tells it.

use std::env;
use std::ffi::{CString, c_int, c_void};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

use linux_ffi::{NONCE, NoncePage};
use measurement::{Hashing, Request, measure_self};

/// The path to connect to.
pub const SOCKET: &str = "CLIENT_SOCKET";
/// The number of a descriptor that is connected already, of a client that has executed itself.
const DESCRIPTOR: &str = "CLIENT_DESCRIPTOR";

/// How this program is started as a client.
pub const ARGUMENTS: [&str; 4] = ["--exact", "the_client", "--ignored", "--quiet"];

const PAGE: usize = 4096;
const READ_EXECUTE: c_int = libc::PROT_READ | libc::PROT_EXEC;

pub fn play() {
    let socket = match env::var(DESCRIPTOR) {
        // SAFETY: the program before this one has left it open for this one.
        Ok(number) => unsafe { UnixStream::from_raw_fd(number.parse().unwrap()) },
        Err(_) => UnixStream::connect(env::var_os(SOCKET).unwrap()).unwrap(),
    };
    serve(&socket);
}

fn serve(socket: &UnixStream) {
    let mut commands = BufReader::new(socket.try_clone().unwrap());
    let mut pages = Vec::new();
    loop {
        let mut line = String::new();
        if commands.read_line(&mut line).unwrap() == 0 {
            return;
        }
        let (command, argument) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        let path = Path::new(argument);
        let answer = match command {
            "challenge" => {
                let mut nonce = [0; NONCE];
                commands.read_exact(&mut nonce).unwrap();
                let page = NoncePage::holding(&nonce).unwrap();
                let address = page.address();
                pages.push(page);
                address.to_string()
            }
            "measure" => {
                let configuration: Vec<_> = argument.split_whitespace().map(PathBuf::from).collect();
                let request = Request { name: "client", configuration: &configuration };
                serde_json::to_string(&measure_self(&request, &Hashing::afresh()).unwrap()).unwrap()
            }
            "execute" => panic!("{}", execute(path, socket)),
            "executes-with-sibling" => {
                share_memory();
                panic!("{}", execute(path, socket))
            }
            // From here on a forked child answers, and this process waits.
            "fork" => {
                if fork() != 0 {
                    wait();
                }
                std::process::id().to_string()
            }
            // A forked child, of one thread, is a client of its own, and this process waits for it.
            "fork-and-connect" => {
                let child = fork();
                if child == 0 {
                    serve(&UnixStream::connect(env::var_os(SOCKET).unwrap()).unwrap());
                    exit();
                }
                // SAFETY: waits for our own child, and wants no status.
                unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
                exit()
            }
            "own-user-namespace" => {
                // SAFETY: a namespace has nothing to do with memory or descriptors.
                assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUSER) }, 0);
                "entered".to_owned()
            }
            "fork-and-exit" => {
                if fork() != 0 {
                    exit();
                }
                // Ends together with its parent's other threads, but not with their memory.
                std::process::id().to_string()
            }
            // A forked child answers, and this process executes another program.
            "fork-and-execute" => {
                if fork() != 0 {
                    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
                    let arguments = [path.as_ptr(), c"60".as_ptr(), ptr::null()];
                    // SAFETY: all strings end in NUL, and the list in a null pointer.
                    unsafe { libc::execv(path.as_ptr(), arguments.as_ptr()) };
                    exit();
                }
                std::process::id().to_string()
            }
            "load" => {
                let path = CString::new(argument).unwrap();
                // SAFETY: the name ends in NUL; the library is one of the system's or has no initialiser.
                let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
                assert!(!library.is_null());
                "loaded".to_owned()
            }
            "map" => (map(Some(&File::open(path).unwrap()), READ_EXECUTE) as u64).to_string(),
            "map-shared-anonymous" => {
                let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
                // SAFETY: a new mapping at an address of the kernel's choice.
                let address = unsafe { libc::mmap(ptr::null_mut(), PAGE, READ_EXECUTE, flags, -1, 0) };
                assert_ne!(address, libc::MAP_FAILED);
                (address as u64).to_string()
            }
            "map-anonymous" => (map(None, READ_EXECUTE) as u64).to_string(),
            "map-memory-file" => {
                // SAFETY: the name is a literal that ends in NUL.
                let memory = unsafe { libc::memfd_create(c"code".as_ptr(), 0) };
                // SAFETY: the descriptor is our own and new.
                let memory = unsafe { File::from_raw_fd(memory) };
                memory.set_len(PAGE as u64).unwrap();
                (map(Some(&memory), READ_EXECUTE) as u64).to_string()
            }
            "text" => (play as fn() as usize).to_string(),
            "chroot" => {
                std::os::unix::fs::chroot(path).unwrap();
                "changed".to_owned()
            }
            "not-dumpable" => set(libc::PR_SET_DUMPABLE, 0),
            "no-new-privileges" => set(libc::PR_SET_NO_NEW_PRIVS, 1),
            "become" => {
                let id = argument.parse().unwrap();
                linux_ffi::confine::become_user(id, id, &[]).unwrap();
                "became".to_owned()
            }
            "effective-user" => {
                // SAFETY: takes numbers.
                assert_eq!(unsafe { libc::seteuid(argument.parse().unwrap()) }, 0);
                "changed".to_owned()
            }
            "thread-becomes" => {
                let (told, is_told) = std::sync::mpsc::channel();
                let id: libc::c_long = argument.parse().unwrap();
                std::thread::spawn(move || {
                    // The system call changes one thread alone, unlike the C library's function.
                    // SAFETY: takes numbers.
                    told.send(unsafe { libc::syscall(libc::SYS_setresuid, id, id, id) }).unwrap();
                    std::thread::park();
                });
                assert_eq!(is_told.recv().unwrap(), 0);
                "became".to_owned()
            }
            other => panic!("{other}"),
        };
        writeln!(&mut &*socket, "{answer}").unwrap();
    }
}

/// Executes `program` in this process's place; as a client it goes on with this connection.
fn execute(program: &Path, socket: &UnixStream) -> std::io::Error {
    // SAFETY: the descriptor is our own; it stays open in the program that is executed.
    let kept: RawFd = unsafe { libc::dup(socket.as_raw_fd()) };
    let arguments = if program.ends_with("sleep") { &["60"][..] } else { &ARGUMENTS };
    (&mut &*socket).write_all(b"executing\n").unwrap();
    Command::new(program).args(arguments).env(DESCRIPTOR, kept.to_string()).exec()
}

/// A child that shares this process's memory and is no thread of it.
fn share_memory() {
    extern "C" fn sibling(_: *mut c_void) -> c_int {
        wait()
    }
    const STACK: usize = 64 * 1024;
    let stack = Vec::leak(vec![0_u8; STACK]).as_mut_ptr();
    // SAFETY: the stack is the child's alone and never freed; its end is aligned, and the child only waits.
    let child = unsafe {
        let end = stack.add(STACK).map_addr(|address| address & !63);
        libc::clone(sibling, end.cast(), libc::CLONE_VM, ptr::null_mut())
    };
    assert!(child > 0);
}

fn fork() -> libc::pid_t {
    // SAFETY: the child goes on with the test's commands; what other threads have locked it does not need.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    child
}

fn wait() -> ! {
    // Not for ever: nobody may be left to kill a sibling.
    // SAFETY: takes a number.
    unsafe { libc::sleep(60) };
    exit()
}

fn exit() -> ! {
    // SAFETY: ends the process without running anything of the test harness.
    unsafe { libc::_exit(0) }
}

fn map(file: Option<&File>, protection: c_int) -> *mut u8 {
    let (flags, descriptor) = match file {
        Some(file) => (libc::MAP_PRIVATE, file.as_raw_fd()),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
    };
    // SAFETY: a new mapping at an address of the kernel's choice, which stays until the process ends.
    let address = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, descriptor, 0) };
    assert_ne!(address, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    address.cast()
}

fn set(option: c_int, value: libc::c_ulong) -> String {
    // SAFETY: these options take numbers and change only this process or thread.
    assert_eq!(unsafe { libc::prctl(option, value, 0, 0, 0) }, 0, "{}", std::io::Error::last_os_error());
    "set".to_owned()
}
