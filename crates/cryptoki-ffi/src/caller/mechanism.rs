//! The mechanism of a call, with the object handles inside its parameter.

use cryptoki_sys::*;
use pkcs11_table::{
    Extent, FlatMechanisms, Function, HandleField, Parameter, Pointer, Target, When, with_buffers,
};

use super::copied::Copied;
use crate::lengths::is_possible;

/// What was read of a mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MechanismView {
    /// `CKM_` number.
    pub kind: CK_MECHANISM_TYPE,
    /// The objects that its parameter names.
    pub names: ParameterNames,
}

/// The objects that the parameter of a mechanism names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterNames {
    /// These, often none.
    Objects(Vec<CK_OBJECT_HANDLE>),
    /// It may name some, and nobody can tell which.
    Unclear,
}

/// A mechanism in memory of our own. A parameter that names objects is copied, too; any other stays where it is, since some
/// mechanisms write to it.
pub(super) struct PinnedMechanism {
    mechanism: CK_MECHANISM,
    view: MechanismView,
    /// What `mechanism.pParameter` points to, where it was copied.
    _parameter: Option<Copied>,
}

impl PinnedMechanism {
    /// `None` where the mechanism is NULL, or its parameter, or a buffer in that, cannot be there. The parameter of the
    /// mechanisms `flat` is bytes.
    ///
    /// # Safety
    /// `mechanism` is NULL or points to a mechanism, whose parameter is NULL or as long as it says.
    pub(super) unsafe fn read(
        function: Function,
        flat: &FlatMechanisms,
        mechanism: *const CK_MECHANISM,
    ) -> Option<Self> {
        if mechanism.is_null() {
            return None;
        }
        // SAFETY: not NULL, hence a mechanism, by the promise above; it may be unaligned where the caller packs it.
        let mut mechanism = unsafe { mechanism.read_unaligned() };
        // SAFETY: by the promise above.
        if !unsafe { has_buffers(function, &mechanism) } {
            return None;
        }
        let kind = mechanism.mechanism;
        let length = usize::try_from(mechanism.ulParameterLen).unwrap_or(usize::MAX);
        let is_empty = mechanism.pParameter.is_null() || length == 0;
        let none = ParameterNames::Objects(Vec::new());
        let (names, copy) = match flat.parameter(kind) {
            Parameter::Plain => (none, None),
            Parameter::Opaque => (ParameterNames::Unclear, None),
            Parameter::Unknown | Parameter::Handles { .. } if is_empty => {
                // Not every module looks at the length before it follows the pointer.
                mechanism.pParameter = core::ptr::null_mut();
                (none, None)
            }
            Parameter::Unknown if length < size_of::<CK_OBJECT_HANDLE>() => (none, None),
            Parameter::Unknown => (ParameterNames::Unclear, None),
            Parameter::Handles { size, fields } if length == size => {
                // SAFETY: the caller says that the parameter has `size` bytes.
                let mut copy = unsafe { Copied::of(mechanism.pParameter, size) };
                mechanism.pParameter = copy.as_mut_ptr();
                let objects = fields.iter().filter_map(|field| {
                    // SAFETY: a copy of the mechanism's structure, in which the caller has filled in the fields.
                    unsafe { handle(&copy, *field) }
                });
                (ParameterNames::Objects(objects.collect()), Some(copy))
            }
            // Of another version of the structure, perhaps: where the handles are then, nobody can tell.
            Parameter::Handles { .. } => (ParameterNames::Unclear, None),
        };
        Some(Self { mechanism, view: MechanismView { kind, names }, _parameter: copy })
    }

    pub(super) const fn as_mut_ptr(&mut self) -> *mut CK_MECHANISM {
        &raw mut self.mechanism
    }

    pub(super) const fn view(&self) -> &MechanismView {
        &self.view
    }
}

