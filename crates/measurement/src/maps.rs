//! `/proc/PID/maps` (proc_pid_maps(5)): a pure parser of its bytes, and what each executable mapping is.

use core::ops::Range;

use crate::error::MeasurementError;

/// Far above what a program has; a JIT compiler has some hundreds.
const MAX_EXECUTABLE: usize = 4096;

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Addresses.
    pub range: Range<u64>,
    /// Also writable.
    pub writable: bool,
    /// `MAP_SHARED`: no page of it can be a private copy.
    pub shared: bool,
    /// What is mapped.
    pub source: Source,
}

/// What is behind an executable mapping.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nothing but memory.
    Anonymous,
    /// A file of a mounted file system, deleted or not.
    File(MappedName),
    /// Code that the kernel puts into every process: `[vdso]`, `[vsyscall]`, `[vvar]`.
    Kernel,
    /// A memory file (`memfd_create`).
    Memfd,
}

/// A mapped file as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MappedName {
    /// Major and minor number of the file system's device.
    pub device: (u32, u32),
    /// Inode.
    pub inode: u64,
    /// The name in the map, with the kernel's escapes.
    pub name: Vec<u8>,
}

/// What the kernel puts behind the name of a file that has no name any more.
pub(crate) const DELETED: &[u8] = b" (deleted)";

impl MappedName {
    /// The paths that this name can stand for.
    ///
    /// The kernel writes a line feed as `\012` and leaves a backslash as it is, so that a name with this
    /// sequence has two readings. Device and inode tell which is meant; a mixture of both is not tried.
    pub fn readings(&self) -> impl Iterator<Item = Vec<u8>> {
        let unescaped = with_line_feeds(&self.name);
        let second = (unescaped != self.name).then_some(unescaped);
        core::iter::once(self.name.clone()).chain(second)
    }

    /// Whether the name ends like that of a deleted file. A living file can have such a name, too.
    pub fn looks_deleted(&self) -> bool {
        self.name.ends_with(DELETED)
    }

    /// Whether this is the name of memory that the kernel gives a file's shape, once it is known that no such
    /// file lives: shared anonymous memory, System V segments, huge pages.
    pub fn is_shared_memory(&self) -> bool {
        matches!(self.name.as_slice(), b"/dev/zero (deleted)" | b"/anon_hugepage (deleted)")
            || (self.name.starts_with(b"/SYSV") && self.looks_deleted())
    }
}

/// Parses the whole file and keeps the executable mappings.
///
/// # Errors
/// [`MeasurementError`] where one line cannot be understood, or for too many mappings.
pub fn executable_mappings(maps: &[u8]) -> Result<Vec<Mapping>, MeasurementError> {
    let mut found = Vec::new();
    let Some(body) = maps.strip_suffix(b"\n") else {
        // Not even one line, or one that was cut off.
        return Err(MeasurementError::MapsMalformed { line: maps.split(|byte| *byte == b'\n').count() });
    };
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let (mapping, executable) = parse(line).ok_or(MeasurementError::MapsMalformed { line: index + 1 })?;
        if executable {
            found.push(mapping);
        }
        if found.len() > MAX_EXECUTABLE {
            return Err(MeasurementError::TooMany { what: "executable mappings", limit: MAX_EXECUTABLE });
        }
    }
    Ok(found)
}

/// One line: `start-end perms offset major:minor inode [spaces name]`.
fn parse(line: &[u8]) -> Option<(Mapping, bool)> {
    let (range, rest) = split(line, b' ')?;
    let (permissions, rest) = split(rest, b' ')?;
    let (offset, rest) = split(rest, b' ')?;
    let (device, rest) = split(rest, b' ')?;
    // An anonymous mapping's line may end right behind the inode.
    let (inode, rest) = split(rest, b' ').unwrap_or((rest, b""));
    let name = rest.trim_ascii_start();

    let (start, end) = split(range, b'-')?;
    let range = hexadecimal(start)?..hexadecimal(end)?;
    if range.is_empty() {
        return None;
    }
    let [read, write, execute, sharing] = permissions.try_into().ok()?;
    flag(read, b'r')?;
    let writable = flag(write, b'w')?;
    let executable = flag(execute, b'x')?;
    let shared = match sharing {
        b's' => true,
        b'p' => false,
        _ => return None,
    };
    hexadecimal(offset)?;
    let (major, minor) = split(device, b':')?;
    let device = (u32::try_from(hexadecimal(major)?).ok()?, u32::try_from(hexadecimal(minor)?).ok()?);
    let inode = core::str::from_utf8(inode).ok().filter(|text| !text.starts_with('+'))?.parse().ok()?;
    let source = source(MappedName { device, inode, name: name.to_vec() })?;
    Some((Mapping { range, writable, shared, source }, executable))
}

