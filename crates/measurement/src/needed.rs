//! What an ELF object asks of the dynamic loader: its interpreter, the libraries it needs, and where to look for them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::elf::{Elf, Machine, part};

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const PF_X: u64 = 1;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_NODEFLIB: u64 = 0x800;

const MAX_DYNAMIC: usize = 64 * 1024;
/// `PATH_MAX`; a list of directories may be as long here.
const MAX_TEXT: usize = 4096;

/// What the headers of one object say.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) machine: Machine,
    /// Whether any of it is mapped executable.
    pub(crate) has_code: bool,
    /// `PT_INTERP`, the loader.
    pub(crate) interpreter: Option<Vec<u8>>,
    pub(crate) needed: Vec<Vec<u8>>,
    /// The name by which other objects need it.
    pub(crate) soname: Option<Vec<u8>>,
    /// `DT_RPATH`: for what this object needs, and what that needs in turn.
    pub(crate) rpath: Option<Vec<u8>>,
    /// `DT_RUNPATH`: for what this object needs.
    pub(crate) runpath: Option<Vec<u8>>,
    /// Not to be looked for in the system's own directories.
    pub(crate) without_default: bool,
}

impl Object {
    /// Nothing where the file is no ELF file, or a broken one.
    pub(crate) fn read(file: &File) -> io::Result<Option<Self>> {
        let Some(elf) = Elf::read(file)? else { return Ok(None) };
        let mut object = Self {
            machine: elf.machine,
            has_code: elf.segments.iter().any(|segment| segment.kind == PT_LOAD && segment.flags & PF_X != 0),
            interpreter: None,
            needed: Vec::new(),
            soname: None,
            rpath: None,
            runpath: None,
            without_default: false,
        };
        for segment in &elf.segments {
            if segment.kind == PT_INTERP {
                let Some(path) = text(file, segment.offset)? else { return Ok(None) };
                object.interpreter = Some(path);
            } else if segment.kind == PT_DYNAMIC {
                let length = usize::try_from(segment.length).unwrap_or(usize::MAX).min(MAX_DYNAMIC);
                let Some(entries) = part(file, segment.offset, length)? else { return Ok(None) };
                if object.add(file, &elf, &entries)?.is_none() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(object))
    }

    /// Takes up the dynamic section; nothing where it is broken.
    fn add(&mut self, file: &File, elf: &Elf, entries: &[u8]) -> io::Result<Option<()>> {
        let (layout, word) = (elf.machine.layout, elf.machine.layout.word());
        let entries: Vec<(u64, u64)> = entries
            .chunks_exact(2 * word)
            .filter_map(|entry| Some((layout.number(entry, 0, word)?, layout.number(entry, word, word)?)))
            .take_while(|(tag, _)| *tag != DT_NULL)
            .collect();
        let table = entries.iter().find(|(tag, _)| *tag == DT_STRTAB).and_then(|(_, at)| in_file(elf, *at));
        for (tag, value) in entries {
            if tag == DT_FLAGS_1 {
                self.without_default = value & DF_1_NODEFLIB != 0;
            }
            if !matches!(tag, DT_NEEDED | DT_SONAME | DT_RPATH | DT_RUNPATH) {
                continue;
            }
            let Some(at) = table.and_then(|table| table.checked_add(value)) else { return Ok(None) };
            let Some(text) = text(file, at)? else { return Ok(None) };
            match tag {
                DT_NEEDED => self.needed.push(text),
                DT_SONAME => self.soname = Some(text),
                DT_RPATH => self.rpath = Some(text),
                _ => self.runpath = Some(text),
            }
        }
        Ok(Some(()))
    }
}

/// The name by which other objects need a library (`DT_SONAME`); nothing where it has none, or where that cannot be read.
pub fn soname(path: &Path) -> Option<Vec<u8>> {
    Object::read(&File::open(path).ok()?).ok()??.soname
}

/// Where in the file the memory at `address` comes from.
fn in_file(elf: &Elf, address: u64) -> Option<u64> {
    elf.segments.iter().filter(|segment| segment.kind == PT_LOAD).find_map(|segment| {
        let within = address.checked_sub(segment.address).filter(|within| *within < segment.length)?;
        segment.offset.checked_add(within)
    })
}

/// The text at `offset`, without the NUL that ends it; nothing where none does.
fn text(file: &File, offset: u64) -> io::Result<Option<Vec<u8>>> {
    if i64::try_from(offset).is_err() {
        return Ok(None);
    }
    let mut bytes = vec![0; MAX_TEXT];
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(length as u64))? {
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    let end = bytes.iter().position(|byte| *byte == 0);
    Ok(end.map(|end| {
        bytes.truncate(end);
        bytes
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn of(content: &[u8]) -> Option<Object> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Object::read(&file).unwrap()
    }

    #[test]
    fn a_program_of_the_system_is_read() {
        let object = Object::read(&File::open("/usr/bin/env").unwrap()).unwrap().unwrap();
        assert!(object.has_code);
        assert!(object.interpreter.unwrap().starts_with(b"/lib"));
        assert_eq!(object.needed, [b"libc.so.6"]);
        assert!(!object.without_default);
    }

    #[test]
    fn a_library_is_needed_by_its_own_name() {
        assert_eq!(soname(Path::new("/lib/x86_64-linux-gnu/libm.so.6")).unwrap(), b"libm.so.6");
        for path in ["/usr/bin/env", "/etc/passwd", "/nonexistent"] {
            assert_eq!(soname(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn what_is_no_elf_file_or_is_cut_off_is_none() {
        let whole = std::fs::read("/usr/bin/env").unwrap();
        assert!(of(b"#!/bin/sh\n").is_none() && of(b"").is_none());
        for length in [63, 64, 200, 700] {
            assert!(of(&whole[..length]).is_none(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_change_is_answered_without_a_panic(at in 4usize..1024, byte in any::<u8>()) {
            let mut content = std::fs::read("/usr/bin/env").unwrap();
            content[at] = byte;
            of(&content);
        }
    }
}
