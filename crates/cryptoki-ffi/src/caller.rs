//! Views of the caller's memory: each thing is read once, into memory of our own, and judged there.

use cryptoki_sys::*;

use crate::calls;

/// Templates longer than this are refused; the largest that clients send have some dozens of attributes.
const MOST_ATTRIBUTES: usize = 1024;

macro_rules! with_mechanism {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// Gives `judge` the mechanism's type and this call with a mechanism that the caller can no longer
            /// change; `None` where the caller gave none.
            ///
            /// What was judged is what is forwarded: another thread may write to the caller's structure meanwhile.
            pub fn pinned(self, judge: impl FnOnce(CK_MECHANISM_TYPE, Self) -> CK_RV) -> Option<CK_RV> {
                if self.mechanism.is_null() {
                    return None;
                }
                // SAFETY: not NULL, hence a mechanism, by the caller's promise.
                let mut mechanism = unsafe { self.mechanism.read_unaligned() };
                let kind = mechanism.mechanism;
                Some(judge(kind, Self { mechanism: &raw mut mechanism, ..self }))
            }
        }
    )*};
}

with_mechanism!(
    C_SignInit,
    C_SignRecoverInit,
    C_DecryptInit,
    C_EncryptInit,
    C_VerifyInit,
    C_VerifyRecoverInit
);

impl calls::C_GetAttributeValue {
    /// Gives `judge` the attribute types and this call with a template that the caller, or a value that lies in the
    /// template itself, can no longer change; the lengths go back afterwards. `None` where the template is NULL or
    /// absurdly long.
    pub fn pinned(self, judge: impl FnOnce(&[CK_ATTRIBUTE_TYPE], Self) -> CK_RV) -> Option<CK_RV> {
        // SAFETY: the template is the caller's (`from_caller`).
        let mut own = unsafe { template(self.template, self.count) }?;
        let types: Vec<_> = own.iter().map(|attribute| attribute.type_).collect();
        let rv = judge(&types, Self { template: own.as_mut_ptr(), ..self });
        for (index, attribute) in own.iter().enumerate() {
            // SAFETY: the caller's template has as many attributes as the copy that was made of it.
            unsafe {
                (&raw mut (*self.template.add(index)).ulValueLen).write_unaligned(attribute.ulValueLen)
            };
        }
        Some(rv)
    }
}

impl calls::C_CreateObject {
    /// Gives `judge` the class of the new object and this call with a template and a class that the caller can no
    /// longer change. The class is `None` where the template has none, or more than one; the answer, where the
    /// template is NULL or absurdly long.
    pub fn pinned(self, judge: impl FnOnce(Option<CK_OBJECT_CLASS>, Self) -> CK_RV) -> Option<CK_RV> {
        // SAFETY: the template is the caller's (`from_caller`).
        let mut own = unsafe { template(self.template, self.count) }?;
        let mut classes = own.iter_mut().filter(|attribute| attribute.type_ == CKA_CLASS);
        let only = match (classes.next(), classes.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        };
        let only = only.filter(|class| {
            !class.pValue.is_null() && class.ulValueLen as usize == size_of::<CK_OBJECT_CLASS>()
        });
        let Some(attribute) = only else {
            return Some(judge(None, Self { template: own.as_mut_ptr(), ..self }));
        };
        // SAFETY: the caller says that there are that many bytes.
        let mut class = unsafe { attribute.pValue.cast::<CK_OBJECT_CLASS>().read_unaligned() };
        let known = Some(class);
        attribute.pValue = (&raw mut class).cast();
        Some(judge(known, Self { template: own.as_mut_ptr(), ..self }))
    }
}

/// # Safety
/// `first` is NULL or points to `count` attributes.
unsafe fn template(first: *const CK_ATTRIBUTE, count: CK_ULONG) -> Option<Vec<CK_ATTRIBUTE>> {
    let count = usize::try_from(count).ok()?;
    if count > MOST_ATTRIBUTES || (first.is_null() && count > 0) {
        return None;
    }
    // SAFETY: `count` attributes are there; each is copied out, aligned or not.
    Some((0..count).map(|index| unsafe { first.add(index).read_unaligned() }).collect())
}

