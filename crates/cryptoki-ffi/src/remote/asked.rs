//! The template by which attributes are asked for: types go in, values and lengths come out.

use cryptoki_sys::*;
use guard_wire::{Reader, WireError, Writer};
use pkcs11_table::Function;

use super::arena::Arena;
use super::kind::{CONTENT, Kind, MOST_ROOM, NULL, NUMBER, THERE, Terms, UNTOUCHED, fits, give, seen};
use super::template::{Bounds, NESTED, Value, bytes_of, count_in, value_of};

/// A template that is filled in, and how many attributes it has.
pub(super) struct Asked;

/// Such a template on the server's side, as it was handed over.
pub(super) struct AskedTemplate {
    first: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    attributes: Vec<AskedAttribute>,
}

struct AskedAttribute {
    kind: CK_ATTRIBUTE_TYPE,
    value: *mut u8,
    room: CK_ULONG,
    /// The attributes at `value`, where that is a template.
    inner: Vec<Self>,
}

/// Return values after which every attribute has its answer (PKCS#11 2.40 section 5.7, `C_GetAttributeValue`).
const fn is_answered(rv: CK_RV) -> bool {
    matches!(rv, CKR_OK | CKR_ATTRIBUTE_SENSITIVE | CKR_ATTRIBUTE_TYPE_INVALID | CKR_BUFFER_TOO_SMALL)
}

/// Most room for each of `count` values, so that all of them together fit into an answer.
const fn share(most: usize, count: usize) -> usize {
    match most.checked_div(count) {
        Some(share) => share,
        None => most,
    }
}

impl Kind for Asked {
    type Arguments = (*mut CK_ATTRIBUTE, CK_ULONG);
    type Place = AskedTemplate;

    unsafe fn encode(_: Terms<'_>, (first, count): Self::Arguments, body: &mut Writer) -> Result<(), CK_RV> {
        if first.is_null() {
            fits(body.word(NULL))?;
            return fits(body.word(count));
        }
        fits(body.word(THERE))?;
        // SAFETY: not NULL, hence a template of `count` attributes, by the caller's promise.
        unsafe { encode(first, count, MOST_ROOM, &mut Bounds::new(), body) }
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        if body.flag("template")? {
            decode(MOST_ROOM, &mut Bounds::new(), body, arena)
        } else {
            let count = body.word()?;
            Ok(AskedTemplate { first: core::ptr::null_mut(), count, attributes: Vec::new() })
        }
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        (place.first, place.count)
    }

    unsafe fn answer(place: &Self::Place, rv: CK_RV, answer: &mut Writer) -> Result<(), WireError> {
        // SAFETY: in the arena, by the promise above.
        unsafe { answer_for(&place.attributes, place.first, false, rv, answer) }
    }

    unsafe fn deliver(
        _: Function,
        (first, count): Self::Arguments,
        rv: CK_RV,
        answer: &mut Reader<'_>,
    ) -> Result<(), WireError> {
        if first.is_null() {
            return Ok(());
        }
        // SAFETY: not NULL, hence a template of `count` attributes, by the caller's promise.
        unsafe { deliver(first, count, false, &mut Bounds::new(), rv, answer) }
    }
}

/// # Safety
/// At `first` are `count` attributes, whose values are NULL or have as much room as they say.
unsafe fn encode(
    first: *const CK_ATTRIBUTE,
    count: CK_ULONG,
    most: usize,
    bounds: &mut Bounds,
    body: &mut Writer,
) -> Result<(), CK_RV> {
    let count = bounds.take(count).ok_or(CKR_ARGUMENTS_BAD)?;
    let share = share(most, count);
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
        match value_of(attribute.type_) {
            Value::Bytes => {
                fits(body.word(THERE))?;
                fits(body.word(attribute.ulValueLen.min(share as CK_ULONG)))?;
            }
            Value::Template => {
                let count = count_in(attribute.ulValueLen)?;
                fits(body.word(NESTED))?;
                let inner = attribute.pValue.cast::<CK_ATTRIBUTE>().cast_const();
                // SAFETY: not NULL, hence a template of as many attributes.
                let encoded = bounds.inside(|bounds| unsafe { encode(inner, count, share, bounds, body) });
                encoded.ok_or(CKR_ATTRIBUTE_VALUE_INVALID)??;
            }
            Value::Unknown => return Err(CKR_ATTRIBUTE_TYPE_INVALID),
        }
    }
    Ok(())
}

