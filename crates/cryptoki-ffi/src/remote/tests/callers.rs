//! What callers do, in the words of the standard's structures: messages, pointers that stay at home or do not count, and
//! calls that no frame can carry.

use core::ptr::null_mut;

use cryptoki_sys::*;
use guard_wire::{MAX_BODY, Reader, Writer};

use super::making::MECHANISMS;
use crate::calls;
use crate::remote::{Arena, Remote};

/// Has `layer` answer `call` from the other side.
pub(super) fn across<C: Remote>(call: &C, layer: impl FnOnce(C) -> CK_RV) -> Result<CK_RV, CK_RV> {
    let (mut body, mut answer) = (Writer::new(), Writer::new());
    call.encode(&mut body)?;
    C::serve(body.body(), &mut Arena::new(), &mut answer, layer).unwrap();
    Ok(call.deliver(&mut Reader::new(answer.body())).unwrap())
}

/// What `call` fails with before it gets across.
pub(super) fn refusal<C: Remote>(call: &C) -> Option<CK_RV> {
    across(call, |_| CKR_OK).err()
}

fn mechanism<T>(kind: CK_MECHANISM_TYPE, parameter: *mut T) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: kind, pParameter: parameter.cast(), ulParameterLen: size_of::<T>() as CK_ULONG }
}

#[test]
fn a_message_is_enciphered_with_the_vector_that_the_module_makes() {
    let (mut vector, mut tag) = ([7_u8; 12], [7_u8; 16]);
    let mut message = CK_GCM_MESSAGE_PARAMS {
        pIv: vector.as_mut_ptr(),
        ulIvLen: 12,
        ulIvFixedBits: 32,
        ivGenerator: CKG_GENERATE_RANDOM,
        pTag: tag.as_mut_ptr(),
        ulTagBits: 128,
    };
    let (mut input, mut associated, mut output) = (*b"input", *b"with it", [7_u8; 8]);
    let mut length = 8;
    // SAFETY: everything outlives the call.
    let call = unsafe {
        calls::C_EncryptMessage::from_caller(
            1,
            (&raw mut message).cast(),
            size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG,
            associated.as_mut_ptr(),
            7,
            input.as_mut_ptr(),
            5,
            output.as_mut_ptr(),
            &raw mut length,
        )
    };
    let rv = across(&call, |call| {
        // SAFETY: a structure of this kind, with the buffers that it states.
        unsafe {
            let message = &*call.parameter().cast::<CK_GCM_MESSAGE_PARAMS>();
            assert_eq!((message.ulIvLen, message.ulIvFixedBits, message.ulTagBits), (12, 32, 128));
            assert_eq!((message.ivGenerator, *message.pIv), (CKG_GENERATE_RANDOM, 7));
            message.pIv.cast::<[u8; 12]>().write([1; 12]);
            message.pTag.cast::<[u8; 16]>().write([2; 16]);
            assert_eq!(&*call.associated().cast::<[u8; 7]>(), b"with it");
            assert_eq!(&*call.input().cast::<[u8; 5]>(), b"input");
            call.output().cast::<[u8; 5]>().write(*b"cipher".first_chunk().unwrap());
            call.output_len().write(5);
        }
        CKR_OK
    });
    assert_eq!((rv, length, &output), (Ok(CKR_OK), 5, b"ciphe\x07\x07\x07"));
    assert_eq!((vector, tag), ([1; 12], [2; 16]));
}

#[test]
fn what_means_something_in_one_process_alone_stays_there() {
    unsafe extern "C" fn notify(_: CK_SESSION_HANDLE, _: CK_NOTIFICATION, _: CK_VOID_PTR) -> CK_RV {
        CKR_OK
    }
    let (mut session, mut application) = (7, 5_u64);
    let pointer = (&raw mut application).cast();
    // SAFETY: everything outlives the call.
    let open = unsafe { calls::C_OpenSession::from_caller(3, 6, pointer, Some(notify), &raw mut session) };
    let rv = across(&open, |call| {
        assert_eq!((call.slot(), call.flags()), (3, 6));
        assert!(call.application().is_null() && call.notify().is_none());
        // SAFETY: a place for a handle.
        unsafe { call.session().write(42) };
        CKR_OK
    });
    assert_eq!((rv, session), (Ok(CKR_OK), 42));
    let mut slot = 7;
    // SAFETY: as above.
    let wait = unsafe { calls::C_WaitForSlotEvent::from_caller(1, &raw mut slot, pointer) };
    let rv = across(&wait, |call| {
        assert!(call.reserved().is_null() && !call.slot().is_null());
        CKR_NO_EVENT
    });
    assert_eq!((rv, slot), (Ok(CKR_NO_EVENT), 7), "no event, no slot");
    let (mut name, mut kept) = (*b"C_Sign\0", [7_u8; 8]);
    // SAFETY: as above.
    let join = unsafe { calls::C_AsyncJoin::from_caller(1, name.as_mut_ptr(), 9, kept.as_mut_ptr(), 8) };
    let rv = across(&join, |call| {
        assert!(call.data().is_null() && call.data_len() == 0, "nobody keeps it until the operation is over");
        // SAFETY: a string of as many bytes.
        assert_eq!(unsafe { &*call.function().cast::<[u8; 7]>() }, b"C_Sign\0");
        CKR_OK
    });
    assert_eq!((rv, kept), (Ok(CKR_OK), [7; 8]));
}

