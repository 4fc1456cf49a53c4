//! Becoming the guard's client: it pins this process, and finds in its memory what it has sent.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guard_wire::{Code, Control, HEADER, Header, MAX_CONTROL, WireError, Writer};
use linux_ffi::socket::{self, Descriptors};
use linux_ffi::{LinuxError, NoncePage};
use locks::Mutex;
use pkcs11_table::FlatMechanisms;
use rustix::net::Shutdown;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::connection::{Broken, Handed};

/// How long the guard may take to let this process in, which is at most what the real module takes to initialise.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to deliver what it has refused, at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// The guard cannot be reached, or does not let this process in. There is nothing to fall back to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    /// Nobody listens, or this user may not connect.
    #[error("[guard] socket: {path:?}: {source}{}", advice(source))]
    Connecting { path: PathBuf, source: io::Error },
    /// The one who listens is not the guard.
    #[error("[guard] socket: {path:?} is user {uid}'s, not root's")]
    Stranger { path: PathBuf, uid: u32 },
    /// The guard has turned this process away.
    #[error("the guard has turned this process away: {reason}")]
    Turned { code: u64, reason: String },
    /// It says what it should not.
    #[error("what the guard says cannot be understood; are shim and guard of the same version?")]
    Confused,
    /// It has closed the connection.
    #[error("the guard has closed the connection")]
    Closed,
    /// What it says cannot be read.
    #[error("what the guard says cannot be read: {0}")]
    Wire(#[from] WireError),
    /// The kernel.
    #[error(transparent)]
    Linux(#[from] LinuxError),
}

impl Unreachable {
    /// Of a first connection that cannot be used.
    pub(super) fn of(broken: Broken) -> Self {
        match broken {
            Broken::Socket(error) => Self::Linux(error),
            Broken::Answer(error) => Self::Wire(error),
            Broken::Closed | Broken::OutOfOrder => Self::Closed,
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "; does trustshim-guard run? (systemctl status trustshim-guard)"
        }
        io::ErrorKind::PermissionDenied => "; is this user in the group that the guard serves?",
        _ => "",
    }
}

/// What a request for a further connection gives.
pub(super) enum More {
    Connection(Handed),
    /// This process has as many as it may.
    NoMore,
}

/// This process, as the guard has let it in.
pub(super) struct Admitted {
    /// Locked for each question and its answer.
    control: Mutex<OwnedFd>,
    interfaces: Vec<(u8, u8)>,
    flat: FlatMechanisms,
    /// The guard looks at it again and again.
    _page: NoncePage,
}

impl Admitted {
    /// Connects, and is let in; the first connection for calls comes with that.
    pub(super) fn to(path: &Path) -> Result<(Self, Handed), Unreachable> {
        let control = connect(path)?;
        let nonce = match receive(&control)? {
            (Control::Challenge { nonce }, _) => nonce,
            (other, _) => return Err(unexpected(other)),
        };
        let page = NoncePage::holding(&nonce)?;
        send(&control, &Control::Placed { address: page.address() })?;
        match receive(&control)? {
            (Control::Welcome { interfaces, flat }, Some(first)) => {
                Ok((Self { control: Mutex::new(control), interfaces, flat, _page: page }, first))
            }
            (other, _) => Err(unexpected(other)),
        }
    }

    /// The versions of the real module's function lists.
    pub(super) fn interfaces(&self) -> &[(u8, u8)] {
        &self.interfaces
    }

    /// The vendors' mechanisms whose parameter the guard takes for bytes.
    pub(super) const fn flat_mechanisms(&self) -> &FlatMechanisms {
        &self.flat
    }

    /// Asks for a further connection.
    pub(super) fn more(&self) -> Result<More, Unreachable> {
        let control = self.control.lock();
        send(&control, &Control::More)?;
        match receive(&control)? {
            (Control::Another, Some(handed)) => Ok(More::Connection(handed)),
            (Control::Turned { .. }, None) => Ok(More::NoMore),
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Says that this process is done, and waits until the guard has done what is left to do for it.
    pub(super) fn leave(&self) {
        let control = self.control.lock();
        // Where the guard is gone, there is nobody to say it to.
        let told = rustix::net::shutdown(&*control, Shutdown::Write)
            .and_then(|()| set_socket_timeout(&*control, Timeout::Recv, Some(FAREWELL)));
        if told.is_ok() {
            let _ = socket::receive(control.as_fd(), &mut [0], Descriptors::Refused);
        }
    }
}

/// Asks the guard at `path` what it offers.
pub(super) fn ask(path: &Path) -> Result<Vec<(u8, u8)>, Unreachable> {
    let control = connect(path)?;
    match receive(&control)? {
        (Control::Challenge { .. }, _) => send(&control, &Control::Ask)?,
        (other, _) => return Err(unexpected(other)),
    }
    match receive(&control)? {
        (Control::Offer { interfaces }, _) => Ok(interfaces),
        (other, _) => Err(unexpected(other)),
    }
}

fn connect(path: &Path) -> Result<OwnedFd, Unreachable> {
    let stream = UnixStream::connect(path)
        .map_err(|source| Unreachable::Connecting { path: path.to_owned(), source })?;
    let control = OwnedFd::from(stream);
    // It will be sent PINs. Its number is of no interest, and from a container it has none.
    let uid = linux_ffi::peer::user(control.as_fd())?;
    if uid != 0 {
        return Err(Unreachable::Stranger { path: path.to_owned(), uid });
    }
    for timeout in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&control, timeout, Some(PATIENCE)).map_err(|errno| {
            Unreachable::Linux(LinuxError::Call { call: "setsockopt", source: errno.into() })
        })?;
    }
    Ok(control)
}

fn send(control: &OwnedFd, what: &Control) -> Result<(), Unreachable> {
    let mut body = Writer::new();
    what.encode(&mut body)?;
    let mut frame = body.frame(what.code(), 0)?;
    while !frame.is_empty() {
        let sent = socket::send(control.as_fd(), frame, &[])?;
        frame = frame.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// What the guard says, with the connection that came along.
fn receive(control: &OwnedFd) -> Result<(Control, Option<Handed>), Unreachable> {
    let mut descriptors = Vec::new();
    let mut header = [0; HEADER];
    fill(control, &mut header, &mut descriptors)?;
    let header = Header::decode(header)?;
    let Code::Control(kind) = header.code() else { return Err(Unreachable::Confused) };
    let mut body = [0; MAX_CONTROL];
    let body = body.get_mut(..header.length()).ok_or(Unreachable::Confused)?;
    fill(control, body, &mut descriptors)?;
    let control = Control::decode(kind, body)?;
    let mut descriptors = descriptors.into_iter();
    let handed = descriptors.next().map(|stream| Handed { stream, memory: descriptors.next() });
    if descriptors.next().is_none() { Ok((control, handed)) } else { Err(Unreachable::Confused) }
}

fn fill(control: &OwnedFd, mut place: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<(), Unreachable> {
    while !place.is_empty() {
        let received = socket::receive(control.as_fd(), place, Descriptors::Allowed)?;
        descriptors.extend(received.descriptors);
        match place.get_mut(received.bytes..) {
            Some(rest) if received.bytes > 0 => place = rest,
            _ => return Err(Unreachable::Closed),
        }
    }
    Ok(())
}

fn unexpected(control: Control) -> Unreachable {
    match control {
        Control::Turned { code, reason } => {
            Unreachable::Turned { code, reason: attestation::digest::escape(reason.as_bytes()) }
        }
        _ => Unreachable::Confused,
    }
}
