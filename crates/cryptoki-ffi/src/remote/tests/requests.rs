//! Bodies that no client sends: each is an error before the layer hears of it, or a call like any other.

use cryptoki_sys::*;
use guard_wire::{MAX_BODY, WireError, Writer};
use pkcs11_table::{Class, Function};

use super::memory::{Chance, Memory, places};
use super::raw::Named;
use super::trial::{Module, Trial, each_function};
use crate::remote::{Arena, Remote, serve};

/// Gives a body of each function to what it holds.
struct Bodies<F>(u64, F);

impl<F: FnMut(Function, &[u8])> Trial for Bodies<F> {
    fn of<C: Remote + Named>(&mut self, make: impl Fn(&mut Memory) -> C) {
        let mut memory = Memory::of(self.0);
        let call = make(&mut memory);
        let mut body = Writer::new();
        if call.encode(&mut body).is_ok() {
            (self.1)(C::FUNCTION, body.body());
        }
    }
}

fn with_bodies(seed: u64, with: impl FnMut(Function, &[u8])) {
    each_function(&mut Bodies(seed, with));
}

/// A body that is written word by word.
fn body(write: impl FnOnce(&mut Writer) -> Result<(), WireError>) -> Writer {
    let mut body = Writer::new();
    write(&mut body).unwrap();
    body
}

fn words(all: &[u64]) -> Vec<u8> {
    body(|body| all.iter().try_for_each(|word| body.word(*word))).body().to_vec()
}

/// The error for a body, of which the layer must not have heard, or `None` where it has.
fn error(function: Function, body: &[u8]) -> Option<WireError> {
    let (module, mut answer) = (Module::of(1), Writer::new());
    let served = serve(function, body, &module, &mut Arena::new(), &mut answer);
    assert_eq!(served.is_err(), module.was_spared(), "{function} {served:?}");
    served.err()
}

#[test]
fn bodies_that_are_cut_or_go_on_are_none() {
    for seed in 0..if cfg!(miri) { 1 } else { 20 } {
        with_bodies(seed, |function, body| {
            assert_eq!(error(function, body), None, "{function}");
            for end in places(body, &mut Chance::of(seed)) {
                let is_truncated = matches!(error(function, &body[..end]), Some(WireError::Truncated));
                assert!(is_truncated, "{function} cut at {end} of {}", body.len());
            }
            let longer = [body, &[0; 8]].concat();
            assert_eq!(error(function, &longer), Some(WireError::Trailing(8)), "{function}");
        });
    }
}

#[test]
fn bodies_with_any_word_changed_do_no_harm() {
    let mut arena = Arena::new();
    let mut answer = Writer::new();
    let mut served = [0_u64; 2];
    for seed in 0..if cfg!(miri) { 1 } else { 40 } {
        let mut chance = Chance::of(seed);
        with_bodies(seed, |function, body| {
            for at in places(body, &mut chance) {
                let word = u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
                let any = chance.number();
                let new = chance.choose(&[
                    0,
                    1,
                    2,
                    3,
                    word.wrapping_add(1),
                    word.wrapping_sub(1),
                    1 << 63,
                    u64::MAX,
                    1 << 20,
                    1 << 32,
                    any,
                    CKA_WRAP_TEMPLATE,
                ]);
                let mut other = body.to_vec();
                other[at..at + 8].copy_from_slice(&new.to_le_bytes());
                answer.clear(1 << 16);
                // What is served is looked at from end to end, and written to wherever it states that there is room.
                let is_served = serve(function, &other, &Module::of(seed), &mut arena, &mut answer).is_ok();
                served[usize::from(is_served)] += 1;
            }
        });
    }
    assert!(served.iter().all(|number| *number > 20), "both happens: {served:?}");
}

#[test]
fn the_librarys_own_functions_are_none_of_another_process() {
    for function in Function::ALL.iter().filter(|function| function.class() == Class::Library) {
        let (module, mut answer) = (Module::of(1), Writer::new());
        let served = serve(*function, &[], &module, &mut Arena::new(), &mut answer);
        assert_eq!((served, module.was_spared()), (Err(WireError::Code(*function as u16)), true));
    }
}

#[test]
fn numbers_that_do_not_fit_their_argument_are_none() {
    let of_slots = |token_present| words(&[token_present, 0]);
    assert_eq!(error(Function::C_GetSlotList, &of_slots(0xff)), None);
    assert_eq!(error(Function::C_GetSlotList, &of_slots(0x100)), Some(WireError::Number("argument")));
}

