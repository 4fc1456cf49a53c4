//! What callers do, in the words of the standard's structures: templates in templates, attributes of which some are refused,
//! messages, pointers that stay at home, and calls that no frame can carry.

use core::ptr::null_mut;

use cryptoki_sys::*;
use guard_wire::{MAX_BODY, Reader, Writer};

use super::making::MECHANISMS;
use crate::calls;
use crate::remote::{Arena, Remote};

/// Has `layer` answer `call` from the other side.
fn across<C: Remote>(call: &C, layer: impl FnOnce(C) -> CK_RV) -> Result<CK_RV, CK_RV> {
    let (mut body, mut answer) = (Writer::new(), Writer::new());
    call.encode(&mut body)?;
    C::serve(body.body(), &mut Arena::new(), &mut answer, layer).unwrap();
    Ok(call.deliver(&mut Reader::new(answer.body())).unwrap())
}

/// What `call` fails with before it gets across.
fn refusal<C: Remote>(call: &C) -> Option<CK_RV> {
    across(call, |_| CKR_OK).err()
}

fn attribute<T>(kind: CK_ATTRIBUTE_TYPE, value: &mut [T]) -> CK_ATTRIBUTE {
    let length = size_of_val(value) as CK_ULONG;
    CK_ATTRIBUTE { type_: kind, pValue: value.as_mut_ptr().cast(), ulValueLen: length }
}

/// A template on the other side.
fn attributes<'a>(first: *mut CK_ATTRIBUTE, count: CK_ULONG) -> &'a [CK_ATTRIBUTE] {
    // SAFETY: as many attributes as are stated, aligned.
    unsafe { core::slice::from_raw_parts(first, count as usize) }
}

fn value<'a>(attribute: &CK_ATTRIBUTE) -> &'a [u8] {
    // SAFETY: as many bytes as are stated.
    unsafe { core::slice::from_raw_parts(attribute.pValue.cast(), attribute.ulValueLen as usize) }
}

fn mechanism<T>(kind: CK_MECHANISM_TYPE, parameter: *mut T) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: kind, pParameter: parameter.cast(), ulParameterLen: size_of::<T>() as CK_ULONG }
}

#[test]
fn a_key_pair_is_generated_by_templates_in_templates() {
    let (mut yes, mut also, mut label) = ([CK_TRUE], [CK_TRUE], *b"inner");
    let mut wrapped = [attribute(CKA_EXTRACTABLE, &mut also), attribute(CKA_LABEL, &mut label)];
    let mut public = [attribute(CKA_WRAP_TEMPLATE, &mut wrapped), attribute(CKA_WRAP, &mut yes)];
    let mut empty: [CK_ATTRIBUTE; 0] = [];
    let mut unwrapped = [attribute(CKA_DERIVE_TEMPLATE, &mut empty)];
    let mut private = [attribute(CKA_UNWRAP_TEMPLATE, &mut unwrapped)];
    let mut bare =
        CK_MECHANISM { mechanism: CKM_RSA_PKCS_KEY_PAIR_GEN, pParameter: null_mut(), ulParameterLen: 0 };
    let (mut public_key, mut private_key) = (1, 2);
    // SAFETY: everything outlives the call.
    let call = unsafe {
        calls::C_GenerateKeyPair::from_caller(
            5,
            &raw mut bare,
            public.as_mut_ptr(),
            2,
            private.as_mut_ptr(),
            1,
            &raw mut public_key,
            &raw mut private_key,
        )
    };
    let rv = across(&call, |call| {
        // SAFETY: a mechanism.
        let kind = unsafe { (*call.mechanism()).mechanism };
        assert_eq!((call.session(), kind), (5, CKM_RSA_PKCS_KEY_PAIR_GEN));
        let [template, wrap] = attributes(call.public_template(), call.public_count()) else { panic!() };
        assert_eq!((wrap.type_, value(wrap)), (CKA_WRAP, [CK_TRUE].as_slice()));
        assert_eq!((template.type_, template.ulValueLen), (CKA_WRAP_TEMPLATE, 48));
        let [extractable, label] = attributes(template.pValue.cast(), 2) else { panic!() };
        assert_eq!((extractable.type_, value(extractable)), (CKA_EXTRACTABLE, [CK_TRUE].as_slice()));
        assert_eq!((label.type_, value(label)), (CKA_LABEL, b"inner".as_slice()));
        let [template] = attributes(call.private_template(), call.private_count()) else { panic!() };
        assert_eq!((template.type_, template.ulValueLen), (CKA_UNWRAP_TEMPLATE, 24));
        let [inner] = attributes(template.pValue.cast(), 1) else { panic!() };
        assert_eq!((inner.type_, inner.ulValueLen, inner.pValue.is_null()), (CKA_DERIVE_TEMPLATE, 0, false));
        // SAFETY: places for handles.
        unsafe {
            call.public_key().write(41);
            call.private_key().write(42);
        }
        CKR_OK
    });
    assert_eq!((rv, public_key, private_key), (Ok(CKR_OK), 41, 42));
}

