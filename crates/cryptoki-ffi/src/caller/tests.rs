//! Tests of the views of the caller's memory: what was judged is what is forwarded.

use super::*;

#[test]
fn a_mechanism_that_changes_after_the_judgement_is_forwarded_as_judged() {
    let mut callers =
        CK_MECHANISM { mechanism: CKM_RSA_PKCS, pParameter: core::ptr::null_mut(), ulParameterLen: 0 };
    let mechanism = &raw mut callers;
    // SAFETY: `mechanism` points to a mechanism that outlives the call.
    let call = unsafe { calls::C_SignInit::from_caller(1, mechanism, 2) };
    let rv = call.pinned(&FlatMechanisms::NONE, |view, pinned| {
        // SAFETY: nobody else uses the mechanism.
        unsafe { (*mechanism).mechanism = CKM_RSA_X_509 };
        assert_eq!(view.kind, CKM_RSA_PKCS);
        // SAFETY: the pinned call points to a copy that lives through this closure.
        assert_eq!(unsafe { (*pinned.mechanism()).mechanism }, CKM_RSA_PKCS);
        CKR_OK
    });
    assert_eq!(rv, Some(CKR_OK));
    // SAFETY: NULL is a legal argument to judge.
    let none = unsafe { calls::C_SignInit::from_caller(1, core::ptr::null_mut(), 2) };
    assert_eq!(none.pinned(&FlatMechanisms::NONE, |_, _| CKR_OK), None);
}

#[test]
fn a_value_inside_the_template_cannot_change_what_was_judged() {
    let mut flag = [0_u8; 1];
    let mut value = [0_u8; 4];
    let mut callers = [
        CK_ATTRIBUTE { type_: CKA_SENSITIVE, pValue: flag.as_mut_ptr().cast(), ulValueLen: 1 },
        CK_ATTRIBUTE { type_: CKA_END_DATE, pValue: value.as_mut_ptr().cast(), ulValueLen: 4 },
    ];
    let template = callers.as_mut_ptr();
    // SAFETY: `template` points to two attributes that outlive the call.
    let call = unsafe { calls::C_GetAttributeValue::from_caller(1, 2, template, 2) };
    let rv = call.pinned(|types, pinned| {
        assert_eq!(types, [CKA_SENSITIVE, CKA_END_DATE]);
        // SAFETY: what a module does to the caller's memory while it answers.
        unsafe { (*template.add(1)).type_ = CKA_VALUE };
        // SAFETY: the pinned call points to a copy that lives through this closure.
        let second = unsafe { &mut *pinned.template().add(1) };
        assert_eq!(second.type_, CKA_END_DATE);
        second.ulValueLen = CK_UNAVAILABLE_INFORMATION;
        CKR_ATTRIBUTE_TYPE_INVALID
    });
    assert_eq!(rv, Some(CKR_ATTRIBUTE_TYPE_INVALID));
    let [_, second] = callers;
    assert_eq!(second.ulValueLen, CK_UNAVAILABLE_INFORMATION, "the lengths go back to the caller");
}

/// A template that states one attribute.
fn attribute(kind: CK_ATTRIBUTE_TYPE, value: &mut [u8]) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE { type_: kind, pValue: value.as_mut_ptr().cast(), ulValueLen: value.len() as CK_ULONG }
}

