//! Function lists and interfaces, given to the caller.

use std::ffi::CStr;

use cryptoki_sys::*;

use crate::calls;
use crate::interfaces::{Interface, STANDARD};

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

impl calls::C_GetInterfaceList {
    /// Answers with `offered` by the rules for lists (PKCS#11 3.2 section 5.4).
    pub fn answer(&self, offered: &[&'static Interface]) -> CK_RV {
        if self.count.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        // SAFETY: not NULL, hence a place for a number, by the caller's promise.
        let room = unsafe { self.count.read_unaligned() };
        // SAFETY: as above.
        unsafe { self.count.write_unaligned(offered.len() as CK_ULONG) };
        if self.interfaces.is_null() {
            return CKR_OK;
        }
        if (room as usize) < offered.len() {
            return CKR_BUFFER_TOO_SMALL;
        }
        for (index, interface) in offered.iter().enumerate() {
            // SAFETY: the caller's array has `room` places, at least as many as there are interfaces.
            unsafe { self.interfaces.add(index).write_unaligned(interface.raw()) };
        }
        CKR_OK
    }
}

impl calls::C_GetInterface {
    /// Answers with the first of `offered` that is what the caller asks for; without a name, one of the standard's. Where
    /// none is, with `CKR_ARGUMENTS_BAD`: of the return values that PKCS#11 3.2 section 5.4 has for this function, the one
    /// that modules agree on.
    pub fn answer(&self, offered: &[&'static Interface]) -> CK_RV {
        if self.interface.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        let name = match self.name.is_null() {
            true => STANDARD,
            // SAFETY: not NULL, hence a string, by the caller's promise.
            false => unsafe { CStr::from_ptr(self.name.cast()) },
        };
        let version = (!self.version.is_null()).then(|| {
            // SAFETY: not NULL, hence a version, by the caller's promise.
            let version = unsafe { self.version.read_unaligned() };
            (version.major, version.minor)
        });
        let is_it = |interface: &&&'static Interface| {
            interface.name() == name
                && version.is_none_or(|version| interface.version() == version)
                && interface.flags() & self.flags == self.flags
        };
        let Some(interface) = offered.iter().find(is_it) else { return CKR_ARGUMENTS_BAD };
        // SAFETY: not NULL, hence a place for a pointer, by the caller's promise. Applications must not write to the
        // interface.
        unsafe { self.interface.write_unaligned(interface.as_ptr()) };
        CKR_OK
    }
}

#[cfg(test)]
mod tests {
    use core::ptr;

    use super::*;
    use crate::interfaces::offered;

    static V2_40: CK_VERSION = CK_VERSION { major: 2, minor: 40 };
    static V3_0: CK_VERSION = CK_VERSION { major: 3, minor: 0 };
    static V3_1: CK_VERSION = CK_VERSION { major: 3, minor: 1 };
    static V3_2: CK_VERSION = CK_VERSION { major: 3, minor: 2 };
    static VENDORS: CK_VERSION = CK_VERSION { major: 1, minor: 0 };

    const fn of(name: &'static CStr, version: &'static CK_VERSION) -> Interface {
        // SAFETY: a list begins with its version, and nothing else of it is looked at here.
        unsafe { Interface::new(name, ptr::from_ref(version).cast()) }
    }

    static OURS: [Interface; 4] =
        [of(STANDARD, &V3_2), of(STANDARD, &V3_1), of(STANDARD, &V3_0), of(STANDARD, &V2_40)];

    fn versions(real: &'static [Interface], vendors: &[&str]) -> Vec<(String, (u8, u8))> {
        let vendors: Vec<_> = vendors.iter().map(|name| (*name).to_owned()).collect();
        let name = |interface: &Interface| interface.name().to_str().unwrap().to_owned();
        offered(&OURS, real, &vendors).into_iter().map(|of| (name(of), of.version())).collect()
    }

