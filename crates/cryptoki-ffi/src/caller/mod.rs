//! Views of the caller's memory: each thing is read once, into memory of our own, and judged there.

mod answers;
mod completion;
mod copied;
mod interfaces;
mod mechanism;
mod template;

use cryptoki_sys::*;
use pkcs11_table::FlatMechanisms;

use crate::calls::{self, Call as _};

pub use mechanism::{MechanismView, ParameterNames};
pub use template::{Stated, TemplateView};

use mechanism::PinnedMechanism;
use template::PinnedTemplate;

/// Whether a module that keeps the types of attributes and mechanisms in 32 bits takes it for the same: any other may be one
/// in disguise. Vendors' own have 0x80000000 set, and need no more bits (PKCS#11 3.2, `CKA_VENDOR_DEFINED`).
const fn is_type(kind: CK_ULONG) -> bool {
    kind <= u32::MAX as CK_ULONG
}

macro_rules! with_mechanism {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// Gives `judge` the mechanism and this call with a mechanism that the caller can no longer change; `None`
            /// where there is none, or a buffer of it cannot be there. The parameter of the vendors' mechanisms `flat` is
            /// bytes. One beyond 32 bits is answered as what no module has.
            ///
            /// What was judged is what is forwarded: another thread may write to the caller's structures meanwhile.
            pub fn pinned(
                self,
                flat: &FlatMechanisms,
                judge: impl FnOnce(&MechanismView, Self) -> CK_RV,
            ) -> Option<CK_RV> {
                // SAFETY: NULL or a mechanism, by the caller's promise.
                let mut mechanism = unsafe { PinnedMechanism::read(Self::FUNCTION, flat, self.mechanism) }?;
                if !is_type(mechanism.view().kind) {
                    return Some(CKR_MECHANISM_INVALID);
                }
                let pointer = mechanism.as_mut_ptr();
                Some(judge(mechanism.view(), Self { mechanism: pointer, ..self }))
            }
        }
    )*};
}

with_mechanism!(
    C_DecryptInit,
    C_EncryptInit,
    C_MessageDecryptInit,
    C_MessageEncryptInit,
    C_MessageSignInit,
    C_MessageVerifyInit,
    C_SignInit,
    C_SignRecoverInit,
    C_VerifyInit,
    C_VerifyRecoverInit,
    C_VerifySignatureInit,
    C_WrapKey,
    C_WrapKeyAuthenticated
);

macro_rules! with_template {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// Gives `judge` what the template states and this call with a template of which the caller can no longer
            /// change what was judged; `None` where the template, or a value in it, is NULL or absurdly long.
            pub fn pinned(self, judge: impl FnOnce(&TemplateView, Self) -> CK_RV) -> Option<CK_RV> {
                // SAFETY: NULL or a template of `count` attributes, by the caller's promise.
                let mut template = unsafe { PinnedTemplate::read(self.template, self.count) }?;
                let pointer = template.as_mut_ptr();
                Some(judge(template.view(), Self { template: pointer, ..self }))
            }
        }
    )*};
}

with_template!(C_CopyObject, C_CreateObject, C_FindObjectsInit, C_SetAttributeValue);

macro_rules! with_mechanism_and_template {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// Gives `judge` mechanism and template, and this call with copies of which the caller can no longer change
            /// what was judged; `None` where one of them, or a value, is NULL or absurdly long.
            pub fn pinned(
                self,
                flat: &FlatMechanisms,
                judge: impl FnOnce(&MechanismView, &TemplateView, Self) -> CK_RV,
            ) -> Option<CK_RV> {
                // SAFETY: NULL or a mechanism, by the caller's promise.
                let mut mechanism = unsafe { PinnedMechanism::read(Self::FUNCTION, flat, self.mechanism) }?;
                if !is_type(mechanism.view().kind) {
                    return Some(CKR_MECHANISM_INVALID);
                }
                // SAFETY: NULL or a template of `count` attributes, by the caller's promise.
                let mut template = unsafe { PinnedTemplate::read(self.template, self.count) }?;
                let pinned = Self { mechanism: mechanism.as_mut_ptr(), template: template.as_mut_ptr(), ..self };
                Some(judge(mechanism.view(), template.view(), pinned))
            }
        }
    )*};
}

