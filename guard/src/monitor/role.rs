//! Starting this program in another role.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use configuration::Guard;

use crate::channel::Channel;
use crate::error::GuardError;

/// How long a role that was told to end may take.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

/// Starts this program in other roles.
///
/// All of them from one thread: to the kernel, a child ends with the *thread* that has started it (prctl(2),
/// `PR_SET_PDEATHSIG`), and those of clients come and go.
#[derive(Clone, Debug)]
pub(super) struct Program {
    orders: Sender<Order>,
}

#[derive(Debug)]
struct Order {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

/// A process of this program in another role. It is ended when dropped.
#[derive(Debug)]
pub(super) struct Role {
    /// Until it is ended.
    child: Option<Child>,
    pub(super) channel: Channel,
}

impl Program {
    /// With the thread that does it.
    pub(super) fn new() -> Result<Self, GuardError> {
        let (orders, ordered) = mpsc::channel::<Order>();
        super::thread("roles", move || {
            for Order { mut command, reply } in ordered {
                // Nobody waits where the client has gone meanwhile; then the child's channel is closed already, and it ends.
                let _ = reply.send(command.spawn());
            }
        })?;
        Ok(Self { orders })
    }

    /// Starts the role of that name, with these variables in its environment and no others but `PATH` and `RUST_LOG`.
    pub(super) fn start(
        &self,
        role: &'static str,
        guard: &Guard,
        environment: &BTreeMap<String, String>,
    ) -> Result<Role, GuardError> {
        let (channel, theirs) = Channel::pair()?;
        let kept = ["PATH", "RUST_LOG"].into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("trustshim-guard")
            .arg(role)
            .arg("--config")
            .arg(&guard.configuration.path)
            .env_clear()
            .envs(kept)
            .envs(environment)
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null());
        let failed = |source| GuardError::NotStarted { role, source };
        let (reply, replied) = mpsc::channel();
        self.orders.send(Order { command, reply }).map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))?;
        let child = replied.recv().map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Role { child: Some(child.map_err(failed)?), channel })
    }
}

impl Role {
    /// Whether it has not ended.
    pub(super) fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits for its end, which it was told of, and ends it where it takes too long.
    pub(super) fn wait(&mut self) {
        let began = Instant::now();
        while self.is_alive() {
            if began.elapsed() > PATIENCE {
                self.kill();
                return;
            }
            thread::sleep(PAUSE);
        }
    }

    /// Ends it at once. Nobody waits for that: what it waits for in the kernel may not let it go.
    pub(super) fn kill(&mut self) {
        self.kill_and_keep(());
    }

    /// The same; `kept` is kept until it has ended.
    pub(super) fn kill_and_keep(&mut self, kept: impl Send + 'static) {
        let Some(mut child) = self.child.take() else { return };
        let ended = child.kill().or_else(ended_before).and_then(|()| child.try_wait());
        match ended {
            Ok(Some(_)) => {}
            Ok(None) => wait_elsewhere(child, kept),
            Err(error) => tracing::warn!(%error, "a process of the guard could not be ended"),
        }
    }
}

/// Takes in the end of a process that has been told of it.
fn wait_elsewhere(mut child: Child, kept: impl Send + 'static) {
    let pid = child.id();
    let waited = super::thread("ends", move || {
        if let Err(error) = child.wait() {
            tracing::warn!(%error, pid, "a process of the guard could not be waited for");
        }
        drop(kept);
    });
    if let Err(error) = waited {
        tracing::warn!(%error, pid, "a process of the guard is not waited for");
    }
}

/// It had ended by itself.
fn ended_before(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::InvalidInput { Ok(()) } else { Err(error) }
}

impl Drop for Role {
    fn drop(&mut self) {
        if self.is_alive() {
            self.kill();
        }
    }
}

impl AsFd for Role {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
