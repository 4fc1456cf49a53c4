//! One connection of a client: its frames in, the gate's answers out. Whatever is out of order closes it.

use std::os::fd::{AsFd, OwnedFd};

use cryptoki_ffi::{Arena, Remote as _, calls};
use guard_wire::{Code, Writer};
use pkcs11_table::Class;
use rustix::net::Shutdown;

use super::Worker;
use crate::channel::send_all;
use crate::error::GuardError;
use crate::frames::Incoming;

/// A buffer that has become larger is given back.
const USUAL: usize = 64 << 10;

/// Serves a connection until the client closes it, or is not who it was.
pub(super) fn serve(worker: &Worker, stream: &OwnedFd) {
    if let Err(error) = answer_all(worker, stream) {
        tracing::warn!(pid = worker.served.pid, %error, "a client's connection was closed");
    }
    // The client may have handed it on.
    let _ = rustix::net::shutdown(stream, Shutdown::Both);
}

fn answer_all(worker: &Worker, stream: &OwnedFd) -> Result<(), GuardError> {
    let mut incoming = Incoming::new(worker.served.pid);
    let (mut arena, mut answer) = (Arena::new(), Writer::new());
    while let Some((header, body)) = incoming.next(stream, is_call)? {
        // Of another program in the same process, nothing counts. An exec during the call gains nothing: the answer goes to
        // whoever asked.
        worker.process.holds()?;
        answer.clear(USUAL);
        match header.code() {
            Code::Call(function) => {
                if uses_keys(function.class()) {
                    worker.watch.look_again(|| worker.module.attest_anew())?;
                }
                cryptoki_ffi::serve(function, body, &worker.module, &mut arena, &mut answer)?;
            }
            Code::NewestInfo => {
                let newest = |call| worker.module.newest_info(call);
                calls::C_GetInfo::serve(body, &mut arena, &mut answer, newest)?;
            }
            _ => return Err(GuardError::OutOfPlace),
        }
        send_all(stream.as_fd(), answer.frame(Code::Answer, header.sequence())?, &[])?;
    }
    Ok(())
}

const fn is_call(code: Code) -> bool {
    matches!(code, Code::Call(_) | Code::NewestInfo)
}

/// Whether it takes a trust token, if only under some conditions.
const fn uses_keys(class: Class) -> bool {
    !matches!(class, Class::Library | Class::Open)
}

#[cfg(test)]
mod tests {
    use pkcs11_table::Function;

    use super::*;

    #[test]
    fn every_function_that_may_need_a_token_has_the_client_looked_at() {
        for function in Function::ALL {
            let is_open = matches!(function.class(), Class::Library | Class::Open);
            assert_eq!(uses_keys(function.class()), !is_open, "{function}");
        }
        assert!(uses_keys(Function::C_Sign.class()) && uses_keys(Function::C_Login.class()));
    }
}
