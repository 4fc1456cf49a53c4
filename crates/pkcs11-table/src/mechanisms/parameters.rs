//! Object handles inside mechanism parameters: a key that is named there is used like the one in the call's own argument.

use super::is_known;

/// What the parameter of a mechanism can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A structure of `size` bytes that names objects.
    Handles {
        /// Bytes.
        size: usize,
        /// Where the handles are.
        fields: &'static [HandleField],
    },
    /// Something in which handles cannot be found for certain, or by which keys and secrets come back: the mechanism is
    /// refused.
    Opaque,
    /// No handle.
    Plain,
    /// The table does not know the mechanism: a parameter that is large enough for a handle may hold one.
    Unknown,
}

/// An object handle inside a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandleField {
    /// Bytes from the beginning.
    pub offset: usize,
    /// When it counts.
    pub when: When,
}

/// When the handle in a structure is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always; 0 is none.
    Always,
    /// If the `CK_BBOOL` at this offset is not false.
    Flag(usize),
    /// Unless the `CK_ULONG` at this offset has one of these values.
    Unless(usize, &'static [u64]),
}

const fn always(offset: usize) -> HandleField {
    HandleField { offset, when: When::Always }
}

const fn flagged(offset: usize, flag: usize) -> HandleField {
    HandleField { offset, when: When::Flag(flag) }
}

/// `CKF_HKDF_SALT_NULL` and `CKF_HKDF_SALT_DATA`. They are flags by name: a module may look at the bit of
/// `CKF_HKDF_SALT_KEY` alone.
const NO_SALT_KEY: &[u64] = &[1, 2];

/// What the parameter of `mechanism` can hold.
pub fn parameter(mechanism: u64) -> Parameter {
    let handles = |size, fields| Parameter::Handles { size, fields };
    match mechanism {
        // CKM_CONCATENATE_BASE_AND_KEY: a CK_OBJECT_HANDLE.
        0x360 => handles(8, const { &[always(0)] }),
        // CKM_X9_42_DH_HYBRID_DERIVE: CK_X9_42_DH2_DERIVE_PARAMS.
        0x32 => handles(72, const { &[always(48)] }),
        // CKM_X9_42_MQV_DERIVE: CK_X9_42_MQV_DERIVE_PARAMS. CKM_ECMQV_DERIVE: CK_ECMQV_DERIVE_PARAMS.
        0x33 | 0x1052 => handles(80, const { &[always(48), always(72)] }),
        // CKM_GOSTR3410_KEY_WRAP: CK_GOSTR3410_KEY_WRAP_PARAMS.
        0x1203 => handles(40, const { &[always(32)] }),
        // CKM_HKDF_DERIVE, CKM_HKDF_DATA: CK_HKDF_PARAMS.
        0x402a | 0x402b => {
            handles(64, const { &[HandleField { offset: 40, when: When::Unless(16, NO_SALT_KEY) }] })
        }
        // CKM_IKE2_PRF_PLUS_DERIVE: CK_IKE2_PRF_PLUS_DERIVE_PARAMS.
        0x402e => handles(40, const { &[flagged(16, 8)] }),
        // CKM_IKE_PRF_DERIVE: CK_IKE_PRF_DERIVE_PARAMS; the key counts where bRekey says so.
        0x402f => handles(56, const { &[flagged(48, 9)] }),
        // CKM_IKE1_PRF_DERIVE: CK_IKE1_PRF_DERIVE_PARAMS.
        0x4030 => handles(72, const { &[always(16), flagged(24, 8)] }),
        // CKM_IKE1_EXTENDED_DERIVE: CK_IKE1_EXTENDED_DERIVE_PARAMS.
        0x4031 => handles(40, const { &[flagged(16, 8)] }),
        // A mechanism inside a mechanism: CKM_CMS_SIG, CKM_KIP_DERIVE, CKM_KIP_WRAP, CKM_KIP_MAC.
        0x500 | 0x510..=0x512
        // Keys, initialisation vectors or bare output come back in the parameter: CKM_SSL3_KEY_AND_MAC_DERIVE,
        // CKM_TLS_KEY_AND_MAC_DERIVE, CKM_TLS12_KEY_AND_MAC_DERIVE, CKM_TLS12_KEY_SAFE_DERIVE,
        // CKM_WTLS_SERVER_KEY_AND_MAC_DERIVE, CKM_WTLS_CLIENT_KEY_AND_MAC_DERIVE, CKM_TLS_PRF, CKM_WTLS_PRF.
        | 0x372 | 0x376 | 0x3e1 | 0x3e3 | 0x3d4 | 0x3d5 | 0x378 | 0x3d3
        // Lists of data and of further keys: CKM_SP800_108_*_KDF.
        | 0x3ac..=0x3ae
        // Several keys by structures that releases of the standard lay out differently: CKM_X3DH_*, CKM_X2RATCHET_*.
        | 0x4023..=0x4026 => Parameter::Opaque,
        known if is_known(known) => Parameter::Plain,
        _ => Parameter::Unknown,
    }
}

