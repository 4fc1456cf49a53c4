//! Templates that go in. The values of some attributes are templates themselves.

use cryptoki_sys::*;
use guard_wire::{Reader, WireError, Writer};
use pkcs11_table::Function;

use super::arena::Arena;
use super::kind::{Kind, NULL, THERE, Terms, fits, length, take};

/// A template that is a value.
pub(super) const NESTED: u64 = 2;

/// Most attributes of a template, with those of the templates in it. The gate refuses longer ones.
pub(super) const MOST_ATTRIBUTES: usize = 1024;
/// How deep templates lie in templates; in the standard, one in another.
pub(super) const DEEPEST: usize = 3;

const ATTRIBUTE: usize = size_of::<CK_ATTRIBUTE>();

/// What the value of an attribute is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// Bytes.
    Bytes,
    /// A template (PKCS#11 3.2 sections 4.9 and 4.10).
    Template,
    /// A list of something that may hold pointers.
    Unknown,
}

/// What the value of an attribute of this type is. Vendors give their attributes numbers in which the flag for lists may
/// mean nothing.
pub(super) const fn value_of(kind: CK_ATTRIBUTE_TYPE) -> Value {
    match kind {
        CKA_DECAPSULATE_TEMPLATE
        | CKA_DERIVE_TEMPLATE
        | CKA_ENCAPSULATE_TEMPLATE
        | CKA_UNWRAP_TEMPLATE
        | CKA_WRAP_TEMPLATE => Value::Template,
        CKA_ALLOWED_MECHANISMS => Value::Bytes,
        _ if kind & CKF_ARRAY_ATTRIBUTE != 0 && kind & CKA_VENDOR_DEFINED == 0 => Value::Unknown,
        _ => Value::Bytes,
    }
}

/// How many attributes, and how deep, there may still be.
pub(super) struct Bounds {
    left: usize,
    depth: usize,
}

impl Bounds {
    pub(super) const fn new() -> Self {
        Self { left: MOST_ATTRIBUTES, depth: DEEPEST }
    }

    /// Takes so many attributes off; `None` where there may not be as many.
    pub(super) fn take(&mut self, count: CK_ULONG) -> Option<usize> {
        let count = usize::try_from(count).ok()?;
        self.left = self.left.checked_sub(count)?;
        Some(count)
    }

    /// Goes down into a template, and comes back; `None` where that would be too deep.
    pub(super) fn inside<T>(&mut self, inner: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.depth = self.depth.checked_sub(1)?;
        let result = inner(self);
        self.depth += 1;
        Some(result)
    }
}

/// How many attributes there are in so many bytes.
pub(super) fn count_in(length: CK_ULONG) -> Result<CK_ULONG, CK_RV> {
    if length.is_multiple_of(ATTRIBUTE as CK_ULONG) {
        Ok(length / ATTRIBUTE as CK_ULONG)
    } else {
        Err(CKR_ATTRIBUTE_VALUE_INVALID)
    }
}

/// The bytes of so many attributes.
pub(super) const fn bytes_of(count: usize) -> usize {
    count * ATTRIBUTE
}

/// A template that goes in, and how many attributes it has.
pub(super) struct Template;

impl Kind for Template {
    type Arguments = (*mut CK_ATTRIBUTE, CK_ULONG);
    type Place = (*mut CK_ATTRIBUTE, CK_ULONG);

    unsafe fn encode(_: Terms<'_>, (first, count): Self::Arguments, body: &mut Writer) -> Result<(), CK_RV> {
        if first.is_null() {
            fits(body.word(NULL))?;
            return fits(body.word(count));
        }
        fits(body.word(THERE))?;
        // SAFETY: not NULL, hence a template of `count` attributes, by the caller's promise.
        unsafe { encode(first, count, &mut Bounds::new(), body) }
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        if body.flag("template")? {
            decode(&mut Bounds::new(), body, arena)
        } else {
            Ok((core::ptr::null_mut(), body.word()?))
        }
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        *place
    }
}

/// # Safety
/// At `first` are `count` attributes, whose values are NULL or as long as they say.
unsafe fn encode(
    first: *const CK_ATTRIBUTE,
    count: CK_ULONG,
    bounds: &mut Bounds,
    body: &mut Writer,
) -> Result<(), CK_RV> {
    let count = bounds.take(count).ok_or(CKR_ARGUMENTS_BAD)?;
    fits(body.word(count as u64))?;
    for index in 0..count {
        // SAFETY: one of `count` attributes; callers align nothing.
        let attribute = unsafe { first.add(index).read_unaligned() };
        fits(body.word(attribute.type_))?;
        if attribute.pValue.is_null() {
            fits(body.word(NULL))?;
            fits(body.word(attribute.ulValueLen))?;
            continue;
        }
        let length = length(attribute.ulValueLen)?;
        match value_of(attribute.type_) {
            Value::Bytes => {
                fits(body.word(THERE))?;
                // SAFETY: not NULL, hence as many bytes as the attribute says.
                unsafe { take(attribute.pValue.cast(), length, body) }?;
            }
            Value::Template => {
                let count = count_in(attribute.ulValueLen)?;
                fits(body.word(NESTED))?;
                let inner = attribute.pValue.cast::<CK_ATTRIBUTE>().cast_const();
                // SAFETY: not NULL, hence a template of as many attributes.
                let encoded = bounds.inside(|bounds| unsafe { encode(inner, count, bounds, body) });
                encoded.ok_or(CKR_ATTRIBUTE_VALUE_INVALID)??;
            }
            Value::Unknown => return Err(CKR_ATTRIBUTE_TYPE_INVALID),
        }
    }
    Ok(())
}

fn decode(
    bounds: &mut Bounds,
    body: &mut Reader<'_>,
    arena: &mut Arena,
) -> Result<(*mut CK_ATTRIBUTE, CK_ULONG), WireError> {
    let count = bounds.take(body.word()?).ok_or(WireError::Number("attributes"))?;
    let first: *mut CK_ATTRIBUTE = arena.place(bytes_of(count))?.cast();
    for index in 0..count {
        let type_ = body.word()?;
        let (value, length) = match (body.word()?, value_of(type_)) {
            (NULL, _) => (core::ptr::null_mut(), body.word()?),
            (THERE, Value::Bytes) => {
                let content = body.bytes()?;
                (arena.copy(content)?.cast(), content.len() as CK_ULONG)
            }
            (NESTED, Value::Template) => {
                let inner = bounds.inside(|bounds| decode(bounds, body, arena));
                let (first, count) = inner.ok_or(WireError::Number("depth"))??;
                (first.cast(), bytes_of(count as usize) as CK_ULONG)
            }
            _ => return Err(WireError::Contradiction("a value")),
        };
        let attribute = CK_ATTRIBUTE { type_, pValue: value, ulValueLen: length };
        // SAFETY: the place has room for `count` attributes, and is aligned.
        unsafe { first.add(index).write(attribute) };
    }
    Ok((first, count as CK_ULONG))
}
