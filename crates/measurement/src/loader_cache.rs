//! `/etc/ld.so.cache`: under which paths ldconfig(8) has found the system's libraries, in the format that glibc writes
//! since 2.32.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
pub(crate) const CACHE: &str = "/etc/ld.so.cache";
const HEADER: usize = 48;
const ENTRY: usize = 24;
const MAX_CACHE: u64 = 16 << 20;

/// The system's cache: names and the paths that stand for them, those that count on some processors only included.
/// Nothing where it cannot be read or understood.
pub fn cached_libraries() -> Option<Vec<(Vec<u8>, PathBuf)>> {
    let places = LoaderCache::read(Path::new(CACHE)).ok()??.places;
    let path = |place: Place| PathBuf::from(OsString::from_vec(place.path));
    Some(
        places
            .into_iter()
            .flat_map(|(name, places)| places.into_iter().map(move |place| (name.clone(), path(place))))
            .collect(),
    )
}

/// One path for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: Vec<u8>,
    /// Counts only on processors that can do more than the least one.
    pub(crate) for_some_processors: bool,
}

/// The paths for each name, in the order of preference.
#[derive(Debug, Default)]
pub(crate) struct LoaderCache {
    places: BTreeMap<Vec<u8>, Vec<Place>>,
}

impl LoaderCache {
    /// Reads it; a system without one has an empty one. `None` where it cannot be understood.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut content = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(MAX_CACHE).read_to_end(&mut content)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Self::default())),
            Err(error) => return Err(error),
        };
        Ok(Self::parse(&content))
    }

    pub(crate) fn parse(content: &[u8]) -> Option<Self> {
        let (header, entries) = content.strip_prefix(MAGIC).and_then(|_| content.split_at_checked(HEADER))?;
        let count = usize::try_from(number(header, MAGIC.len())?).ok()?;
        let entries = entries.get(..count.checked_mul(ENTRY)?)?;
        let mut cache = Self::default();
        for entry in entries.chunks_exact(ENTRY) {
            let place = Place {
                path: text(content, number(entry, 8)?)?,
                for_some_processors: entry.get(16..24)?.iter().any(|byte| *byte != 0),
            };
            cache.places.entry(text(content, number(entry, 4)?)?).or_default().push(place);
        }
        Some(cache)
    }

    pub(crate) fn places(&self, name: &[u8]) -> &[Place] {
        self.places.get(name).map_or(&[], Vec::as_slice)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn text(content: &[u8], at: u32) -> Option<Vec<u8>> {
    let rest = content.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    rest.get(..end).map(<[u8]>::to_vec)
}

/// A cache of these names and paths, and whether each is for some processors only.
#[cfg(test)]
pub(crate) fn written(places: &[(&str, &str, bool)]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).unwrap().to_ne_bytes();
    let mut texts = Vec::new();
    let mut content = [MAGIC, &word(places.len()), &[0; HEADER - 24]].concat();
    for (name, path, for_some) in places {
        let first = HEADER + places.len() * ENTRY + texts.len();
        let hwcap = u64::from(*for_some) << 62;
        let entry =
            [&word(0x303)[..], &word(first), &word(first + name.len() + 1), &word(0), &hwcap.to_ne_bytes()];
        content.extend(entry.concat());
        texts.extend(format!("{name}\0{path}\0").into_bytes());
    }
    [content, texts].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_says_what_ldconfig_says() {
        let cache = LoaderCache::read(Path::new(CACHE)).unwrap().unwrap();
        let printed = std::process::Command::new("/sbin/ldconfig").arg("-p").output().unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        let mut count = 0;
        for line in printed.lines().filter(|line| line.contains(" => ")) {
            let (name, path) = line.trim().split_once(" => ").unwrap();
            let name = name.split_once(" (").unwrap().0;
            let places = cache.places(name.as_bytes());
            assert!(places.iter().any(|place| place.path == path.as_bytes()), "{line}");
            count += 1;
        }
        assert!(count > 10);
        assert_eq!(cached_libraries().unwrap().len(), count);
        assert_eq!(cache.places.values().map(Vec::len).sum::<usize>(), count);
    }

    #[test]
    fn a_system_without_one_has_an_empty_one() {
        let cache = LoaderCache::read(Path::new("/nonexistent/cache")).unwrap().unwrap();
        assert_eq!(cache.places(b"libc.so.6"), []);
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        let whole = std::fs::read(CACHE).unwrap();
        for length in [0, 10, HEADER, HEADER + 1, HEADER + ENTRY] {
            assert!(LoaderCache::parse(&whole[..length]).is_none(), "{length}");
        }
        assert!(LoaderCache::parse(b"ld.so-1.7.0\0and more").is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            LoaderCache::parse(&[MAGIC, &bytes].concat());
        }
    }
}