/// Whether the parameter of a single message, of `length` bytes, may name keys or give them out. Those of the standard's
/// mechanisms hold initialisation vectors and tags alone.
pub fn message_parameter_is_unclear(mechanism: u64, length: u64) -> bool {
    match parameter(mechanism) {
        Parameter::Plain => false,
        Parameter::Handles { .. } | Parameter::Opaque | Parameter::Unknown => length >= 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism_by_name;

    fn of(name: &str) -> Parameter {
        parameter(mechanism_by_name(name).expect(name))
    }

    #[test]
    fn every_mechanism_that_names_a_second_key_is_in_the_table() {
        for name in [
            "CKM_CONCATENATE_BASE_AND_KEY",
            "CKM_ECMQV_DERIVE",
            "CKM_GOSTR3410_KEY_WRAP",
            "CKM_HKDF_DATA",
            "CKM_HKDF_DERIVE",
            "CKM_IKE1_EXTENDED_DERIVE",
            "CKM_IKE1_PRF_DERIVE",
            "CKM_IKE2_PRF_PLUS_DERIVE",
            "CKM_IKE_PRF_DERIVE",
            "CKM_X9_42_DH_HYBRID_DERIVE",
            "CKM_X9_42_MQV_DERIVE",
        ] {
            let Parameter::Handles { size, fields } = of(name) else { panic!("{name}") };
            assert!(fields.iter().all(|field| field.offset + 8 <= size), "{name}");
        }
    }

    #[test]
    fn mechanisms_that_hide_keys_in_their_parameter_are_opaque() {
        for name in [
            "CKM_CMS_SIG",
            "CKM_KIP_DERIVE",
            "CKM_KIP_MAC",
            "CKM_KIP_WRAP",
            "CKM_SP800_108_COUNTER_KDF",
            "CKM_SP800_108_DOUBLE_PIPELINE_KDF",
            "CKM_SP800_108_FEEDBACK_KDF",
            "CKM_SSL3_KEY_AND_MAC_DERIVE",
            "CKM_TLS12_KEY_AND_MAC_DERIVE",
            "CKM_TLS12_KEY_SAFE_DERIVE",
            "CKM_TLS_KEY_AND_MAC_DERIVE",
            "CKM_TLS_PRF",
            "CKM_WTLS_CLIENT_KEY_AND_MAC_DERIVE",
            "CKM_WTLS_PRF",
            "CKM_WTLS_SERVER_KEY_AND_MAC_DERIVE",
            "CKM_X2RATCHET_INITIALIZE",
            "CKM_X2RATCHET_RESPOND",
            "CKM_X3DH_INITIALIZE",
            "CKM_X3DH_RESPOND",
        ] {
            assert_eq!(of(name), Parameter::Opaque, "{name}");
        }
    }

    #[test]
    fn the_others_of_the_standard_are_plain_and_what_is_not_in_it_is_unknown() {
        for name in
            ["CKM_ECDSA", "CKM_AES_GCM", "CKM_RSA_PKCS_OAEP", "CKM_ECDH1_DERIVE", "CKM_RSA_AES_KEY_WRAP"]
        {
            assert_eq!(of(name), Parameter::Plain, "{name}");
        }
        assert_eq!(parameter(0x8000_0001), Parameter::Unknown);
        assert_eq!(parameter(0x4fff_ffff), Parameter::Unknown);
    }

    #[test]
    fn the_parameter_of_a_message_is_clear_where_that_of_its_mechanism_is() {
        let of = |name| mechanism_by_name(name).expect(name);
        for name in ["CKM_AES_GCM", "CKM_AES_CCM", "CKM_CHACHA20_POLY1305", "CKM_ML_DSA", "CKM_SHA256_HMAC"] {
            assert!(!message_parameter_is_unclear(of(name), 64), "{name}");
        }
        for mechanism in [0x8000_0001, of("CKM_CMS_SIG"), of("CKM_HKDF_DERIVE")] {
            assert!(message_parameter_is_unclear(mechanism, 8), "{mechanism:#x}");
            assert!(!message_parameter_is_unclear(mechanism, 7), "{mechanism:#x}");
        }
    }
}