with_mechanism_and_template!(
    C_DecapsulateKey,
    C_DeriveKey,
    C_EncapsulateKey,
    C_GenerateKey,
    C_UnwrapKey,
    C_UnwrapKeyAuthenticated
);

impl calls::C_GenerateKeyPair {
    /// Gives `judge` the mechanism and the templates of the public and of the private key, and this call with copies of
    /// which the caller can no longer change what was judged; `None` where one of them, or a value, is NULL or absurdly
    /// long.
    pub fn pinned(
        self,
        flat: &FlatMechanisms,
        judge: impl FnOnce(&MechanismView, &TemplateView, &TemplateView, Self) -> CK_RV,
    ) -> Option<CK_RV> {
        // SAFETY: NULL or a mechanism, by the caller's promise.
        let mut mechanism = unsafe { PinnedMechanism::read(Self::FUNCTION, flat, self.mechanism) }?;
        if !is_type(mechanism.view().kind) {
            return Some(CKR_MECHANISM_INVALID);
        }
        // SAFETY: NULL or a template of `public_count` attributes, by the caller's promise.
        let mut public = unsafe { PinnedTemplate::read(self.public_template, self.public_count) }?;
        // SAFETY: as above, with `private_count`.
        let mut private = unsafe { PinnedTemplate::read(self.private_template, self.private_count) }?;
        let pinned = Self {
            mechanism: mechanism.as_mut_ptr(),
            public_template: public.as_mut_ptr(),
            private_template: private.as_mut_ptr(),
            ..self
        };
        Some(judge(mechanism.view(), public.view(), private.view(), pinned))
    }
}

impl calls::C_GetAttributeValue {
    /// Gives `judge` the attribute types and this call with a template that the caller, or a value that lies in the
    /// template itself, can no longer change; the lengths go back afterwards. `None` where the template is NULL or
    /// absurdly long. Types beyond 32 bits are left out, and answered as such that the object does not have.
    pub fn pinned(self, judge: impl FnOnce(&[CK_ATTRIBUTE_TYPE], Self) -> CK_RV) -> Option<CK_RV> {
        // SAFETY: the template is the caller's (`from_caller`).
        let asked = unsafe { template::attributes(self.template, self.count) }?;
        let mut own: Vec<_> = asked.iter().copied().filter(|attribute| is_type(attribute.type_)).collect();
        let is_whole = own.len() == asked.len();
        let types: Vec<_> = own.iter().map(|attribute| attribute.type_).collect();
        // NULL stays NULL, though a template without attributes may be it.
        let template = if self.template.is_null() { self.template } else { own.as_mut_ptr() };
        let rv = judge(&types, Self { template, count: own.len() as CK_ULONG, ..self });
        // With these alone the whole template has been gone through (PKCS#11 3.2 section 5.7.5).
        let is_answered = matches!(
            rv,
            CKR_OK | CKR_ATTRIBUTE_SENSITIVE | CKR_ATTRIBUTE_TYPE_INVALID | CKR_BUFFER_TOO_SMALL
        );
        let mut answers = own.iter().map(|attribute| attribute.ulValueLen);
        for (index, attribute) in asked.iter().enumerate() {
            let length = if is_type(attribute.type_) {
                answers.next()
            } else {
                is_answered.then_some(CK_UNAVAILABLE_INFORMATION)
            };
            let length = length.unwrap_or(attribute.ulValueLen);
            // SAFETY: the caller's template has as many attributes as were read from it.
            unsafe { (&raw mut (*self.template.add(index)).ulValueLen).write_unaligned(length) };
        }
        Some(if rv == CKR_OK && !is_whole { CKR_ATTRIBUTE_TYPE_INVALID } else { rv })
    }
}

