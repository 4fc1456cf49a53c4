//! Small C programs of `tests/programs`, compiled for the test that runs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::run;

/// Compiles `tests/programs/SOURCE` to the file `output`.
#[track_caller]
pub fn compile(source: &str, output: &Path, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(source);
    if let Some(directory) = output.parent() {
        std::fs::create_dir_all(directory).expect("a directory of the test");
    }
    let mut command = Command::new("gcc");
    command.args(["-Wall", "-Werror", "-O1", "-o"]).arg(output).arg(source).args(options);
    run(&mut command).must_succeed();
    output.to_owned()
}

/// The same for a library.
#[track_caller]
pub fn compile_library(source: &str, output: &Path, options: &[&str]) -> PathBuf {
    compile(source, output, &[&["-shared", "-fPIC"], options].concat())
}
