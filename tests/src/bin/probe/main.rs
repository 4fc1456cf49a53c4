//! Makes any PKCS#11 call that it is told to, in C, on a module: `probe MODULE`. Further arguments only tell one probe from
//! another.
//!
//! Reads one request per line from standard input, such as `{"call": "C_SignInit", "session": 3, "mechanism": 64,
//! "key": 5}`, and answers each with one line, such as `{"rv": 0}`. Arguments that a request does not name are null
//! where they are only passed on, and room for an answer where the function writes there. `{"call": "fork"}` forks: the
//! child answers from then on. With `"on": "FILE"` the call is made on another module in the same process.
//! `{"call": "thread", "request": {…}}` has another thread make a call, which gets a number; `{"call": "join", "thread": 0}`
//! answers what it was answered.

mod calls;
mod memory;

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead as _, Write as _};
use std::thread;

use serde_json::{Value, json};

fn main() {
    let module = env::args_os().nth(1).expect("usage: probe MODULE");
    let lists = calls::load(&module);
    let mut answers = io::stdout().lock();
    let mut threads = Vec::new();
    for request in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&request.expect("a line")).expect("a request in JSON");
        let answer = match (request["call"].as_str(), request["on"].as_str()) {
            (Some("fork"), _) => fork(),
            (Some("thread"), _) => {
                let request = request["request"].clone();
                threads.push(Some(thread::spawn(move || calls::call(&lists, &request))));
                json!({ "rv": 0 })
            }
            (Some("join"), _) => {
                let number = request["thread"].as_u64().and_then(|number| usize::try_from(number).ok());
                let thread = number.and_then(|number| threads.get_mut(number)?.take());
                thread.expect("a thread that runs").join().expect("a call")
            }
            (_, Some(other)) => calls::call(&calls::load(OsStr::new(other)), &request),
            (_, None) => calls::call(&lists, &request),
        };
        writeln!(answers, "{answer}").expect("standard output");
        answers.flush().expect("standard output");
    }
}

/// Returns in the child; the parent ends when the child has ended.
fn fork() -> Value {
    // SAFETY: the child of a probe that has more threads than this one does no more than the test tells it to.
    match unsafe { libc::fork() } {
        0 => json!({ "rv": 0 }),
        child => {
            let mut status = 0;
            // SAFETY: `status` is a place for the status of our own child.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            std::process::exit(status);
        }
    }
}