impl calls::C_CreateObject {
    /// `CKA_VALUE`, of up to `most` bytes, where the call is answered here and not forwarded.
    pub fn value(&self, most: usize) -> Option<Vec<u8>> {
        // SAFETY: NULL or a template of `count` attributes, by the caller's promise.
        unsafe { template::value(self.template, self.count, CKA_VALUE, most) }
    }
}

fn mutex_functions(args: &CK_C_INITIALIZE_ARGS) -> [bool; 4] {
    [
        args.CreateMutex.is_some(),
        args.DestroyMutex.is_some(),
        args.LockMutex.is_some(),
        args.UnlockMutex.is_some(),
    ]
}

impl calls::C_Initialize {
    /// Answers where no module in this process is initialised: whether the arguments are such as the standard knows (PKCS#11
    /// 2.40 section 5.4). The functions for mutexes are of no use: nothing here takes one.
    pub fn check(&self) -> CK_RV {
        let Some(args) = self.args() else { return CKR_OK };
        let functions = mutex_functions(&args);
        let all_or_none = functions.iter().all(|given| *given) || functions.iter().all(|given| !given);
        if args.pReserved.is_null() && all_or_none { CKR_OK } else { CKR_ARGUMENTS_BAD }
    }

    /// Whether several threads may call at once: the application gives functions for mutexes, or leaves them to the system
    /// (PKCS#11 2.40 section 5.4).
    pub fn is_for_threads(&self) -> bool {
        self.args().is_some_and(|args| {
            args.flags & CKF_OS_LOCKING_OK != 0 || mutex_functions(&args).iter().all(|given| *given)
        })
    }

    pub(crate) fn args(&self) -> Option<CK_C_INITIALIZE_ARGS> {
        if self.init_args.is_null() {
            return None;
        }
        // SAFETY: not NULL, hence this structure, by the caller's promise; it may be unaligned where the caller packs its
        // structures.
        Some(unsafe { self.init_args.cast::<CK_C_INITIALIZE_ARGS>().read_unaligned() })
    }
}

impl calls::C_Finalize {
    /// Answers where no module in this process is finalised.
    pub const fn check(&self) -> CK_RV {
        if self.reserved.is_null() { CKR_OK } else { CKR_ARGUMENTS_BAD }
    }
}

macro_rules! with_pin {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// Forwards this call with a PIN other than the caller's.
            pub fn with_pin(self, pin: &[u8], forward: impl FnOnce(Self) -> CK_RV) -> CK_RV {
                // Modules only read it; the standard's types know no constant.
                forward(Self { pin: pin.as_ptr().cast_mut(), pin_len: pin.len() as CK_ULONG, ..self })
            }

            /// Whether the caller's PIN is this one. How long that takes says nothing but whether the lengths are equal.
            pub fn has_pin(&self, pin: &[u8]) -> bool {
                if self.pin.is_null() || self.pin_len != pin.len() as CK_ULONG {
                    return false;
                }
                let difference = pin.iter().enumerate().fold(0, |difference, (index, byte)| {
                    // SAFETY: not NULL, hence as many bytes as the caller says, and that is as many as the PIN has.
                    difference | (byte ^ unsafe { self.pin.add(index).read_volatile() })
                });
                difference == 0
            }
        }
    )*};
}

with_pin!(C_Login, C_LoginUser);

impl calls::C_InitToken {
    /// Gives `judge` the new label of the token, without its padding, and this call with a label that the caller can no
    /// longer change; `None` where there is none.
    pub fn pinned(self, judge: impl FnOnce(String, Self) -> CK_RV) -> Option<CK_RV> {
        if self.label.is_null() {
            return None;
        }
        // SAFETY: not NULL, hence 32 bytes (PKCS#11 2.40 section 5.5, `C_InitToken`).
        let mut label = unsafe { self.label.cast::<[u8; 32]>().read_unaligned() };
        let text = crate::object::unpadded(&label);
        Some(judge(text, Self { label: label.as_mut_ptr(), ..self }))
    }
}

#[cfg(test)]
mod tests;
