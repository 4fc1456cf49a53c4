//! The parts of an ELF file that tell about it (elf(5)): header and program headers, of either width and byte order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const MAX_SEGMENTS: u16 = 128;

/// Width and byte order of a file's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) wide: bool,
    pub(crate) little_endian: bool,
}

/// What a program's header says about the machine; objects of one process agree in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) layout: Layout,
    /// `e_machine`.
    pub(crate) number: u64,
}

/// One program header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// `p_type`.
    pub(crate) kind: u64,
    /// `p_flags`.
    pub(crate) flags: u64,
    /// Where its content begins in the file.
    pub(crate) offset: u64,
    /// Where it will be in memory.
    pub(crate) address: u64,
    /// Bytes of it in the file.
    pub(crate) length: u64,
}

/// The headers of an ELF file.
#[derive(Debug)]
pub(crate) struct Elf {
    pub(crate) machine: Machine,
    pub(crate) segments: Vec<Segment>,
}

impl Elf {
    /// Nothing where the file is no ELF file, or a broken one.
    pub(crate) fn read(file: &File) -> io::Result<Option<Self>> {
        let Some(header) = part(file, 0, 64)?.and_then(|bytes| Header::parse(&bytes)) else {
            return Ok(None);
        };
        let layout = header.machine.layout;
        let mut segments = Vec::new();
        for index in 0..u64::from(header.segments) {
            let at = index.checked_mul(header.segment_size).and_then(|at| at.checked_add(header.table));
            let Some(at) = at else { return Ok(None) };
            let Some(bytes) = part(file, at, layout.segment_length())? else { return Ok(None) };
            segments.extend(layout.segment(&bytes));
        }
        Ok(Some(Self { machine: header.machine, segments }))
    }
}

/// `length` bytes at `offset`; nothing where the file ends before.
pub(crate) fn part(file: &File, offset: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl Layout {
    pub(crate) fn number(self, bytes: &[u8], at: usize, width: usize) -> Option<u64> {
        let field = bytes.get(at..at.checked_add(width)?)?;
        let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.little_endian { field.iter().rev().fold(0, join) } else { field.iter().fold(0, join) })
    }

    /// Bytes of an address.
    pub(crate) const fn word(self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    /// Bytes of a program header.
    const fn segment_length(self) -> usize {
        if self.wide { 56 } else { 32 }
    }

    fn segment(self, bytes: &[u8]) -> Option<Segment> {
        let (flags, offset, address, length) = if self.wide { (4, 8, 16, 32) } else { (24, 4, 8, 16) };
        Some(Segment {
            kind: self.number(bytes, 0, 4)?,
            flags: self.number(bytes, flags, 4)?,
            offset: self.number(bytes, offset, self.word())?,
            address: self.number(bytes, address, self.word())?,
            length: self.number(bytes, length, self.word())?,
        })
    }
}

struct Header {
    machine: Machine,
    /// Offset of the program headers.
    table: u64,
    /// Distance from one to the next.
    segment_size: u64,
    segments: u16,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(b"\x7fELF")?;
        let wide = match rest.first()? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let little_endian = match rest.get(1)? {
            1 => true,
            2 => false,
            _ => return None,
        };
        let layout = Layout { wide, little_endian };
        let (table, size, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
        Some(Self {
            machine: Machine { layout, number: layout.number(bytes, 18, 2)? },
            table: layout.number(bytes, table, layout.word())?,
            segment_size: layout.number(bytes, size, 2)?,
            segments: u16::try_from(layout.number(bytes, count, 2)?).ok()?.min(MAX_SEGMENTS),
        })
    }
}