/// Whether the parameter can be there, and the buffers in it. Modules follow pointers before they look at them.
///
/// # Safety
/// The parameter is NULL or as long as the mechanism says.
unsafe fn has_buffers(function: Function, mechanism: &CK_MECHANISM) -> bool {
    let known = match function {
        // The same mechanisms take structures of another layout here, one of them of the same size (PKCS#11 3.2, the message
        // parameters of GCM and CCM).
        Function::C_MessageDecryptInit
        | Function::C_MessageEncryptInit
        | Function::C_MessageSignInit
        | Function::C_MessageVerifyInit
        | Function::C_UnwrapKeyAuthenticated
        | Function::C_WrapKeyAuthenticated => None,
        _ => with_buffers(mechanism.mechanism),
    };
    if mechanism.pParameter.is_null() {
        return true;
    }
    let structure = mechanism.pParameter.cast::<u8>().cast_const();
    // SAFETY: a pointer and a number inside the structure, by the promise above; callers may pack it.
    let is_there = |pointer: &Pointer| unsafe {
        let Target::Bytes(Extent::At(length)) = pointer.target else { return true };
        let length = structure.add(length).cast::<CK_ULONG>().read_unaligned();
        length == 0
            || (is_possible(length)
                && !structure.add(pointer.offset).cast::<*const u8>().read_unaligned().is_null())
    };
    is_possible(mechanism.ulParameterLen)
        && known
            .filter(|structure| usize::try_from(mechanism.ulParameterLen) == Ok(structure.size))
            .is_none_or(|structure| structure.pointers.iter().all(is_there))
}