macro_rules! out_number {
    ($($call:ident: $field:ident, $what:literal;)*) => {$(
        impl calls::$call {
            #[doc = concat!("Forwards this call with a place of our own for the ", $what, ", and gives the ", $what,
                " that the real module wrote there; the caller has not seen it yet.")]
            pub fn pinned(self, forward: impl FnOnce(Self) -> CK_RV) -> (CK_RV, Option<CK_ULONG>) {
                if self.$field.is_null() {
                    return (forward(self), None);
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
    C_OpenSession: session, "session handle";
    C_WaitForSlotEvent: slot, "slot";
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
    /// Takes objects out of the answer for which `hidden` says yes, after `CKR_OK`.
    pub fn retain(&self, mut hidden: impl FnMut(CK_OBJECT_HANDLE) -> bool) {
        if self.objects.is_null() || self.count.is_null() {
            return;
        }
        // SAFETY: the real module has just written the count.
        let found = unsafe { self.count.read_unaligned() }.min(self.max_count);
        let mut kept = 0;
        for index in 0..found as usize {
            // SAFETY: the caller's array has `max_count` places, of which `found` are filled.
            let object = unsafe { self.objects.add(index).read_unaligned() };
            if !hidden(object) {
                // SAFETY: `kept` is at most `index`.
                unsafe { self.objects.add(kept).write_unaligned(object) };
                kept += 1;
            }
        }
        // SAFETY: as above.
        unsafe { self.count.write_unaligned(kept as CK_ULONG) };
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

impl calls::C_GetFunctionList {
    /// Answers with `list`.
    pub fn answer(&self, list: &'static CK_FUNCTION_LIST) -> CK_RV {
        if self.list.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        // SAFETY: not NULL, hence a place for a pointer, by the caller's promise. Applications must not write to
        // the list; it is in read-only memory.
        unsafe { self.list.write_unaligned(core::ptr::from_ref(list).cast_mut()) };
        CKR_OK
    }
}

/// Whether the output of an operation was given out, so that the operation is over: `CKR_OK` with a buffer.
macro_rules! completes {
    ($($call:ident: $output:ident;)*) => {$(
        impl calls::$call {
            /// Whether `rv` ends the operation: anything but a question for the size and a buffer too small for it
            /// (PKCS#11 2.40 section 5.2).
            pub fn completes(&self, rv: CK_RV) -> bool {
                rv == CKR_OK && !self.$output.is_null()
            }
        }
    )*};
}

completes! {
    C_Sign: output; C_SignFinal: output; C_SignRecover: output;
    C_Decrypt: output; C_DecryptFinal: output;
    C_Encrypt: output; C_EncryptFinal: output;
    C_VerifyRecover: output;
}

macro_rules! never_completes {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// An update never ends the operation by succeeding.
            pub const fn completes(&self, _: CK_RV) -> bool {
                false
            }
        }
    )*};
}

never_completes!(C_SignUpdate, C_DecryptUpdate, C_EncryptUpdate, C_VerifyUpdate);

macro_rules! always_completes {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// Whether `rv` ends the operation: it has no output to ask the size of.
            pub const fn completes(&self, rv: CK_RV) -> bool {
                rv == CKR_OK
            }
        }
    )*};
}

always_completes!(C_Verify, C_VerifyFinal);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mechanism_that_changes_after_the_judgement_is_forwarded_as_judged() {
        let mut callers =
            CK_MECHANISM { mechanism: CKM_RSA_PKCS, pParameter: core::ptr::null_mut(), ulParameterLen: 0 };
        let mechanism = &raw mut callers;
        // SAFETY: `mechanism` points to a mechanism that outlives the call.
        let call = unsafe { calls::C_SignInit::from_caller(1, mechanism, 2) };
        let rv = call.pinned(|kind, pinned| {
            // SAFETY: nobody else uses the mechanism.
            unsafe { (*mechanism).mechanism = CKM_RSA_X_509 };
            assert_eq!(kind, CKM_RSA_PKCS);
            // SAFETY: the pinned call points to a copy that lives through this closure.
            assert_eq!(unsafe { (*pinned.mechanism()).mechanism }, CKM_RSA_PKCS);
            CKR_OK
        });
        assert_eq!(rv, Some(CKR_OK));
        // SAFETY: NULL is a legal argument to judge.
        let none = unsafe { calls::C_SignInit::from_caller(1, core::ptr::null_mut(), 2) };
        assert_eq!(none.pinned(|_, _| CKR_OK), None);
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

    #[test]
    fn the_class_of_a_new_object_is_the_one_that_was_judged() {
        let mut class = CKO_DATA;
        let place = &raw mut class;
        let size = size_of::<CK_OBJECT_CLASS>() as CK_ULONG;
        let attribute = CK_ATTRIBUTE { type_: CKA_CLASS, pValue: place.cast(), ulValueLen: size };
        let mut once = [attribute];
        // SAFETY: the template outlives the call.
        let call =
            unsafe { calls::C_CreateObject::from_caller(1, once.as_mut_ptr(), 1, core::ptr::null_mut()) };
        call.pinned(|judged, pinned| {
            assert_eq!(judged, Some(CKO_DATA));
            // SAFETY: nobody else uses the class.
            unsafe { *place = CKO_SECRET_KEY };
            // SAFETY: the pinned call points to copies that live through this closure.
            assert_eq!(unsafe { *(*pinned.template()).pValue.cast::<CK_OBJECT_CLASS>() }, CKO_DATA);
            CKR_OK
        });
        let mut twice = [attribute, attribute];
        // SAFETY: the template outlives the call.
        let call =
            unsafe { calls::C_CreateObject::from_caller(1, twice.as_mut_ptr(), 2, core::ptr::null_mut()) };
        call.pinned(|judged, _| {
            assert_eq!(judged, None, "which of two would count?");
            CKR_OK
        });
    }

    #[test]
    fn the_callers_place_is_written_only_on_delivery() {
        let mut session = 7;
        let place = &raw mut session;
        // SAFETY: `place` outlives the call.
        let call = unsafe { calls::C_OpenSession::from_caller(0, 4, core::ptr::null_mut(), None, place) };
        let (rv, handle) = call.pinned(|pinned| {
            // SAFETY: the pinned call has a place of its own.
            unsafe { *pinned.session() = 42 };
            CKR_OK
        });
        assert_eq!((rv, handle, session), (CKR_OK, Some(42), 7));
        call.deliver(42);
        assert_eq!(session, 42);
    }
}