fn decode(
    most: usize,
    bounds: &mut Bounds,
    body: &mut Reader<'_>,
    arena: &mut Arena,
) -> Result<AskedTemplate, WireError> {
    let count = bounds.take(body.word()?).ok_or(WireError::Number("attributes"))?;
    let share = share(most, count);
    let first: *mut CK_ATTRIBUTE = arena.place(bytes_of(count))?.cast();
    let mut attributes = Vec::with_capacity(count);
    for index in 0..count {
        let kind = body.word()?;
        let mut asked = AskedAttribute { kind, value: core::ptr::null_mut(), room: 0, inner: Vec::new() };
        match (body.word()?, value_of(kind)) {
            (NULL, _) => asked.room = body.word()?,
            (THERE, Value::Bytes) => {
                let room = body.number(share, "room")?;
                asked.value = arena.place(room)?;
                asked.room = room as CK_ULONG;
            }
            (NESTED, Value::Template) => {
                let inner = bounds.inside(|bounds| decode(share, bounds, body, arena));
                let inner = inner.ok_or(WireError::Number("depth"))??;
                asked.value = inner.first.cast();
                asked.room = bytes_of(inner.attributes.len()) as CK_ULONG;
                asked.inner = inner.attributes;
            }
            _ => return Err(WireError::Contradiction("a value")),
        }
        let attribute = CK_ATTRIBUTE { type_: kind, pValue: asked.value.cast(), ulValueLen: asked.room };
        // SAFETY: the place has room for `count` attributes, and is aligned.
        unsafe { first.add(index).write(attribute) };
        attributes.push(asked);
    }
    Ok(AskedTemplate { first, count: count as CK_ULONG, attributes })
}

/// Answers for the attributes of a template. Which ones a template that is a value has, is told by its types.
///
/// # Safety
/// At `first` are as many attributes as `asked` has, in an arena, and nobody writes there any more.
unsafe fn answer_for(
    asked: &[AskedAttribute],
    first: *const CK_ATTRIBUTE,
    is_value: bool,
    rv: CK_RV,
    answer: &mut Writer,
) -> Result<(), WireError> {
    for (index, asked) in asked.iter().enumerate() {
        // SAFETY: one of the attributes that are there.
        let attribute = unsafe { first.add(index).read() };
        if is_value {
            answer.word(attribute.type_)?;
        }
        let now = attribute.ulValueLen;
        let is_given = is_answered(rv) && !asked.value.is_null() && now != CK_UNAVAILABLE_INFORMATION;
        if is_given && now > asked.room && rv == CKR_OK {
            return Err(WireError::Overrun);
        }
        if !is_given || now > asked.room {
            if now == asked.room {
                answer.word(UNTOUCHED)?;
            } else {
                answer.word(NUMBER)?;
                answer.word(now)?;
            }
        } else if value_of(asked.kind) == Value::Template {
            answer.word(NESTED)?;
            answer.word(now)?;
            // SAFETY: the attributes at the value, in the arena as well.
            unsafe { answer_for(&asked.inner, asked.value.cast(), true, rv, answer) }?;
        } else {
            answer.word(CONTENT)?;
            // SAFETY: the place has room for that many.
            answer.bytes(unsafe { seen(asked.value, now as usize) })?;
        }
    }
    Ok(())
}

/// # Safety
/// As for `encode`.
unsafe fn deliver(
    first: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    is_value: bool,
    bounds: &mut Bounds,
    rv: CK_RV,
    answer: &mut Reader<'_>,
) -> Result<(), WireError> {
    let count = bounds.take(count).ok_or(WireError::Number("attributes"))?;
    // All of them before anything is written: a value may lie in the template itself.
    // SAFETY: `count` attributes are there; callers align nothing.
    let own: Vec<_> = (0..count).map(|index| unsafe { first.add(index).read_unaligned() }).collect();
    for (index, asked) in own.iter().enumerate() {
        if is_value {
            let kind = answer.word()?;
            // SAFETY: one of the caller's attributes.
            unsafe { (&raw mut (*first.add(index)).type_).write_unaligned(kind) };
        }
        let tag = answer.word()?;
        let is_there = is_answered(rv) && !asked.pValue.is_null();
        let now = match (tag, value_of(asked.type_)) {
            (UNTOUCHED, _) => continue,
            (NUMBER, _) => answer.word()?,
            (CONTENT, Value::Bytes) if is_there => {
                let content = answer.bytes()?;
                if content.len() as CK_ULONG > asked.ulValueLen {
                    return Err(WireError::Contradiction("more than there is room for"));
                }
                // SAFETY: the caller states that there is room for as many.
                unsafe { give(asked.pValue.cast(), content) };
                content.len() as CK_ULONG
            }
            (NESTED, Value::Template) if is_there => {
                let now = answer.word()?;
                let room = count_in(asked.ulValueLen).map_err(|_| WireError::Number("room"))?;
                if now > asked.ulValueLen {
                    return Err(WireError::Contradiction("more than there is room for"));
                }
                let inner: *mut CK_ATTRIBUTE = asked.pValue.cast();
                // SAFETY: not NULL, hence as many attributes.
                let delivered =
                    bounds.inside(|bounds| unsafe { deliver(inner, room, true, bounds, rv, answer) });
                delivered.ok_or(WireError::Number("depth"))??;
                now
            }
            _ => return Err(WireError::Contradiction("a value")),
        };
        // SAFETY: one of the caller's attributes.
        unsafe { (&raw mut (*first.add(index)).ulValueLen).write_unaligned(now) };
    }
    Ok(())
}