fn source(file: MappedName) -> Option<Source> {
    match file.name.as_slice() {
        // Names in brackets are the kernel's: paths begin with `/`, and prctl(2) can only make `[anon:...]`.
        b"[vdso]" | b"[vsyscall]" | b"[vvar]" | b"[vvar_vclock]" if file.inode == 0 => Some(Source::Kernel),
        b"" => (file.inode == 0).then_some(Source::Anonymous),
        // `[heap]`, `[stack]`, `[uprobes]`, and files of no file system that can be mounted (`anon_inode:`).
        [first, ..] if *first != b'/' => Some(Source::Anonymous),
        name if name.starts_with(b"/memfd:") && file.looks_deleted() => Some(Source::Memfd),
        _ => Some(Source::File(file)),
    }
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == at)?;
    let (head, tail) = text.split_at_checked(position)?;
    Some((head, tail.split_first()?.1))
}

fn flag(byte: u8, set: u8) -> Option<bool> {
    match byte {
        b'-' => Some(false),
        _ if byte == set => Some(true),
        _ => None,
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let value = char::from(*digit).to_digit(16)?;
        number.checked_mul(16)?.checked_add(u64::from(value))
    })
}

fn with_line_feeds(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, tail)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(br"\012") {
            out.push(b'\n');
            rest = behind;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(line: &str) -> Mapping {
        let mut all = executable_mappings(format!("{line}\n").as_bytes()).unwrap();
        assert_eq!(all.len(), 1, "{line}");
        all.remove(0)
    }

    #[test]
    fn a_files_text_is_read_field_by_field() {
        let mapping =
            one("55d0c0a4f000-55d0c0a6a000 r-xp 00003000 fe:01 1835071                    /usr/bin/a b");
        assert_eq!(mapping.range, 0x55d0_c0a4_f000..0x55d0_c0a6_a000);
        assert!(!mapping.writable && !mapping.shared);
        let name = b"/usr/bin/a b".to_vec();
        assert_eq!(mapping.source, Source::File(MappedName { device: (0xfe, 1), inode: 1_835_071, name }));
    }

    #[test]
    fn what_is_not_executable_is_left_out() {
        let maps = b"1000-2000 r--p 00000000 fe:01 7 /usr/bin/a\n3000-4000 rw-p 00000000 00:00 0 [heap]\n";
        assert_eq!(executable_mappings(maps).unwrap(), []);
    }

    #[test]
    fn memory_is_told_from_files_and_from_the_kernels_code() {
        for (rest, source) in [
            ("r-xp 00000000 00:00 0 [vdso]", Source::Kernel),
            ("--xp 00000000 00:00 0 [vsyscall]", Source::Kernel),
            ("r-xp 00000000 00:00 0 [vvar]", Source::Kernel),
            ("r-xp 00000000 00:00 0 [stack]", Source::Anonymous),
            ("r-xp 00000000 00:00 0 [uprobes]", Source::Anonymous),
            ("r-xp 00000000 00:00 0 [anon:[vdso]]", Source::Anonymous),
            ("r-xp 00000000 00:0e 9 anon_inode:[perf_event]", Source::Anonymous),
            ("rwxp 00000000 00:00 0 ", Source::Anonymous),
            ("rwxp 00000000 00:00 0", Source::Anonymous),
            ("r-xs 00000000 00:01 9 /memfd:jit (deleted)", Source::Memfd),
        ] {
            assert_eq!(one(&format!("1000-2000 {rest}")).source, source, "{rest}");
        }
    }

    #[test]
    fn writable_and_shared_are_seen() {
        let mapping = one("1000-2000 rwxs 00000000 fe:01 7 /tmp/a");
        assert!(mapping.writable && mapping.shared);
    }

    #[test]
    fn a_line_feed_and_its_escape_are_two_readings_of_one_name() {
        let Source::File(file) = one(r"1000-2000 r-xp 00000000 fe:01 7 /tmp/a\012b").source else { panic!() };
        assert_eq!(file.readings().collect::<Vec<_>>(), [br"/tmp/a\012b".to_vec(), b"/tmp/a\nb".to_vec()]);
        let Source::File(file) = one("1000-2000 r-xp 00000000 fe:01 7 /tmp/a").source else { panic!() };
        assert_eq!(file.readings().collect::<Vec<_>>(), [b"/tmp/a".to_vec()]);
    }

    #[test]
    fn lines_that_cannot_be_understood_are_refused_by_number() {
        let good = "1000-2000 r-xp 00000000 fe:01 7 /tmp/a";
        for bad in [
            "",
            "1000-2000",
            "1000-2000 r-xp 00000000 fe:01",
            "1000 r-xp 00000000 fe:01 7 /tmp/a",
            "2000-1000 r-xp 00000000 fe:01 7 /tmp/a",
            "1000-1000 r-xp 00000000 fe:01 7 /tmp/a",
            "1000-g000 r-xp 00000000 fe:01 7 /tmp/a",
            "+1000-2000 r-xp 00000000 fe:01 7 /tmp/a",
            "1000-20000000000000000 r-xp 00000000 fe:01 7 /tmp/a",
            "1000-2000 r-x 00000000 fe:01 7 /tmp/a",
            "1000-2000 r-xpp 00000000 fe:01 7 /tmp/a",
            "1000-2000 x-rp 00000000 fe:01 7 /tmp/a",
            "1000-2000 r-x- 00000000 fe:01 7 /tmp/a",
            "1000-2000 r-xp zzz fe:01 7 /tmp/a",
            "1000-2000 r-xp 00000000 fe01 7 /tmp/a",
            "1000-2000 r-xp 00000000 100000000:01 7 /tmp/a",
            "1000-2000 r-xp 00000000 fe:01 -7 /tmp/a",
            "1000-2000 r-xp 00000000 fe:01 0x7 /tmp/a",
            "1000-2000 r-xp 00000000 fe:01 18446744073709551616 /tmp/a",
            "1000-2000 r-xp 00000000 fe:01 7",
        ] {
            let error = executable_mappings(format!("{good}\n{bad}\n{good}\n").as_bytes()).unwrap_err();
            assert!(matches!(error, MeasurementError::MapsMalformed { line: 2 }), "{bad}: {error}");
        }
    }

    #[test]
    fn nothing_and_a_cut_off_line_are_refused() {
        for bad in ["", "\n", "1000-2000 r-xp 00000000 fe:01 7 /tmp/a"] {
            let error = executable_mappings(bad.as_bytes()).unwrap_err();
            assert!(matches!(error, MeasurementError::MapsMalformed { line: 1 }), "{bad:?}: {error}");
        }
    }

    #[test]
    fn too_many_executable_mappings_are_refused() {
        let line = "1000-2000 r-xp 00000000 00:00 0\n";
        assert_eq!(executable_mappings(line.repeat(4096).as_bytes()).unwrap().len(), 4096);
        assert!(matches!(
            executable_mappings(line.repeat(4097).as_bytes()),
            Err(MeasurementError::TooMany { .. })
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = executable_mappings(&bytes);
        }

        #[test]
        fn nearly_a_map_is_answered_without_a_panic(text in "([0-9a-f-]{0,18}[ ]?[rwxps-]{0,5}[ ]?[0-9a-f:]{0,9}[ ]?[0-9]{0,21}[ ]{0,3}[/\\[\\]a-z\\\\012() ]{0,20}\n){0,4}") {
            let _ = executable_mappings(text.as_bytes());
        }

        #[test]
        fn a_written_line_is_read_back(start in 0..u64::MAX, length in 1u64..1 << 40, major in 0u32..4096,
                minor in 0u32..1 << 20, inode in 1u64.., name in "/[!-~]{1,40}") {
            let end = start.saturating_add(length);
            let line = format!("{start:x}-{end:x} r-xp 00000000 {major:02x}:{minor:02x} {inode}   {name}\n");
            let read = executable_mappings(line.as_bytes()).unwrap();
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(&read[0].range, &(start..end));
            let expected = MappedName { device: (major, minor), inode, name: name.into_bytes() };
            prop_assert_eq!(&read[0].source, &Source::File(expected));
        }
    }
}
