//! What goes back to the caller: handles, lists and lengths, written only where and when they may be known.

use cryptoki_sys::*;

use crate::calls;

/// Most objects that one call of `C_FindObjects` gives; the caller goes on until there are none.
const MOST_FOUND: CK_ULONG = 64 * 1024;

macro_rules! out_number {
    ($($call:ident: $field:ident, $what:literal;)*) => {$(
        impl calls::$call {
            #[doc = concat!("Forwards this call with a place of our own for the ", $what, ", and gives the ", $what,
                " that the real module wrote there; the caller has not seen it yet.")]
            pub fn with_own_place(self, forward: impl FnOnce(Self) -> CK_RV) -> (CK_RV, Option<CK_ULONG>) {
                if self.$field.is_null() {
                    return (CKR_ARGUMENTS_BAD, None);
                }
                let mut number: CK_ULONG = 0;
                let rv = forward(Self { $field: &raw mut number, ..self });
                (rv, (rv == CKR_OK).then_some(number))
            }

            #[doc = concat!("Gives the ", $what, " to the caller.")]
            pub fn deliver(&self, number: CK_ULONG) {
                if !self.$field.is_null() {
                    // SAFETY: not NULL, hence a place for a number, by the caller's promise.
                    unsafe { self.$field.write_unaligned(number) };
                }
            }
        }
    )*};
}

out_number! {
    C_CopyObject: new_object, "object handle";
    C_CreateObject: object, "object handle";
    C_DecapsulateKey: key, "key handle";
    C_DeriveKey: key, "key handle";
    C_EncapsulateKey: key, "key handle";
    C_GenerateKey: key, "key handle";
    C_OpenSession: session, "session handle";
    C_UnwrapKey: key, "key handle";
    C_UnwrapKeyAuthenticated: key, "key handle";
    C_WaitForSlotEvent: slot, "slot";
}

impl calls::C_GenerateKeyPair {
    /// Forwards this call with places of our own for the handles, and gives the public and the private one that the real
    /// module wrote there; the caller has not seen them yet.
    pub fn with_own_place(
        self,
        forward: impl FnOnce(Self) -> CK_RV,
    ) -> (CK_RV, Option<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)>) {
        if self.public_key.is_null() || self.private_key.is_null() {
            return (CKR_ARGUMENTS_BAD, None);
        }
        let (mut public, mut private) = (CK_INVALID_HANDLE, CK_INVALID_HANDLE);
        let rv = forward(Self { public_key: &raw mut public, private_key: &raw mut private, ..self });
        (rv, (rv == CKR_OK).then_some((public, private)))
    }

    /// Gives the handles to the caller.
    pub fn deliver(&self, (public, private): (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)) {
        for (place, handle) in [(self.public_key, public), (self.private_key, private)] {
            if !place.is_null() {
                // SAFETY: not NULL, hence a place for a handle, by the caller's promise.
                unsafe { place.write_unaligned(handle) };
            }
        }
    }
}

macro_rules! completes {
    ($($call:ident: $output:ident, $what:literal;)*) => {$(
        impl calls::$call {
            #[doc = concat!("Whether `rv` means that the ", $what, " was given out, and not only its length.")]
            pub fn completes(&self, rv: CK_RV) -> bool {
                rv == CKR_OK && !self.$output.is_null()
            }
        }
    )*};
}

completes! {
    C_WrapKey: wrapped, "wrapped key";
    C_WrapKeyAuthenticated: wrapped, "wrapped key";
}

