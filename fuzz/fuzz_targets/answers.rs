//! What goes back to the caller: attributes, lists and handles by the rules of the standard, in the room that there is and no
//! byte beyond, whatever a module says of lengths.

#![no_main]

use cryptoki_ffi::calls;
use cryptoki_sys::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use trustshim_fuzz::caller::{Place, bytes_of, length};

const KINDS: [CK_ATTRIBUTE_TYPE; 4] = [CKA_LABEL, CKA_CLASS, CKA_APPLICATION, CKA_VALUE];

fn template(input: &mut Unstructured<'_>) -> Result<(Vec<Option<Place>>, Vec<CK_ATTRIBUTE>)> {
    let count = input.int_in_range(0..=8)?;
    let mut rooms = Vec::new();
    let mut attributes = Vec::new();
    for _ in 0..count {
        let mut room = match input.int_in_range(0..=3)? {
            0 => None,
            _ => Some(Place::of(&vec![0xee; input.int_in_range(0..=16)?], input.arbitrary()?)),
        };
        let length =
            room.as_ref().map_or_else(|| length(input), |room| Ok(room.content().len() as CK_ULONG))?;
        let pointer = room.as_mut().map_or(core::ptr::null_mut(), Place::pointer);
        attributes.push(CK_ATTRIBUTE { type_: *input.choose(&KINDS)?, pValue: pointer, ulValueLen: length });
        rooms.push(room);
    }
    Ok((rooms, attributes))
}

fn read(place: &Place) -> Vec<CK_ATTRIBUTE> {
    let size = size_of::<CK_ATTRIBUTE>();
    // SAFETY: the place holds attributes.
    place
        .content()
        .chunks_exact(size)
        .map(|one| unsafe { one.as_ptr().cast::<CK_ATTRIBUTE>().read_unaligned() })
        .collect()
}

/// Attributes of an object that the shim answers for itself.
fn answered(input: &mut Unstructured<'_>) -> Result<()> {
    let known: [(CK_ATTRIBUTE_TYPE, &[u8]); 3] =
        [(CKA_LABEL, b"trust-token"), (CKA_CLASS, &[0; 8]), (CKA_APPLICATION, b"")];
    let is_packed = input.arbitrary()?;
    let (rooms, asked) = template(input)?;
    let mut place = Place::of(bytes_of(&asked), is_packed);
    // SAFETY: a template with the rooms that it states.
    let call = unsafe {
        calls::C_GetAttributeValue::from_caller(1, 2, place.pointer().cast(), asked.len() as CK_ULONG)
    };
    let rv = call.answer(&known);
    let mut faults = Vec::new();
    for ((now, before), room) in read(&place).iter().zip(&asked).zip(&rooms) {
        assert_eq!((now.type_, now.pValue), (before.type_, before.pValue));
        let value = known.iter().find(|(kind, _)| *kind == now.type_).map(|(_, value)| *value);
        let content = room.as_ref().map(Place::content);
        let (fault, length) = match (value, content) {
            (None, _) => (Some(CKR_ATTRIBUTE_TYPE_INVALID), None),
            (Some(value), Some(room)) if room.len() < value.len() => (Some(CKR_BUFFER_TOO_SMALL), None),
            (Some(value), _) => (None, Some(value.len())),
        };
        assert_eq!(now.ulValueLen, length.map_or(CK_UNAVAILABLE_INFORMATION, |length| length as CK_ULONG));
        if let Some(room) = content {
            let given = length.and(value).unwrap_or_default();
            assert!(room.starts_with(given) && room[given.len()..].iter().all(|byte| *byte == 0xee));
        }
        faults.extend(fault);
    }
    assert_eq!(rv, faults.last().copied().unwrap_or(CKR_OK));
    Ok(())
}

