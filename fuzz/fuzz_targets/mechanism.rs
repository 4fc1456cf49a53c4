//! The mechanism of a call: the handles that the gate is told of are those that the structures of the standard have, what was
//! judged is what is forwarded whatever the caller writes meanwhile, and no byte is read that the caller did not state.

#![no_main]

use cryptoki_ffi::{MechanismView, ParameterNames, calls};
use cryptoki_sys::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use pkcs11_table::FlatMechanisms;
use trustshim_fuzz::caller::{Place, bytes_of, is_possible, length};

/// Those with handles or buffers in their parameter, and some of the others.
const KINDS: [CK_MECHANISM_TYPE; 34] = [
    CKM_CONCATENATE_BASE_AND_KEY,
    CKM_X9_42_DH_HYBRID_DERIVE,
    CKM_X9_42_MQV_DERIVE,
    CKM_ECMQV_DERIVE,
    CKM_GOSTR3410_KEY_WRAP,
    CKM_HKDF_DERIVE,
    CKM_HKDF_DATA,
    CKM_IKE2_PRF_PLUS_DERIVE,
    CKM_IKE_PRF_DERIVE,
    CKM_IKE1_PRF_DERIVE,
    CKM_IKE1_EXTENDED_DERIVE,
    CKM_RSA_PKCS_OAEP,
    CKM_CONCATENATE_BASE_AND_DATA,
    CKM_CONCATENATE_DATA_AND_BASE,
    CKM_XOR_BASE_AND_DATA,
    CKM_DES_ECB_ENCRYPT_DATA,
    CKM_DES3_ECB_ENCRYPT_DATA,
    CKM_AES_ECB_ENCRYPT_DATA,
    CKM_DES_CBC_ENCRYPT_DATA,
    CKM_DES3_CBC_ENCRYPT_DATA,
    CKM_AES_CBC_ENCRYPT_DATA,
    CKM_ECDH1_DERIVE,
    CKM_ECDH1_COFACTOR_DERIVE,
    CKM_AES_GCM,
    CKM_AES_CCM,
    CKM_KIP_DERIVE,
    CKM_SP800_108_COUNTER_KDF,
    CKM_X3DH_INITIALIZE,
    CKM_TLS_PRF,
    CKM_ECDSA,
    CKM_AES_CBC,
    CKM_RSA_PKCS_PSS,
    CKM_VENDOR_DEFINED | 1,
    CK_UNAVAILABLE_INFORMATION,
];

