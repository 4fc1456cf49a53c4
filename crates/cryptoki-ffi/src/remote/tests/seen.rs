//! What a module in C can see of a call: numbers, which pointers are NULL, and all that the others lead to. Where the bytes are
//! does not matter.

use cryptoki_sys::*;
use pkcs11_table::{Extent, Function, Layout, Structure, Target, When, layout, message_layout};

use super::raw::{Arguments, Raw, length_of};
use super::{Value, value_of};

/// What is seen of an argument.
#[derive(Debug, PartialEq)]
pub(super) enum Seen {
    Null,
    Number(CK_ULONG),
    Bytes(Vec<u8>),
    /// A place, and what it says of itself before.
    Place(CK_ULONG),
    All(Vec<Self>),
}

pub(super) fn number(place: *const CK_ULONG) -> CK_ULONG {
    // SAFETY: a number, aligned or not.
    unsafe { place.read_unaligned() }
}

fn bytes(place: *const u8, length: usize) -> Seen {
    if place.is_null() {
        return Seen::Null;
    }
    // SAFETY: as many bytes as are stated.
    Seen::Bytes((0..length).map(|at| unsafe { place.add(at).read() }).collect())
}

/// What there is to see of each argument.
pub(super) fn seen(call: &Arguments) -> Vec<(&'static str, Seen)> {
    call.all.iter().map(|(name, raw)| (*name, of(call, name, *raw))).collect()
}

fn of(call: &Arguments, name: &str, raw: Raw) -> Seen {
    let stated = |name: &str| call.get(name);
    let length = length_of(name);
    if call.function == Function::C_AsyncJoin && ["data", "data_len"].contains(&name) {
        // Nobody keeps it on the other side.
        return Seen::Null;
    }
    match raw {
        Raw::Number(number) => Seen::Number(number),
        // Nothing of another process.
        Raw::Notify => Seen::Null,
        Raw::Void(pointer) => match stated(&length) {
            Some(Raw::Number(length)) => parameter(message_layout(), pointer.cast(), length as usize),
            _ => Seen::Null,
        },
        Raw::Bytes(place) => match (name, stated(&length)) {
            ("label", _) => bytes(place, 32),
            ("function", _) => {
                // SAFETY: a string with a zero at its end.
                let is_end = |at: &usize| unsafe { place.add(*at).read() } == 0;
                if place.is_null() { Seen::Null } else { bytes(place, (0..).find(is_end).unwrap()) }
            }
            ("data", _) if call.function == Function::C_GenerateRandom => room(place),
            (_, Some(Raw::Number(length))) => bytes(place, length as usize),
            // How much room there is, is said by the length.
            (_, Some(Raw::Numbers(_))) => room(place),
            _ => panic!("bytes without a length: {name}"),
        },
        Raw::Numbers(place) if place.is_null() => Seen::Null,
        Raw::Numbers(place) => match name {
            "slots" | "mechanisms" | "objects" => Seen::Place(0),
            _ if name.ends_with("_len") => Seen::Place(number(place)),
            "count" if call.function != Function::C_FindObjects => Seen::Place(number(place)),
            _ => Seen::Place(0),
        },
        Raw::Mechanism(mechanism) if mechanism.is_null() => Seen::Null,
        Raw::Mechanism(mechanism) => {
            // SAFETY: a mechanism, aligned or not.
            let own = unsafe { mechanism.read_unaligned() };
            let layout = layout(call.function, own.mechanism);
            let parameter = parameter(layout, own.pParameter.cast(), own.ulParameterLen as usize);
            Seen::All(vec![Seen::Number(own.mechanism), Seen::Number(own.ulParameterLen), parameter])
        }
        Raw::Attributes(first) => match stated(&name.replace("template", "count")) {
            Some(Raw::Number(count)) => template(call.function, first, count as usize),
            _ => panic!("a template without a count: {name}"),
        },
        Raw::Asynchronous(place) if place.is_null() => Seen::Null,
        // The version is the caller's to set.
        Raw::Asynchronous(place) => Seen::Place(number(place.cast())),
        Raw::Place(place, _) => room(place),
    }
}

fn room(place: *const u8) -> Seen {
    if place.is_null() { Seen::Null } else { Seen::Place(0) }
}

fn parameter(layout: Layout, place: *const u8, length: usize) -> Seen {
    match layout.of_size(length) {
        Some(structure) if !place.is_null() => self::structure(structure, place),
        _ => bytes(place, length),
    }
}

/// Whether a pointer of a structure counts, and how much is there.
pub(super) fn target(structure: *const u8, when: When, extent: Extent) -> Option<usize> {
    let number = |at: usize| {
        // SAFETY: inside the structure.
        number(unsafe { structure.add(at) }.cast())
    };
    let counts = match when {
        When::Always => true,
        // SAFETY: as above.
        When::Flag(at) => unsafe { structure.add(at).read() != 0 },
        When::Unless(at, values) => !values.contains(&number(at)),
    };
    counts.then(|| match extent {
        Extent::At(at) => number(at) as usize,
        Extent::Bits(at) => number(at).div_ceil(8) as usize,
        Extent::Fixed(length) => length,
    })
}

fn structure(structure: &Structure, place: *const u8) -> Seen {
    let is_field = |at: &usize| {
        let within = |start: usize, end: usize| (start..end).contains(at);
        !structure.gaps.iter().any(|(start, end)| within(*start, *end))
            && !structure.pointers.iter().any(|pointer| within(pointer.offset, pointer.offset + 8))
    };
    // SAFETY: inside the structure.
    let fields = (0..structure.size).filter(is_field).map(|at| unsafe { place.add(at).read() }).collect();
    let mut all = vec![Seen::Bytes(fields)];
    for pointer in structure.pointers {
        let extent = match &pointer.target {
            Target::Bytes(extent) | Target::Structures(_, extent) => *extent,
        };
        let Some(count) = target(place, pointer.when, extent) else { continue };
        // SAFETY: as above.
        let leads_to = unsafe { place.add(pointer.offset).cast::<*const u8>().read_unaligned() };
        all.push(match &pointer.target {
            _ if leads_to.is_null() => Seen::Null,
            Target::Bytes(_) => bytes(leads_to, count),
            Target::Structures(inner, _) => {
                // SAFETY: as many structures as are stated.
                let one = |index: usize| unsafe { leads_to.add(index * inner.size) };
                Seen::All((0..count).map(|index| self::structure(inner, one(index))).collect())
            }
        });
    }
    Seen::All(all)
}

fn template(function: Function, first: *const CK_ATTRIBUTE, count: usize) -> Seen {
    if first.is_null() {
        return Seen::Null;
    }
    let is_asked = function == Function::C_GetAttributeValue;
    let attribute = |index: usize| {
        // SAFETY: as many attributes as are stated, aligned or not.
        let own = unsafe { first.add(index).read_unaligned() };
        let length = own.ulValueLen as usize;
        let value = match value_of(own.type_) {
            Value::Template if !own.pValue.is_null() => {
                template(function, own.pValue.cast(), length / size_of::<CK_ATTRIBUTE>())
            }
            _ if is_asked => room(own.pValue.cast()),
            _ => bytes(own.pValue.cast(), length),
        };
        Seen::All(vec![Seen::Number(own.type_), Seen::Number(own.ulValueLen), value])
    };
    Seen::All((0..count).map(attribute).collect())
}