#[test]
fn lengths_that_are_absurd_are_as_good_as_much_room() {
    let mut output = [7_u8; 8];
    let mut length = 1 << 63;
    let place = &raw mut length;
    // SAFETY: no more is written than the layer writes.
    let call = unsafe { calls::C_SignFinal::from_caller(1, output.as_mut_ptr(), place) };
    let rv = across(&call, |call| {
        // SAFETY: a place for the length, and room.
        unsafe {
            assert!(call.output_len().read() < MAX_BODY as CK_ULONG);
            call.output().write(1);
            call.output_len().write(1);
        }
        CKR_OK
    });
    // SAFETY: nobody else uses the place, here and below.
    assert_eq!((rv, unsafe { place.replace(1 << 63) }), (Ok(CKR_OK), 1));
    // An error leaves the length alone, though another was handed over.
    assert_eq!(across(&call, |_| CKR_DEVICE_ERROR), Ok(CKR_DEVICE_ERROR));
    assert_eq!((length, output[0], output[1]), (1 << 63, 1, 7));
}

#[test]
fn parameters_that_nobody_can_carry_are_refused_here_or_by_the_gate() {
    let mut bytes = [0x41_u8; 48];
    let mut own = mechanism(CKM_VENDOR_DEFINED | 1, &raw mut bytes);
    let place = &raw mut own;
    // SAFETY: the mechanism outlives the calls.
    let (sign, digest) =
        unsafe { (calls::C_SignInit::from_caller(1, place, 2), calls::C_DigestInit::from_caller(1, place)) };
    let see = |call: calls::C_SignInit| {
        // SAFETY: a mechanism with a parameter as long as it says.
        let (own, first) = unsafe { (*call.mechanism(), *(*call.mechanism()).pParameter.cast::<u8>()) };
        assert_eq!(
            (own.mechanism, own.ulParameterLen, first),
            (CKM_VENDOR_DEFINED | 1, 48, 0),
            "zeros, as many"
        );
        assert!(
            call.pinned(|view, _| {
                assert_eq!(view.names, crate::ParameterNames::Unclear, "which the gate refuses");
                CKR_OK
            })
            .is_some()
        );
        CKR_FUNCTION_REJECTED
    };
    assert_eq!(across(&sign, see), Ok(CKR_FUNCTION_REJECTED));
    assert_eq!(refusal(&digest), Some(CKR_MECHANISM_PARAM_INVALID));
    // SAFETY: nobody else uses the mechanism, here and below.
    unsafe { (*place).mechanism = CKM_AES_GCM };
    assert_eq!(refusal(&sign), Some(CKR_ARGUMENTS_BAD), "pointers to an absurd length");
    // SAFETY: as above.
    unsafe { (*place).ulParameterLen = 47 };
    assert_eq!(refusal(&sign), Some(CKR_MECHANISM_PARAM_INVALID), "of another size");
    for kind in MECHANISMS {
        // SAFETY: as above.
        unsafe { ((*place).mechanism, (*place).ulParameterLen) = (kind, 7) };
        assert_eq!(refusal(&sign), None, "{kind:#x}: no room for a pointer");
    }
    // SAFETY: as above.
    unsafe { (*place).ulParameterLen = 1 << 62 };
    assert_eq!(refusal(&sign), Some(CKR_ARGUMENTS_BAD));
}