/// The handle in a structure, if it counts; all handles and numbers lie at multiples of eight.
///
/// # Safety
/// The field, where it counts, and what it counts by are written; what lies between fields need not be.
unsafe fn handle(structure: &Copied, field: HandleField) -> Option<CK_OBJECT_HANDLE> {
    // SAFETY: by the promise above, for each of the three.
    unsafe {
        let counts = match field.when {
            When::Always => true,
            When::Flag(offset) => structure.byte(offset)? != CK_FALSE,
            When::Unless(offset, values) => !values.contains(&structure.word(offset)?),
        };
        if counts { structure.word(field.offset).filter(|handle| *handle != CK_INVALID_HANDLE) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use core::mem::{offset_of, size_of, zeroed};

    use pkcs11_table::parameter;

    use super::*;

    const NONE: &FlatMechanisms = &FlatMechanisms::NONE;

    fn view<T>(kind: CK_MECHANISM_TYPE, parameter: &mut T) -> MechanismView {
        let mechanism = CK_MECHANISM {
            mechanism: kind,
            pParameter: (&raw mut *parameter).cast(),
            ulParameterLen: size_of::<T>() as CK_ULONG,
        };
        // SAFETY: the parameter is as long as the mechanism says.
        unsafe { PinnedMechanism::read(Function::C_SignInit, NONE, &raw const mechanism) }
            .unwrap()
            .view
            .clone()
    }

    /// Every place of a handle, by another's generation of the structures from the header.
    #[test]
    fn handles_are_where_the_header_has_them() {
        let layouts: [(CK_MECHANISM_TYPE, usize, &[usize]); 11] = [
            (CKM_CONCATENATE_BASE_AND_KEY, size_of::<CK_OBJECT_HANDLE>(), &[0]),
            (
                CKM_X9_42_DH_HYBRID_DERIVE,
                size_of::<CK_X9_42_DH2_DERIVE_PARAMS>(),
                &[offset_of!(CK_X9_42_DH2_DERIVE_PARAMS, hPrivateData)],
            ),
            (
                CKM_X9_42_MQV_DERIVE,
                size_of::<CK_X9_42_MQV_DERIVE_PARAMS>(),
                &[
                    offset_of!(CK_X9_42_MQV_DERIVE_PARAMS, hPrivateData),
                    offset_of!(CK_X9_42_MQV_DERIVE_PARAMS, publicKey),
                ],
            ),
            (
                CKM_ECMQV_DERIVE,
                size_of::<CK_ECMQV_DERIVE_PARAMS>(),
                &[
                    offset_of!(CK_ECMQV_DERIVE_PARAMS, hPrivateData),
                    offset_of!(CK_ECMQV_DERIVE_PARAMS, publicKey),
                ],
            ),
            (
                CKM_GOSTR3410_KEY_WRAP,
                size_of::<CK_GOSTR3410_KEY_WRAP_PARAMS>(),
                &[offset_of!(CK_GOSTR3410_KEY_WRAP_PARAMS, hKey)],
            ),
            (CKM_HKDF_DERIVE, size_of::<CK_HKDF_PARAMS>(), &[offset_of!(CK_HKDF_PARAMS, hSaltKey)]),
            (CKM_HKDF_DATA, size_of::<CK_HKDF_PARAMS>(), &[offset_of!(CK_HKDF_PARAMS, hSaltKey)]),
            (
                CKM_IKE2_PRF_PLUS_DERIVE,
                size_of::<CK_IKE2_PRF_PLUS_DERIVE_PARAMS>(),
                &[offset_of!(CK_IKE2_PRF_PLUS_DERIVE_PARAMS, hSeedKey)],
            ),
            (
                CKM_IKE_PRF_DERIVE,
                size_of::<CK_IKE_PRF_DERIVE_PARAMS>(),
                &[offset_of!(CK_IKE_PRF_DERIVE_PARAMS, hNewKey)],
            ),
            (
                CKM_IKE1_PRF_DERIVE,
                size_of::<CK_IKE1_PRF_DERIVE_PARAMS>(),
                &[
                    offset_of!(CK_IKE1_PRF_DERIVE_PARAMS, hKeygxy),
                    offset_of!(CK_IKE1_PRF_DERIVE_PARAMS, hPrevKey),
                ],
            ),
            (
                CKM_IKE1_EXTENDED_DERIVE,
                size_of::<CK_IKE1_EXTENDED_DERIVE_PARAMS>(),
                &[offset_of!(CK_IKE1_EXTENDED_DERIVE_PARAMS, hKeygxy)],
            ),
        ];
        for (kind, expected_size, expected_offsets) in layouts {
            let Parameter::Handles { size, fields } = parameter(kind) else { panic!("{kind:#x}") };
            let offsets: Vec<_> = fields.iter().map(|field| field.offset).collect();
            assert_eq!((size, offsets.as_slice()), (expected_size, expected_offsets), "{kind:#x}");
        }
    }

    #[test]
    fn a_parameter_with_a_buffer_that_cannot_be_there_is_none() {
        let is_there = |kind, parameter: *mut CK_GCM_PARAMS, length| {
            let mechanism =
                CK_MECHANISM { mechanism: kind, pParameter: parameter.cast(), ulParameterLen: length };
            // SAFETY: the parameter is as long as the mechanism says, or of a length that is not believed.
            unsafe { PinnedMechanism::read(Function::C_SignInit, NONE, &raw const mechanism) }.is_some()
        };
        // SAFETY: numbers and null pointers, for all of which zero is a value.
        let mut gcm: CK_GCM_PARAMS = unsafe { zeroed() };
        let (place, size) = (&raw mut gcm, size_of::<CK_GCM_PARAMS>() as CK_ULONG);
        assert!(is_there(CKM_AES_GCM, place, size), "an empty one");
        for (length, expected) in [(12, true), (CK_UNAVAILABLE_INFORMATION, false)] {
            let mut vector = [0_u8; 12];
            // SAFETY: nobody else uses the structure.
            unsafe { ((*place).pIv, (*place).ulIvLen) = (vector.as_mut_ptr(), length) };
            assert_eq!(is_there(CKM_AES_GCM, place, size), expected, "{length:#x}");
        }
        // SAFETY: as above.
        unsafe { ((*place).pIv, (*place).ulIvLen, (*place).ulAADLen) = (core::ptr::null_mut(), 0, 1) };
        assert!(!is_there(CKM_AES_GCM, place, size));
        assert!(is_there(CKM_AES_GCM, place, size - 1), "of another length, which the real module judges");
        assert!(is_there(CKM_AES_CBC, place, size), "of another mechanism");
        assert!(!is_there(CKM_AES_CBC, place, CK_UNAVAILABLE_INFORMATION));
        assert!(
            is_there(CKM_AES_CBC, core::ptr::null_mut(), CK_UNAVAILABLE_INFORMATION),
            "nobody follows it"
        );
    }

    #[test]
    fn a_handle_counts_when_the_structure_says_so() {
        // SAFETY: numbers and null pointers, for all of which zero is a value.
        let mut hkdf: CK_HKDF_PARAMS = unsafe { zeroed() };
        hkdf.hSaltKey = 7;
        for (salt, expected) in [
            (CKF_HKDF_SALT_NULL, vec![]),
            (CKF_HKDF_SALT_DATA, vec![]),
            (CKF_HKDF_SALT_KEY, vec![7]),
            (CKF_HKDF_SALT_KEY | CKF_HKDF_SALT_DATA, vec![7]),
            (0, vec![7]),
        ] {
            hkdf.ulSaltType = salt;
            assert_eq!(view(CKM_HKDF_DERIVE, &mut hkdf).names, ParameterNames::Objects(expected));
        }
        // SAFETY: as above.
        let mut ike: CK_IKE_PRF_DERIVE_PARAMS = unsafe { zeroed() };
        ike.hNewKey = 8;
        assert_eq!(view(CKM_IKE_PRF_DERIVE, &mut ike).names, ParameterNames::Objects(vec![]));
        ike.bRekey = CK_TRUE;
        assert_eq!(view(CKM_IKE_PRF_DERIVE, &mut ike).names, ParameterNames::Objects(vec![8]));
        // SAFETY: as above.
        let mut ike1: CK_IKE1_PRF_DERIVE_PARAMS = unsafe { zeroed() };
        (ike1.hKeygxy, ike1.hPrevKey, ike1.bHasPrevKey) = (9, 10, CK_TRUE);
        assert_eq!(view(CKM_IKE1_PRF_DERIVE, &mut ike1).names, ParameterNames::Objects(vec![9, 10]));
    }

    #[test]
    fn parameters_that_cannot_be_read_for_certain_are_unclear() {
        assert_eq!(view(CKM_CONCATENATE_BASE_AND_KEY, &mut [5_u64; 2]).names, ParameterNames::Unclear);
        assert_eq!(view(CKM_CONCATENATE_BASE_AND_KEY, &mut [5_u8; 4]).names, ParameterNames::Unclear);
        assert_eq!(view(CKM_KIP_DERIVE, &mut 0_u8).names, ParameterNames::Unclear);
        assert_eq!(view(CKM_VENDOR_DEFINED | 1, &mut 5_u64).names, ParameterNames::Unclear);
        assert_eq!(view(CKM_VENDOR_DEFINED | 1, &mut 5_u32).names, ParameterNames::Objects(vec![]));
        assert_eq!(view(CKM_AES_CBC, &mut [5_u64; 2]).names, ParameterNames::Objects(vec![]));
    }

    #[test]
    fn what_is_called_flat_names_nothing_and_stays_where_it_is() {
        let flat = FlatMechanisms::new(vec![CKM_VENDOR_DEFINED | 1]).unwrap();
        let mut parameter = [5_u64; 2];
        let mut read = |kind| {
            let mechanism = CK_MECHANISM {
                mechanism: kind,
                pParameter: (&raw mut parameter).cast(),
                ulParameterLen: size_of_val(&parameter) as CK_ULONG,
            };
            // SAFETY: the parameter is as long as the mechanism says.
            let pinned = unsafe { PinnedMechanism::read(Function::C_SignInit, &flat, &raw const mechanism) };
            let pinned = pinned.unwrap();
            assert_eq!(
                (pinned.mechanism.pParameter, pinned.mechanism.ulParameterLen),
                (mechanism.pParameter, 16)
            );
            pinned.view().names.clone()
        };
        assert_eq!(read(CKM_VENDOR_DEFINED | 1), ParameterNames::Objects(vec![]));
        assert_eq!(read(CKM_VENDOR_DEFINED | 2), ParameterNames::Unclear);
        assert_eq!(read(CKM_KIP_DERIVE), ParameterNames::Unclear);
    }

    #[test]
    fn a_pointer_to_no_bytes_is_not_passed_on_where_it_could_lead_to_a_handle() {
        let mut handle: CK_OBJECT_HANDLE = 5;
        let mut leads_on = |kind| {
            let pointer = (&raw mut handle).cast();
            let mechanism = CK_MECHANISM { mechanism: kind, pParameter: pointer, ulParameterLen: 0 };
            // SAFETY: the parameter has no bytes, as the mechanism says.
            let mut pinned =
                unsafe { PinnedMechanism::read(Function::C_SignInit, NONE, &raw const mechanism) }.unwrap();
            assert_eq!(pinned.view().names, ParameterNames::Objects(vec![]));
            // SAFETY: the pinned mechanism is there until it is dropped.
            !unsafe { (*pinned.as_mut_ptr()).pParameter }.is_null()
        };
        assert!(!leads_on(CKM_CONCATENATE_BASE_AND_KEY) && !leads_on(CKM_VENDOR_DEFINED | 1));
        assert!(leads_on(CKM_ECDSA));
    }

    #[test]
    fn the_parameter_of_a_message_is_not_taken_for_one_of_the_same_size() {
        let mut tag = [0_u8; 16];
        // SAFETY: numbers and null pointers, for all of which zero is a value.
        let mut message: CK_GCM_MESSAGE_PARAMS = unsafe { zeroed() };
        (message.pTag, message.ulTagBits, message.ivGenerator) = (tag.as_mut_ptr(), 128, CKG_NO_GENERATE);
        let mechanism = CK_MECHANISM {
            mechanism: CKM_AES_GCM,
            pParameter: (&raw mut message).cast(),
            ulParameterLen: size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG,
        };
        // SAFETY: the parameter is as long as the mechanism says.
        let is_there =
            |function| unsafe { PinnedMechanism::read(function, NONE, &raw const mechanism) }.is_some();
        assert!(!is_there(Function::C_EncryptInit), "there it is a CK_GCM_PARAMS with an absurd length");
        for function in [
            Function::C_MessageDecryptInit,
            Function::C_MessageEncryptInit,
            Function::C_UnwrapKeyAuthenticated,
            Function::C_WrapKeyAuthenticated,
        ] {
            assert!(is_there(function), "{function}");
        }
    }

    #[test]
    fn a_handle_that_changes_after_the_judgement_is_forwarded_as_judged() {
        let mut inside: CK_OBJECT_HANDLE = 5;
        let place = &raw mut inside;
        let mechanism = CK_MECHANISM {
            mechanism: CKM_CONCATENATE_BASE_AND_KEY,
            pParameter: place.cast(),
            ulParameterLen: size_of::<CK_OBJECT_HANDLE>() as CK_ULONG,
        };
        // SAFETY: the parameter is as long as the mechanism says.
        let mut pinned =
            unsafe { PinnedMechanism::read(Function::C_SignInit, NONE, &raw const mechanism) }.unwrap();
        // SAFETY: nobody else uses the handle.
        unsafe { *place = 6 };
        assert_eq!(pinned.view().names, ParameterNames::Objects(vec![5]));
        // SAFETY: the pinned mechanism points to its own copy.
        let forwarded = unsafe { *(*pinned.as_mut_ptr()).pParameter.cast::<CK_OBJECT_HANDLE>() };
        assert_eq!(forwarded, 5);
    }
}
