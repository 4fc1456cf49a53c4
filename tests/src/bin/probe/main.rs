//! Makes any PKCS#11 call that it is told to, in C, on a module: `probe MODULE`.
//!
//! Reads one request per line from standard input, such as `{"call": "C_SignInit", "session": 3, "mechanism": 64,
//! "key": 5}`, and answers each with one line, such as `{"rv": 0}`. Arguments that a request does not name are null
//! where they are only passed on, and room for an answer where the function writes there.

mod calls;
mod memory;

use std::env;
use std::io::{self, BufRead as _, Write as _};

use serde_json::Value;

fn main() {
    let module = env::args_os().nth(1).expect("usage: probe MODULE");
    let list = calls::load(&module);
    let mut answers = io::stdout().lock();
    for request in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&request.expect("a line")).expect("a request in JSON");
        writeln!(answers, "{}", calls::call(list, &request)).expect("standard output");
        answers.flush().expect("standard output");
    }
}
