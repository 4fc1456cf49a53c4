//! The calls that the tests of `cryptoki_ffi` make up, and the module that answers them there: it looks at all that a call
//! leads to, and writes wherever the call states that there is room.

// What the tests alone look at.
#![allow(dead_code)]

#[path = "../../crates/cryptoki-ffi/src/remote/tests/acting.rs"]
mod acting;
#[path = "../../crates/cryptoki-ffi/src/remote/tests/making.rs"]
mod making;
#[path = "../../crates/cryptoki-ffi/src/remote/tests/memory.rs"]
mod memory;
#[path = "../../crates/cryptoki-ffi/src/remote/tests/raw.rs"]
mod raw;
#[path = "../../crates/cryptoki-ffi/src/remote/tests/seen.rs"]
mod seen;
#[path = "../../crates/cryptoki-ffi/src/remote/tests/trial.rs"]
mod trial;

use cryptoki_sys::*;
use guard_wire::{Reader, WireError, Writer};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use pkcs11_table::Function;

use crate::{Arena, Remote, serve};
use memory::Memory;
use raw::Named;
use trial::{Module, Trial, each_function};

/// What the value of an attribute is.
#[derive(PartialEq)]
enum Value {
    Bytes,
    Template,
}

fn value_of(kind: CK_ATTRIBUTE_TYPE) -> Value {
    match kind {
        CKA_DECAPSULATE_TEMPLATE
        | CKA_DERIVE_TEMPLATE
        | CKA_ENCAPSULATE_TEMPLATE
        | CKA_UNWRAP_TEMPLATE
        | CKA_WRAP_TEMPLATE => Value::Template,
        _ => Value::Bytes,
    }
}

/// Has the module answer a body, whatever it is.
pub fn request(
    function: Function,
    seed: u64,
    body: &[u8],
    arena: &mut Arena,
) -> core::result::Result<Writer, WireError> {
    let (module, mut answer) = (Module::of(seed), Writer::new());
    let served = serve(function, body, &module, arena, &mut answer);
    assert!(served.is_ok() || module.was_spared(), "{function} was called with what is an error: {served:?}");
    served.map(|()| answer)
}

/// Delivers an answer, whatever it is, to a call.
struct Reply<'a> {
    function: Function,
    seed: u64,
    answer: &'a [u8],
}

impl Trial for Reply<'_> {
    fn of<C: Remote + Named>(&mut self, make: impl Fn(&mut Memory) -> C) {
        if C::FUNCTION != self.function {
            return;
        }
        let mut memory = Memory::of(self.seed);
        let call = make(&mut memory);
        // What cannot be asked is not answered.
        if call.encode(&mut Writer::new()).is_ok() {
            let _ = call.deliver(&mut Reader::new(self.answer));
            assert!(memory.is_intact(), "{} has written beyond the room that there was", self.function);
        }
    }
}

/// Delivers an answer to a call that is made by chance.
pub fn reply(function: Function, seed: u64, answer: &[u8]) {
    each_function(&mut Reply { function, seed, answer });
}

/// The body that the shim writes for such a call.
struct Body {
    function: Function,
    seed: u64,
    body: Option<Writer>,
}

impl Trial for Body {
    fn of<C: Remote + Named>(&mut self, make: impl Fn(&mut Memory) -> C) {
        if C::FUNCTION == self.function {
            let mut memory = Memory::of(self.seed);
            let mut body = Writer::new();
            self.body = make(&mut memory).encode(&mut body).is_ok().then_some(body);
        }
    }
}

/// A frame's body: that of a call that is made by chance, with some words changed, or one that is made word by word.
pub fn body(function: Function, seed: u64, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut made = Body { function, seed, body: None };
    if input.ratio(3, 4)? {
        each_function(&mut made);
    }
    let Some(made) = made.body else { return words(input) };
    let mut body = made.body().to_vec();
    while !input.is_empty() && !body.is_empty() {
        let at = input.choose_index(body.len() / 8)? * 8;
        body[at..at + 8].copy_from_slice(&word(input)?.to_le_bytes());
    }
    Ok(body)
}

/// An answer that the module gives, with some words changed, or one that is made word by word.
pub fn answer(function: Function, seed: u64, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut made = Body { function, seed, body: None };
    each_function(&mut made);
    let answered = made.body.and_then(|body| request(function, seed, body.body(), &mut Arena::new()).ok());
    let Some(answered) = answered.filter(|_| !input.is_empty() && input.ratio(3, 4).unwrap_or(true)) else {
        return words(input);
    };
    let mut answer = answered.body().to_vec();
    while !input.is_empty() && !answer.is_empty() {
        let at = input.choose_index(answer.len() / 8)? * 8;
        answer[at..at + 8].copy_from_slice(&word(input)?.to_le_bytes());
    }
    Ok(answer)
}

fn words(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while !input.is_empty() && body.len() < 1 << 16 {
        body.extend(word(input)?.to_le_bytes());
    }
    Ok(body)
}

fn word(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0..=7)? {
        0 => input.arbitrary()?,
        1 => *input.choose(&making::MECHANISMS)?,
        2 => *input.choose(&[CKA_WRAP_TEMPLATE, CKA_LABEL, CKA_VALUE, CKF_ARRAY_ATTRIBUTE | 5])?,
        3 => *input.choose(&[u64::MAX, 1 << 63, 1 << 56, 1 << 32, 1 << 24, 1 << 20, 1025])?,
        4 => input.int_in_range(0..=12)? * 8,
        _ => input.int_in_range(0..=16)?,
    })
}
