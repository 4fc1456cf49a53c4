//! Answers that no server gives: nothing is written where the caller has no room, whatever they say.

use cryptoki_sys::*;
use guard_wire::{Reader, WireError, Writer};

use super::memory::{Chance, Memory, places};
use super::raw::Named;
use super::trial::{Module, Trial, each_function};
use crate::calls;
use crate::remote::{Arena, Remote, serve};

const MORE: WireError = WireError::Contradiction("more than there is room for");
const OUTPUT: WireError = WireError::Contradiction("an output");

/// Changes each word of the answer to a call, one at a time.
#[derive(Debug, Default)]
struct Changed {
    seed: u64,
    believed: u64,
    refused: u64,
}

impl Trial for Changed {
    fn of<C: Remote + Named>(&mut self, make: impl Fn(&mut Memory) -> C) {
        let mut chance = Chance::of(self.seed);
        let mut memory = Memory::of(self.seed);
        let call = make(&mut memory);
        let (mut body, mut answer) = (Writer::new(), Writer::new());
        if call.encode(&mut body).is_err() {
            return;
        }
        let module = Module::of(self.seed);
        serve(C::FUNCTION, body.body(), &module, &mut Arena::new(), &mut answer).unwrap();
        let answer = answer.body();
        for at in places(answer, &mut chance) {
            let word = u64::from_le_bytes(answer[at..at + 8].try_into().unwrap());
            let any = chance.number();
            let near = [word.wrapping_add(1), word.wrapping_add(8), word.wrapping_sub(1)];
            let new = chance.choose(&[0, 1, 2, near[0], near[1], near[2], 1 << 63, u64::MAX, 24, any]);
            let mut other = answer.to_vec();
            other[at..at + 8].copy_from_slice(&new.to_le_bytes());
            // More of what follows, for a length that has grown.
            other.extend_from_slice(&[[0xdd; 40], [0; 40]].concat()[..80 * usize::from(chance.one_in(2))]);
            let mut memory = Memory::of(self.seed);
            match make(&mut memory).deliver(&mut Reader::new(&other)) {
                Ok(_) => self.believed += 1,
                Err(_) => self.refused += 1,
            }
            assert!(memory.is_intact(), "{} with {} at {at}", C::FUNCTION, self.seed);
        }
    }
}

#[test]
fn answers_with_any_word_changed_write_nothing_beyond() {
    let mut changed = Changed::default();
    for seed in 0..if cfg!(miri) { 1 } else { 100 } {
        changed.seed = seed;
        each_function(&mut changed);
    }
    assert!(changed.believed > 20 && changed.refused > 20, "both happens: {changed:?}");
}

/// The answer of these parts: words, and byte strings.
fn answer(parts: &[Result<u64, &[u8]>]) -> Vec<u8> {
    let mut body = Writer::new();
    for part in parts {
        match part {
            Ok(word) => body.word(*word).unwrap(),
            Err(bytes) => body.bytes(bytes).unwrap(),
        }
    }
    body.body().to_vec()
}

fn deliver<C: Remote>(call: &C, parts: &[Result<u64, &[u8]>]) -> Result<CK_RV, WireError> {
    let all = answer(parts);
    for end in (0..all.len()).step_by(8) {
        assert!(call.deliver(&mut Reader::new(&all[..end])).is_err(), "cut at {end}");
    }
    call.deliver(&mut Reader::new(&all))
}

#[test]
fn a_signature_is_no_longer_than_the_room_for_it() {
    let mut output = [7_u8; 12];
    let mut length = 8;
    let (place, length_place) = (output.as_mut_ptr(), &raw mut length);
    // SAFETY: there is more room than is stated.
    let sign =
        |output, length| unsafe { calls::C_Sign::from_caller(1, core::ptr::null_mut(), 0, output, length) };
    let call = sign(place, length_place);
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Ok(2), Err(&[1; 9])]), Err(MORE));
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Ok(2), Err(&[1; 1 << 16])]), Err(MORE));
    assert_eq!(deliver(&call, &[Ok(CKR_DEVICE_ERROR), Ok(2), Err(&[1; 8])]), Err(OUTPUT));
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Ok(3), Ok(8)]), Err(OUTPUT));
    let nowhere = sign(core::ptr::null_mut(), length_place);
    assert_eq!(deliver(&nowhere, &[Ok(CKR_OK), Ok(2), Err(&[1; 8])]), Err(OUTPUT));
    let lengthless = sign(place, core::ptr::null_mut());
    let none = Err(WireError::Contradiction("a length without a place"));
    assert_eq!(deliver(&lengthless, &[Ok(CKR_OK), Ok(1), Ok(8)]), none);
    assert_eq!(deliver(&lengthless, &[Ok(CKR_OK), Ok(2), Err(&[1; 8])]), none);
    // SAFETY: nobody else uses them.
    assert_eq!(unsafe { (place.cast::<[u8; 12]>().read(), length_place.read()) }, ([7; 12], 8));
    let trailing = answer(&[Ok(CKR_OK), Ok(0), Ok(0)]);
    assert_eq!(call.deliver(&mut Reader::new(&trailing)), Err(WireError::Trailing(8)));
    assert_eq!(deliver(&call, &[Ok(CKR_BUFFER_TOO_SMALL), Ok(1), Ok(256)]), Ok(CKR_BUFFER_TOO_SMALL));
    // SAFETY: as above.
    assert_eq!(unsafe { length_place.replace(8) }, 256);
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Ok(2), Err(&[1; 8])]), Ok(CKR_OK));
    assert_eq!((output, length), ([1, 1, 1, 1, 1, 1, 1, 1, 7, 7, 7, 7], 8));
}

