//! Every function, called directly and through frames, with the same arguments and the same module: the module sees the same,
//! and the caller gets the same.

use std::cell::RefCell;

use cryptoki_sys::*;
use guard_wire::{Reader, Writer};
use pkcs11_table::{Class, Function};

use super::acting::act;
use super::making::Made;
use super::memory::{Chance, Memory};
use super::raw::Named;
use super::seen::{Seen, seen};
use crate::calls;
use crate::layer::{Answers, Layer};
use crate::remote::{Arena, Remote, serve};

/// A module that answers by chance, and remembers what it has seen.
pub(super) struct Module {
    seed: u64,
    calls: RefCell<Vec<Vec<(&'static str, Seen)>>>,
}

impl Module {
    pub(super) const fn of(seed: u64) -> Self {
        Self { seed, calls: RefCell::new(Vec::new()) }
    }

    /// Whether no call has come.
    pub(super) fn was_spared(&self) -> bool {
        self.calls.borrow().is_empty()
    }

    fn became(&self, rv: CK_RV, memory: &Memory) -> Outcome {
        Outcome { calls: self.calls.take(), rv, memory: memory.content() }
    }
}

impl<C: Named> Layer<C> for Module {
    fn call(&self, call: C) -> CK_RV {
        let arguments = call.named();
        self.calls.borrow_mut().push(seen(&arguments));
        act(&arguments, &mut Chance::of(self.seed))
    }
}

/// What became of a call.
#[derive(Debug, PartialEq)]
struct Outcome {
    calls: Vec<Vec<(&'static str, Seen)>>,
    rv: CK_RV,
    memory: Vec<Vec<u8>>,
}

/// What is to be tried with each function that another process can answer.
pub(super) trait Trial {
    /// `make` makes a call of it, the same one for the same memory.
    fn of<C: Remote + Named>(&mut self, make: impl Fn(&mut Memory) -> C);
}

macro_rules! each {
    (@Library $name:ident ($($argument:ident: $type:ty),*) $trial:ident) => {};
    (@$class:ident $name:ident ($($argument:ident: $type:ty),*) $trial:ident) => {
        $trial.of(|memory| {
            let function = Function::$name;
            // SAFETY: arguments that are made by the rules of PKCS#11, in a memory that outlives the call.
            unsafe {
                calls::$name::from_caller($(<$type as Made>::made(function, stringify!($argument), memory)),*)
            }
        });
    };
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, $arguments:tt;)*
    })*) => {
        /// Tries it with each function, in their order.
        pub(super) fn each_function(trial: &mut impl Trial) {
            $($(each!(@$class $name $arguments trial);)*)*
        }
    };
}

pkcs11_table::pkcs11_functions!(each);

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
const TIMES: u64 = if cfg!(miri) { 4 } else { 2000 };

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
                    let outcome = remotely.became(rv, &there);
                    let rv = directly.call(direct);
                    assert_eq!(outcome, directly.became(rv, &here), "{} with {seed}", C::FUNCTION);
                }
                Err(rv) => {
                    refused += 1;
                    assert!([CKR_ARGUMENTS_BAD, CKR_MECHANISM_PARAM_INVALID].contains(&rv), "{rv:#x}");
                    assert_eq!(there.content(), before);
                }
            }
        }
        assert!(refused * 20 <= TIMES, "{}: {refused} calls did not get across", C::FUNCTION);
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
