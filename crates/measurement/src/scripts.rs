//! The script that an interpreter was started with, found by the interpreter's name and its arguments.
//!
//! Known are the interpreters below and what of their options takes a value of its own. An interpreter under
//! another name, or one that runs code from an option (`-c`, `-e`, `-m`) or from standard input, has no script
//! here: the policy server judges the arguments.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use attestation::digest::escape;

use crate::error::MeasurementError;

/// How a family of interpreters reads its arguments.
struct Family {
    /// Names of the program: with digits, dots and `-` behind them, too (`python3.11`).
    names: &'static [&'static str],
    /// Options whose value is the next argument.
    with_value: &'static [&'static str],
    /// Options after which no script follows: they hold the code, or name a module.
    instead: &'static [&'static str],
    /// Options whose value is the script.
    script: &'static [&'static str],
    /// Letters of a cluster of short options that take the rest of it, or the next argument, as value.
    value_letters: &'static [u8],
    /// Letters of a cluster that hold the code.
    code_letters: &'static [u8],
    /// How the first argument that is no option ends where it is a script.
    ending: &'static str,
    /// Whether `@FILE` stands for further arguments.
    argument_files: bool,
}

const FAMILIES: &[Family] = &[
    Family {
        names: &["python", "pypy"],
        with_value: &["--check-hash-based-pycs"],
        instead: &[],
        script: &[],
        value_letters: b"WXQ",
        code_letters: b"cm",
        ending: "",
        argument_files: false,
    },
    Family {
        names: &["perl"],
        with_value: &[],
        instead: &[],
        script: &[],
        value_letters: b"I",
        code_letters: b"eE",
        ending: "",
        argument_files: false,
    },
    Family {
        names: &["ruby", "jruby", "truffleruby"],
        with_value: &["--encoding", "--external-encoding", "--internal-encoding", "--backtrace-limit"],
        instead: &[],
        script: &[],
        value_letters: b"CEIr",
        code_letters: b"e",
        ending: "",
        argument_files: false,
    },
    Family {
        names: &["node", "nodejs"],
        with_value: &[
            "--conditions",
            "--env-file",
            "--experimental-loader",
            "--icu-data-dir",
            "--import",
            "--input-type",
            "--loader",
            "--require",
            "--title",
        ],
        instead: &["--eval", "--print"],
        script: &[],
        value_letters: b"Cr",
        code_letters: b"ep",
        ending: "",
        argument_files: false,
    },
    Family {
        names: &["php", "php-cgi"],
        with_value: &["--php-ini", "--define", "--zend-extension"],
        instead: &["--run", "--process-begin", "--process-code", "--process-end", "--server"],
        script: &["-f", "--file", "-F", "--process-file"],
        value_letters: b"cdz",
        code_letters: b"rBRES",
        ending: "",
        argument_files: false,
    },
    Family {
        names: &["lua", "luajit", "texlua"],
        with_value: &[],
        instead: &[],
        script: &[],
        value_letters: b"el",
        code_letters: b"",
        ending: "",
        argument_files: false,
    },
    Family {
        names: &["tclsh", "wish", "expect"],
        with_value: &["-encoding"],
        instead: &[],
        script: &[],
        value_letters: b"",
        code_letters: b"",
        ending: "",
        argument_files: false,
    },
    Family {
        names: &["sh", "ash", "bash", "dash", "ksh", "mksh", "rbash", "yash", "zsh"],
        with_value: &["--init-file", "--rcfile", "--emulate"],
        instead: &[],
        script: &[],
        value_letters: b"oO",
        code_letters: b"cs",
        ending: "",
        argument_files: false,
    },
    Family {
        names: &["java"],
        with_value: &[
            "--add-exports",
            "--add-modules",
            "--add-opens",
            "--add-reads",
            "--class-path",
            "--enable-native-access",
            "--limit-modules",
            "--module-path",
            "--patch-module",
            "--source",
            "--upgrade-module-path",
            "-classpath",
            "-cp",
            "-p",
        ],
        instead: &["-m", "--module"],
        script: &["-jar"],
        value_letters: b"",
        code_letters: b"",
        // Anything else is a class, which is looked for in the class path.
        ending: ".java",
        argument_files: true,
    },
];