fn view_of(template: &mut [CK_ATTRIBUTE]) -> Option<TemplateView> {
    let (first, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    // SAFETY: the template outlives the call.
    let call = unsafe { calls::C_CreateObject::from_caller(1, first, count, core::ptr::null_mut()) };
    let mut seen = None;
    call.pinned(|view, _| {
        seen = Some(view.clone());
        CKR_OK
    });
    seen
}

#[test]
fn what_a_template_states_is_what_was_judged() {
    let mut class = CKO_DATA.to_ne_bytes();
    let mut label = *b"tame";
    let mut template = [attribute(CKA_CLASS, &mut class), attribute(CKA_LABEL, &mut label)];
    let (class_place, label_place) = (template[0].pValue, template[1].pValue);
    let first = template.as_mut_ptr();
    // SAFETY: the template outlives the call.
    let call = unsafe { calls::C_CreateObject::from_caller(1, first, 2, core::ptr::null_mut()) };
    let rv = call.pinned(|view, pinned| {
        assert_eq!(view.class, Stated::Once(CKO_DATA));
        assert_eq!(view.label, Stated::Once(b"tame".to_vec()));
        // SAFETY: nobody else uses class, label and template.
        unsafe {
            class_place.cast::<[u8; 8]>().write(CKO_SECRET_KEY.to_ne_bytes());
            label_place.cast::<[u8; 4]>().write(*b"evil");
            (*first).type_ = CKA_ID;
        }
        // SAFETY: the pinned call points to copies that live through this closure.
        let (class, label) = unsafe { (&*pinned.template(), &*pinned.template().add(1)) };
        // SAFETY: as above; the values have these lengths.
        unsafe {
            assert_eq!((class.type_, *class.pValue.cast::<CK_OBJECT_CLASS>()), (CKA_CLASS, CKO_DATA));
            assert_eq!(&*label.pValue.cast::<[u8; 4]>(), b"tame");
        }
        CKR_OK
    });
    assert_eq!(rv, Some(CKR_OK));
}

#[test]
fn a_type_that_32_bits_do_not_tell_from_another_is_none() {
    assert!(view_of(&mut [attribute(CKA_VENDOR_DEFINED | 3, &mut [1])]).is_some());
    assert!(view_of(&mut [attribute(CKA_LABEL | 1 << 32, &mut [1])]).is_none());
}

#[test]
fn a_mechanism_that_32_bits_do_not_tell_from_another_is_none() {
    let none = core::ptr::null_mut();
    let answer = |kind| {
        let mut callers = CK_MECHANISM { mechanism: kind, pParameter: none, ulParameterLen: 0 };
        let (mechanism, handle) = (&raw mut callers, core::ptr::null_mut());
        // SAFETY: the mechanism outlives the calls, and templates without attributes may be NULL.
        let (sign, generate, pair) = unsafe {
            (
                calls::C_SignInit::from_caller(1, mechanism, 2),
                calls::C_GenerateKey::from_caller(1, mechanism, none.cast(), 0, handle),
                calls::C_GenerateKeyPair::from_caller(
                    1,
                    mechanism,
                    none.cast(),
                    0,
                    none.cast(),
                    0,
                    handle,
                    handle,
                ),
            )
        };
        let flat = FlatMechanisms::NONE;
        [
            sign.pinned(&flat, |_, _| CKR_OK),
            generate.pinned(&flat, |_, _, _| CKR_OK),
            pair.pinned(&flat, |_, _, _, _| CKR_OK),
        ]
    };
    for good in [CKM_RSA_X_509, CKM_VENDOR_DEFINED | 3, u32::MAX.into()] {
        assert_eq!(answer(good), [Some(CKR_OK); 3], "{good:#x}");
    }
    for bad in [CKM_RSA_X_509 | 1 << 32, CKM_VENDOR_DEFINED | 1 << 63, CK_ULONG::MAX] {
        assert_eq!(answer(bad), [Some(CKR_MECHANISM_INVALID); 3], "{bad:#x}");
    }
}

#[test]
fn an_attribute_that_32_bits_do_not_tell_from_another_is_not_asked_for() {
    let beyond = CKA_CHECK_VALUE | 1 << 32;
    let ask = |kinds: &[CK_ATTRIBUTE_TYPE], rv| {
        let mut template: Vec<_> = kinds.iter().map(|kind| attribute(*kind, &mut [0; 3])).collect();
        let (first, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
        // SAFETY: the template outlives the call.
        let call = unsafe { calls::C_GetAttributeValue::from_caller(1, 2, first, count) };
        let mut seen = Vec::new();
        let rv = call.pinned(|types, pinned| {
            seen = types.to_vec();
            for index in 0..types.len() {
                // SAFETY: the pinned call has as many attributes as types, in memory of its own.
                let own = unsafe { &mut *pinned.template().add(index) };
                assert_eq!((own.type_, pinned.count()), (types[index], types.len() as CK_ULONG));
                own.ulValueLen = 1 + index as CK_ULONG;
            }
            rv
        });
        let lengths: Vec<_> = template.iter().map(|attribute| attribute.ulValueLen).collect();
        (rv.unwrap(), seen, lengths)
    };
    let vendors = CKA_VENDOR_DEFINED | 3;
    assert_eq!(ask(&[CKA_LABEL, vendors], CKR_OK), (CKR_OK, vec![CKA_LABEL, vendors], vec![1, 2]));
    let gone = CK_UNAVAILABLE_INFORMATION;
    for (rv, expected) in [
        (CKR_OK, CKR_ATTRIBUTE_TYPE_INVALID),
        (CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_SENSITIVE),
        (CKR_BUFFER_TOO_SMALL, CKR_BUFFER_TOO_SMALL),
    ] {
        let answer = ask(&[CKA_LABEL, beyond, CKA_ID], rv);
        assert_eq!(answer, (expected, vec![CKA_LABEL, CKA_ID], vec![1, gone, 2]));
    }
    assert_eq!(ask(&[CK_ULONG::MAX], CKR_OK), (CKR_ATTRIBUTE_TYPE_INVALID, vec![], vec![gone]));
    let denied = ask(&[beyond], CKR_FUNCTION_REJECTED);
    assert_eq!(denied, (CKR_FUNCTION_REJECTED, vec![], vec![3]), "what was not answered stays as it was");
}

#[test]
fn a_template_that_states_a_thing_twice_or_unreadably_is_unclear() {
    let mut class = CKO_DATA.to_ne_bytes();
    let twice = [attribute(CKA_CLASS, &mut class.clone()), attribute(CKA_CLASS, &mut class)];
    assert_eq!(view_of(&mut twice.clone()).unwrap().class, Stated::Unclear);
    assert_eq!(view_of(&mut [attribute(CKA_CLASS, &mut [0; 4])]).unwrap().class, Stated::Unclear);
    assert_eq!(view_of(&mut [attribute(CKA_LABEL, &mut [0; 513])]).unwrap().label, Stated::Unclear);
    assert_eq!(view_of(&mut [attribute(CKA_TOKEN, &mut [1, 1])]).unwrap().token, Stated::Unclear);
    let mut nowhere = attribute(CKA_ID, &mut []);
    nowhere.pValue = core::ptr::null_mut();
    assert_eq!(view_of(&mut [nowhere]).unwrap().id, Stated::Once(Vec::new()));
    assert_eq!(view_of(&mut []).unwrap().class, Stated::Absent);
}

#[test]
fn a_template_tells_whether_it_asks_for_what_may_be_secret() {
    let asks = |kinds: &[CK_ATTRIBUTE_TYPE]| {
        let mut template: Vec<_> = kinds.iter().map(|kind| attribute(*kind, &mut [])).collect();
        !view_of(&mut template).unwrap().only_public_attributes
    };
    assert!(!asks(&[]));
    assert!(!asks(&[CKA_LABEL, CKA_MODULUS, CKA_EC_POINT]));
    for secret in [CKA_VALUE, CKA_PRIVATE_EXPONENT, CKA_PRIME_1, CKA_VENDOR_DEFINED | 1] {
        assert!(asks(&[CKA_LABEL, secret]), "{secret:#x}");
    }
}

#[test]
fn flags_are_read_as_modules_read_them() {
    let token = |byte: u8| view_of(&mut [attribute(CKA_TOKEN, &mut [byte])]).unwrap().token;
    assert_eq!(token(CK_FALSE), Stated::Once(false));
    assert_eq!(token(CK_TRUE), Stated::Once(true));
    assert_eq!(token(7), Stated::Once(true));
}

#[test]
fn a_template_that_is_null_or_absurdly_long_is_none() {
    let mut one = [attribute(CKA_ID, &mut [])];
    for (first, count) in
        [(core::ptr::null_mut(), 1), (one.as_mut_ptr(), 1025), (one.as_mut_ptr(), CK_UNAVAILABLE_INFORMATION)]
    {
        // SAFETY: a template that is refused for its length is not read.
        let call = unsafe { calls::C_CreateObject::from_caller(1, first, count, core::ptr::null_mut()) };
        assert_eq!(call.pinned(|_, _| CKR_OK), None);
    }
}

#[test]
fn a_template_with_a_value_that_cannot_be_there_is_none() {
    let mut nothing = attribute(CKA_VALUE, &mut []);
    nothing.pValue = core::ptr::null_mut();
    for length in [1, CK_UNAVAILABLE_INFORMATION] {
        nothing.ulValueLen = length;
        assert_eq!(view_of(&mut [nothing]), None);
    }
    let mut absurd = attribute(CKA_VALUE, &mut [1, 2]);
    for length in [CK_UNAVAILABLE_INFORMATION, 1 << 62] {
        absurd.ulValueLen = length;
        assert_eq!(view_of(&mut [absurd]), None);
    }
}

#[test]
fn a_handed_in_token_is_not_asked_for_more_attributes_than_a_template_has() {
    let mut one = [attribute(CKA_LABEL, &mut [])];
    for (first, count) in [(core::ptr::null_mut(), 1), (one.as_mut_ptr(), CK_UNAVAILABLE_INFORMATION)] {
        // SAFETY: a template that is refused for its length is not read.
        let call = unsafe { calls::C_GetAttributeValue::from_caller(1, 2, first, count) };
        assert_eq!(call.answer(&[(CKA_LABEL, b"name")]), CKR_ARGUMENTS_BAD);
    }
}

#[test]
fn lengths_that_no_memory_has_are_noticed_in_any_place() {
    let byte = core::ptr::null_mut();
    // SAFETY: calls that are not forwarded.
    let verify =
        |data, signature| unsafe { calls::C_Verify::from_caller(u64::MAX, byte, data, byte, signature) };
    assert!(verify(0, 0).has_possible_lengths() && verify(1 << 40, 1 << 40).has_possible_lengths());
    for length in [(1 << 56) + 1, 1 << 62, CK_UNAVAILABLE_INFORMATION] {
        assert!(!verify(length, 0).has_possible_lengths() && !verify(0, length).has_possible_lengths());
    }
}

#[test]
fn a_template_that_is_null_and_empty_stays_null() {
    // SAFETY: a template of no attributes may be NULL.
    let create =
        unsafe { calls::C_CreateObject::from_caller(1, core::ptr::null_mut(), 0, core::ptr::null_mut()) };
    let rv = create.pinned(|view, pinned| {
        assert_eq!(view.class, Stated::Absent);
        assert!(pinned.template().is_null());
        CKR_OK
    });
    assert_eq!(rv, Some(CKR_OK));
    // SAFETY: as above.
    let read = unsafe { calls::C_GetAttributeValue::from_caller(1, 2, core::ptr::null_mut(), 0) };
    let rv = read.pinned(|types, pinned| {
        assert!(types.is_empty() && pinned.template().is_null());
        CKR_OK
    });
    assert_eq!(rv, Some(CKR_OK));
}

#[test]
fn attributes_are_answered_by_the_rules_for_lengths() {
    let attributes: [(CK_ATTRIBUTE_TYPE, &[u8]); 1] = [(CKA_LABEL, b"name")];
    let ask = |kind, room: Option<usize>| {
        let mut buffer = vec![0_u8; room.unwrap_or_default()];
        let mut template = [attribute(kind, &mut buffer)];
        if room.is_none() {
            template[0].pValue = core::ptr::null_mut();
        }
        // SAFETY: the template outlives the call.
        let call = unsafe { calls::C_GetAttributeValue::from_caller(1, 2, template.as_mut_ptr(), 1) };
        let rv = call.answer(&attributes);
        let [attribute] = template;
        (rv, attribute.ulValueLen, buffer)
    };
    assert_eq!(ask(CKA_LABEL, Some(6)), (CKR_OK, 4, b"name\0\0".to_vec()));
    assert_eq!(ask(CKA_LABEL, None), (CKR_OK, 4, vec![]));
    assert_eq!(ask(CKA_LABEL, Some(3)), (CKR_BUFFER_TOO_SMALL, CK_UNAVAILABLE_INFORMATION, vec![0; 3]));
    assert_eq!(ask(CKA_VALUE, Some(9)), (CKR_ATTRIBUTE_TYPE_INVALID, CK_UNAVAILABLE_INFORMATION, vec![0; 9]));
}

#[test]
fn the_callers_place_is_written_only_on_delivery() {
    let mut session = 7;
    let place = &raw mut session;
    // SAFETY: `place` outlives the call.
    let call = unsafe { calls::C_OpenSession::from_caller(0, 4, core::ptr::null_mut(), None, place) };
    let (rv, handle) = call.with_own_place(|pinned| {
        // SAFETY: the pinned call has a place of its own.
        unsafe { *pinned.session() = 42 };
        CKR_OK
    });
    assert_eq!((rv, handle, session), (CKR_OK, Some(42), 7));
    call.deliver(42);
    assert_eq!(session, 42);
}

#[test]
fn what_a_search_has_found_is_read_where_the_caller_cannot_write() {
    let (mut objects, mut count) = ([7 as CK_OBJECT_HANDLE; 3], 9);
    let (place, count_place) = (objects.as_mut_ptr(), &raw mut count);
    // SAFETY: the places outlive the call.
    let call = unsafe { calls::C_FindObjects::from_caller(1, place, 3, count_place) };
    let (rv, found) = call.with_own_places(|pinned| {
        // SAFETY: the pinned call has places of its own, three for objects.
        unsafe {
            pinned.objects().write(41);
            pinned.objects().add(1).write(42);
            pinned.count().write(2);
        }
        // SAFETY: what another thread does meanwhile.
        unsafe { place.write(666) };
        CKR_OK
    });
    assert_eq!((rv, found.as_slice()), (CKR_OK, [41, 42].as_slice()));
    call.deliver(&[42]);
    // SAFETY: nobody else uses the places.
    assert_eq!(unsafe { (place.read(), place.add(1).read(), count_place.read()) }, (42, 7, 1));
    call.deliver(&[1, 2, 3, 4]);
    assert_eq!((objects, count), ([1, 2, 3], 3), "no more than there is room for");
}