    #[test]
    fn no_version_is_offered_that_the_real_module_does_not_have() {
        static NEW: [Interface; 2] = [of(STANDARD, &V2_40), of(STANDARD, &V3_2)];
        static OLDER: [Interface; 2] = [of(STANDARD, &V3_1), of(c"Vendor A", &VENDORS)];
        let standard = |version| ("PKCS 11".to_owned(), version);
        assert_eq!(versions(&[], &[]), [standard((2, 40))]);
        assert_eq!(versions(&NEW, &[]), [standard((3, 2)), standard((2, 40))]);
        assert_eq!(versions(&OLDER, &["Vendor B"]), [standard((3, 1)), standard((2, 40))]);
        assert_eq!(
            versions(&OLDER, &["Vendor A"]),
            [standard((3, 1)), standard((2, 40)), ("Vendor A".to_owned(), (1, 0))]
        );
    }

    fn asked(name: Option<&CStr>, version: Option<(u8, u8)>, flags: CK_FLAGS) -> Result<(u8, u8), CK_RV> {
        static MORE: [Interface; 1] = [of(c"Vendor A", &VENDORS)];
        let offered: Vec<_> = OURS.iter().chain(&MORE).collect();
        let name = name.map_or(ptr::null_mut(), |name| name.as_ptr().cast_mut().cast());
        let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
        let version = version.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        let mut place = ptr::null_mut();
        // SAFETY: name, version and place outlive the call.
        let call = unsafe { calls::C_GetInterface::from_caller(name, version, &raw mut place, flags) };
        match call.answer(&offered) {
            // SAFETY: the answer is one of the interfaces above.
            CKR_OK => Ok(unsafe { (*(*place).pFunctionList.cast::<CK_VERSION>()).into_pair() }),
            rv => Err(rv),
        }
    }

    trait Pair {
        fn into_pair(self) -> (u8, u8);
    }

    impl Pair for CK_VERSION {
        fn into_pair(self) -> (u8, u8) {
            (self.major, self.minor)
        }
    }

    #[test]
    fn an_interface_is_what_was_asked_for_or_none() {
        assert_eq!(asked(None, None, 0), Ok((3, 2)));
        assert_eq!(asked(Some(STANDARD), None, 0), Ok((3, 2)));
        for version in [(2, 40), (3, 0), (3, 1), (3, 2)] {
            assert_eq!(asked(None, Some(version), 0), Ok(version));
        }
        assert_eq!(asked(Some(c"Vendor A"), None, 0), Ok((1, 0)));
        assert_eq!(asked(None, Some((1, 0)), 0), Err(CKR_ARGUMENTS_BAD), "a vendor's only by its name");
        assert_eq!(asked(Some(STANDARD), Some((3, 3)), 0), Err(CKR_ARGUMENTS_BAD));
        assert_eq!(asked(Some(c"Vendor B"), None, 0), Err(CKR_ARGUMENTS_BAD));
        assert_eq!(asked(None, None, CKF_INTERFACE_FORK_SAFE), Err(CKR_ARGUMENTS_BAD));
    }

    #[test]
    fn the_list_follows_the_rules_for_lists() {
        let offered: Vec<_> = OURS.iter().collect();
        let ask = |room: Option<usize>| {
            let none =
                CK_INTERFACE { pInterfaceName: ptr::null_mut(), pFunctionList: ptr::null_mut(), flags: 7 };
            let mut places = vec![none; room.unwrap_or_default()];
            let mut count = places.len() as CK_ULONG;
            let first = if room.is_some() { places.as_mut_ptr() } else { ptr::null_mut() };
            // SAFETY: places and count outlive the call.
            let call = unsafe { calls::C_GetInterfaceList::from_caller(first, &raw mut count) };
            (call.answer(&offered), count, places.iter().filter(|place| place.flags == 0).count())
        };
        assert_eq!(ask(None), (CKR_OK, 4, 0));
        assert_eq!(ask(Some(3)), (CKR_BUFFER_TOO_SMALL, 4, 0));
        assert_eq!(ask(Some(5)), (CKR_OK, 4, 4));
    }
}
