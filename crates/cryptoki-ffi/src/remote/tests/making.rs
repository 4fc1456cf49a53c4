//! Arguments as callers make them: pointers that are NULL or not, lengths that go with them, structures in structures.

use cryptoki_sys::*;
use pkcs11_table::{Extent, Function, Layout, Structure, Target, When, layout, message_layout};

use super::memory::Memory;
use super::raw::length_of;

/// An argument that can be made up. One that states how long another is comes after that.
pub(super) trait Made {
    fn made(function: Function, name: &str, memory: &mut Memory) -> Self;
}

impl Made for CK_BBOOL {
    fn made(_: Function, _: &str, memory: &mut Memory) -> Self {
        memory.chance.within(0..=2) as Self
    }
}

impl Made for CK_ULONG {
    fn made(_: Function, name: &str, memory: &mut Memory) -> Self {
        let any = memory.chance.number();
        let some = memory.chance.choose(&[any, 0, 1, CK_UNAVAILABLE_INFORMATION]);
        memory.stated(name).unwrap_or(some)
    }
}

unsafe extern "C" fn notify(_: CK_SESSION_HANDLE, _: CK_NOTIFICATION, _: CK_VOID_PTR) -> CK_RV {
    CKR_OK
}

impl Made for CK_NOTIFY {
    fn made(_: Function, _: &str, memory: &mut Memory) -> Self {
        memory.chance.one_in(2).then_some(notify)
    }
}

impl Made for *mut CK_BYTE {
    fn made(_: Function, name: &str, memory: &mut Memory) -> Self {
        let length = memory.chance.within(0..=40) as usize;
        let length = if memory.chance.one_in(20) { length * 100 } else { length };
        let content = match name {
            "label" => memory.chance.bytes(32),
            "function" => {
                let text = memory.chance.bytes(length.min(200)).into_iter();
                text.map(|byte| byte.max(1)).chain([0]).collect()
            }
            _ => memory.chance.bytes(length),
        };
        if memory.chance.one_in(6) {
            memory.state(length_of(name), length as CK_ULONG);
            return core::ptr::null_mut();
        }
        memory.state(length_of(name), content.len() as CK_ULONG);
        memory.block(&content)
    }
}

impl Made for *mut CK_ULONG {
    fn made(function: Function, name: &str, memory: &mut Memory) -> Self {
        match name {
            "slots" | "mechanisms" | "objects" => {
                let count = memory.chance.within(0..=9);
                memory.state("count".to_owned(), count);
                memory.state("max_count".to_owned(), count);
                if memory.chance.one_in(4) {
                    return core::ptr::null_mut();
                }
                let content = memory.chance.bytes(count as usize * 8);
                memory.block(&content).cast()
            }
            _ if memory.chance.one_in(8) => core::ptr::null_mut(),
            _ => {
                let any = memory.chance.number();
                let is_found = function == Function::C_FindObjects;
                let number = memory.stated(name).filter(|_| !is_found).unwrap_or(any);
                memory.block(&number.to_ne_bytes()).cast()
            }
        }
    }
}

macro_rules! places {
    ($($type:ty),*) => {$(
        impl Made for *mut $type {
            fn made(_: Function, _: &str, memory: &mut Memory) -> Self {
                let content = memory.chance.bytes(size_of::<$type>());
                if memory.chance.one_in(6) { core::ptr::null_mut() } else { memory.block(&content).cast() }
            }
        }
    )*};
}

places!(CK_INFO, CK_MECHANISM_INFO, CK_SESSION_INFO, CK_SLOT_INFO, CK_TOKEN_INFO);

impl Made for *mut CK_ASYNC_DATA {
    fn made(_: Function, _: &str, memory: &mut Memory) -> Self {
        if memory.chance.one_in(6) {
            return core::ptr::null_mut();
        }
        let content = memory.chance.bytes(size_of::<CK_ASYNC_DATA>());
        let block = memory.block(&content);
        memory.point(block, core::mem::offset_of!(CK_ASYNC_DATA, pValue), core::ptr::null_mut());
        block.cast()
    }
}

impl Made for CK_VOID_PTR {
    fn made(_: Function, name: &str, memory: &mut Memory) -> Self {
        if name == "parameter" {
            let (pointer, length) = parameter(message_layout(), memory);
            memory.state("parameter_len".to_owned(), length);
            return pointer;
        }
        if memory.chance.one_in(2) { core::ptr::null_mut() } else { memory.block(b"the caller's own").cast() }
    }
}