/// Callers leave in a structure what they have no use for.
#[test]
fn pointers_that_do_not_count_are_not_followed() {
    let nowhere = core::ptr::without_provenance_mut::<u8>(0x10);
    let (mut salt, mut info) = (*b"salt", *b"info");
    let mut hkdf = CK_HKDF_PARAMS {
        bExtract: CK_TRUE,
        bExpand: CK_FALSE,
        prfHashMechanism: CKM_SHA256,
        ulSaltType: CKF_HKDF_SALT_NULL,
        pSalt: nowhere,
        ulSaltLen: 1 << 60,
        hSaltKey: 7,
        pInfo: nowhere,
        ulInfoLen: 1 << 60,
    };
    let parameter = &raw mut hkdf;
    let mut own = mechanism(CKM_HKDF_DERIVE, parameter);
    let mut key = 0;
    // SAFETY: everything that counts outlives the calls.
    let call = unsafe { calls::C_DeriveKey::from_caller(1, &raw mut own, 2, null_mut(), 0, &raw mut key) };
    let see = |salt: Option<&'static [u8]>, info: Option<&'static [u8]>| {
        move |call: calls::C_DeriveKey| {
            // SAFETY: a structure of this kind, whose pointers lead to as much as it states.
            unsafe {
                let own = &*(*call.mechanism()).pParameter.cast::<CK_HKDF_PARAMS>();
                let bytes = |place: *mut u8, length: CK_ULONG| {
                    (!place.is_null()).then(|| core::slice::from_raw_parts(place, length as usize))
                };
                assert_eq!((own.bExtract, own.prfHashMechanism, own.hSaltKey), (CK_TRUE, CKM_SHA256, 7));
                assert_eq!(bytes(own.pSalt, own.ulSaltLen), salt);
                assert_eq!(bytes(own.pInfo, own.ulInfoLen), info);
            }
            CKR_OK
        }
    };
    assert_eq!(across(&call, see(None, None)), Ok(CKR_OK));
    // SAFETY: nobody else uses the structure, here and below.
    unsafe { (*parameter).ulSaltType = CKF_HKDF_SALT_KEY };
    assert_eq!(across(&call, see(None, None)), Ok(CKR_OK));
    // SAFETY: as above.
    unsafe {
        ((*parameter).ulSaltType, (*parameter).pSalt, (*parameter).ulSaltLen) =
            (CKF_HKDF_SALT_DATA, salt.as_mut_ptr(), 4);
        ((*parameter).bExpand, (*parameter).pInfo, (*parameter).ulInfoLen) = (CK_TRUE, info.as_mut_ptr(), 4);
    }
    assert_eq!(across(&call, see(Some(b"salt"), Some(b"info"))), Ok(CKR_OK));
}

#[test]
fn what_is_too_much_for_a_frame_is_said_to_be_too_much() {
    let mut data = vec![7_u8; MAX_BODY];
    let place = data.as_mut_ptr();
    let update = |length| {
        // SAFETY: there are as many bytes.
        refusal(&unsafe { calls::C_DigestUpdate::from_caller(1, place, length) })
    };
    // The session, that the pointer is there, the length.
    let most = MAX_BODY as CK_ULONG - 24;
    assert_eq!(update(most + 1), Some(CKR_HOST_MEMORY));
    // Interpreted, it would take minutes.
    assert!(cfg!(miri) || update(most).is_none());
    assert_eq!(update((1 << 56) + 1), Some(CKR_ARGUMENTS_BAD));
    let mut output = vec![0_u8; MAX_BODY];
    let mut room = MAX_BODY as CK_ULONG;
    // SAFETY: there are as many bytes.
    let encrypt =
        unsafe { calls::C_Encrypt::from_caller(1, place, most - 64, output.as_mut_ptr(), &raw mut room) };
    let is_answered = |call: calls::C_Encrypt| {
        // SAFETY: a place for the length.
        unsafe { assert!(call.output_len().replace(0) > MAX_BODY as CK_ULONG - (1 << 17)) };
        CKR_OK
    };
    assert!(cfg!(miri) || across(&encrypt, is_answered) == Ok(CKR_OK), "as much in and out as there can be");
    // SAFETY: as above.
    let random = unsafe { calls::C_GenerateRandom::from_caller(1, place, MAX_BODY as CK_ULONG) };
    assert_eq!(refusal(&random), Some(CKR_HOST_MEMORY));
    let name = vec![b'x'; 300];
    // SAFETY: no more than 255 bytes of it are read.
    let asked = unsafe { calls::C_AsyncGetID::from_caller(1, name.as_ptr().cast_mut(), null_mut()) };
    assert_eq!(refusal(&asked), Some(CKR_ARGUMENTS_BAD));
}
