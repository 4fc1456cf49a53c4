//! A module in C that answers by chance: it writes what a call may have it write, and says what modules say.

use cryptoki_sys::*;
use pkcs11_table::{Function, Layout, Target, layout, message_layout};

use super::memory::Chance;
use super::raw::{Arguments, Raw, length_of};
use super::seen::{number, target};
use super::{Value, value_of};

const ANSWERS: [CK_RV; 10] = [
    CKR_OK,
    CKR_OK,
    CKR_OK,
    CKR_OK,
    CKR_OK,
    CKR_ATTRIBUTE_SENSITIVE,
    CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_BUFFER_TOO_SMALL,
    CKR_DEVICE_ERROR,
    CKR_VENDOR_DEFINED | 7,
];

/// After these every attribute that was asked for has an answer.
const ANSWERED: [CK_RV; 4] =
    [CKR_OK, CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL];

/// More than this is never given out, for the time that it takes.
const MOST: CK_ULONG = 4096;

fn write(place: *mut u8, content: &[u8]) {
    // SAFETY: as much room as the call states.
    unsafe { place.copy_from_nonoverlapping(content.as_ptr(), content.len()) };
}

fn state(place: *mut CK_ULONG, number: CK_ULONG) {
    // SAFETY: a place for a number, aligned or not.
    unsafe { place.write_unaligned(number) };
}

/// Answers a call.
pub(super) fn act(call: &Arguments, chance: &mut Chance) -> CK_RV {
    let rv = chance.choose(&ANSWERS);
    let is_ok = rv == CKR_OK;
    for (name, raw) in &call.all {
        match raw {
            Raw::Bytes(output) => output_of(call, name, *output, rv, chance),
            Raw::Numbers(list) if matches!(*name, "slots" | "mechanisms") => list_of(call, *list, rv, chance),
            Raw::Numbers(objects) if *name == "objects" => found(call, *objects, rv, chance),
            Raw::Numbers(place)
                if !name.ends_with("_len")
                    && *name != "count"
                    && !place.is_null()
                    && (is_ok || chance.one_in(3)) =>
            {
                state(*place, chance.number());
            }
            Raw::Place(place, length) if !place.is_null() && (is_ok || chance.one_in(3)) => {
                write(*place, &chance.bytes(*length));
            }
            Raw::Asynchronous(place) if !place.is_null() && is_ok => {
                for (at, place) in [0, 2, 3, 4].map(|at| (at, place.cast::<CK_ULONG>())) {
                    // SAFETY: one of the five fields; the second is a pointer.
                    state(unsafe { place.add(at) }, chance.number());
                }
            }
            Raw::Mechanism(mechanism) if !mechanism.is_null() => {
                // SAFETY: a mechanism, aligned or not.
                let own = unsafe { mechanism.read_unaligned() };
                let layout = layout(call.function, own.mechanism);
                into_parameter(layout, own.pParameter.cast(), own.ulParameterLen, chance);
            }
            Raw::Void(pointer) if *name == "parameter" => {
                let Some(Raw::Number(length)) = call.get("parameter_len") else { panic!("of another kind") };
                into_parameter(message_layout(), pointer.cast(), length, chance);
            }
            Raw::Attributes(first) if call.function == Function::C_GetAttributeValue => {
                let Some(Raw::Number(count)) = call.get("count") else { panic!("of another kind") };
                if !first.is_null() {
                    answer(*first, count as usize, rv, chance);
                }
            }
            _ => {}
        }
    }
    rv
}

fn output_of(call: &Arguments, name: &str, output: *mut u8, rv: CK_RV, chance: &mut Chance) {
    match call.get(&length_of(name)) {
        Some(Raw::Number(length)) => {
            let is_filled = call.function == Function::C_GenerateRandom;
            if is_filled && rv == CKR_OK && !output.is_null() {
                write(output, &chance.bytes(length as usize));
            }
        }
        Some(Raw::Numbers(length)) if !length.is_null() => {
            let room = number(length);
            match rv {
                CKR_OK if output.is_null() => state(length, chance.number()),
                CKR_OK => {
                    let given = chance.within(0..=room.min(MOST));
                    write(output, &chance.bytes(given as usize));
                    state(length, given);
                }
                CKR_BUFFER_TOO_SMALL => state(length, room.wrapping_add(1)),
                _ if chance.one_in(3) => state(length, chance.number()),
                _ => {}
            }
        }
        _ => {}
    }
}

