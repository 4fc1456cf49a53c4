//! Templates in the words of the standard's structures: templates in templates, attributes of which some are refused, and
//! what no frame can carry.

use core::ptr::null_mut;

use cryptoki_sys::*;

use super::callers::{across, refusal};
use crate::calls;

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