/// The script's path as it was given. A relative one is undetermined: the script may have changed the directory
/// since the interpreter opened it, and would have another file measured in its place.
pub(crate) fn find(executable: &[u8], arguments: &[Vec<u8>]) -> Result<Option<PathBuf>, MeasurementError> {
    let name = executable.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let Some(family) = FAMILIES.iter().find(|family| family.has(name)) else { return Ok(None) };
    let arguments = arguments.get(1..).unwrap_or_default();
    match family.script(arguments)? {
        None => Ok(None),
        Some(script) if !script.starts_with(b"/") => Err(undetermined(script)),
        Some(script) => Ok(Some(PathBuf::from(OsStr::from_bytes(script)))),
    }
}

impl Family {
    fn has(&self, name: &[u8]) -> bool {
        self.names.iter().any(|known| {
            name.strip_prefix(known.as_bytes())
                .is_some_and(|version| version.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-')))
        })
    }

    fn script<'a>(&self, arguments: &'a [Vec<u8>]) -> Result<Option<&'a [u8]>, MeasurementError> {
        let is_in = |list: &[&str], argument: &[u8]| list.iter().any(|option| option.as_bytes() == argument);
        let mut rest = arguments.iter().map(Vec::as_slice);
        while let Some(argument) = rest.next() {
            if argument.first() == Some(&b'@') && self.argument_files {
                // java(1): a file of further arguments, which are not seen here.
                return Err(undetermined(argument));
            }
            if argument == b"--" {
                return Ok(rest.next().filter(|script| self.is_script(script)));
            }
            if argument == b"-" || is_in(self.instead, argument) {
                return Ok(None);
            }
            if is_in(self.script, argument) {
                return rest.next().map(Some).ok_or_else(|| undetermined(argument));
            }
            if is_in(self.with_value, argument) {
                rest.next();
                continue;
            }
            match argument {
                [b'-', b'-', ..] => {}
                [b'-' | b'+', cluster @ ..] if !cluster.is_empty() => match self.cluster(cluster) {
                    Cluster::Code => return Ok(None),
                    Cluster::Flags => {}
                    Cluster::ValueFollows => drop(rest.next()),
                },
                script => return Ok(self.is_script(script).then_some(script)),
            }
        }
        Ok(None)
    }

    fn is_script(&self, argument: &[u8]) -> bool {
        argument.ends_with(self.ending.as_bytes())
    }

    fn cluster(&self, cluster: &[u8]) -> Cluster {
        for (index, letter) in cluster.iter().enumerate() {
            if self.code_letters.contains(letter) {
                return Cluster::Code;
            }
            if self.value_letters.contains(letter) {
                return if index + 1 == cluster.len() { Cluster::ValueFollows } else { Cluster::Flags };
            }
        }
        Cluster::Flags
    }
}

/// What a cluster of short options (`-xyz`) means for the search.
enum Cluster {
    /// The code is in the arguments or comes from elsewhere.
    Code,
    /// Nothing.
    Flags,
    /// The next argument belongs to it.
    ValueFollows,
}

