//! Where things lie that an application's user must not reach: the files of software tokens, and the guard's processes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::user::field;
use crate::error::CliError;

/// Debian's, where `SOFTHSM2_CONF` does not name another (softhsm2.conf(5)).
const SOFTHSM_CONFIGURATION: &str = "/etc/softhsm/softhsm2.conf";
const SOFTHSM_TOKENS: &str = "/var/lib/softhsm/tokens/";
/// Files of a token that are tried one by one.
const MOST_FILES: usize = 10_000;
/// `comm` holds 15 bytes (proc(5)), so that it does not do.
const GUARD: &str = "trustshim-guard";
const YAMA: &str = "/proc/sys/kernel/yama/ptrace_scope";

/// The directories and files in which `module` keeps its tokens, if it is one that keeps them in files.
///
/// `environment` is the one that it is loaded in. For any other module the answer is empty.
pub fn token_places(module: &Path, environment: &BTreeMap<String, String>) -> Result<Vec<PathBuf>, CliError> {
    let is_softhsm = module.file_name().is_some_and(|name| name.to_string_lossy().contains("softhsm"));
    if let Some(configuration) = environment.get("KRYOPTIC_CONF") {
        return kryoptic_databases(Path::new(configuration));
    }
    match environment.get("SOFTHSM2_CONF") {
        Some(configuration) => softhsm_directory(Path::new(configuration)).map(|place| vec![place]),
        None if is_softhsm => softhsm_directory(Path::new(SOFTHSM_CONFIGURATION)).map(|place| vec![place]),
        None => Ok(Vec::new()),
    }
}

fn softhsm_directory(configuration: &Path) -> Result<PathBuf, CliError> {
    let text = read(configuration)?;
    let named = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "directories.tokendir").then(|| PathBuf::from(value.trim()))
    });
    Ok(named.unwrap_or_else(|| SOFTHSM_TOKENS.into()))
}

fn kryoptic_databases(configuration: &Path) -> Result<Vec<PathBuf>, CliError> {
    #[derive(Deserialize)]
    struct Settings {
        #[serde(default)]
        slots: Vec<Slot>,
    }
    #[derive(Deserialize)]
    struct Slot {
        dbargs: Option<PathBuf>,
    }
    let settings: Settings = toml::from_str(&read(configuration)?).map_err(|error| CliError::File {
        path: configuration.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error.message().to_owned()),
    })?;
    Ok(settings.slots.into_iter().filter_map(|slot| slot.dbargs).collect())
}

fn read(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), source })
}

/// `place` and, where it is a directory, everything in it. Links are not followed.
pub fn below(place: &Path) -> Result<Vec<PathBuf>, CliError> {
    let failed = |path: &Path, source| CliError::File { path: path.to_owned(), source };
    let mut found = vec![place.to_owned()];
    let mut looked_at = 0;
    while let Some(path) = found.get(looked_at).cloned() {
        looked_at += 1;
        let metadata = fs::symlink_metadata(&path).map_err(|source| failed(&path, source))?;
        if !metadata.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&path).map_err(|source| failed(&path, source))? {
            found.push(entry.map_err(|source| failed(&path, source))?.path());
            if found.len() > MOST_FILES {
                let source = io::Error::other(format!("more than {MOST_FILES} files"));
                return Err(failed(place, source));
            }
        }
    }
    Ok(found)
}

/// A process, as far as its rights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The user that it runs as.
    pub uid: u32,
    /// Whether its memory is for its own user at all: proc(5) gives the files of one that is not dumpable to root.
    pub is_dumpable: bool,
}

impl Process {
    /// The process `pid`.
    pub fn find(pid: u32) -> Result<Self, CliError> {
        let path = PathBuf::from(format!("/proc/{pid}"));
        let failed = |source| CliError::File { path: path.clone(), source };
        let status = fs::read_to_string(path.join("status")).map_err(failed)?;
        let unreadable = || failed(io::Error::from(io::ErrorKind::InvalidData));
        // The effective one, of four (proc(5)).
        let uid = field(&status, "Uid").and_then(|uids| uids.split_whitespace().nth(1)?.parse().ok());
        let uid = uid.ok_or_else(unreadable)?;
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(path.join("mem")).map_err(failed)?);
        Ok(Self { pid, uid, is_dumpable: owner == uid })
    }

    /// Its memory.
    pub fn memory(&self) -> PathBuf {
        format!("/proc/{}/mem", self.pid).into()
    }
}

/// All processes of the guard, whatever part of it they are.
pub fn guard_processes() -> Result<Vec<Process>, CliError> {
    let failed = |source| CliError::File { path: "/proc".into(), source };
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has ended meanwhile is none.
        let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) else { continue };
        // proc(5): a program that was replaced is shown with a word more.
        let is_guard = program
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.strip_suffix(" (deleted)").unwrap_or(name) == GUARD);
        if is_guard && let Ok(process) = Process::find(pid) {
            processes.push(process);
        }
    }
    Ok(processes)
}

/// Yama's `ptrace_scope`; absent where the kernel has no Yama, which is like 0.
pub fn yama() -> Result<Option<u8>, CliError> {
    match fs::read_to_string(YAMA) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => {
            let failed = |source| CliError::File { path: YAMA.into(), source };
            let text = other.map_err(failed)?;
            let scope = text.trim().parse().map_err(|_| failed(io::ErrorKind::InvalidData.into()))?;
            Ok(Some(scope))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_where_the_modules_settings_say() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("conf");
        let environment = |name: &str| BTreeMap::from([(name.to_owned(), path.to_str().unwrap().to_owned())]);
        let places = |name: &str| token_places(Path::new("/lib/vendor.so"), &environment(name));

        fs::write(&path, "# directories.tokendir = /no\n directories.tokendir =  /a/b \nlog.level = INFO\n")
            .unwrap();
        assert_eq!(places("SOFTHSM2_CONF").unwrap(), [PathBuf::from("/a/b")]);
        fs::write(&path, "log.level = INFO\n").unwrap();
        assert_eq!(places("SOFTHSM2_CONF").unwrap(), [PathBuf::from("/var/lib/softhsm/tokens/")]);
        fs::write(&path, "[[slots]]\nslot = 1\ndbargs = \"/a.sql\"\n[[slots]]\nslot = 2\n").unwrap();
        assert_eq!(places("KRYOPTIC_CONF").unwrap(), [PathBuf::from("/a.sql")]);
        fs::write(&path, "slots = 7").unwrap();
        assert!(places("KRYOPTIC_CONF").is_err());
        assert_eq!(places("VENDOR_CONF").unwrap(), [] as [PathBuf; 0]);
        fs::remove_file(&path).unwrap();
        assert!(places("SOFTHSM2_CONF").is_err());
    }

    #[test]
    fn everything_in_a_directory_is_found_and_links_lead_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("c"), "").unwrap();
        std::os::unix::fs::symlink("/", directory.path().join("link")).unwrap();
        let found: std::collections::BTreeSet<_> = below(directory.path()).unwrap().into_iter().collect();
        let expected = ["", "a", "a/b", "a/b/c", "link"].map(|path| match path {
            "" => directory.path().to_owned(),
            path => directory.path().join(path),
        });
        assert_eq!(found, expected.into());
        assert!(below(&directory.path().join("absent")).is_err());
    }

    #[test]
    fn a_process_shows_its_user() {
        let this = Process::find(std::process::id()).unwrap();
        assert_eq!(this.uid, rustix::process::geteuid().as_raw());
        assert!(this.is_dumpable);
        assert!(Process::find(u32::MAX).is_err());
    }
}
