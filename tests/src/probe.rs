//! A running probe: an application that makes one PKCS#11 call after the other, as the test tells it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use cryptoki_sys::{CKA_CLASS, CKA_LABEL, CKF_RW_SESSION, CKF_SERIAL_SESSION, CKR_OK, CKU_USER};
use serde_json::{Value, json};

use crate::stack::Stack;

/// Longer than any call takes, an attestation on a busy machine included.
const BOUND: Duration = Duration::from_secs(60);
/// The exit status of a Rust program that has panicked.
const PANICKED: i32 = 101;

/// The probe's process; killed when dropped.
pub struct Probe {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
}

/// The answer to one call.
#[derive(Debug)]
pub struct Reply {
    /// The return value.
    pub rv: u64,
    answer: Value,
}

impl Probe {
    /// Starts the probe on the shim, in the environment that `prepare` completes.
    pub fn start(stack: &Stack, prepare: impl FnOnce(&mut Command)) -> Self {
        Self::start_on(stack, stack.shim(), prepare)
    }

    /// Starts the probe on any module.
    pub fn start_on(stack: &Stack, module: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = stack.user_of(module, stack.built("probe"));
        command.arg(module);
        prepare(&mut command);
        Self::spawn(command)
    }

    /// Starts the probe by a command that ends up in it.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the probe");
        let requests = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in answers.lines() {
                if line.is_err() || sender.send(line.unwrap_or_default()).is_err() {
                    break;
                }
            }
        });
        Self { child, requests, answers: receiver }
    }

    /// Makes a call with the arguments of a JSON object.
    #[track_caller]
    pub fn call(&mut self, function: &str, arguments: Value) -> Reply {
        let shown = arguments.to_string();
        self.attempt(function, arguments).unwrap_or_else(|| panic!("{function} {shown}: the probe has died"))
    }

    /// Makes a call that the process may not survive: `None` where it has not.
    #[track_caller]
    pub fn attempt(&mut self, function: &str, arguments: Value) -> Option<Reply> {
        let mut request = arguments;
        request["call"] = function.into();
        writeln!(self.requests, "{request}").expect("the probe is alive");
        self.requests.flush().expect("the probe is alive");
        let line = match self.answers.recv_timeout(BOUND) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("no answer to {request}"),
        };
        let answer: Value = serde_json::from_str(&line).expect("an answer in JSON");
        Some(Reply { rv: answer["rv"].as_u64().expect("a return value"), answer })
    }

    /// How the module has ended the process: a signal, or an exit of its own. Panics where the probe itself has given up.
    #[track_caller]
    pub fn end(mut self) -> ExitStatus {
        let status = self.child.wait().expect("our own child");
        assert!(!matches!(status.code(), Some(0 | PANICKED)), "the probe has ended with {status}");
        status
    }

    /// Makes a call that must answer with `CKR_OK`.
    #[track_caller]
    pub fn must(&mut self, function: &str, arguments: Value) -> Reply {
        let shown = arguments.to_string();
        let reply = self.call(function, arguments);
        assert_eq!(reply.rv, CKR_OK, "{function} {shown}: {:#x}", reply.rv);
        reply
    }

    /// Initialises the module.
    #[track_caller]
    pub fn initialize(&mut self) {
        self.must("C_Initialize", json!({}));
    }

    /// Every slot with a token.
    #[track_caller]
    pub fn slots(&mut self) -> Vec<u64> {
        self.must("C_GetSlotList", json!({})).numbers("slots", "count")
    }

    /// The slot of the token with this label.
    #[track_caller]
    pub fn slot(&mut self, label: &str) -> Option<u64> {
        let slots = self.slots();
        slots.into_iter().find(|slot| {
            let info = self.must("C_GetTokenInfo", json!({ "slot": slot })).bytes("info");
            info[..32].trim_ascii_end() == label.as_bytes()
        })
    }

    /// Opens a read-write session.
    #[track_caller]
    pub fn open(&mut self, slot: u64) -> u64 {
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        self.must("C_OpenSession", json!({ "slot": slot, "flags": flags })).handle("session")
    }

    /// Logs the user of the token `sandbox` in.
    #[track_caller]
    pub fn login(&mut self, session: u64) {
        assert_eq!(self.try_login(session), CKR_OK, "C_Login");
    }

    /// What the user of the token `sandbox` is answered who logs in.
    #[track_caller]
    pub fn try_login(&mut self, session: u64) -> u64 {
        self.call("C_Login", json!({ "session": session, "user": CKU_USER, "pin": hex(b"1234") })).rv
    }

    /// Initialises, and opens a session on the token `sandbox` with the user logged in.
    #[track_caller]
    pub fn session(&mut self) -> u64 {
        self.initialize();
        let slot = self.slot("sandbox").expect("the token sandbox");
        let session = self.open(slot);
        self.login(session);
        session
    }

    /// Every object that a search for this class and label finds.
    #[track_caller]
    pub fn find(&mut self, session: u64, class: u64, label: &str) -> Vec<u64> {
        self.search(
            session,
            json!([[CKA_CLASS, hex(&class.to_ne_bytes())], [CKA_LABEL, hex(label.as_bytes())]]),
        )
    }

    /// Every object that a search with this template finds.
    #[track_caller]
    pub fn search(&mut self, session: u64, template: Value) -> Vec<u64> {
        self.must("C_FindObjectsInit", json!({ "session": session, "template": template }));
        let found = self.must("C_FindObjects", json!({ "session": session })).numbers("objects", "count");
        self.must("C_FindObjectsFinal", json!({ "session": session }));
        found
    }

    /// The one key of this class and label.
    #[track_caller]
    pub fn key(&mut self, session: u64, class: u64, label: &str) -> u64 {
        let found = self.find(session, class, label);
        assert_eq!(found.len(), 1, "{label}: {found:?}");
        found[0]
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reply {
    /// The handle that the call gave.
    #[track_caller]
    pub fn handle(&self, name: &str) -> u64 {
        self.answer[name][0].as_u64().expect("a handle")
    }

    /// The number in an argument that the call may have written, where it has one.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.answer[name][0].as_u64()
    }

    /// What the call may have written in an argument, as the probe describes it.
    pub fn value(&self, name: &str) -> &Value {
        &self.answer[name]
    }

    /// As [`value`](Self::value), of an argument that has room for several.
    #[track_caller]
    pub fn values(&self, name: &str) -> &[Value] {
        self.answer[name].as_array().expect("values")
    }

    /// As many numbers as the argument `count` says.
    #[track_caller]
    pub fn numbers(&self, name: &str, count: &str) -> Vec<u64> {
        let count = usize::try_from(self.handle(count)).expect("a count");
        let numbers = self.answer[name].as_array().expect("numbers");
        assert!(count <= numbers.len(), "{count} {name}");
        numbers[..count].iter().map(|number| number.as_u64().expect("a number")).collect()
    }

    /// The value of the attribute at this place of the template.
    #[track_caller]
    pub fn attribute(&self, place: usize) -> Vec<u8> {
        unhex(self.answer["template"][place].as_str().expect("an attribute's value"))
    }

    /// All the room that a call had for an answer, whatever it says about the length.
    #[track_caller]
    pub fn room(&self, name: &str) -> Vec<u8> {
        unhex(self.answer[name].as_str().expect("bytes"))
    }

    /// The bytes of a buffer: as many as the argument of that name with `_len` says, or all.
    #[track_caller]
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let mut bytes = unhex(self.answer[name].as_str().expect("bytes"));
        if let Some(length) = self.answer[format!("{name}_len")][0].as_u64() {
            bytes.truncate(usize::try_from(length).expect("a length"));
        }
        bytes
    }
}

/// `CK_TRUE` and `CK_FALSE` in a template.
pub const TRUE: &str = "01";
/// As above.
pub const FALSE: &str = "00";

/// A `CK_ULONG` in a template.
pub fn ulong(number: u64) -> String {
    hex(&number.to_ne_bytes())
}

/// One template after the other.
pub fn joined(first: &Value, second: &Value) -> Value {
    let attributes = |template: &Value| template.as_array().expect("a template").clone();
    [attributes(first), attributes(second)].concat().into()
}

/// Bytes as the probe reads them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("hexadecimal") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
