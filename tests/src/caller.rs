//! A program that makes calls which it may not survive, and is started again when it has died.

use std::process::ExitStatus;

use cryptoki_sys::*;
use serde_json::json;

use crate::bad_calls::{self, BadCall, Stale};
use crate::every_call::{self, Case, Keys};
use crate::probe::{FALSE, Probe, hex, ulong};

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function returned.
    Returned(CK_RV),
    /// It has ended the process, by a signal or an exit.
    Ended(ExitStatus),
}

/// The program.
pub struct Caller<'a> {
    start: Box<dyn Fn() -> (Probe, u64) + 'a>,
    running: Option<Running>,
}

struct Running {
    probe: Probe,
    slot: u64,
    keys: Keys,
    stale: Stale,
}

impl<'a> Caller<'a> {
    /// A program that `start` starts, and which can log in.
    pub fn new(start: impl Fn() -> Probe + 'a) -> Self {
        Self::with_session(move || {
            let mut probe = start();
            let session = probe.session();
            (probe, session)
        })
    }

    /// A program that `start` starts, with a session on the token `sandbox` with the user logged in.
    pub fn with_session(start: impl Fn() -> (Probe, u64) + 'a) -> Self {
        Self { start: Box::new(start), running: None }
    }

    fn running(&mut self) -> &mut Running {
        self.running.get_or_insert_with(|| {
            let (mut probe, session) = (self.start)();
            let slot = probe.slot("sandbox").expect("the token sandbox");
            let keys = every_call::keys(&mut probe, session);
            let stale = stale(&mut probe, slot, session);
            Running { probe, slot, keys, stale }
        })
    }

    /// One good call of every function and way to use it, on a new session of this number.
    pub fn cases(&mut self) -> (u64, Vec<Case>) {
        let Running { probe, slot, keys, .. } = self.running();
        let session = probe.open(*slot);
        let open = every_call::open(session, *slot, keys).into_iter();
        (session, open.chain(every_call::gated(session, *slot, keys)).collect())
    }

    /// What can be bad about the good call of this number: names, in the order of their numbers.
    pub fn bad(&mut self, case: usize) -> Vec<BadCall> {
        let (_, cases) = self.cases();
        bad_calls::of(&cases[case], self.running().stale)
    }

    /// What comes of the bad call of this number made of the good call of that, after what has to run before it.
    pub fn outcome(&mut self, case: usize, bad: usize) -> Outcome {
        let (session, mut cases) = self.cases();
        let case = cases.swap_remove(case);
        let Running { probe, stale, .. } = self.running();
        if let Some((init, arguments)) = &case.init {
            // Whether it begins is up to the gate; if not, the call behind it finds nothing.
            probe.call(init.name(), arguments.clone());
        }
        let BadCall { arguments, .. } = bad_calls::of(&case, *stale).swap_remove(bad);
        let Some(reply) = probe.attempt(case.function.name(), arguments) else {
            let Running { probe, .. } = self.running.take().expect("it was running");
            return Outcome::Ended(probe.end());
        };
        // What has come to be in spite of it goes again.
        for object in ["object", "new_object", "key", "public_key", "private_key"] {
            if let Some(object) = reply.number(object).filter(|object| reply.rv == CKR_OK && *object != 0) {
                probe.must("C_DestroyObject", json!({ "session": session, "object": object }));
            }
        }
        probe.call("C_CloseSession", json!({ "session": session }));
        Outcome::Returned(reply.rv)
    }
}

/// Handles that were good.
fn stale(probe: &mut Probe, slot: u64, session: u64) -> Stale {
    let closed = probe.open(slot);
    probe.must("C_CloseSession", json!({ "session": closed }));
    let template =
        json!([[CKA_CLASS, ulong(CKO_DATA)], [CKA_PRIVATE, FALSE], [CKA_VALUE, hex(b"short-lived")]]);
    let made = probe.must("C_CreateObject", json!({ "session": session, "template": template }));
    let object = made.handle("object");
    probe.must("C_DestroyObject", json!({ "session": session, "object": object }));
    Stale { session: closed, object }
}