fn list_of(call: &Arguments, list: *mut CK_ULONG, rv: CK_RV, chance: &mut Chance) {
    let Some(Raw::Numbers(count)) = call.get("count") else { panic!("of another kind") };
    if count.is_null() {
        return;
    }
    let room = number(count);
    match rv {
        CKR_OK if list.is_null() => state(count, chance.within(0..=9)),
        CKR_OK => {
            let given = chance.within(0..=room.min(MOST));
            write(list.cast(), &chance.bytes(given as usize * 8));
            state(count, given);
        }
        CKR_BUFFER_TOO_SMALL => state(count, room.wrapping_add(1)),
        _ => {}
    }
}

fn found(call: &Arguments, objects: *mut CK_ULONG, rv: CK_RV, chance: &mut Chance) {
    let (Some(Raw::Number(room)), Some(Raw::Numbers(count))) = (call.get("max_count"), call.get("count"))
    else {
        panic!("of another kind")
    };
    if !count.is_null() && rv == CKR_OK {
        let given = chance.within(0..=room.min(MOST));
        if !objects.is_null() {
            write(objects.cast(), &chance.bytes(given as usize * 8));
        }
        state(count, given);
    }
}

fn into_parameter(layout: Layout, place: *mut u8, length: CK_ULONG, chance: &mut Chance) {
    let Some(structure) = layout.of_size(length as usize).filter(|_| !place.is_null()) else { return };
    for pointer in structure.pointers.iter().filter(|pointer| pointer.is_written) {
        let Target::Bytes(extent) = pointer.target else { panic!("of another kind") };
        // SAFETY: a pointer inside the structure.
        let leads_to = unsafe { place.add(pointer.offset).cast::<*mut u8>().read_unaligned() };
        match target(place, pointer.when, extent) {
            Some(length) if !leads_to.is_null() && chance.one_in(2) => {
                write(leads_to, &chance.bytes(length));
            }
            _ => {}
        }
    }
}

/// Answers for attributes, those in a template as well.
fn answer(first: *mut CK_ATTRIBUTE, count: usize, rv: CK_RV, chance: &mut Chance) {
    for index in 0..count {
        // SAFETY: as many attributes as are stated, aligned or not.
        let (place, own) = unsafe { (first.add(index), first.add(index).read_unaligned()) };
        // SAFETY: as above.
        let length = unsafe { &raw mut (*place).ulValueLen };
        let room = own.ulValueLen;
        if !ANSWERED.contains(&rv) {
            if chance.one_in(3) {
                state(length, chance.number());
            }
            continue;
        }
        match chance.within(0..=4) {
            _ if own.pValue.is_null() => state(length, chance.choose(&[0, 24, CK_UNAVAILABLE_INFORMATION])),
            0 => state(length, CK_UNAVAILABLE_INFORMATION),
            1 if rv != CKR_OK => state(length, room.wrapping_add(1)),
            _ if value_of(own.type_) == Value::Template => {
                let inner = own.pValue.cast::<CK_ATTRIBUTE>();
                let count = room as usize / size_of::<CK_ATTRIBUTE>();
                answer(inner, count, rv, chance);
                for index in 0..count {
                    if chance.one_in(2) {
                        // SAFETY: as many attributes as there is room for.
                        state(unsafe { &raw mut (*inner.add(index)).type_ }, chance.number());
                    }
                }
                state(length, chance.choose(&[room, 0]));
            }
            _ => {
                let given = chance.within(0..=room.min(MOST));
                write(own.pValue.cast(), &chance.bytes(given as usize));
                state(length, given);
            }
        }
    }
}