/// What the standard has at the places of a structure; `None` where the bytes are not that structure.
fn read<T: Copy>(bytes: &[u8]) -> Option<T> {
    // SAFETY: as many bytes as the structure has, which holds numbers and pointers that are not followed.
    (bytes.len() == size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The handles in the parameter of a mechanism; `None` where it is a mechanism without any, or not the standard's structure.
fn handles(kind: CK_MECHANISM_TYPE, bytes: &[u8]) -> Option<Vec<CK_OBJECT_HANDLE>> {
    let optional = |flag: CK_BBOOL, handle| if flag == CK_FALSE { 0 } else { handle };
    let all = match kind {
        CKM_CONCATENATE_BASE_AND_KEY => vec![read(bytes)?],
        CKM_X9_42_DH_HYBRID_DERIVE => vec![read::<CK_X9_42_DH2_DERIVE_PARAMS>(bytes)?.hPrivateData],
        CKM_X9_42_MQV_DERIVE => {
            let structure: CK_X9_42_MQV_DERIVE_PARAMS = read(bytes)?;
            vec![structure.hPrivateData, structure.publicKey]
        }
        CKM_ECMQV_DERIVE => {
            let structure: CK_ECMQV_DERIVE_PARAMS = read(bytes)?;
            vec![structure.hPrivateData, structure.publicKey]
        }
        CKM_GOSTR3410_KEY_WRAP => vec![read::<CK_GOSTR3410_KEY_WRAP_PARAMS>(bytes)?.hKey],
        CKM_HKDF_DERIVE | CKM_HKDF_DATA => {
            let structure: CK_HKDF_PARAMS = read(bytes)?;
            let has_none = matches!(structure.ulSaltType, CKF_HKDF_SALT_NULL | CKF_HKDF_SALT_DATA);
            vec![if has_none { 0 } else { structure.hSaltKey }]
        }
        CKM_IKE2_PRF_PLUS_DERIVE => {
            let structure: CK_IKE2_PRF_PLUS_DERIVE_PARAMS = read(bytes)?;
            vec![optional(structure.bHasSeedKey, structure.hSeedKey)]
        }
        CKM_IKE_PRF_DERIVE => {
            let structure: CK_IKE_PRF_DERIVE_PARAMS = read(bytes)?;
            vec![optional(structure.bRekey, structure.hNewKey)]
        }
        CKM_IKE1_PRF_DERIVE => {
            let structure: CK_IKE1_PRF_DERIVE_PARAMS = read(bytes)?;
            vec![structure.hKeygxy, optional(structure.bHasPrevKey, structure.hPrevKey)]
        }
        CKM_IKE1_EXTENDED_DERIVE => {
            let structure: CK_IKE1_EXTENDED_DERIVE_PARAMS = read(bytes)?;
            vec![optional(structure.bHasKeygxy, structure.hKeygxy)]
        }
        _ => return None,
    };
    Some(all.into_iter().filter(|handle| *handle != CK_INVALID_HANDLE).collect())
}

/// Pointer and length of each buffer in the parameter of a mechanism.
fn buffers(kind: CK_MECHANISM_TYPE, bytes: &[u8]) -> Option<Vec<(*const u8, CK_ULONG)>> {
    Some(match kind {
        CKM_RSA_PKCS_OAEP => {
            let structure: CK_RSA_PKCS_OAEP_PARAMS = read(bytes)?;
            vec![(structure.pSourceData.cast_const().cast(), structure.ulSourceDataLen)]
        }
        CKM_CONCATENATE_BASE_AND_DATA
        | CKM_CONCATENATE_DATA_AND_BASE
        | CKM_XOR_BASE_AND_DATA
        | CKM_DES_ECB_ENCRYPT_DATA
        | CKM_DES3_ECB_ENCRYPT_DATA
        | CKM_AES_ECB_ENCRYPT_DATA => {
            let structure: CK_KEY_DERIVATION_STRING_DATA = read(bytes)?;
            vec![(structure.pData, structure.ulLen)]
        }
        CKM_DES_CBC_ENCRYPT_DATA | CKM_DES3_CBC_ENCRYPT_DATA => {
            let structure: CK_DES_CBC_ENCRYPT_DATA_PARAMS = read(bytes)?;
            vec![(structure.pData, structure.length)]
        }
        CKM_AES_CBC_ENCRYPT_DATA => {
            let structure: CK_AES_CBC_ENCRYPT_DATA_PARAMS = read(bytes)?;
            vec![(structure.pData, structure.length)]
        }
        CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => {
            let structure: CK_ECDH1_DERIVE_PARAMS = read(bytes)?;
            vec![
                (structure.pSharedData, structure.ulSharedDataLen),
                (structure.pPublicData, structure.ulPublicDataLen),
            ]
        }
        CKM_AES_GCM => {
            let structure: CK_GCM_PARAMS = read(bytes)?;
            vec![(structure.pIv, structure.ulIvLen), (structure.pAAD, structure.ulAADLen)]
        }
        CKM_AES_CCM => {
            let structure: CK_CCM_PARAMS = read(bytes)?;
            vec![(structure.pNonce, structure.ulNonceLen), (structure.pAAD, structure.ulAADLen)]
        }
        _ => return None,
    })
}

/// Whether the parameter of a mechanism can hold handles that nobody can find.
const fn is_opaque(kind: CK_MECHANISM_TYPE) -> bool {
    matches!(kind, CKM_KIP_DERIVE | CKM_SP800_108_COUNTER_KDF | CKM_X3DH_INITIALIZE | CKM_TLS_PRF)
}

struct Call {
    kind: CK_MECHANISM_TYPE,
    parameter: Option<Place>,
    length: CK_ULONG,
    is_packed: bool,
}

impl Call {
    fn of(input: &mut Unstructured<'_>) -> Result<Self> {
        let kind = *input.choose(&KINDS)?;
        let is_packed = input.arbitrary()?;
        if input.ratio(1, 8)? {
            return Ok(Self { kind, parameter: None, length: length(input)?, is_packed });
        }
        // Often as long as one of the structures.
        let size = match input.int_in_range(0..=3)? {
            0 => input.int_in_range(0..=96)?,
            _ => *input.choose(&[8, 16, 24, 32, 40, 48, 56, 64, 72, 80])?,
        };
        let bytes: Vec<u8> = (0..size).map(|_| input.arbitrary().unwrap_or_default()).collect();
        Ok(Self { kind, parameter: Some(Place::of(&bytes, is_packed)), length: size as CK_ULONG, is_packed })
    }

    /// Whether the mechanism can be read at all.
    fn is_possible(&self) -> bool {
        let Some(parameter) = &self.parameter else { return true };
        let buffers = buffers(self.kind, parameter.content()).unwrap_or_default();
        buffers.iter().all(|(pointer, length)| *length == 0 || (!pointer.is_null() && is_possible(*length)))
    }

    fn names(&self) -> ParameterNames {
        let content = self.parameter.as_ref().map_or(&[][..], Place::content);
        let is_vendors = matches!(self.kind, CK_UNAVAILABLE_INFORMATION) || self.kind >= CKM_VENDOR_DEFINED;
        let can_have_handles = handles(self.kind, &[0; 8])
            .or_else(|| (40..=80).step_by(8).find_map(|size| handles(self.kind, &vec![0; size])))
            .is_some();
        if is_opaque(self.kind) {
            return ParameterNames::Unclear;
        }
        match handles(self.kind, content) {
            Some(handles) => ParameterNames::Objects(handles),
            None if content.is_empty() => ParameterNames::Objects(Vec::new()),
            None if can_have_handles => ParameterNames::Unclear,
            None if is_vendors && content.len() >= 8 => ParameterNames::Unclear,
            None => ParameterNames::Objects(Vec::new()),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(mut call) = Call::of(&mut Unstructured::new(data)) else { return };
    let expected = call.is_possible().then(|| MechanismView { kind: call.kind, names: call.names() });
    let content = call.parameter.as_ref().map(|place| place.content().to_vec());
    let parameter = call.parameter.as_mut().map_or(core::ptr::null_mut(), Place::pointer);
    let mechanism = CK_MECHANISM { mechanism: call.kind, pParameter: parameter, ulParameterLen: call.length };
    let mut place = Place::of(bytes_of(&[mechanism]), call.is_packed);
    // SAFETY: the mechanism and its parameter are as long as they say.
    let sign = unsafe { calls::C_SignInit::from_caller(1, place.pointer().cast(), 2) };
    let mut seen = None;
    sign.pinned(&FlatMechanisms::NONE, |view, pinned| {
        seen = Some(view.clone());
        place.spoil();
        // SAFETY: the pinned call points to a copy that lives through this closure.
        let forwarded = unsafe { pinned.mechanism().read() };
        assert_eq!((forwarded.mechanism, forwarded.ulParameterLen), (call.kind, call.length));
        let Some(content) = &content else {
            assert!(forwarded.pParameter.is_null(), "a parameter is made up");
            return CKR_OK;
        };
        if forwarded.pParameter.is_null() {
            assert!(content.is_empty(), "a parameter is lost");
            return CKR_OK;
        }
        let is_copy = forwarded.pParameter != parameter;
        let names_handles = handles(call.kind, content).is_some();
        assert_eq!(is_copy, names_handles, "what is judged is copied, and nothing else");
        if is_copy {
            call.parameter.as_mut().unwrap().spoil();
        }
        // SAFETY: the parameter that is forwarded is as long as it was.
        let now = unsafe { core::slice::from_raw_parts(forwarded.pParameter.cast::<u8>(), content.len()) };
        assert_eq!(now, content, "another parameter than was judged");
        CKR_OK
    });
    assert_eq!(seen, expected);
});