#[test]
fn rooms_that_no_answer_has_are_none() {
    let most = (MAX_BODY - (64 << 10)) as u64;
    let sign = |room| words(&[1, 0, 0, 3, room]);
    assert_eq!(error(Function::C_Sign, &sign(most)), None);
    for room in [most + 1, 1 << 32, 1 << 63, u64::MAX] {
        assert_eq!(error(Function::C_Sign, &sign(room)), Some(WireError::Number("room")));
        assert_eq!(error(Function::C_GetSlotList, &words(&[1, 3, room])), Some(WireError::Number("room")));
        assert_eq!(error(Function::C_FindObjects, &words(&[1, 3, room])), Some(WireError::Number("room")));
        let random = words(&[1, 1, room]);
        assert_eq!(error(Function::C_GenerateRandom, &random), Some(WireError::Number("room")));
        let asked = words(&[1, 2, 1, 1, CKA_VALUE, 1, room]);
        assert_eq!(error(Function::C_GetAttributeValue, &asked), Some(WireError::Number("room")));
        // Without a buffer it is a number like any other.
        assert_eq!(error(Function::C_Sign, &words(&[1, 0, 0, 2, room])), None);
    }
    let many = most / 2 + 1;
    let asked = words(&[1, 2, 1, 2, CKA_VALUE, 1, many, CKA_VALUE, 1, many]);
    assert_eq!(error(Function::C_GetAttributeValue, &asked), Some(WireError::Number("room")));
}

#[test]
fn lengths_of_nothing_that_no_memory_has_are_answered_before_the_layer() {
    for length in [(1 << 56) + 1, 1 << 63, u64::MAX] {
        let module = Module::of(1);
        let mut answer = Writer::new();
        serve(Function::C_Verify, &words(&[1, 0, length, 0, 0]), &module, &mut Arena::new(), &mut answer)
            .unwrap();
        assert!(module.was_spared());
        assert_eq!(answer.body(), words(&[CKR_ARGUMENTS_BAD]));
    }
}

#[test]
fn templates_that_lie_about_their_values_are_none() {
    let create = |template: &[u64]| {
        error(Function::C_CreateObject, &[words(&[1]), words(template), words(&[1])].concat())
    };
    let lie = Some(WireError::Contradiction("a value"));
    assert_eq!(create(&[1, 1, CKA_LABEL, 1, 0]), None);
    assert_eq!(create(&[1, 1, CKA_LABEL, 2, 0]), lie, "a template where there are bytes");
    assert_eq!(create(&[1, 1, CKA_WRAP_TEMPLATE, 2, 0]), None);
    assert_eq!(create(&[1, 1, CKA_WRAP_TEMPLATE, 1, 24, 0, 0, 0]), lie, "bytes where there are pointers");
    assert_eq!(create(&[1, 1, CKF_ARRAY_ATTRIBUTE | 5, 1, 0]), lie, "a list of nobody knows what");
    assert_eq!(create(&[1, 1, CKF_ARRAY_ATTRIBUTE | 5, 0, 9]), None, "but there is none");
    assert_eq!(create(&[1, 1, CKA_LABEL, 3, 0]), lie);
    for count in [1025, 1 << 32, u64::MAX] {
        assert_eq!(create(&[1, count]), Some(WireError::Number("attributes")));
    }
    assert_eq!(create(&[0, u64::MAX]), None, "none of them is there");
    let inside = |depth: usize| {
        let levels = [CKA_WRAP_TEMPLATE, 2, 1].repeat(depth);
        create(&[[1, 1].as_slice(), &levels, &[CKA_LABEL, 0, 0]].concat())
    };
    assert_eq!([inside(0), inside(3), inside(4)], [None, None, Some(WireError::Number("depth"))]);
    let asked =
        |template: &[u64]| error(Function::C_GetAttributeValue, &words(&[&[1, 2], template].concat()));
    assert_eq!(asked(&[1, 1, CKA_LABEL, 2, 0]), lie);
    assert_eq!(asked(&[1, 1, CKA_WRAP_TEMPLATE, 1, 24]), lie);
    assert_eq!(
        asked(&[1, 1, CKA_WRAP_TEMPLATE, 2, 1024]),
        Some(WireError::Number("attributes")),
        "with the outer one"
    );
}

