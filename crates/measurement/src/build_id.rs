//! The ELF build id: the note `NT_GNU_BUILD_ID` of a program segment (elf(5)).
//!
//! It names the build for people; the digest is what counts. A file that is no ELF file, or a broken one, has none.

use std::fs::File;
use std::io;

use crate::elf::{Elf, Layout, part};

const MAX_NOTES: usize = 64 * 1024;
const MAX_ID: usize = 64;
const PT_NOTE: u64 = 4;
const NT_GNU_BUILD_ID: u64 = 3;

/// The build id in lower-case hexadecimal.
pub(crate) fn read(file: &File) -> io::Result<Option<String>> {
    let Some(elf) = Elf::read(file)? else { return Ok(None) };
    for segment in elf.segments.iter().filter(|segment| segment.kind == PT_NOTE) {
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX).min(MAX_NOTES);
        let Some(notes) = part(file, segment.offset, length)? else { continue };
        if let Some(id) = build_id(elf.machine.layout, &notes) {
            return Ok(Some(hexadecimal(id)));
        }
    }
    Ok(None)
}

/// Goes through notes of one segment: three words, then name and description, each padded to four bytes.
fn build_id(layout: Layout, mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let name_length = usize::try_from(layout.number(notes, 0, 4)?).ok()?;
        let length = usize::try_from(layout.number(notes, 4, 4)?).ok()?;
        let kind = layout.number(notes, 8, 4)?;
        let behind_name = 12_usize.checked_add(name_length.checked_next_multiple_of(4)?)?;
        let name = notes.get(12..12_usize.checked_add(name_length)?)?;
        let description = notes.get(behind_name..behind_name.checked_add(length)?)?;
        if name == b"GNU\0" && kind == NT_GNU_BUILD_ID {
            return (1..=MAX_ID).contains(&length).then_some(description);
        }
        notes = notes.get(behind_name.checked_add(length.checked_next_multiple_of(4)?)?..)?;
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use core::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn of(content: &[u8]) -> Option<String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        read(&file).unwrap()
    }

    fn number(value: u64, width: usize, little_endian: bool) -> Vec<u8> {
        let bytes = value.to_be_bytes()[8 - width..].to_vec();
        if little_endian { bytes.into_iter().rev().collect() } else { bytes }
    }

    /// An ELF file with one segment of two notes, the second of them the build id `de ad be ef 01`.
    fn elf(wide: bool, little: bool) -> Vec<u8> {
        let word = |value| number(value, 4, little);
        let long = |value| number(value, if wide { 8 } else { 4 }, little);
        let note = |kind, description: &[u8]| {
            let mut out = [word(4), word(description.len() as u64), word(kind), b"GNU\0".to_vec()].concat();
            out.extend(description);
            out.resize(out.len().next_multiple_of(4), 0);
            out
        };
        let notes = [note(1, b"abi"), note(3, b"\xde\xad\xbe\xef\x01")].concat();
        let (header, segment) = if wide { (64, 56) } else { (52, 32) };
        let mut out = vec![0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, if little { 1 } else { 2 }];
        out.resize(16, 0);
        out.extend([number(3, 2, little), number(62, 2, little), word(1)].concat());
        out.extend([long(0), long(header), long(0), word(0)].concat());
        out.extend([header, segment, 1, 0, 0, 0].map(|value| number(value, 2, little)).concat());
        let offset = header + segment;
        let length = notes.len() as u64;
        out.extend(if wide {
            [word(4), word(4), long(offset), long(0), long(0), long(length), long(length), long(4)].concat()
        } else {
            [word(4), long(offset), long(0), long(0), long(length), long(length), word(4), long(4)].concat()
        });
        out.extend(notes);
        out
    }

    #[test]
    fn the_id_is_found_in_every_layout() {
        for (wide, little) in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(of(&elf(wide, little)).as_deref(), Some("deadbeef01"), "{wide} {little}");
        }
    }

    #[test]
    fn what_is_no_elf_file_has_none() {
        for content in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &[0x7f; 200]] {
            assert_eq!(of(content), None);
        }
    }

    #[test]
    fn a_file_cut_off_anywhere_has_none() {
        let whole = elf(true, true);
        for length in 0..whole.len() - 3 {
            assert_eq!(of(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn lengths_beyond_the_file_are_harmless() {
        for at in [32, 96, 120, 124, 140, 144] {
            let mut broken = elf(true, true);
            broken[at..at + 4].fill(0xff);
            assert_eq!(of(&broken), None, "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_change_is_answered_without_a_panic(at in 4usize..200, byte in any::<u8>()) {
            let mut content = elf(true, true);
            if let Some(place) = content.get_mut(at) {
                *place = byte;
            }
            of(&content);
        }
    }
}