impl calls::C_GetAttributeValue {
    /// Answers for an object that has these attributes and no others (PKCS#11 2.40 section 5.7).
    pub fn answer(&self, attributes: &[(CK_ATTRIBUTE_TYPE, &[u8])]) -> CK_RV {
        // SAFETY: the template is the caller's (`from_caller`).
        let Some(own) = (unsafe { super::template::attributes(self.template, self.count) }) else {
            return CKR_ARGUMENTS_BAD;
        };
        let mut result = CKR_OK;
        for (index, asked) in own.iter().enumerate() {
            let known = attributes.iter().find(|(kind, _)| *kind == asked.type_);
            let length = match known {
                None => {
                    result = CKR_ATTRIBUTE_TYPE_INVALID;
                    CK_UNAVAILABLE_INFORMATION
                }
                Some((_, value)) if asked.pValue.is_null() => value.len() as CK_ULONG,
                Some((_, value)) if (asked.ulValueLen as usize) < value.len() => {
                    result = CKR_BUFFER_TOO_SMALL;
                    CK_UNAVAILABLE_INFORMATION
                }
                Some((_, value)) => {
                    // SAFETY: the caller says that there is room for `ulValueLen` bytes, no fewer than the value has.
                    unsafe {
                        asked.pValue.cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), value.len())
                    };
                    value.len() as CK_ULONG
                }
            };
            // SAFETY: the caller's template has as many attributes as the copy that was made of it.
            unsafe { (&raw mut (*self.template.add(index)).ulValueLen).write_unaligned(length) };
        }
        result
    }
}

impl calls::C_GetTokenInfo {
    /// Takes `flag` out of the flags, after `CKR_OK`.
    pub fn clear_flag(&self, flag: CK_FLAGS) {
        if !self.info.is_null() {
            // SAFETY: the real module has just filled this structure.
            let place = unsafe { &raw mut (*self.info).flags };
            // SAFETY: as above.
            unsafe { place.write_unaligned(place.read_unaligned() & !flag) };
        }
    }
}

impl calls::C_GetSessionInfo {
    /// Puts `number` into `ulDeviceError`, after `CKR_OK`.
    pub fn set_device_error(&self, number: CK_ULONG) {
        if !self.info.is_null() {
            // SAFETY: the real module has just filled this structure.
            unsafe { (&raw mut (*self.info).ulDeviceError).write_unaligned(number) };
        }
    }
}

impl calls::C_FindObjects {
    /// Forwards this call with places of our own for the handles, and gives those that the real module wrote there: in the
    /// caller's memory, another thread could put others in their place. Not more than [`MOST_FOUND`] at once.
    pub fn with_own_places(self, forward: impl FnOnce(Self) -> CK_RV) -> (CK_RV, Vec<CK_OBJECT_HANDLE>) {
        if self.objects.is_null() || self.count.is_null() {
            return (CKR_ARGUMENTS_BAD, Vec::new());
        }
        let room = self.max_count.min(MOST_FOUND);
        let mut objects = vec![CK_INVALID_HANDLE; room as usize];
        let mut count: CK_ULONG = 0;
        let rv =
            forward(Self { objects: objects.as_mut_ptr(), max_count: room, count: &raw mut count, ..self });
        objects.truncate(if rv == CKR_OK { usize::try_from(count).unwrap_or_default() } else { 0 });
        (rv, objects)
    }

    /// Gives `objects` to the caller, no more than there is room for.
    pub fn deliver(&self, objects: &[CK_OBJECT_HANDLE]) {
        if self.objects.is_null() || self.count.is_null() {
            return;
        }
        let room = usize::try_from(self.max_count).unwrap_or(usize::MAX);
        let given = objects.get(..room).unwrap_or(objects);
        for (index, object) in given.iter().enumerate() {
            // SAFETY: the caller's array has `max_count` places, by the caller's promise.
            unsafe { self.objects.add(index).write_unaligned(*object) };
        }
        // SAFETY: not NULL, hence a place for a number, by the caller's promise.
        unsafe { self.count.write_unaligned(given.len() as CK_ULONG) };
    }
}

impl calls::C_GetSlotList {
    /// Answers with `slots` by the rules for lists (PKCS#11 2.40 section 5.2).
    pub fn answer(&self, slots: &[CK_SLOT_ID]) -> CK_RV {
        if self.count.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        // SAFETY: not NULL, hence a place for a number, by the caller's promise.
        let room = unsafe { self.count.read_unaligned() };
        // SAFETY: as above.
        unsafe { self.count.write_unaligned(slots.len() as CK_ULONG) };
        if self.slots.is_null() {
            return CKR_OK;
        }
        if (room as usize) < slots.len() {
            return CKR_BUFFER_TOO_SMALL;
        }
        for (index, slot) in slots.iter().enumerate() {
            // SAFETY: the caller's array has `room` places, at least as many as there are slots.
            unsafe { self.slots.add(index).write_unaligned(*slot) };
        }
        CKR_OK
    }
}