/// Every shape of parameter, and such as the gate refuses unseen.
pub(super) const MECHANISMS: [CK_MECHANISM_TYPE; 56] = [
    CKM_AES_CBC,
    CKM_AES_CBC_ENCRYPT_DATA,
    CKM_AES_CCM,
    CKM_AES_CTR,
    CKM_AES_GCM,
    CKM_AES_GMAC,
    CKM_CAMELLIA_CBC_ENCRYPT_DATA,
    CKM_CHACHA20,
    CKM_CHACHA20_POLY1305,
    CKM_CONCATENATE_BASE_AND_DATA,
    CKM_CONCATENATE_BASE_AND_KEY,
    CKM_DES3_CBC_ENCRYPT_DATA,
    CKM_DH_PKCS_DERIVE,
    CKM_DSA_PROBABILISTIC_PARAMETER_GEN,
    CKM_ECDH1_DERIVE,
    CKM_ECDH_AES_KEY_WRAP,
    CKM_ECDSA,
    CKM_ECMQV_DERIVE,
    CKM_EDDSA,
    CKM_GOSTR3410_DERIVE,
    CKM_GOSTR3410_KEY_WRAP,
    CKM_HASH_ML_DSA,
    CKM_HASH_SLH_DSA_SHA256,
    CKM_HKDF_DATA,
    CKM_HKDF_DERIVE,
    CKM_HOTP,
    CKM_IKE1_EXTENDED_DERIVE,
    CKM_IKE1_PRF_DERIVE,
    CKM_IKE2_PRF_PLUS_DERIVE,
    CKM_IKE_PRF_DERIVE,
    CKM_ML_DSA,
    CKM_PBE_SHA1_DES3_EDE_CBC,
    CKM_PKCS5_PBKD2,
    CKM_RC5_CBC,
    CKM_RSA_AES_KEY_WRAP,
    CKM_RSA_PKCS,
    CKM_RSA_PKCS_OAEP,
    CKM_RSA_PKCS_PSS,
    CKM_SALSA20,
    CKM_SALSA20_POLY1305,
    CKM_SHA256,
    CKM_SHA256_HMAC_GENERAL,
    CKM_SLH_DSA,
    CKM_SSL3_MASTER_KEY_DERIVE,
    CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE,
    CKM_TLS12_KDF,
    CKM_TLS12_MAC,
    CKM_TLS12_MASTER_KEY_DERIVE,
    CKM_WTLS_MASTER_KEY_DERIVE,
    CKM_X9_42_DH_DERIVE,
    CKM_X9_42_DH_HYBRID_DERIVE,
    CKM_X9_42_MQV_DERIVE,
    // Such as the gate refuses, with parameters that cannot be carried.
    CKM_KIP_DERIVE,
    CKM_SP800_108_COUNTER_KDF,
    CKM_TLS_PRF,
    CKM_VENDOR_DEFINED | 1,
];

impl Made for *mut CK_MECHANISM {
    fn made(function: Function, _: &str, memory: &mut Memory) -> Self {
        if memory.chance.one_in(20) {
            return core::ptr::null_mut();
        }
        let kind = memory.chance.choose(&MECHANISMS);
        let (pointer, length) = parameter(layout(function, kind), memory);
        let [kind, length] = [kind, length].map(CK_ULONG::to_ne_bytes);
        let block = memory.block(&[kind, [0; 8], length].concat());
        memory.point(block, 8, pointer.cast());
        block.cast()
    }
}

/// A parameter of this layout, or one that holds nothing.
pub(super) fn parameter(layout: Layout, memory: &mut Memory) -> (CK_VOID_PTR, CK_ULONG) {
    match (layout, memory.chance.within(0..=7)) {
        (_, 0) => (core::ptr::null_mut(), memory.chance.within(0..=99)),
        (_, 1) | (Layout::Unknown, _) => {
            let content = memory.chance.bytes(7);
            let length = memory.chance.within(0..=7);
            (memory.block(&content[..length as usize]).cast(), length)
        }
        (Layout::Flat, _) => {
            let length = memory.chance.within(0..=50);
            let content = memory.chance.bytes(length as usize);
            (memory.block(&content).cast(), length)
        }
        (Layout::Structures(all), _) => {
            let one = memory.chance.choose(all);
            (structures(one, 1, memory).cast(), one.size as CK_ULONG)
        }
    }
}

