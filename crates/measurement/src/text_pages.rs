//! Counts pages of program text that are no longer the file's: after a write the process has its own copy.

use core::ops::Range;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::error::MeasurementError;
use crate::proc_file::{ProcessDirectory, unreadable};

const PAGEMAP: &str = "pagemap";
const ENTRY: u64 = 8;
const BUFFER: usize = 128 * 1024;
/// 64 GiB of text in pages of 4 KiB: a mapping may be far longer than its file.
const MAX_PAGES: u64 = 1 << 24;

/// Bits of an entry of pagemap (proc_pid_pagemap(5)).
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE_OR_SHARED: u64 = 1 << 61;

/// Reads a process's page map.
pub(crate) struct PageMap {
    file: File,
    path: String,
    page: u64,
    left: u64,
}

impl PageMap {
    pub(crate) fn open(process: &ProcessDirectory) -> Result<Self, MeasurementError> {
        let (file, path) = (process.open(PAGEMAP)?, process.path_of(PAGEMAP));
        Ok(Self { file, path, page: linux_ffi::page_size()?, left: MAX_PAGES })
    }

    /// Pages in `range`, private and of a file, whose content is a copy of the process's own.
    pub(crate) fn modified(&mut self, range: &Range<u64>) -> Result<u64, MeasurementError> {
        let first = range.start / self.page;
        let pages = (range.end / self.page).saturating_sub(first);
        self.left = self
            .left
            .checked_sub(pages)
            .ok_or(MeasurementError::TooMany { what: "pages of text", limit: MAX_PAGES as usize })?;
        self.count(first, pages).map_err(|source| unreadable(&self.path, source))
    }

    fn count(&self, first: u64, pages: u64) -> io::Result<u64> {
        let length = usize::try_from(pages.saturating_mul(ENTRY)).unwrap_or(BUFFER).min(BUFFER);
        let mut buffer = vec![0; length];
        let mut at = first.saturating_mul(ENTRY);
        let end = at.saturating_add(pages.saturating_mul(ENTRY));
        let mut modified = 0;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            self.file.read_exact_at(part, at)?;
            let (entries, _) = part.as_chunks::<8>();
            modified +=
                entries.iter().filter(|entry| is_own_copy(u64::from_ne_bytes(**entry))).count() as u64;
            at += wanted as u64;
        }
        Ok(modified)
    }
}

const fn is_own_copy(entry: u64) -> bool {
    entry & (PRESENT | SWAPPED) != 0 && entry & FILE_OR_SHARED == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_or_swap_and_of_no_file_is_a_copy() {
        assert!(is_own_copy(PRESENT));
        assert!(is_own_copy(SWAPPED));
        assert!(!is_own_copy(PRESENT | FILE_OR_SHARED));
        assert!(!is_own_copy(SWAPPED | FILE_OR_SHARED));
        assert!(!is_own_copy(0));
    }

    #[test]
    fn written_memory_of_this_process_is_counted_page_by_page() {
        let mut map = PageMap::open(&ProcessDirectory::own().unwrap()).unwrap();
        let page = map.page;
        let pages = 40 * 1024;
        let mut memory = vec![0_u8; (pages * page) as usize];
        let start = (memory.as_ptr().addr() as u64).next_multiple_of(page);
        let range = start..start + (pages - 1) * page;
        let offset = (start - memory.as_ptr().addr() as u64) as usize;
        assert_eq!(map.modified(&range).unwrap(), 0);
        // Pages apart, so that they lie in different parts of what is read, and no huge page joins them.
        for index in [0, 20_000, pages as usize - 2] {
            memory[offset + index * page as usize] = 1;
        }
        let counted = map.modified(&range).unwrap();
        assert!(counted >= 3, "{counted}");
        drop(memory);
    }

    #[test]
    fn a_mapping_without_end_is_refused() {
        let mut map = PageMap::open(&ProcessDirectory::own().unwrap()).unwrap();
        let endless = 0..(MAX_PAGES + 1) * map.page;
        assert!(matches!(map.modified(&endless), Err(MeasurementError::TooMany { .. })));
    }
}
