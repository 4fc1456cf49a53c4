//! How the parameters of mechanisms are laid out: which pointers are in them, and to how many bytes. What a pointer leads to
//! cannot be carried into another process by who does not know.

mod structures;

use super::{Parameter, When, is_known, parameter};
use crate::Function;
use structures::*;

/// How the parameter of a mechanism is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Bytes, or a structure without pointers.
    Flat,
    /// One of these structures, which their sizes tell apart.
    Structures(&'static [&'static Structure]),
    /// Nobody can tell.
    Unknown,
}

impl Layout {
    /// The structure of so many bytes.
    pub fn of_size(self, size: usize) -> Option<&'static Structure> {
        match self {
            Self::Structures(all) => all.iter().copied().find(|structure| structure.size == size),
            Self::Flat | Self::Unknown => None,
        }
    }
}

/// A structure with pointers.
#[derive(Debug, PartialEq, Eq)]
pub struct Structure {
    /// Bytes.
    pub size: usize,
    /// The pointers in it.
    pub pointers: &'static [Pointer],
    /// Bytes between its fields, which nobody need have written: where they begin, and the multiple of eight at which they
    /// end.
    pub gaps: &'static [(usize, usize)],
}

/// A pointer in a structure.
#[derive(Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Bytes from the beginning of the structure.
    pub offset: usize,
    /// What it leads to.
    pub target: Target,
    /// When it counts.
    pub when: When,
    /// Whether the module writes there.
    pub is_written: bool,
}

/// What a pointer leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// So many bytes.
    Bytes(Extent),
    /// So many of these structures, one behind the other.
    Structures(&'static Structure, Extent),
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The `CK_ULONG` at this offset.
    At(usize),
    /// As many bytes as hold so many bits as the `CK_ULONG` at this offset says.
    Bits(usize),
    /// This.
    Fixed(usize),
}

/// How the parameter of `mechanism` is laid out in a call of `function`: where messages, or keys together with other data,
/// are enciphered, the same mechanisms take other structures (PKCS#11 3.2, the message and the wrap parameters).
pub fn layout(function: Function, mechanism: u64) -> Layout {
    match (function, mechanism) {
        (
            Function::C_MessageDecryptInit
            | Function::C_MessageEncryptInit
            | Function::C_MessageSignInit
            | Function::C_MessageVerifyInit,
            GCM | CCM | CHACHA20_POLY1305 | SALSA20_POLY1305,
        ) => message_layout(),
        (Function::C_UnwrapKeyAuthenticated | Function::C_WrapKeyAuthenticated, GCM) => {
            Layout::Structures(&[&GCM_WRAP])
        }
        (Function::C_UnwrapKeyAuthenticated | Function::C_WrapKeyAuthenticated, CCM) => {
            Layout::Structures(&[&CCM_WRAP])
        }
        _ => of_mechanism(mechanism),
    }
}

/// How the parameter of a single message is laid out. The mechanism was named when the operation began; the sizes of the
/// structures of the standard tell them apart.
pub const fn message_layout() -> Layout {
    Layout::Structures(&[&GCM_MESSAGE, &CCM_MESSAGE, &POLY1305_MESSAGE])
}