#[test]
fn lists_random_numbers_and_structures_are_as_long_as_they_are_to_be() {
    let (mut objects, mut count) = ([7_u64; 3], 9);
    let (place, count_place) = (objects.as_mut_ptr(), &raw mut count);
    // SAFETY: there is more room than is stated.
    let find = unsafe { calls::C_FindObjects::from_caller(1, place, 2, count_place) };
    assert_eq!(deliver(&find, &[Ok(CKR_OK), Ok(2), Err(&[1; 24])]), Err(MORE));
    assert_eq!(deliver(&find, &[Ok(CKR_OK), Ok(2), Err(&[1; 12])]), Err(MORE), "half of one");
    assert_eq!(deliver(&find, &[Ok(CKR_DEVICE_ERROR), Ok(2), Err(&[1; 16])]), Err(OUTPUT));
    // SAFETY: as above.
    let list = unsafe { calls::C_GetSlotList::from_caller(CK_TRUE, place, count_place) };
    // SAFETY: nobody else uses it.
    unsafe { count_place.write(2) };
    assert_eq!(deliver(&list, &[Ok(CKR_OK), Ok(2), Err(&[1; 24])]), Err(MORE));
    assert_eq!((objects, count), ([7; 3], 2));
    let mut random = [7_u8; 8];
    // SAFETY: there is more room than is stated.
    let call = unsafe { calls::C_GenerateRandom::from_caller(1, random.as_mut_ptr(), 6) };
    for length in [0, 5, 7, 8] {
        let other = Err(WireError::Contradiction("another length than was asked for"));
        assert_eq!(deliver(&call, &[Ok(CKR_OK), Ok(2), Err(&[1; 8][..length])]), other);
    }
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Ok(1), Ok(6)]), Err(OUTPUT));
    assert_eq!(random, [7; 8]);
    let mut info = [7_u8; size_of::<CK_SESSION_INFO>() + 8];
    // SAFETY: there is more room than a structure needs.
    let call = unsafe { calls::C_GetSessionInfo::from_caller(1, info.as_mut_ptr().cast()) };
    for length in [0, size_of::<CK_SESSION_INFO>() - 1, size_of::<CK_SESSION_INFO>() + 8] {
        let other = Err(WireError::Contradiction("a structure of another size"));
        assert_eq!(deliver(&call, &[Ok(CKR_OK), Ok(2), Err(&[1; 64][..length])]), other);
    }
    assert!(info.iter().all(|byte| *byte == 7));
    // SAFETY: NULL is no place.
    let nowhere = unsafe { calls::C_GetObjectSize::from_caller(1, 2, core::ptr::null_mut()) };
    let none = Err(WireError::Contradiction("a number without a place"));
    assert_eq!(deliver(&nowhere, &[Ok(CKR_OK), Ok(1), Ok(8)]), none);
    assert_eq!(nowhere.deliver(&mut Reader::new(&answer(&[Ok(0), Ok(2)]))), Err(WireError::Number("number")));
}

