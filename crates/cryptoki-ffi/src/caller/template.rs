//! The template of a call, with what it states about the class and the names of an object.

use cryptoki_sys::*;

use super::copied::Copied;
use super::is_type;
use crate::attributes::is_public_attribute;
use crate::lengths::is_possible;

/// Templates longer than this are refused; the largest that clients send have some dozens of attributes.
const MOST_ATTRIBUTES: usize = 1024;
/// Names longer than this are refused rather than cut.
const LONGEST: usize = 512;

/// What a template states of one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stated<T> {
    /// Nothing.
    Absent,
    /// This.
    Once(T),
    /// It states it more than once, or in a form that cannot be read.
    Unclear,
}

/// What a template states of what objects are judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateView {
    /// `CKA_APPLICATION`.
    pub application: Stated<Vec<u8>>,
    /// `CKA_CLASS`.
    pub class: Stated<CK_OBJECT_CLASS>,
    /// `CKA_ID`.
    pub id: Stated<Vec<u8>>,
    /// `CKA_LABEL`.
    pub label: Stated<Vec<u8>>,
    /// `CKA_PRIVATE`.
    pub private: Stated<bool>,
    /// `CKA_TOKEN`.
    pub token: Stated<bool>,
    /// Every attribute is one that holds nothing secret, on any kind of object.
    pub only_public_attributes: bool,
}

/// A template in memory of our own. What it is judged by is copied, too; other values stay where they are.
pub(super) struct PinnedTemplate {
    attributes: Vec<CK_ATTRIBUTE>,
    /// NULL stays NULL: the real module may tell it from a template without attributes.
    is_null: bool,
    view: TemplateView,
    /// What the attributes in question point to.
    _values: Vec<Copied>,
}

impl PinnedTemplate {
    /// # Safety
    /// `first` is NULL or points to `count` attributes, whose values are NULL or as long as they say.
    pub(super) unsafe fn read(first: *const CK_ATTRIBUTE, count: CK_ULONG) -> Option<Self> {
        // SAFETY: by the promise above.
        let mut attributes = unsafe { attributes(first, count) }?;
        if !attributes.iter().all(|attribute| has_value(attribute) && is_type(attribute.type_)) {
            return None;
        }
        let only_public_attributes = attributes.iter().all(|attribute| is_public_attribute(attribute.type_));
        let mut values = Vec::new();
        let mut take = |kind| {
            // SAFETY: by the promise above, and none is NULL but where it has no length (`has_value`).
            unsafe { take(kind, &mut attributes, &mut values) }
        };
        let view = TemplateView {
            application: take(CKA_APPLICATION),
            class: number(take(CKA_CLASS)),
            id: take(CKA_ID),
            label: take(CKA_LABEL),
            private: flag(take(CKA_PRIVATE)),
            token: flag(take(CKA_TOKEN)),
            only_public_attributes,
        };
        Some(Self { attributes, is_null: first.is_null(), view, _values: values })
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut CK_ATTRIBUTE {
        if self.is_null { core::ptr::null_mut() } else { self.attributes.as_mut_ptr() }
    }

    pub(super) const fn view(&self) -> &TemplateView {
        &self.view
    }
}

/// The attributes themselves, copied out, aligned or not.
///
/// # Safety
/// `first` is NULL or points to `count` attributes.
pub(super) unsafe fn attributes(first: *const CK_ATTRIBUTE, count: CK_ULONG) -> Option<Vec<CK_ATTRIBUTE>> {
    let count = usize::try_from(count).ok()?;
    if count > MOST_ATTRIBUTES || (first.is_null() && count > 0) {
        return None;
    }
    // SAFETY: `count` attributes are there.
    Some((0..count).map(|index| unsafe { first.add(index).read_unaligned() }).collect())
}

/// Whether the value is there. Modules follow a pointer before they look at it, if only for the attributes they know.
fn has_value(attribute: &CK_ATTRIBUTE) -> bool {
    attribute.ulValueLen == 0 || (!attribute.pValue.is_null() && is_possible(attribute.ulValueLen))
}

/// Moves the value of the attribute `kind` into `values`.
///
/// # Safety
/// The values of the attributes are as long as they say.
unsafe fn take(
    kind: CK_ATTRIBUTE_TYPE,
    attributes: &mut [CK_ATTRIBUTE],
    values: &mut Vec<Copied>,
) -> Stated<Vec<u8>> {
    let mut of_kind = attributes.iter_mut().filter(|attribute| attribute.type_ == kind);
    let Some(attribute) = of_kind.next() else { return Stated::Absent };
    if of_kind.next().is_some() {
        return Stated::Unclear;
    }
    let length = usize::try_from(attribute.ulValueLen).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Stated::Unclear;
    }
    if length == 0 {
        return Stated::Once(Vec::new());
    }
    // SAFETY: as many bytes as the attribute says, by the promise above.
    let mut value = unsafe { Copied::of(attribute.pValue, length) };
    attribute.pValue = value.as_mut_ptr();
    // SAFETY: none of the values that are copied has gaps: they are names, a number and a byte.
    let stated = unsafe { value.bytes() }.to_vec();
    values.push(value);
    Stated::Once(stated)
}

fn number(stated: Stated<Vec<u8>>) -> Stated<CK_ULONG> {
    match stated {
        Stated::Absent => Stated::Absent,
        Stated::Unclear => Stated::Unclear,
        Stated::Once(bytes) => match bytes.try_into() {
            Ok(bytes) => Stated::Once(CK_ULONG::from_ne_bytes(bytes)),
            Err(_) => Stated::Unclear,
        },
    }
}

fn flag(stated: Stated<Vec<u8>>) -> Stated<bool> {
    match stated {
        Stated::Absent => Stated::Absent,
        Stated::Unclear => Stated::Unclear,
        Stated::Once(bytes) => match bytes.as_slice() {
            [CK_FALSE] => Stated::Once(false),
            // Some modules take any other byte for true.
            [_] => Stated::Once(true),
            _ => Stated::Unclear,
        },
    }
}

/// The value of one attribute of a call's template, of up to `most` bytes: for a call that is not forwarded.
///
/// # Safety
/// `first` is NULL or points to `count` attributes, whose values are NULL or as long as they say.
pub(super) unsafe fn value(
    first: *const CK_ATTRIBUTE,
    count: CK_ULONG,
    kind: CK_ATTRIBUTE_TYPE,
    most: usize,
) -> Option<Vec<u8>> {
    // SAFETY: by the promise above.
    let attributes = unsafe { attributes(first, count) }?;
    let attribute = attributes.iter().find(|attribute| attribute.type_ == kind)?;
    let length = usize::try_from(attribute.ulValueLen).ok().filter(|length| *length <= most)?;
    if attribute.pValue.is_null() {
        return None;
    }
    let mut value = vec![0_u8; length];
    // SAFETY: not NULL, hence as many bytes as the attribute says.
    unsafe { value.as_mut_ptr().copy_from_nonoverlapping(attribute.pValue.cast::<u8>(), length) };
    Some(value)
}