#[test]
fn attributes_of_which_some_are_refused_come_back_as_they_are() {
    let (mut label, mut secret, mut short) = ([7_u8; 8], [7_u8; 8], [7_u8; 2]);
    let mut template = [
        attribute(CKA_LABEL, &mut label),
        attribute(CKA_PRIVATE_EXPONENT, &mut secret),
        attribute(CKA_ID, &mut short),
        CK_ATTRIBUTE { type_: CKA_MODULUS, pValue: null_mut(), ulValueLen: 1 << 63 },
    ];
    // SAFETY: the template outlives the call.
    let call = unsafe { calls::C_GetAttributeValue::from_caller(1, 2, template.as_mut_ptr(), 4) };
    let rv = across(&call, |call| {
        let asked = attributes(call.template(), call.count());
        assert_eq!(asked.iter().map(|own| own.ulValueLen).collect::<Vec<_>>(), [8, 8, 2, 1 << 63]);
        assert!(asked[3].pValue.is_null() && value(&asked[0]) == [0; 8]);
        for (index, length) in
            [4, CK_UNAVAILABLE_INFORMATION, CK_UNAVAILABLE_INFORMATION, 256].iter().enumerate()
        {
            // SAFETY: one of the attributes.
            unsafe { (*call.template().add(index)).ulValueLen = *length };
        }
        // SAFETY: room for eight bytes.
        unsafe { asked[0].pValue.cast::<[u8; 4]>().write(*b"name") };
        CKR_ATTRIBUTE_SENSITIVE
    });
    assert_eq!(rv, Ok(CKR_ATTRIBUTE_SENSITIVE));
    let lengths = template.map(|own| own.ulValueLen);
    assert_eq!(lengths, [4, CK_UNAVAILABLE_INFORMATION, CK_UNAVAILABLE_INFORMATION, 256]);
    assert_eq!((&label, secret, short), (b"name\x07\x07\x07\x07", [7; 8], [7; 2]));
}

