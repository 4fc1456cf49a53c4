//! Every function, called directly and through frames, with the same arguments and the same module: the module sees the same,
//! and the caller gets the same.

use cryptoki_sys::*;
use guard_wire::{Reader, Writer};
use pkcs11_table::{Class, Function};

use super::memory::Memory;
use super::raw::Named;
use super::seen::Seen;
use super::trial::{Module, Trial, each_function};
use crate::layer::{Answers, Layer as _};
use crate::remote::{Arena, Remote, serve};

/// What became of a call.
#[derive(Debug, PartialEq)]
struct Outcome {
    calls: Vec<Vec<(&'static str, Seen)>>,
    rv: CK_RV,
    memory: Vec<Vec<u8>>,
}

impl Outcome {
    fn of(module: &Module, rv: CK_RV, memory: &Memory) -> Self {
        Self { calls: module.seen(), rv, memory: memory.content() }
    }
}

/// Calls `call` over frames: `Err` is the answer to what could not be written.
pub(super) fn across<C: Remote, L: Answers>(
    call: &C,
    layer: &L,
    arena: &mut Arena,
    (body, answer): (&mut Writer, &mut Writer),
) -> Result<CK_RV, CK_RV> {
    body.clear(1 << 16);
    answer.clear(1 << 16);
    call.encode(body)?;
    serve(C::FUNCTION, body.body(), layer, arena, answer).unwrap();
    Ok(call.deliver(&mut Reader::new(answer.body())).unwrap())
}

/// How many times each function is called. Interpreted, it takes its time.
const TIMES: u64 = if cfg!(miri) { 2 } else { 600 };

/// Compares what becomes of a call here and there.
#[derive(Default)]
struct Comparison {
    functions: Vec<Function>,
    arena: Arena,
    body: Writer,
    answer: Writer,
}

impl Trial for Comparison {
    fn of<C: Remote + Named>(&mut self, make: impl Fn(&mut Memory) -> C) {
        let mut refused = 0;
        for seed in 0..TIMES {
            let (mut here, mut there) = (Memory::of(seed), Memory::of(seed));
            let (directly, remotely) = (Module::of(seed), Module::of(seed));
            let direct = make(&mut here);
            let remote = make(&mut there);
            let before = there.content();
            match across(&remote, &remotely, &mut self.arena, (&mut self.body, &mut self.answer)) {
                Ok(rv) => {
                    let outcome = Outcome::of(&remotely, rv, &there);
                    let rv = directly.call(direct);
                    assert_eq!(outcome, Outcome::of(&directly, rv, &here), "{} with {seed}", C::FUNCTION);
                }
                Err(rv) => {
                    refused += 1;
                    assert!([CKR_ARGUMENTS_BAD, CKR_MECHANISM_PARAM_INVALID].contains(&rv), "{rv:#x}");
                    assert_eq!(there.content(), before);
                }
            }
        }
        assert!(refused * 20 <= TIMES || cfg!(miri), "{}: {refused} calls did not get across", C::FUNCTION);
        self.functions.push(C::FUNCTION);
    }
}

#[test]
fn every_call_is_answered_across_as_it_is_directly() {
    let mut comparison = Comparison::default();
    each_function(&mut comparison);
    let remote = Function::ALL.iter().copied().filter(|one| one.class() != Class::Library);
    assert!(remote.eq(comparison.functions), "each of them, once");
}