#[test]
fn parameters_that_lie_about_their_pointers_are_none() {
    let init = |function, parameter: &[u64]| {
        error(function, &[words(&[1, 1]), words(parameter), words(&[2])].concat())
    };
    let sign = |parameter: &[u64]| init(Function::C_SignInit, parameter);
    let gcm = |iv: &[u64], lengths: [u64; 2]| {
        let structure = [48, 0, lengths[0], 96, 0, lengths[1], 128];
        sign(&[[CKM_AES_GCM, 2].as_slice(), &structure, iv, &[0]].concat())
    };
    assert_eq!(gcm(&[1, 12, 0, 0], [12, 0]), None);
    assert_eq!(gcm(&[1, 12, 0, 0], [13, 0]), Some(WireError::Contradiction("a length")));
    assert_eq!(gcm(&[1, 12, 0, 0], [u64::MAX, 0]), Some(WireError::Contradiction("a length")));
    assert_eq!(gcm(&[0], [u64::MAX, 0]), None, "a length of nothing, which the gate judges");
    let pointer = [CKM_AES_GCM, 2, 48, 0x1000, 12, 96, 0, 0, 128, 0, 0];
    assert_eq!(sign(&pointer), Some(WireError::Contradiction("a pointer")));
    let bare = [CKM_AES_GCM, 1, 48, 0x1000, 12, 96, 0, 0, 128];
    assert_eq!(sign(&bare), Some(WireError::Contradiction("a structure without its pointers")));
    let other = [CKM_AES_GCM, 2, 40, 0, 0, 0, 0, 0];
    assert_eq!(sign(&other), Some(WireError::Contradiction("a structure")), "of another size");
    let flat = [CKM_ECDSA, 2, 48, 0, 0, 0, 0, 0, 0];
    assert_eq!(sign(&flat), Some(WireError::Contradiction("a structure")), "where there is none");
    let vendors = CKM_VENDOR_DEFINED | 1;
    let bytes = [vendors, 1, 8, 0x1000];
    assert_eq!(sign(&bytes), Some(WireError::Contradiction("a structure without its pointers")));
    assert_eq!(sign(&[vendors, 1, 7, 0]), None);
    let withheld = |function, kind, length| init(function, &[kind, 3, length]);
    assert_eq!(withheld(Function::C_SignInit, vendors, 8), None);
    let lie = Some(WireError::Contradiction("a parameter that is withheld"));
    assert_eq!(withheld(Function::C_SignInit, vendors, 7), lie);
    assert_eq!(withheld(Function::C_SignInit, CKM_AES_GCM, 47), lie, "the gate would not refuse it");
    assert_eq!(withheld(Function::C_SignInit, CKM_HKDF_DERIVE, 64), lie, "it can be carried");
    assert_eq!(withheld(Function::C_SignInit, CKM_HKDF_DERIVE, 63), None);
    assert_eq!(withheld(Function::C_SignInit, vendors, 4097), Some(WireError::Number("parameter")));
    let digest = error(Function::C_DigestInit, &words(&[1, 1, vendors, 3, 8]));
    assert_eq!(digest, lie, "digests are not judged by their mechanism");
    let many = [CKM_HOTP, 2, 16, 0, 65, 1];
    assert_eq!(sign(&many), Some(WireError::Number("structures")));
    let message = |parameter: &[u64]| {
        error(Function::C_EncryptMessageBegin, &words(&[&[1], parameter, &[0, 0]].concat()))
    };
    assert_eq!(message(&[2, 24, 0, 12, 0, 0, 0]), None);
    assert_eq!(message(&[2, 24, 0, 12, 0, 0, 1, 15, 0, 0]), Some(WireError::Contradiction("a length")));
    assert_eq!(message(&[2, 32, 0, 0, 0, 0]), Some(WireError::Contradiction("a structure")));
    assert_eq!(message(&[3, 8]), lie);
}

#[test]
fn labels_and_names_that_nobody_has_are_none() {
    let label = |length: usize| {
        let mut body = body(|body| [1, 0, 0, 1].into_iter().try_for_each(|word| body.word(word)));
        body.bytes(&vec![b' '; length]).unwrap();
        error(Function::C_InitToken, body.body())
    };
    assert_eq!([label(31), label(32), label(33)].map(|error| error.is_none()), [false, true, false]);
    let name = |name: &[u8]| {
        let mut body = body(|body| [1, 1].into_iter().try_for_each(|word| body.word(word)));
        body.bytes(name).unwrap();
        body.word(0).unwrap();
        error(Function::C_AsyncGetID, body.body())
    };
    assert_eq!(name(b"C_Sign"), None);
    assert_eq!(name(b"C_Sign\0C_Verify"), Some(WireError::Number("name")));
    assert_eq!([name(&[b'x'; 254]), name(&[b'x'; 255])], [None, Some(WireError::Number("name"))]);
}
