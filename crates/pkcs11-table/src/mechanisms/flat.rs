//! Vendors' mechanisms of which somebody says that their parameter is bytes and nothing else.

use super::{Layout, Parameter, layout, parameter};
use crate::Function;

/// `CKM_VENDOR_DEFINED`: what has this bit is no mechanism of the standard, now or later.
const VENDOR_DEFINED: u64 = 0x8000_0000;

/// Mechanisms of a vendor's own whose parameter holds neither pointers nor object handles. The table cannot know them: whoever
/// is responsible for the token says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlatMechanisms {
    /// Ascending.
    numbers: Vec<u64>,
}

impl FlatMechanisms {
    /// None: the parameter of every mechanism that the table does not know may hold anything.
    pub const NONE: Self = Self { numbers: Vec::new() };
    /// Most that there can be. A module has a few.
    pub const MOST: usize = 64;

    /// Those of these numbers, which have to be in ascending order, each once, vendors' own, and no more than
    /// [`MOST`](Self::MOST).
    pub fn new(numbers: Vec<u64>) -> Option<Self> {
        let is_ascending = numbers.is_sorted_by(|one, other| one < other);
        let are_vendors = numbers.iter().copied().all(is_vendors);
        (is_ascending && are_vendors && numbers.len() <= Self::MOST).then_some(Self { numbers })
    }

    /// Their numbers, ascending.
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// What the parameter of `mechanism` can hold: as the table says, but nothing where it is one of these.
    pub fn parameter(&self, mechanism: u64) -> Parameter {
        if self.has(mechanism) { Parameter::Plain } else { parameter(mechanism) }
    }

    /// How the parameter of `mechanism` is laid out in a call of `function`: as the table says, but without pointers where it
    /// is one of these.
    pub fn layout(&self, function: Function, mechanism: u64) -> Layout {
        if self.has(mechanism) { Layout::Flat } else { layout(function, mechanism) }
    }

    fn has(&self, mechanism: u64) -> bool {
        self.numbers.binary_search(&mechanism).is_ok()
    }
}

/// Whether a mechanism is a vendor's own by its number. What has more than 32 bits is none, since a module that keeps no more of
/// them would take it for another.
pub const fn is_vendors(mechanism: u64) -> bool {
    mechanism & VENDOR_DEFINED != 0 && mechanism <= u32::MAX as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{is_known, mechanism_by_name};

    #[test]
    fn only_mechanisms_of_vendors_can_be_called_flat_each_once() {
        for good in [vec![], vec![VENDOR_DEFINED], vec![0x8000_0101, 0xce53_4351, 0xffff_ffff]] {
            assert_eq!(FlatMechanisms::new(good.clone()).unwrap().numbers(), good);
        }
        let hkdf = mechanism_by_name("CKM_HKDF_DERIVE").unwrap();
        for bad in [
            vec![0],
            vec![hkdf],
            vec![0x7fff_ffff],
            vec![0x1_0000_0000],
            vec![0x1_8000_0000],
            vec![u64::MAX],
            vec![0x8000_0001, 0x8000_0001],
            vec![0x8000_0002, 0x8000_0001],
        ] {
            assert_eq!(FlatMechanisms::new(bad.clone()), None, "{bad:x?}");
        }
        let many = |count| (0..count).map(|number| VENDOR_DEFINED | number).collect();
        assert!(FlatMechanisms::new(many(64)).is_some() && FlatMechanisms::new(many(65)).is_none());
        assert!(!is_known(VENDOR_DEFINED) && !is_known(u64::MAX));
    }

    #[test]
    fn of_the_others_the_table_says_what_their_parameter_holds() {
        let flat = FlatMechanisms::new(vec![0x8000_0101]).unwrap();
        assert_eq!(flat.parameter(0x8000_0101), Parameter::Plain);
        assert_eq!(flat.layout(Function::C_SignInit, 0x8000_0101), Layout::Flat);
        for name in ["CKM_AES_GCM", "CKM_HKDF_DERIVE", "CKM_KIP_DERIVE", "CKM_AES_CBC"] {
            let mechanism = mechanism_by_name(name).unwrap();
            assert_eq!(flat.parameter(mechanism), parameter(mechanism), "{name}");
            let function = Function::C_MessageEncryptInit;
            assert_eq!(flat.layout(function, mechanism), layout(function, mechanism), "{name}");
        }
        for other in [0x101, 0x8000_0100, 0x8000_0102, 0x1_8000_0101] {
            assert_eq!(flat.parameter(other), parameter(other), "{other:#x}");
            assert_eq!(flat.layout(Function::C_DigestInit, other), layout(Function::C_DigestInit, other));
        }
        assert_eq!(FlatMechanisms::NONE.parameter(0x8000_0101), Parameter::Unknown);
        assert_eq!(FlatMechanisms::NONE.layout(Function::C_SignInit, 0x8000_0101), Layout::Unknown);
    }
}
