//! Buffers that the parameter of a mechanism points to: modules follow these pointers without a look.

/// A pointer in a structure, and the `CK_ULONG` that says how many bytes are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Where the pointer is, in bytes from the beginning.
    pub pointer: usize,
    /// Where the length is.
    pub length: usize,
}

/// The structure in which a mechanism's parameter names buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Bytes of the structure.
    pub size: usize,
    /// The buffers.
    pub all: &'static [Buffer],
}

/// The buffers in the parameter of `mechanism`, of those that clients use most.
pub const fn buffers(mechanism: u64) -> Option<Buffers> {
    let (size, all): (usize, &[Buffer]) = match mechanism {
        // CKM_RSA_PKCS_OAEP: CK_RSA_PKCS_OAEP_PARAMS.
        0x9 => (40, &[Buffer { pointer: 24, length: 32 }]),
        // CKM_CONCATENATE_BASE_AND_DATA, CKM_CONCATENATE_DATA_AND_BASE, CKM_XOR_BASE_AND_DATA, and CKM_DES_ECB_ENCRYPT_DATA,
        // CKM_DES3_ECB_ENCRYPT_DATA, CKM_AES_ECB_ENCRYPT_DATA: CK_KEY_DERIVATION_STRING_DATA.
        0x362..=0x364 | 0x1100 | 0x1102 | 0x1104 => (16, &[Buffer { pointer: 0, length: 8 }]),
        // CKM_DES_CBC_ENCRYPT_DATA, CKM_DES3_CBC_ENCRYPT_DATA: CK_DES_CBC_ENCRYPT_DATA_PARAMS.
        0x1101 | 0x1103 => (24, &[Buffer { pointer: 8, length: 16 }]),
        // CKM_AES_CBC_ENCRYPT_DATA: CK_AES_CBC_ENCRYPT_DATA_PARAMS.
        0x1105 => (32, &[Buffer { pointer: 16, length: 24 }]),
        // CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE: CK_ECDH1_DERIVE_PARAMS.
        0x1050 | 0x1051 => (40, &[Buffer { pointer: 16, length: 8 }, Buffer { pointer: 32, length: 24 }]),
        // CKM_AES_GCM: CK_GCM_PARAMS.
        0x1087 => (48, &[Buffer { pointer: 0, length: 8 }, Buffer { pointer: 24, length: 32 }]),
        // CKM_AES_CCM: CK_CCM_PARAMS.
        0x1088 => (48, &[Buffer { pointer: 8, length: 16 }, Buffer { pointer: 24, length: 32 }]),
        _ => return None,
    };
    Some(Buffers { size, all })
}
