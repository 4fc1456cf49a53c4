//! The function lists and interfaces that the spy gives out. Tests can have it be an older module, by `SPY_OFFERS=3.0,2.40`,
//! and have NULL in the place of functions of 3.x, by `SPY_NULL=C_EncapsulateKey,C_AsyncJoin`.

use std::env;
use std::ffi::CStr;
use std::sync::OnceLock;

use cryptoki_sys::*;

const STANDARD: &CStr = c"PKCS 11";
/// An interface that no standard knows.
const VENDORS: &CStr = c"Vendor Spy";

struct Interfaces {
    list_3_0: CK_FUNCTION_LIST_3_0,
    list_3_1: CK_FUNCTION_LIST_3_0,
    list_3_2: CK_FUNCTION_LIST_3_2,
    interfaces: OnceLock<Vec<CK_INTERFACE>>,
}

// SAFETY: nothing in it is written to after it was made.
unsafe impl Send for Interfaces {}
// SAFETY: as above.
unsafe impl Sync for Interfaces {}

static INTERFACES: OnceLock<Interfaces> = OnceLock::new();
static VENDORS_LIST: CK_VERSION = CK_VERSION { major: 1, minor: 7 };

/// Whether a list of words in the environment has this one; `default` where there is no such list.
fn is_listed(variable: &str, word: &str, default: bool) -> bool {
    env::var(variable).map_or(default, |words| words.split(',').any(|listed| listed == word))
}

macro_rules! lists {
    (
        V2_40 { $($first:ident: $first_class:ident $(($($first_use:ident),+))?, $first_arguments:tt;)* }
        V3_0 { $($second:ident: $second_class:ident $(($($second_use:ident),+))?, $second_arguments:tt;)* }
        V3_2 { $($third:ident: $third_class:ident $(($($third_use:ident),+))?, $third_arguments:tt;)* }
    ) => {
        /// What `C_GetFunctionList` answers with.
        pub static FUNCTION_LIST: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            $($first: Some(crate::$first),)*
        };

        fn list_of_3_0(minor: CK_BYTE) -> CK_FUNCTION_LIST_3_0 {
            let mut list = CK_FUNCTION_LIST_3_0 {
                version: CK_VERSION { major: 3, minor },
                $($first: Some(crate::$first),)*
                $($second: Some(crate::$second),)*
            };
            $(if is_listed("SPY_NULL", stringify!($second), false) {
                list.$second = None;
            })*
            list
        }

        fn list_of_3_2() -> CK_FUNCTION_LIST_3_2 {
            let mut list = CK_FUNCTION_LIST_3_2 {
                version: CK_VERSION { major: 3, minor: 2 },
                $($first: Some(crate::$first),)*
                $($second: Some(crate::$second),)*
                $($third: Some(crate::$third),)*
            };
            $(if is_listed("SPY_NULL", stringify!($second), false) {
                list.$second = None;
            })*
            $(if is_listed("SPY_NULL", stringify!($third), false) {
                list.$third = None;
            })*
            list
        }
    };
}

pkcs11_table::pkcs11_functions!(lists);

/// The interfaces that are offered, the newest first.
fn offered() -> &'static [CK_INTERFACE] {
    let all = INTERFACES.get_or_init(|| Interfaces {
        list_3_0: list_of_3_0(0),
        list_3_1: list_of_3_0(1),
        list_3_2: list_of_3_2(),
        interfaces: OnceLock::new(),
    });
    all.interfaces.get_or_init(|| {
        let lists: [(&str, &CStr, *const CK_VERSION); 5] = [
            ("3.2", STANDARD, (&raw const all.list_3_2).cast()),
            ("3.1", STANDARD, (&raw const all.list_3_1).cast()),
            ("3.0", STANDARD, (&raw const all.list_3_0).cast()),
            ("2.40", STANDARD, (&raw const FUNCTION_LIST).cast()),
            ("vendor", VENDORS, &raw const VENDORS_LIST),
        ];
        let chosen = lists.into_iter().filter(|(version, ..)| is_listed("SPY_OFFERS", version, true));
        let interface = |(_, name, list): (&str, &CStr, *const CK_VERSION)| CK_INTERFACE {
            pInterfaceName: name.as_ptr().cast_mut().cast(),
            pFunctionList: list.cast_mut().cast(),
            flags: CKF_INTERFACE_FORK_SAFE,
        };
        chosen.map(interface).collect()
    })
}

/// Answers `C_GetInterfaceList`.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn interface_list(interfaces: *mut CK_INTERFACE, count: *mut CK_ULONG) -> CK_RV {
    if count.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let offered = offered();
    // SAFETY: not NULL, hence a place for a number.
    let room = unsafe { count.replace(offered.len() as CK_ULONG) } as usize;
    if interfaces.is_null() {
        return CKR_OK;
    }
    if room < offered.len() {
        return CKR_BUFFER_TOO_SMALL;
    }
    // SAFETY: there is room for as many.
    unsafe { interfaces.copy_from_nonoverlapping(offered.as_ptr(), offered.len()) };
    CKR_OK
}

/// Answers `C_GetInterface`.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn interface(
    name: *mut CK_UTF8CHAR,
    version: *mut CK_VERSION,
    interface: *mut *mut CK_INTERFACE,
    flags: CK_FLAGS,
) -> CK_RV {
    if interface.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let is_it = |offered: &&CK_INTERFACE| {
        // SAFETY: names are strings, and lists begin with their version.
        let (its_name, its_version) = unsafe {
            (CStr::from_ptr(offered.pInterfaceName.cast()), *offered.pFunctionList.cast::<CK_VERSION>())
        };
        // SAFETY: the caller's name is NULL or a string, and the version NULL or one.
        let (name, version) =
            unsafe { ((!name.is_null()).then(|| CStr::from_ptr(name.cast())), version.as_ref()) };
        name.is_none_or(|name| name == its_name)
            && version.is_none_or(|version| {
                (version.major, version.minor) == (its_version.major, its_version.minor)
            })
            && offered.flags & flags == flags
    };
    let Some(found) = offered().iter().find(is_it) else { return CKR_ARGUMENTS_BAD };
    // SAFETY: not NULL, hence a place for a pointer.
    unsafe { *interface = core::ptr::from_ref(found).cast_mut() };
    CKR_OK
}
