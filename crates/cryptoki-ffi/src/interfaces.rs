//! Interfaces (PKCS#11 3.2 section 5.4): those of the real module, and which of them an application may be told of.

use std::ffi::{CStr, c_void};

use cryptoki_sys::*;

/// The name of the interfaces that the standard defines.
pub const STANDARD: &CStr = c"PKCS 11";

/// More than any module offers: a count beyond it is not believed.
const MOST: CK_ULONG = 64;

/// The versions whose function lists the table knows, as major and minor number.
const VERSIONS: [(u8, u8); 4] = [(3, 2), (3, 1), (3, 0), (2, 40)];

/// An interface that stays where it is for the rest of the process's life.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Interface(CK_INTERFACE);

impl PartialEq for Interface {
    /// Whether name and list are in the same place.
    fn eq(&self, other: &Self) -> bool {
        (self.0.pInterfaceName, self.0.pFunctionList, self.0.flags)
            == (other.0.pInterfaceName, other.0.pFunctionList, other.0.flags)
    }
}

// SAFETY: name and list are never written to, and live as long as the process (`new`).
unsafe impl Send for Interface {}
// SAFETY: as above.
unsafe impl Sync for Interface {}

impl Interface {
    /// The interface of the name `name` with the list at `list`.
    ///
    /// # Safety
    /// `list` points to a function list, which begins with its version. It lives as long as the process, and nobody
    /// writes to it.
    pub const unsafe fn new(name: &'static CStr, list: *const c_void) -> Self {
        Self(CK_INTERFACE {
            pInterfaceName: name.as_ptr().cast_mut().cast(),
            pFunctionList: list.cast_mut(),
            // Of a child process, `CKF_INTERFACE_FORK_SAFE` would promise that sessions and logins go on in it. The gate
            // has a child initialise, measure and attest anew.
            flags: 0,
        })
    }

    /// An interface as the real module describes it; `None` where name or list are missing, or the list is no list.
    ///
    /// # Safety
    /// The real module gave out `interface`: name and list are NULL, or a string and a list that stay where they are.
    unsafe fn of_module(interface: CK_INTERFACE) -> Option<Self> {
        if interface.pInterfaceName.is_null() || interface.pFunctionList.is_null() {
            return None;
        }
        let interface = Self(interface);
        // Of a vendor's own, nothing but the version is read.
        let is_readable = !interface.is_standard() || interface.list().cast::<CK_C_Initialize>().is_aligned();
        is_readable.then_some(interface)
    }

    /// Its name.
    pub const fn name(&self) -> &'static CStr {
        // SAFETY: names are strings that live as long as the process (`new`, `of_module`).
        unsafe { CStr::from_ptr(self.0.pInterfaceName.cast()) }
    }

    /// Its version, as major and minor number.
    pub const fn version(&self) -> (u8, u8) {
        // SAFETY: lists begin with their version, vendors' own as well (PKCS#11 3.2 section 3.6).
        let version = unsafe { *self.0.pFunctionList.cast::<CK_VERSION>() };
        (version.major, version.minor)
    }

    /// Whether it is one of the standard's.
    pub fn is_standard(&self) -> bool {
        self.name() == STANDARD
    }

    pub(crate) const fn list(&self) -> *mut c_void {
        self.0.pFunctionList
    }

    pub(crate) const fn raw(&self) -> CK_INTERFACE {
        self.0
    }

    pub(crate) const fn flags(&self) -> CK_FLAGS {
        self.0.flags
    }

    pub(crate) const fn as_ptr(&'static self) -> *mut CK_INTERFACE {
        core::ptr::from_ref(&self.0).cast_mut()
    }
}

/// The interfaces that a module gives out by `get_list`, or by `get` where it has nothing better.
///
/// # Safety
/// The functions are the module's `C_GetInterfaceList` and `C_GetInterface`.
pub(crate) unsafe fn of_module(get_list: CK_C_GetInterfaceList, get: CK_C_GetInterface) -> Vec<Interface> {
    // SAFETY: by the promise above.
    let listed = get_list.map(|function| unsafe { listed(function) }).unwrap_or_default();
    if !listed.is_empty() {
        return listed;
    }
    // SAFETY: as above.
    get.map(|function| unsafe { asked_one_by_one(function) }).unwrap_or_default()
}

type GetList = unsafe extern "C" fn(*mut CK_INTERFACE, *mut CK_ULONG) -> CK_RV;
type Get = unsafe extern "C" fn(*mut CK_UTF8CHAR, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_FLAGS) -> CK_RV;

unsafe fn listed(function: GetList) -> Vec<Interface> {
    let mut count: CK_ULONG = 0;
    // SAFETY: a NULL list asks for the number of interfaces.
    if unsafe { function(core::ptr::null_mut(), &raw mut count) } != CKR_OK || count > MOST {
        return Vec::new();
    }
    let none = CK_INTERFACE {
        pInterfaceName: core::ptr::null_mut(),
        pFunctionList: core::ptr::null_mut(),
        flags: 0,
    };
    let mut raw = vec![none; count as usize];
    // SAFETY: there is room for as many interfaces as `count` says.
    if unsafe { function(raw.as_mut_ptr(), &raw mut count) } != CKR_OK {
        return Vec::new();
    }
    raw.truncate(usize::try_from(count).unwrap_or_default());
    // SAFETY: the module has just filled these.
    raw.into_iter().filter_map(|interface| unsafe { Interface::of_module(interface) }).collect()
}

