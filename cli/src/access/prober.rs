//! Attempts made by a process of their own: this program again, started by root, which becomes the user first.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::attempt::{Answer, Attempt};
use super::user::User;
use crate::error::CliError;

/// The hidden command by which this program starts itself.
pub const COMMAND: &str = "probe-access";
/// A file system that does not answer, such as a stalled FUSE mount, is not waited for.
const BOUND: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(5);

/// What the other process is told.
#[derive(Serialize, Deserialize)]
struct Order {
    user: User,
    attempts: Vec<Attempt>,
}

/// Makes the attempts as `user`; one answer for each, in their order.
pub fn try_as(user: &User, attempts: &[Attempt]) -> Result<Vec<Answer>, CliError> {
    if !geteuid().is_root() {
        return Err(CliError::NeedsRoot { what: "to try what another user can open" });
    }
    let failed = |why: String| CliError::BecomeUser { name: user.name.clone(), why };
    let order = Order { user: user.clone(), attempts: attempts.to_vec() };
    let order = serde_json::to_vec(&order).map_err(|error| failed(error.to_string()))?;
    // By this link, so that a directory that the user may not enter does not matter.
    let mut child = Command::new("/proc/self/exe")
        .arg(COMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(failed("it has no pipes".to_owned()));
    };
    let reader = thread::spawn(move || {
        let mut answers = Vec::new();
        // It reads all of the order before it answers. Where it ends before, its exit status tells.
        let _ = stdin.write_all(&order);
        drop(stdin);
        stdout.read_to_end(&mut answers).map(|_| answers)
    });
    let end = Instant::now() + BOUND;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| failed(error.to_string()))? {
            break status;
        }
        if Instant::now() > end {
            // The result says what happened, whether or not this succeeds.
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(format!("an attempt did not end within {} s", BOUND.as_secs())));
        }
        thread::sleep(STEP);
    };
    let output = match reader.join() {
        Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed("its answer could not be read".to_owned())),
    };
    if !status.success() {
        return Err(failed(format!("the attempts ended with {status}")));
    }
    let answers: Vec<Answer> = serde_json::from_slice(&output).map_err(|error| failed(error.to_string()))?;
    if answers.len() == attempts.len() { Ok(answers) } else { Err(failed("answers are missing".to_owned())) }
}

/// The other process: from standard input to standard output.
pub fn answer_attempts() -> Result<Vec<Answer>, CliError> {
    let mut text = Vec::new();
    let refuse =
        |error: String| CliError::Usage(format!("{COMMAND} is for `doctor --as-user` alone: {error}"));
    std::io::stdin().read_to_end(&mut text).map_err(|error| refuse(error.to_string()))?;
    let order: Order = serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
    order.user.become_it()?;
    Ok(order.attempts.iter().map(Attempt::make).collect())
}
