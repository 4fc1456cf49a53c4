//! Programs that cannot be components because they run whatever they are told to, and interpreters, which can
//! only be components together with one measured script.
//!
//! Both are known by file name. That stops mistakes, not malice: a copy of a shell under another name is an
//! executable like any other, and it is the approver who must notice what is being approved.

use attestation::reference::ArgvRule;

use super::argument_pattern;
use super::nearest::file_name;

const SHELLS: [&str; 19] = [
    "ash", "bash", "busybox", "csh", "dash", "elvish", "fish", "ksh", "ksh93", "lksh", "mksh", "nu", "pwsh",
    "rbash", "sh", "tcsh", "toybox", "xonsh", "zsh",
];
const DEBUGGERS: [&str; 7] = ["gdb", "gdbserver", "lldb", "lldb-server", "ltrace", "rr", "strace"];
const LOADERS: [&str; 3] = ["ld-linux", "ld-musl", "ld.so"];

/// What kind of forbidden program a path names, if any.
pub fn forbidden_kind(path: &str) -> Option<&'static str> {
    let name = file_name(path);
    // ld.so of glibc goes by many names: ld-linux-x86-64.so.2, ld64.so.2, ld-2.36.so.
    let is_loader = LOADERS.iter().any(|loader| name.starts_with(loader))
        || name.starts_with("ld") && name.contains(".so");
    let stem = without_version(name);
    if SHELLS.contains(&stem) || SHELLS.contains(&name) {
        Some("shell")
    } else if is_loader {
        Some("dynamic loader")
    } else if DEBUGGERS.contains(&stem) {
        Some("debugger")
    } else if name.starts_with("qemu-") || name == "qemu" {
        Some("emulator")
    } else {
        None
    }
}

/// `bash-5.2` and `python3.11` are `bash` and `python`.
fn without_version(name: &str) -> &str {
    name.trim_end_matches(|character: char| character.is_ascii_digit() || matches!(character, '.' | '-'))
}

/// The interpreters that are known, with the letters of options before the script that do not themselves name
/// code. Everything else before the script (`-c`, `-e`, `-m`, `-r`, `-`, …) makes the interpreter a general tool.
const INTERPRETERS: [(&str, &str); 19] = [
    ("bun", ""),
    ("deno", ""),
    ("expect", ""),
    ("guile", ""),
    ("java", ""),
    ("jruby", ""),
    ("lua", ""),
    ("luajit", ""),
    ("node", ""),
    ("nodejs", ""),
    ("perl", "wWtT"),
    ("php", ""),
    ("pypy", "bBdEIOPsSuvq"),
    ("python", "bBdEIOPsSuvq"),
    ("ruby", "wW"),
    ("tclsh", ""),
    ("texlua", ""),
    ("truffleruby", ""),
    ("wish", ""),
];

/// `python3.11d`, `perl5.36-x86_64-linux-gnu` and `php-fpm8.2` are builds of `python`, `perl` and `php`; `javac` is
/// none of `java`.
fn is_build_of(name: &str, known: &str) -> bool {
    name.strip_prefix(known).is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
}

/// What stands against approving an interpreter with exactly these arguments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpreterError {
    /// It reads code from an option or from standard input.
    #[error("the interpreter {interpreter} is started with `{argument}` before its script")]
    CodeInArguments {
        /// The file name.
        interpreter: String,
        /// The argument.
        argument: String,
    },
    /// No script was measured.
    #[error("no script of the interpreter {interpreter} was measured")]
    NoScript {
        /// The file name.
        interpreter: String,
    },
    /// A pattern would let something else take the script's place.
    #[error(
        "the interpreter {interpreter} is started with a pattern at position {position}, at or before its script"
    )]
    PatternBeforeScript {
        /// The file name.
        interpreter: String,
        /// Counted from 0.
        position: usize,
    },
}

/// Checks that no arguments that `rule` lets through make an interpreter run anything but its measured script. A general
/// tool passes: it is approved as one.
///
/// # Errors
/// [`InterpreterError`].
pub fn check_interpreter(
    executable: &str,
    rule: &ArgvRule,
    has_script: bool,
) -> Result<(), InterpreterError> {
    match rule {
        ArgvRule::Any => Ok(()),
        ArgvRule::Exact(argv) => script_argument(executable, argv, has_script).map(|_| ()),
        ArgvRule::Patterns(patterns) => {
            let Some(script) = script_argument(executable, &patterns.each, has_script)? else {
                return Ok(());
            };
            // What stands in for `argv[0]` is of no consequence to an interpreter, but nothing depends on it either.
            match (0..=script).find(|position| {
                !patterns.each.get(*position).is_some_and(|pattern| argument_pattern::is_literal(pattern))
            }) {
                None => Ok(()),
                Some(position) => Err(InterpreterError::PatternBeforeScript {
                    interpreter: file_name(executable).to_owned(),
                    position,
                }),
            }
        }
    }
}

/// Checks that an interpreter runs one measured script and nothing else, and says which argument names the script;
/// other programs pass without one.
///
/// # Errors
/// [`InterpreterError`], for an interpreter that could only be approved as a general tool.
fn script_argument(
    executable: &str,
    argv: &[String],
    has_script: bool,
) -> Result<Option<usize>, InterpreterError> {
    let name = file_name(executable);
    let Some((known, harmless)) = INTERPRETERS.iter().find(|(known, _)| is_build_of(name, known)) else {
        return Ok(None);
    };
    let no_script = || InterpreterError::NoScript { interpreter: name.to_owned() };
    if !has_script {
        return Err(no_script());
    }
    for (position, argument) in argv.iter().enumerate().skip(1) {
        let Some(letters) = argument.strip_prefix('-') else { return Ok(Some(position)) };
        if *known == "java" && argument == "-jar" {
            return Ok(Some(position.saturating_add(1)));
        }
        if letters.is_empty() || !letters.chars().all(|letter| harmless.contains(letter)) {
            return Err(InterpreterError::CodeInArguments {
                interpreter: name.to_owned(),
                argument: argument.clone(),
            });
        }
    }
    Err(no_script())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_build_of_an_interpreter_is_one() {
        let is_known = |name| INTERPRETERS.iter().any(|(known, _)| is_build_of(name, known));
        for name in
            ["python3", "python3.11d", "python3.11-dbg", "perl5.36-x86_64-linux-gnu", "php-fpm8.2", "luajit"]
        {
            assert!(is_known(name), "{name}");
        }
        for name in ["javac", "nginx", "pythonic", "rubyist", ""] {
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn programs_that_run_anything_are_known_by_name() {
        for (path, kind) in [
            ("/usr/bin/dash", "shell"),
            ("/bin/bash-5.2", "shell"),
            ("/usr/bin/ksh93", "shell"),
            ("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "dynamic loader"),
            ("/lib64/ld64.so.2", "dynamic loader"),
            ("/lib/ld-2.36.so", "dynamic loader"),
            ("/lib/ld-musl-x86_64.so.1", "dynamic loader"),
            ("/usr/bin/gdb", "debugger"),
            ("/usr/bin/lldb-14", "debugger"),
            ("/usr/bin/strace", "debugger"),
            ("/usr/bin/qemu-x86_64-static", "emulator"),
        ] {
            assert_eq!(forbidden_kind(path), Some(kind), "{path}");
        }
        for path in ["/usr/bin/openssl", "/usr/sbin/nginx", "/usr/bin/python3.11", "/opt/shell/tool"] {
            assert_eq!(forbidden_kind(path), None, "{path}");
        }
    }
}