/// The structure whose buffers modules follow without a look, of the mechanisms that clients use most.
pub fn with_buffers(mechanism: u64) -> Option<&'static Structure> {
    match mechanism {
        0x9 | 0x362..=0x364 | 0x1050 | 0x1051 | GCM | CCM | 0x1100..=0x1105 => {
            match of_mechanism(mechanism) {
                Layout::Structures([only]) => Some(only),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `CKM_AES_GCM`.
const GCM: u64 = 0x1087;
/// `CKM_AES_CCM`.
const CCM: u64 = 0x1088;
/// `CKM_CHACHA20_POLY1305`.
const CHACHA20_POLY1305: u64 = 0x4021;
/// `CKM_SALSA20_POLY1305`.
const SALSA20_POLY1305: u64 = 0x4022;

fn of_mechanism(mechanism: u64) -> Layout {
    if !is_known(mechanism) || parameter(mechanism) == Parameter::Opaque {
        return Layout::Unknown;
    }
    Layout::Structures(match mechanism {
        // CKM_RSA_PKCS_OAEP.
        0x9 => &[&OAEP],
        // CKM_ML_DSA, CKM_HASH_ML_DSA_*, CKM_SLH_DSA, CKM_HASH_SLH_DSA_*.
        0x1d | 0x23..=0x2c | 0x2e | 0x36..=0x3f => &[&SIGN_CONTEXT],
        // CKM_HASH_ML_DSA, CKM_HASH_SLH_DSA.
        0x1f | 0x34 => &[&HASH_SIGN_CONTEXT],
        // CKM_X9_42_DH_DERIVE, CKM_X9_42_DH_HYBRID_DERIVE, CKM_X9_42_MQV_DERIVE, CKM_ECMQV_DERIVE.
        0x31 => &[&DH1],
        0x32 => &[&DH2],
        0x33 | 0x1052 => &[&MQV],
        // CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE, CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE_DH.
        0x56 | 0x57 => &[&TLS12_EXTENDED_MASTER_KEY],
        // CKM_HOTP. Others of its kind give out pointers.
        0x291 => &[&OTP],
        // CKM_RC5_CBC, CKM_RC5_CBC_PAD.
        0x332 | 0x335 => &[&RC5_CBC],
        // CKM_CONCATENATE_BASE_AND_DATA, CKM_CONCATENATE_DATA_AND_BASE, CKM_XOR_BASE_AND_DATA, and CKM_CAMELLIA_, CKM_ARIA_,
        // CKM_SEED_, CKM_DES_, CKM_DES3_ and CKM_AES_ECB_ENCRYPT_DATA.
        0x362..=0x364 | 0x556 | 0x566 | 0x656 | 0x1100 | 0x1102 | 0x1104 => &[&STRING],
        // CKM_SSL3_MASTER_KEY_DERIVE, CKM_TLS_MASTER_KEY_DERIVE, each with its CKM_*_DH.
        0x371 | 0x373 | 0x375 | 0x377 => &[&SSL3_MASTER_KEY],
        // CKM_PBE_*, CKM_PBA_SHA1_WITH_SHA1_HMAC.
        0x3a0..=0x3ab | 0x3c0 => &[&PBE],
        // CKM_PKCS5_PBKD2: of two structures of one size the one whose password has a length, not a pointer to it.
        0x3b0 => &[&PBKD2],
        // CKM_WTLS_MASTER_KEY_DERIVE, CKM_WTLS_MASTER_KEY_DERIVE_DH_ECC.
        0x3d1 | 0x3d2 => &[&WTLS_MASTER_KEY],
        // CKM_TLS12_KDF, CKM_TLS_KDF.
        0x3d9 | 0x3e5 => &[&TLS_KDF],
        // CKM_TLS12_MASTER_KEY_DERIVE, CKM_TLS12_MASTER_KEY_DERIVE_DH.
        0x3e0 | 0x3e2 => &[&TLS12_MASTER_KEY],
        // CKM_CAMELLIA_, CKM_ARIA_, CKM_SEED_ and CKM_AES_CBC_ENCRYPT_DATA; CKM_DES_ and CKM_DES3_CBC_ENCRYPT_DATA.
        0x557 | 0x567 | 0x657 | 0x1105 => &[&CBC16],
        0x1101 | 0x1103 => &[&CBC8],
        // CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE.
        0x1050 | 0x1051 => &[&DH1],
        // CKM_ECDH_AES_KEY_WRAP, CKM_ECDH_X_AES_KEY_WRAP, CKM_ECDH_COF_AES_KEY_WRAP; CKM_RSA_AES_KEY_WRAP.
        0x1053 | 0x4038 | 0x4039 => &[&ECDH_AES],
        0x1054 => &[&RSA_AES],
        // CKM_EDDSA.
        0x1057 => &[&EDDSA],
        // CKM_AES_GMAC takes the parameter of CKM_AES_GCM.
        GCM | 0x108e => &[&GCM_PLAIN],
        CCM => &[&CCM_PLAIN],
        // CKM_GOSTR3410_KEY_WRAP, CKM_GOSTR3410_DERIVE.
        0x1203 => &[&GOST_WRAP],
        0x1204 => &[&GOST_DERIVE],
        // CKM_CHACHA20, CKM_SALSA20.
        0x1226 => &[&CHACHA20],
        0x4020 => &[&SALSA20],
        CHACHA20_POLY1305 | SALSA20_POLY1305 => &[&POLY1305],
        // CKM_DSA_PROBABILISTIC_PARAMETER_GEN, CKM_DSA_SHAWE_TAYLOR_PARAMETER_GEN, CKM_DSA_FIPS_G_GEN.
        0x2003..=0x2005 => &[&DSA_PARAMETERS],
        // CKM_HKDF_DERIVE, CKM_HKDF_DATA.
        0x402a | 0x402b => &[&HKDF],
        // CKM_IKE2_PRF_PLUS_DERIVE, CKM_IKE_PRF_DERIVE, CKM_IKE1_PRF_DERIVE, CKM_IKE1_EXTENDED_DERIVE.
        0x402e => &[&IKE2_PRF_PLUS],
        0x402f => &[&IKE_PRF],
        0x4030 => &[&IKE1_PRF],
        0x4031 => &[&IKE1_EXTENDED],
        other if is_flat(other) => return Layout::Flat,
        _ => return Layout::Unknown,
    })
}

/// Mechanisms of the standard without a parameter, or with one of numbers and bytes alone: written out, since a pointer that
/// is taken for bytes leads a module anywhere.
const fn is_flat(mechanism: u64) -> bool {
    matches!(
        mechanism,
        // RSA, DSA, ML-KEM, Diffie-Hellman; keys of them and of ML-DSA, SLH-DSA.
        0x0..=0x8 | 0xa..=0x1c | 0x20 | 0x21 | 0x2d | 0x30 | 0x40..=0x53 | 0x60..=0x67
        // RC2, RC4, DES and their like; digests, codes made of them, keys for those.
        | 0x100..=0x111 | 0x120..=0x153 | 0x200..=0x280 | 0x290 | 0x2a1 | 0x2b0..=0x2d3
        | 0x300..=0x331 | 0x333 | 0x334 | 0x340..=0x350
        // Derivation by a key, by bits, by digests; the secrets and codes of SSL and TLS.
        | 0x360 | 0x365 | 0x370 | 0x374 | 0x380..=0x39c | 0x3d0 | 0x3d6..=0x3d8 | 0x3e4
        // Camellia, ARIA, SEED.
        | 0x400 | 0x550..=0x555 | 0x558 | 0x560..=0x565 | 0x650..=0x655
        // Skipjack, BATON, JUNIPER; elliptic curves.
        | 0x1000..=0x1007 | 0x1010 | 0x1020..=0x104a | 0x1055 | 0x1056
        // AES, Blowfish, Twofish; GOST; ChaCha20, Poly1305.
        | 0x1060..=0x1086 | 0x1089..=0x108d | 0x1090..=0x1095
        | 0x1200..=0x1202 | 0x1210..=0x1225 | 0x1227 | 0x1228
        // Domain parameters, key wrapping by AES, BLAKE2b, keys of what came with 3.0, signatures by hashes.
        | 0x140b | 0x2000..=0x2002 | 0x2104..=0x210c | 0x4001..=0x401f | 0x4027..=0x4029 | 0x402c | 0x402d
        | 0x4032..=0x4037 | 0x403a
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanisms::{mechanism_by_name, names};

    fn of(name: &str) -> Layout {
        layout(Function::C_SignInit, mechanism_by_name(name).expect(name))
    }

    /// Everything in a structure has its place, and leads nowhere else.
    fn check(structure: &Structure) {
        let mut taken = vec![false; structure.size];
        let mut take = |start: usize, length: usize| {
            for place in &mut taken[start..start + length] {
                assert!(!core::mem::replace(place, true), "{structure:?}");
            }
        };
        assert!(structure.size.is_multiple_of(8));
        for pointer in structure.pointers {
            assert!(pointer.offset % 8 == 0, "{structure:?}");
            take(pointer.offset, 8);
        }
        for (start, end) in structure.gaps {
            assert!(end % 8 == 0 && end - start < 8, "{structure:?}");
            take(*start, end - start);
        }
        let numbers = structure.pointers.iter().filter_map(|pointer| match &pointer.target {
            Target::Bytes(Extent::At(at) | Extent::Bits(at)) | Target::Structures(_, Extent::At(at)) => {
                Some(*at)
            }
            _ => None,
        });
        for at in numbers {
            assert!(at % 8 == 0 && taken[at..at + 8].iter().all(|taken| !taken), "{structure:?}");
        }
        for pointer in structure.pointers {
            if let Target::Structures(inner, _) = &pointer.target {
                check(inner);
            }
        }
    }

    #[test]
    fn pointers_lengths_and_gaps_do_not_overlap() {
        for (mechanism, name) in names::NAMES {
            for function in Function::ALL {
                if let Layout::Structures(all) = layout(*function, *mechanism) {
                    for structure in all {
                        check(structure);
                    }
                    let sizes = all.iter().map(|structure| structure.size);
                    assert!(
                        all.len() == sizes.clone().collect::<std::collections::HashSet<_>>().len(),
                        "{name}"
                    );
                }
            }
        }
    }

    /// What is not known is written out, so that a mechanism does not fall out of the table by a slip.
    #[test]
    fn mechanisms_of_the_standard_are_known_but_for_these() {
        let unknown: Vec<_> = names::NAMES
            .iter()
            .filter(|(number, _)| layout(Function::C_SignInit, *number) == Layout::Unknown)
            .filter(|(number, _)| parameter(*number) != Parameter::Opaque)
            .map(|(_, name)| *name)
            .collect();
        let expected = [
            "CKM_SECURID",
            "CKM_ACTI",
            "CKM_KEY_WRAP_SET_OAEP",
            "CKM_SKIPJACK_WRAP",
            "CKM_SKIPJACK_PRIVATE_WRAP",
            "CKM_SKIPJACK_RELAYX",
            "CKM_KEA_KEY_DERIVE",
            "CKM_KEA_DERIVE",
        ];
        assert_eq!(unknown, expected);
        assert_eq!(layout(Function::C_SignInit, 0x8000_0001), Layout::Unknown);
        assert_eq!(of("CKM_SP800_108_COUNTER_KDF"), Layout::Unknown);
    }

    #[test]
    fn a_parameter_that_has_handles_has_the_same_size_in_both_tables() {
        for (mechanism, name) in names::NAMES {
            let Parameter::Handles { size, fields } = parameter(*mechanism) else { continue };
            match layout(Function::C_DeriveKey, *mechanism) {
                Layout::Flat => assert_eq!((*name, size), ("CKM_CONCATENATE_BASE_AND_KEY", 8)),
                other => {
                    let structure = other.of_size(size).expect(name);
                    for field in fields {
                        let is_free = |pointer: &Pointer| pointer.offset.abs_diff(field.offset) >= 8;
                        assert!(structure.pointers.iter().all(is_free), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn messages_and_wrapped_keys_have_structures_of_their_own() {
        let of = |function, size| layout(function, GCM).of_size(size);
        assert_eq!(of(Function::C_EncryptInit, 48), Some(&GCM_PLAIN));
        assert_eq!(of(Function::C_MessageEncryptInit, 48), Some(&GCM_MESSAGE));
        assert_eq!(of(Function::C_WrapKeyAuthenticated, 56), Some(&GCM_WRAP));
        assert_eq!(of(Function::C_WrapKeyAuthenticated, 48), None);
        assert_eq!(of(Function::C_EncryptInit, 47), None);
        assert_eq!(layout(Function::C_MessageSignInit, 0x1041), Layout::Flat);
        assert_eq!(message_layout().of_size(24), Some(&POLY1305_MESSAGE));
        assert_eq!(Layout::Flat.of_size(48), None);
    }

    #[test]
    fn what_is_looked_at_in_every_mode_has_one_structure() {
        let with: Vec<_> =
            names::NAMES.iter().filter(|(number, _)| with_buffers(*number).is_some()).collect();
        assert_eq!(with.len(), 14);
    }
}