unsafe fn asked_one_by_one(function: Get) -> Vec<Interface> {
    let ask = |(major, minor)| {
        let mut version = CK_VERSION { major, minor };
        let mut place: *mut CK_INTERFACE = core::ptr::null_mut();
        let name = STANDARD.as_ptr().cast_mut().cast();
        // SAFETY: name and version are only read, and `place` is a place for a pointer.
        let rv = unsafe { function(name, &raw mut version, &raw mut place, 0) };
        if rv != CKR_OK || place.is_null() || !place.is_aligned() {
            return None;
        }
        // SAFETY: the module says that an interface is there.
        let interface = unsafe { Interface::of_module(*place) }?;
        // Some modules give their default, whatever they are asked for.
        (interface.version() == (major, minor)).then_some(interface)
    };
    VERSIONS.into_iter().filter_map(ask).collect()
}

/// Of `ours` and of what the real module offers, what an application is told of: our own of those versions of the
/// standard's interface that the real module has, and of the others those that are named in `vendors`, as they are.
pub fn offered(
    ours: &'static [Interface],
    real: &'static [Interface],
    vendors: &[String],
) -> Vec<&'static Interface> {
    let has = |version: (u8, u8)| {
        // Every module has the list of C_GetFunctionList.
        version.0 == 2 || real.iter().any(|real| real.is_standard() && real.version() == version)
    };
    let is_named = |interface: &&Interface| {
        !interface.is_standard()
            && interface.name().to_str().is_ok_and(|name| vendors.iter().any(|vendor| vendor == name))
    };
    let standard = ours.iter().filter(|ours| has(ours.version()));
    standard.chain(real.iter().filter(is_named)).collect()
}

/// Of `ours`, what an application is told of where the real module is in another process and has these versions of the
/// standard's interface.
pub fn offered_by_version(ours: &'static [Interface], real: &[(u8, u8)]) -> Vec<&'static Interface> {
    ours.iter().filter(|ours| ours.version().0 == 2 || real.contains(&ours.version())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C, align(8))]
    struct List(CK_VERSION);

    static V2_40: List = List(CK_VERSION { major: 2, minor: 40 });
    static V3_0: List = List(CK_VERSION { major: 3, minor: 0 });
    static UNALIGNED: [u64; 2] = [0; 2];

    fn raw(name: &'static CStr, list: *const c_void) -> CK_INTERFACE {
        CK_INTERFACE {
            pInterfaceName: name.as_ptr().cast_mut().cast(),
            pFunctionList: list.cast_mut(),
            flags: CKF_INTERFACE_FORK_SAFE,
        }
    }

    /// What a careless module gives out besides its two lists.
    fn given() -> Vec<CK_INTERFACE> {
        let unaligned = (&raw const UNALIGNED).cast::<u8>().wrapping_add(1).cast();
        let mut nameless = raw(STANDARD, (&raw const V3_0).cast());
        nameless.pInterfaceName = core::ptr::null_mut();
        vec![
            raw(STANDARD, (&raw const V2_40).cast()),
            nameless,
            raw(STANDARD, core::ptr::null()),
            raw(STANDARD, unaligned),
            raw(STANDARD, (&raw const V3_0).cast()),
        ]
    }

    unsafe extern "C" fn get_list(places: *mut CK_INTERFACE, count: *mut CK_ULONG) -> CK_RV {
        let given = given();
        // SAFETY: the caller gives a place for the number, and room for as many where it gives room.
        unsafe {
            *count = given.len() as CK_ULONG;
            if !places.is_null() {
                places.copy_from_nonoverlapping(given.as_ptr(), given.len());
            }
        }
        CKR_OK
    }

    unsafe extern "C" fn get_absurd_list(_: *mut CK_INTERFACE, count: *mut CK_ULONG) -> CK_RV {
        // SAFETY: the caller gives a place for the number.
        unsafe { *count = CK_ULONG::MAX };
        CKR_OK
    }

    /// Gives its default, whatever version it is asked for.
    unsafe extern "C" fn get_default(
        _: *mut CK_UTF8CHAR,
        _: *mut CK_VERSION,
        place: *mut *mut CK_INTERFACE,
        _: CK_FLAGS,
    ) -> CK_RV {
        let interface = Box::leak(Box::new(raw(STANDARD, (&raw const V3_0).cast())));
        // SAFETY: the caller gives a place for the interface.
        unsafe { *place = interface };
        CKR_OK
    }

    fn versions(get_list: CK_C_GetInterfaceList, get: CK_C_GetInterface) -> Vec<(u8, u8)> {
        // SAFETY: the functions above do as a module's do.
        let interfaces = unsafe { of_module(get_list, get) };
        interfaces.iter().map(Interface::version).collect()
    }

    #[test]
    fn interfaces_are_found_by_the_list_or_one_by_one() {
        assert_eq!(versions(Some(get_list), None), [(2, 40), (3, 0)]);
        assert_eq!(versions(None, Some(get_default)), [(3, 0)]);
        assert_eq!(versions(Some(get_absurd_list), Some(get_default)), [(3, 0)]);
        assert_eq!(versions(Some(get_absurd_list), None), []);
        assert_eq!(versions(None, None), []);
    }
}