/// Attributes that a module answers for: the lengths that it writes go back, and nothing else.
fn forwarded(input: &mut Unstructured<'_>) -> Result<()> {
    let is_packed = input.arbitrary()?;
    let (_rooms, asked) = template(input)?;
    let lengths: Vec<_> = asked.iter().map(|_| length(input).unwrap_or_default()).collect();
    let mut place = Place::of(bytes_of(&asked), is_packed);
    // SAFETY: as above.
    let call = unsafe {
        calls::C_GetAttributeValue::from_caller(1, 2, place.pointer().cast(), asked.len() as CK_ULONG)
    };
    call.pinned(|types, pinned| {
        assert!(types.iter().eq(asked.iter().map(|attribute| &attribute.type_)));
        for (index, length) in lengths.iter().enumerate() {
            // SAFETY: the pinned call points to a copy of as many attributes, which lives through this closure.
            let attribute = unsafe { &mut *pinned.template().add(index) };
            assert_eq!(attribute.pValue, asked[index].pValue);
            (attribute.ulValueLen, attribute.type_) = (*length, CKA_PRIVATE_EXPONENT);
        }
        CKR_OK
    });
    for ((now, before), length) in read(&place).iter().zip(&asked).zip(&lengths) {
        assert_eq!((now.type_, now.pValue, now.ulValueLen), (before.type_, before.pValue, *length));
    }
    Ok(())
}

/// A search, of which some results are kept back, and a module that may say that it has found any number.
fn searched(input: &mut Unstructured<'_>) -> Result<()> {
    let room = input.int_in_range(0..=9_usize)?;
    let told: CK_ULONG = match input.int_in_range(0..=3)? {
        0 => length(input)?,
        _ => input.int_in_range(0..=room as CK_ULONG)?,
    };
    let given = input.int_in_range(0..=12_u64)?;
    let is_packed = input.arbitrary()?;
    let mut objects = Place::of(bytes_of(&vec![7_u64; room]), is_packed);
    let mut count = Place::of(bytes_of(&[9_u64]), is_packed);
    let (first, number) = (objects.pointer().cast(), count.pointer().cast());
    // SAFETY: there is as much room as is stated.
    let call = unsafe { calls::C_FindObjects::from_caller(1, first, room as CK_ULONG, number) };
    let (rv, found) = call.with_own_places(|pinned| {
        assert_eq!(pinned.max_count(), room as CK_ULONG);
        for index in 0..room {
            // SAFETY: the pinned call has as much room as it states.
            unsafe { pinned.objects().add(index).write(100 + index as CK_ULONG) };
        }
        // SAFETY: a place for a number.
        unsafe { pinned.count().write(told) };
        CKR_OK
    });
    assert_eq!(rv, CKR_OK);
    let expected = room.min(usize::try_from(told).unwrap());
    assert!(found.iter().copied().eq((100..).take(expected)), "{found:?}");
    let delivered: Vec<CK_OBJECT_HANDLE> = (0..given).collect();
    call.deliver(&delivered);
    let wanted: Vec<_> =
        delivered.iter().copied().take(room).chain(core::iter::repeat(7)).take(room).collect();
    assert_eq!(objects.content(), bytes_of(&wanted));
    assert_eq!(count.content(), bytes_of(&[given.min(room as CK_ULONG)]));
    Ok(())
}

/// A list of slots.
fn listed(input: &mut Unstructured<'_>) -> Result<()> {
    let slots: Vec<CK_SLOT_ID> = (0..input.int_in_range(0..=5)?).collect();
    let room = input.int_in_range(0..=7_usize)?;
    let asks_only = input.arbitrary()?;
    let is_packed = input.arbitrary()?;
    let mut list = Place::of(bytes_of(&vec![70_u64; room]), is_packed);
    let mut count = Place::of(bytes_of(&[room as CK_ULONG]), is_packed);
    let first = if asks_only { core::ptr::null_mut() } else { list.pointer().cast() };
    // SAFETY: there is as much room as is stated.
    let call = unsafe { calls::C_GetSlotList::from_caller(CK_TRUE, first, count.pointer().cast()) };
    let fits = slots.len() <= room;
    assert_eq!(call.answer(&slots), if asks_only || fits { CKR_OK } else { CKR_BUFFER_TOO_SMALL });
    assert_eq!(count.content(), bytes_of(&[slots.len() as CK_ULONG]));
    let written = if asks_only || !fits { &[][..] } else { &slots };
    assert!(list.content().starts_with(bytes_of(written)));
    assert!(list.content()[8 * written.len()..].chunks(8).all(|slot| slot == bytes_of(&[70_u64])));
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    // What the input is too short for is not tried.
    let _ = match input.int_in_range(0..=3) {
        Ok(0) => answered(&mut input),
        Ok(1) => forwarded(&mut input),
        Ok(2) => searched(&mut input),
        _ => listed(&mut input),
    };
});