#[test]
fn attributes_have_no_more_than_the_room_for_them() {
    let mut value = [7_u8; 12];
    let mut inner = [CK_ATTRIBUTE { type_: 1, pValue: core::ptr::null_mut(), ulValueLen: 5 }];
    let mut template = [
        CK_ATTRIBUTE { type_: CKA_LABEL, pValue: value.as_mut_ptr().cast(), ulValueLen: 8 },
        CK_ATTRIBUTE { type_: CKA_WRAP_TEMPLATE, pValue: inner.as_mut_ptr().cast(), ulValueLen: 24 },
        CK_ATTRIBUTE { type_: CKA_ID, pValue: core::ptr::null_mut(), ulValueLen: 5 },
    ];
    // SAFETY: the template outlives the call.
    let call = unsafe { calls::C_GetAttributeValue::from_caller(1, 2, template.as_mut_ptr(), 3) };
    let lie = Err(WireError::Contradiction("a value"));
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Ok(2), Err(&[1; 9]), Ok(0), Ok(0)]), Err(MORE));
    assert_eq!(deliver(&call, &[Ok(CKR_DEVICE_ERROR), Ok(2), Err(&[1; 8]), Ok(0), Ok(0)]), lie);
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Ok(0), Ok(2), Err(&[1; 24]), Ok(0)]), lie, "bytes over pointers");
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Ok(0), Ok(3), Ok(48), Ok(9), Ok(0), Ok(0)]), lie);
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Ok(0), Ok(2), Ok(48), Ok(9), Ok(0), Ok(0)]).unwrap_err(), MORE);
    assert_eq!(
        deliver(&call, &[Ok(CKR_OK), Ok(2), Ok(0), Ok(0), Ok(2), Err(&[1])]),
        lie,
        "where there is none"
    );
    assert_eq!((value, template.map(|own| own.ulValueLen)), ([7; 12], [0, 24, 5]));
}

#[test]
fn the_buffers_of_a_message_are_as_long_as_they_were() {
    let (mut vector, mut tag) = ([7_u8; 16], [7_u8; 16]);
    let mut message = CK_GCM_MESSAGE_PARAMS {
        pIv: vector.as_mut_ptr(),
        ulIvLen: 12,
        ulIvFixedBits: 0,
        ivGenerator: CKG_GENERATE_RANDOM,
        pTag: tag.as_mut_ptr(),
        ulTagBits: 100,
    };
    let length = size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG;
    let parameter = (&raw mut message).cast();
    // SAFETY: the parameter outlives the call.
    let call =
        unsafe { calls::C_EncryptMessageBegin::from_caller(1, parameter, length, core::ptr::null_mut(), 0) };
    let other = Err(WireError::Contradiction("another length than there is"));
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Err(&[1; 13]), Err(&[2; 13])]), other);
    assert_eq!(vector, [7; 16]);
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Err(&[1; 12]), Err(&[2; 16])]), other);
    assert_eq!(tag, [7; 16]);
    assert_eq!(deliver(&call, &[Ok(CKR_OK), Err(&[1; 12]), Err(&[2; 13])]), Ok(CKR_OK));
    assert_eq!((vector[11], vector[12], tag[12], tag[13]), (1, 7, 2, 7), "100 bits are 13 bytes");
}

/// A module that lies about what it has written.
#[test]
fn a_module_that_writes_beyond_the_room_of_an_attribute_is_not_answered_for() {
    let mut value = [0_u8; 8];
    let mut template = [CK_ATTRIBUTE { type_: CKA_LABEL, pValue: value.as_mut_ptr().cast(), ulValueLen: 8 }];
    // SAFETY: the template outlives the call.
    let call = unsafe { calls::C_GetAttributeValue::from_caller(1, 2, template.as_mut_ptr(), 1) };
    let mut body = Writer::new();
    call.encode(&mut body).unwrap();
    let served = |length, rv| {
        let mut answer = Writer::new();
        calls::C_GetAttributeValue::serve(body.body(), &mut Arena::new(), &mut answer, |call| {
            // SAFETY: a template with one attribute.
            unsafe { (*call.template()).ulValueLen = length };
            rv
        })
    };
    assert_eq!([served(8, CKR_OK), served(CK_UNAVAILABLE_INFORMATION, CKR_OK)], [Ok(()), Ok(())]);
    assert_eq!(served(9, CKR_OK), Err(WireError::Overrun));
    // Some modules say how much room they would need.
    assert_eq!(served(9, CKR_BUFFER_TOO_SMALL), Ok(()));
}

/// As above.
#[test]
fn a_module_that_writes_beyond_its_room_is_not_answered_for() {
    let mut output = [0_u8; 8];
    let mut length = 8;
    // SAFETY: the places outlive the call.
    let sign = unsafe {
        calls::C_Sign::from_caller(1, core::ptr::null_mut(), 0, output.as_mut_ptr(), &raw mut length)
    };
    let mut body = Writer::new();
    sign.encode(&mut body).unwrap();
    let served = |length| {
        calls::C_Sign::serve(body.body(), &mut Arena::new(), &mut Writer::new(), |call| {
            // SAFETY: a place for the length.
            unsafe { call.output_len().write(length) };
            CKR_OK
        })
    };
    assert_eq!(served(8), Ok(()));
    for length in [9, 1 << 40, u64::MAX] {
        assert_eq!(served(length), Err(WireError::Overrun));
    }
}
