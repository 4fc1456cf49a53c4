//! What is tried with every function: calls that are made by chance, and a module that answers them by chance.

use std::cell::RefCell;

use cryptoki_sys::*;
use pkcs11_table::Function;

use super::acting::act;
use super::making::Made;
use super::memory::{Chance, Memory};
use super::raw::Named;
use super::seen::{Seen, seen};
use crate::{Layer, Remote, calls};

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

    /// What it has seen.
    pub(super) fn seen(&self) -> Vec<Vec<(&'static str, Seen)>> {
        self.calls.take()
    }
}

impl<C: Named> Layer<C> for Module {
    fn call(&self, call: C) -> CK_RV {
        let arguments = call.named();
        self.calls.borrow_mut().push(seen(&arguments));
        act(&arguments, &mut Chance::of(self.seed))
    }
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
