//! Bad calls of the functions of 3.0 and 3.2, which SoftHSM does not have. The spy fakes them and looks at little, so that what
//! is right is not known from it: only that no call ends the process, and that what differs is an answer of the shim's own.

use std::cell::Cell;

use cryptoki_sys::*;
use e2e::{Caller, Mode, Outcome, Probe, Watched, every_call};
use pkcs11_table::Since;

use crate::is_refusal;

/// What the shim says of a bad call by itself.
const OWN: [CK_RV; 7] = [
    CKR_ARGUMENTS_BAD,
    CKR_FUNCTION_REJECTED,
    CKR_KEY_HANDLE_INVALID,
    // A mechanism beyond 32 bits.
    CKR_MECHANISM_INVALID,
    CKR_OPERATION_NOT_INITIALIZED,
    CKR_SESSION_HANDLE_INVALID,
    // A template for what comes out of a wrapping that does not say what that is.
    CKR_TEMPLATE_INCOMPLETE,
];

/// What it says in guarded mode besides: what nobody can read cannot go along.
const OWN_GUARDED: [CK_RV; 3] =
    [CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID, CKR_MECHANISM_PARAM_INVALID];

pub(crate) fn bad_calls_of_newer_functions_end_no_process(mode: Mode) {
    let started = Cell::new(0);
    let watched = Watched::up(mode);
    let (mut owner, session) = watched.owner();
    every_call::make_keys(&mut owner, session);
    watched.approve("approved");
    watched.stack.grant("approved", "pkcs11:token=sandbox", "all");
    let spy = watched.stack.built("libspytoken.so");
    let mut direct = Caller::new(|| {
        let mut command = watched.stack.owner(watched.stack.built("probe"));
        command.arg(&spy).env("SPY_REAL", watched.stack.real_module());
        command.env("SPY_LOG", watched.stack.file("direct.record"));
        Probe::spawn(command)
    });
    let mut approved = Caller::new(|| watched.probe("approved", |_| {}).0);
    let mut unapproved = Caller::with_session(|| {
        // What was taken back once is not approved again.
        started.set(started.get() + 1);
        let (program, _) = watched.unapproved(&format!("unapproved-{}", started.get()));
        (program.probe, program.session)
    });
    let (mut calls, mut fatal, mut wrong) = (0, 0, Vec::new());
    for (index, case) in direct.cases().1.into_iter().enumerate() {
        let function = case.function;
        if function.since() == Since::V2_40 {
            continue;
        }
        for (number, bad) in direct.bad(index).into_iter().enumerate() {
            let [real, shim, refused] =
                [&mut direct, &mut approved, &mut unapproved].map(|caller| caller.outcome(index, number));
            calls += 1;
            let is_right = match (real, shim) {
                (Outcome::Ended(_), Outcome::Returned(rv)) => {
                    fatal += 1;
                    rv == CKR_ARGUMENTS_BAD
                }
                (Outcome::Returned(_), Outcome::Returned(rv)) => {
                    let is_own = OWN.contains(&rv) || mode == Mode::Guarded && OWN_GUARDED.contains(&rv);
                    shim == real || is_own
                }
                (_, Outcome::Ended(_)) => false,
            };
            if !is_right || !(refused == shim || is_refusal(function, refused)) {
                wrong.push(format!(
                    "{function} where {}: {real:x?} directly, {shim:x?} if approved, {refused:x?} if not",
                    bad.what
                ));
            }
        }
    }
    println!("{calls} bad calls of newer functions, {fatal} of which the spy does not survive");
    assert!(calls > 0 && wrong.is_empty(), "{} of {calls} bad calls:\n{}", wrong.len(), wrong.join("\n"));
}