/// Once for the size, once for types and lengths, once for the values.
#[test]
fn a_template_that_is_an_attribute_is_read_in_three_steps() {
    let mut template = [CK_ATTRIBUTE { type_: CKA_WRAP_TEMPLATE, pValue: null_mut(), ulValueLen: 0 }];
    let first = template.as_mut_ptr();
    // SAFETY: the template outlives the calls.
    let call = unsafe { calls::C_GetAttributeValue::from_caller(1, 2, first, 1) };
    // What a module has, of which each call asks for more.
    let answer = |call: calls::C_GetAttributeValue| {
        // SAFETY: a template with one attribute.
        let outer = unsafe { &mut *call.template() };
        outer.ulValueLen = 48;
        if outer.pValue.is_null() {
            return CKR_OK;
        }
        for (index, (kind, content)) in
            [(CKA_SIGN, b"\x01".as_slice()), (CKA_LABEL, b"name")].iter().enumerate()
        {
            // SAFETY: room for two attributes.
            let inner = unsafe { &mut *outer.pValue.cast::<CK_ATTRIBUTE>().add(index) };
            inner.type_ = *kind;
            if !inner.pValue.is_null() {
                assert!(inner.ulValueLen >= content.len() as CK_ULONG);
                // SAFETY: there is room, as was asserted.
                unsafe {
                    inner.pValue.cast::<u8>().copy_from_nonoverlapping(content.as_ptr(), content.len())
                };
            }
            inner.ulValueLen = content.len() as CK_ULONG;
        }
        CKR_OK
    };
    assert_eq!(across(&call, answer), Ok(CKR_OK));
    // SAFETY: nobody else uses the template, here and below.
    assert_eq!(unsafe { (*first).ulValueLen }, 48);
    // What is in memory that nobody has written to yet.
    let mut inner = [CK_ATTRIBUTE { type_: CKF_ARRAY_ATTRIBUTE | 1, pValue: null_mut(), ulValueLen: 99 }; 2];
    let inner_first = inner.as_mut_ptr();
    // SAFETY: as above.
    unsafe { (*first).pValue = inner_first.cast() };
    assert_eq!(across(&call, answer), Ok(CKR_OK));
    // SAFETY: as above.
    let told =
        unsafe { [inner_first.read(), inner_first.add(1).read()] }.map(|own| (own.type_, own.ulValueLen));
    assert_eq!(told, [(CKA_SIGN, 1), (CKA_LABEL, 4)]);
    let (mut sign, mut label) = ([7_u8; 1], [7_u8; 4]);
    // SAFETY: as above.
    unsafe {
        (*inner_first).pValue = sign.as_mut_ptr().cast();
        (*inner_first.add(1)).pValue = label.as_mut_ptr().cast();
    }
    assert_eq!(across(&call, answer), Ok(CKR_OK));
    assert_eq!((sign, &label), ([1], b"name"));
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
    // SAFETY: no more is written than the layer writes.
    let call = unsafe { calls::C_SignFinal::from_caller(1, output.as_mut_ptr(), &raw mut length) };
    let rv = across(&call, |call| {
        // SAFETY: a place for the length, and room.
        unsafe {
            assert!(call.output_len().read() < MAX_BODY as CK_ULONG);
            call.output().write(1);
            call.output_len().write(1);
        }
        CKR_OK
    });
    assert_eq!((rv, length, output[0], output[1]), (Ok(CKR_OK), 1, 1, 7));
    // An error leaves the length alone, though another was handed over.
    length = 1 << 63;
    assert_eq!(across(&call, |_| CKR_DEVICE_ERROR), Ok(CKR_DEVICE_ERROR));
    assert_eq!(length, 1 << 63);
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

#[test]
fn templates_that_nobody_can_carry_are_refused() {
    let create = |template: &mut [CK_ATTRIBUTE], count| {
        // SAFETY: the template outlives the call, and no more of it is read than is there.
        refusal(&unsafe { calls::C_CreateObject::from_caller(1, template.as_mut_ptr(), count, null_mut()) })
    };
    let mut value = [0_u8; 24];
    let mut one = [attribute(CKF_ARRAY_ATTRIBUTE | 5, &mut value)];
    assert_eq!(create(&mut one, 1), Some(CKR_ATTRIBUTE_TYPE_INVALID));
    assert_eq!(create(&mut one, 1025), Some(CKR_ARGUMENTS_BAD));
    one[0].type_ = CKA_VENDOR_DEFINED | CKF_ARRAY_ATTRIBUTE | 5;
    assert_eq!(create(&mut one, 1), None, "vendors' numbers mean what vendors say");
    (one[0].type_, one[0].ulValueLen) = (CKA_UNWRAP_TEMPLATE, 23);
    assert_eq!(create(&mut one, 1), Some(CKR_ATTRIBUTE_VALUE_INVALID));
    let mut level = vec![attribute(CKA_LABEL, &mut value)];
    for expected in [None, None, None, Some(CKR_ATTRIBUTE_VALUE_INVALID)] {
        let outer = attribute(CKA_UNWRAP_TEMPLATE, &mut Vec::leak(level)[..]);
        level = vec![outer];
        assert_eq!(create(&mut level, 1), expected);
    }
    one[0] = CK_ATTRIBUTE { ulValueLen: 1 << 62, ..attribute(CKA_VALUE, &mut value) };
    assert_eq!(create(&mut one, 1), Some(CKR_ARGUMENTS_BAD));
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
    assert_eq!([update(most), update(most + 1)], [None, Some(CKR_HOST_MEMORY)]);
    assert_eq!(update((1 << 56) + 1), Some(CKR_ARGUMENTS_BAD));
    // SAFETY: as above.
    let random = unsafe { calls::C_GenerateRandom::from_caller(1, place, MAX_BODY as CK_ULONG) };
    assert_eq!(refusal(&random), Some(CKR_HOST_MEMORY));
    let name = vec![b'x'; 300];
    // SAFETY: no more than 255 bytes of it are read.
    let asked = unsafe { calls::C_AsyncGetID::from_caller(1, name.as_ptr().cast_mut(), null_mut()) };
    assert_eq!(refusal(&asked), Some(CKR_ARGUMENTS_BAD));
}