/// Some structures, one behind the other, with all that they lead to.
fn structures(structure: &Structure, count: usize, memory: &mut Memory) -> *mut u8 {
    let mut content = memory.chance.bytes(structure.size * count);
    let mut targets = Vec::new();
    for start in (0..count).map(|index| index * structure.size) {
        let own = &mut content[start..start + structure.size];
        for pointer in structure.pointers {
            if let When::Flag(at) = pointer.when {
                own[at] = memory.chance.within(0..=1) as u8;
            }
            if let When::Unless(at, _) = pointer.when {
                own[at..at + 8].copy_from_slice(&memory.chance.within(0..=5).to_ne_bytes());
            }
            let extent = match &pointer.target {
                Target::Bytes(extent) | Target::Structures(_, extent) => *extent,
            };
            let is_null = memory.chance.one_in(8);
            let length = memory.chance.within(0..=20) as usize;
            let length = match extent {
                Extent::At(at) => {
                    own[at..at + 8].copy_from_slice(&(length as u64).to_ne_bytes());
                    length
                }
                Extent::Bits(at) => {
                    let bits = (length * 8).saturating_sub(memory.chance.within(0..=7) as usize);
                    own[at..at + 8].copy_from_slice(&(bits as u64).to_ne_bytes());
                    length
                }
                Extent::Fixed(length) => length,
            };
            let target = match &pointer.target {
                _ if is_null => core::ptr::null_mut(),
                Target::Bytes(_) => {
                    let bytes = memory.chance.bytes(length);
                    memory.block(&bytes)
                }
                Target::Structures(inner, _) => structures(inner, length, memory),
            };
            targets.push((start + pointer.offset, target));
        }
    }
    let block = memory.block(&content);
    for (offset, target) in targets {
        memory.point(block, offset, target);
    }
    block
}

/// Plain ones, and templates.
const KINDS: [CK_ATTRIBUTE_TYPE; 10] = [
    CKA_CLASS,
    CKA_LABEL,
    CKA_VALUE,
    CKA_ALLOWED_MECHANISMS,
    // A vendor's, in which the flag for lists means nothing.
    CKA_VENDOR_DEFINED | 0x4e53_4351,
    CKA_WRAP_TEMPLATE,
    CKA_UNWRAP_TEMPLATE,
    CKA_DERIVE_TEMPLATE,
    CKA_ENCAPSULATE_TEMPLATE,
    CKA_DECAPSULATE_TEMPLATE,
];
const PLAIN: usize = 5;

impl Made for *mut CK_ATTRIBUTE {
    fn made(_: Function, name: &str, memory: &mut Memory) -> Self {
        let count = memory.chance.within(0..=6);
        memory.state(name.replace("template", "count"), count);
        if memory.chance.one_in(8) {
            return core::ptr::null_mut();
        }
        template(count as usize, 2, memory)
    }
}

fn template(count: usize, depth: usize, memory: &mut Memory) -> *mut CK_ATTRIBUTE {
    let mut content = Vec::new();
    let mut values = Vec::new();
    for _ in 0..count {
        let kind = memory.chance.choose(if depth > 0 { &KINDS } else { &KINDS[..PLAIN] });
        let is_template = KINDS[PLAIN..].contains(&kind);
        let length = memory.chance.within(0..=if is_template { 3 } else { 30 }) as usize;
        let stated = if is_template { length * size_of::<CK_ATTRIBUTE>() } else { length };
        let (value, stated) = match memory.chance.within(0..=5) {
            0 => (core::ptr::null_mut(), memory.chance.choose(&[0, 5, CK_UNAVAILABLE_INFORMATION])),
            _ if is_template => (template(length, depth - 1, memory).cast(), stated as CK_ULONG),
            _ => {
                let bytes = memory.chance.bytes(length);
                (memory.block(&bytes), stated as CK_ULONG)
            }
        };
        content.extend([kind, 0, stated].map(CK_ULONG::to_ne_bytes).concat());
        values.push(value);
    }
    let block = memory.block(&content);
    for (index, value) in values.into_iter().enumerate() {
        memory.point(block, index * size_of::<CK_ATTRIBUTE>() + 8, value);
    }
    block.cast()
}
