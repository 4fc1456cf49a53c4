//! Why a configuration is refused: always with the file, and with the key where there is one.

use std::io;
use std::path::PathBuf;

use attestation::key_uri::KeyUriError;

/// Why a configuration is refused. The text says what to change; it repeats no value but those of `mode` and `scope`.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigurationError {
    #[error("{}: `{key}` is no URI of a key: {source}", path.display())]
    Key { path: PathBuf, key: &'static str, source: KeyUriError },
    #[error("{}: there is no such file; write one with `trustshim init`", path.display())]
    Missing { path: PathBuf },
    #[error("{}: not a regular file", path.display())]
    NotRegular { path: PathBuf },
    #[error("{}: not UTF-8, from byte {offset} on", path.display())]
    NotUtf8 { path: PathBuf, offset: usize },
    #[error(
        "{}: is the file of applications in guarded mode, which says nothing but where the guard listens; name the \
         guard's own file, such as {}", path.display(), crate::DEFAULT_GUARD_PATH
    )]
    OfApplication { path: PathBuf },
    #[error("{}: belongs to user {owner}; it must belong to root or to the user of this process", path.display())]
    Owner { path: PathBuf, owner: u32 },
    #[error("{}: line {line}: {reason}", path.display())]
    Syntax { path: PathBuf, line: usize, reason: String },
    #[error("{}: larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: `{key}` {rule}", path.display())]
    Value { path: PathBuf, key: &'static str, rule: &'static str },
    #[error("TRUSTSHIM_CONFIG must hold an absolute path, not `{}`", path.display())]
    VariableNotAbsolute { path: PathBuf },
    #[error("{}: group or others may write it (mode {mode:03o}); take that away with `chmod go-w`", path.display())]
    Writable { path: PathBuf, mode: u32 },
}