fn undetermined(argument: &[u8]) -> MeasurementError {
    MeasurementError::ScriptUndetermined { argument: escape(argument) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(executable: &str, arguments: &str) -> Result<Option<String>, MeasurementError> {
        let arguments: Vec<Vec<u8>> =
            arguments.split(' ').map(|argument| argument.as_bytes().to_vec()).collect();
        find(executable.as_bytes(), &arguments)
            .map(|script| script.map(|path| path.into_os_string().into_string().unwrap()))
    }

    #[test]
    fn scripts_are_found_behind_the_options_of_their_interpreter() {
        for (executable, arguments, script) in [
            ("/usr/bin/python3.11", "python3 /a/sign.py file", "/a/sign.py"),
            ("/usr/bin/python3.11", "python3 -I -u /cwd/sign.py", "/cwd/sign.py"),
            ("/usr/bin/python3", "python3 -W error -Xdev -X utf8 -Ou /cwd/sign.py -c x", "/cwd/sign.py"),
            ("/usr/bin/pypy3", "pypy3 -- /cwd/-odd.py", "/cwd/-odd.py"),
            ("/usr/bin/perl", "perl -w -I lib -Ilib2 -T /a/sign.pl", "/a/sign.pl"),
            ("/usr/bin/perl5.36.0", "perl /a/sign.pl -e x", "/a/sign.pl"),
            ("/usr/bin/ruby3.1", "ruby -W2 -r json -C /x --encoding utf-8 /cwd/sign.rb", "/cwd/sign.rb"),
            ("/usr/bin/node", "node --require ./a.js -r b --no-warnings /a/sign.js", "/a/sign.js"),
            ("/usr/bin/php8.2", "php -d x=1 -f /a/sign.php -- b", "/a/sign.php"),
            ("/usr/bin/php8.2", "php -n /a/sign.php", "/a/sign.php"),
            ("/usr/bin/bash", "bash -e -o pipefail +x /a/sign.sh -c x", "/a/sign.sh"),
            ("/usr/bin/bash", "bash -euo pipefail /a/sign.sh", "/a/sign.sh"),
            ("/usr/bin/dash", "/bin/sh /cwd/./sign", "/cwd/./sign"),
            ("/usr/bin/lua5.4", "lua -l json -e x=1 /cwd/sign.lua", "/cwd/sign.lua"),
            ("/usr/bin/tclsh8.6", "tclsh -encoding utf-8 /cwd/sign.tcl", "/cwd/sign.tcl"),
            ("/usr/lib/jvm/bin/java", "java -Xmx1g -cp x.jar -jar /a/sign.jar -jar b", "/a/sign.jar"),
            ("/usr/lib/jvm/bin/java", "java --source 17 /cwd/Sign.java x", "/cwd/Sign.java"),
            ("/usr/lib/jvm/bin/java", "java --add-opens a/b=ALL -jar /cwd/sign.jar", "/cwd/sign.jar"),
        ] {
            assert_eq!(found(executable, arguments).unwrap().as_deref(), Some(script), "{arguments}");
        }
    }

    #[test]
    fn code_from_elsewhere_is_no_script() {
        for (executable, arguments) in [
            ("/usr/bin/python3", "python3"),
            ("/usr/bin/python3", "python3 -c import file.py"),
            ("/usr/bin/python3", "python3 -Ic import file.py"),
            ("/usr/bin/python3", "python3 -m http.server file.py"),
            ("/usr/bin/python3", "python3 - file.py"),
            ("/usr/bin/perl", "perl -ne print file.pl"),
            ("/usr/bin/ruby", "ruby -e p file.rb"),
            ("/usr/bin/node", "node -p 1 file.js"),
            ("/usr/bin/node", "node --eval 1 file.js"),
            ("/usr/bin/php", "php -r code file.php"),
            ("/usr/bin/bash", "bash -lc code file.sh"),
            ("/usr/bin/bash", "bash -s file.sh"),
            ("/usr/bin/java", "java -cp a.jar Main -jar x.jar"),
            ("/usr/bin/java", "java -m module -jar x.jar"),
        ] {
            assert_eq!(found(executable, arguments).unwrap(), None, "{arguments}");
        }
    }

    #[test]
    fn other_programs_have_no_script() {
        for executable in
            ["/usr/bin/nginx", "/usr/bin/pythonic", "/usr/bin/shred", "/usr/bin/javac", "/opt/perl/app", ""]
        {
            assert_eq!(found(executable, "x /a/file").unwrap(), None, "{executable}");
        }
        assert_eq!(find(b"/usr/bin/python3", &[]).unwrap(), None);
    }

    #[test]
    fn an_interpreters_own_name_counts_and_not_that_in_its_arguments() {
        assert_eq!(found("/usr/bin/python3", "nginx /a/sign.py").unwrap().as_deref(), Some("/a/sign.py"));
        assert_eq!(found("/usr/sbin/nginx", "python3 sign.py").unwrap(), None);
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        for (executable, arguments) in [
            ("/usr/bin/java", "java @args -jar a.jar"),
            ("/usr/bin/java", "java -jar"),
            ("/usr/bin/php", "php -f"),
            ("/usr/bin/python3", "python3  x"),
            ("/usr/bin/python3", "python3 sign.py"),
            ("/usr/bin/bash", "bash ./sign.sh"),
            ("/usr/bin/java", "java -jar sign.jar"),
        ] {
            let error = found(executable, arguments).unwrap_err();
            assert!(matches!(error, MeasurementError::ScriptUndetermined { .. }), "{arguments}: {error}");
        }
    }
}
