//! The measurement that a program would have, made without running it: for approving a build before its first start.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use attestation::component::{Component, MeasuredFile, Principal, Runtime};
use attestation::digest::escape;

use crate::error::MeasurementError;
use crate::files::{OpenedFile, measure_path};
use crate::hashing::{Hasher, Hashing};
use crate::process::sorted;
use crate::{environment, libraries, scripts};

/// A program, and how it will be started.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// The component's name, a hint.
    pub name: &'a str,
    /// The file that will be executed: an ELF program. Of a script this is its interpreter.
    pub path: &'a Path,
    /// Its arguments, `argv[0]` included.
    pub arguments: &'a [OsString],
    /// Its environment; only what steers the loading of code is kept.
    pub environment: &'a [(OsString, OsString)],
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Libraries that it loads while it runs, by absolute path: the shim, the real module, what a variable such as
    /// `LD_PRELOAD` names. What they need is found.
    pub libraries: &'a [PathBuf],
    /// The declared configuration files.
    pub configuration: &'a [PathBuf],
}

/// Measures the files of `program` as [`crate::measure_self`] would find them mapped once it runs: under no systemd
/// unit, in the initial namespaces, and in the state of a process that nobody has tampered with.
///
/// Libraries are looked for as the dynamic loader does it, without `LD_LIBRARY_PATH`. Those that the program loads
/// by itself later (plug-ins, NSS, character sets) are not known here.
///
/// # Errors
/// [`MeasurementError`], among others where `program` is a script or no ELF file, a library cannot be found, or which
/// one it is depends on the processor or on where the program is started.
pub fn measure_program(program: &Program<'_>, hashing: &Hashing<'_>) -> Result<Component, MeasurementError> {
    let hasher = &mut Hasher::new(hashing);
    let mapped = libraries::mapped_by(program.path, program.libraries)?;
    let file = OpenedFile::open(program.path)?;
    let path = file.kernel_path()?;
    let executable = file.measure(&path, hasher)?;
    let arguments: Vec<Vec<u8>> =
        program.arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect();
    let files = |paths: &[PathBuf], hasher: &mut Hasher<'_>| -> Result<Vec<MeasuredFile>, MeasurementError> {
        sorted(paths.iter().map(|path| measure_path(path, hasher)))
    };
    Ok(Component {
        name: program.name.to_owned(),
        principal: Principal {
            uid: program.uid,
            gid: program.gid,
            unit: None,
            initial_user_namespace: true,
            initial_pid_namespace: true,
        },
        scripts: files(scripts::find(&path, &arguments)?.as_slice(), hasher)?,
        mappings: files(&mapped, hasher)?,
        configuration: files(program.configuration, hasher)?,
        executable,
        argv: arguments.iter().map(|argument| escape(argument)).collect(),
        environment: environment::steering(&block(program.environment))?,
        runtime: Runtime {
            traced: false,
            no_new_privs: false,
            seccomp: 0,
            seccomp_filters: 0,
            dumpable: true,
            anonymous_executable: 0,
            deleted_executable: 0,
            memfd_executable: 0,
            writable_executable: 0,
            modified_text_pages: 0,
        },
    })
}

/// As the kernel would hand it over.
fn block(environment: &[(OsString, OsString)]) -> Vec<u8> {
    environment
        .iter()
        .flat_map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat())
        .collect()
}
