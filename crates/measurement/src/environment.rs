//! The environment variables that steer which code a program loads.
//!
//! From `/proc/PID/environ`, the block that the kernel handed over at exec: it is what the dynamic loader and an
//! interpreter's start have used. What `setenv` changes later is not in it; but reading the living environment is
//! a race with any thread that changes it (getenv(3)), and this is a library in somebody else's program. A program
//! that writes over the block (setproctitle(3)) is measured with what it has written.

use std::collections::BTreeMap;

use attestation::digest::escape;

use crate::error::MeasurementError;
use crate::proc_file::ProcessDirectory;

const ENVIRON: &str = "environ";
/// The kernel's own bound for arguments and environment together is 6 MiB (execve(2)).
const MAX_BLOCK: u64 = 6 << 20;
/// All of them go into the evidence.
const MAX_STEERING: usize = 64 * 1024;

/// Variables by their whole name. Not here: those of the real module (`SOFTHSM2_CONF`), which belong to its
/// configuration; `PATH`, which steers what a child runs and not what this process loads; and `HOME`, which every program
/// has, and which some interpreters take code from.
const NAMES: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "BUN_INSPECT_PRELOAD",
    "BUN_OPTIONS",
    "CLASSPATH",
    "DENO_DIR",
    "DOTDIR",
    "ELECTRON_RUN_AS_NODE",
    "ENV",
    "GCONV_PATH",
    "GEM_HOME",
    "GEM_PATH",
    "GETCONF_DIR",
    "GIO_EXTRA_MODULES",
    "GIO_MODULE_DIR",
    "GSS_MECH_CONFIG",
    "GTK_MODULES",
    "GTK_PATH",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LOCPATH",
    "NLSPATH",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "QT_PLUGIN_PATH",
    "SASL_PATH",
    "SHELLOPTS",
    "TRUSTSHIM_CONFIG",
    "_JAVA_OPTIONS",
];

/// Variables by the beginning of their name.
const PREFIXES: &[&str] = &[
    "BASH_FUNC_",
    "BUNDLE",
    "CORECLR_",
    "DOTNET_",
    "GLIBC_TUNABLES",
    "GNUTLS_",
    "GUILE_",
    "IBM_JAVA_",
    "JRUBY_",
    "LD_",
    "LUA_",
    "MALLOC_",
    "NODE_",
    "OPENJ9_",
    "OPENSSL_",
    "P11_KIT_",
    "PERL5",
    "PKCS11_",
    "PYTHON",
    "RUBY",
    "R_",
    "TCL",
    "TK_",
    "TRUFFLERUBY",
];

/// Those that are set, name and value escaped.
pub(crate) fn read(process: &ProcessDirectory) -> Result<BTreeMap<String, String>, MeasurementError> {
    steering(&process.read(ENVIRON, MAX_BLOCK)?)
}

/// Those of a block as the kernel hands it over, entries ended by NUL.
pub(crate) fn steering(block: &[u8]) -> Result<BTreeMap<String, String>, MeasurementError> {
    let mut found = BTreeMap::new();
    let mut length = 0_usize;
    for entry in block.split(|byte| *byte == 0) {
        // What has no `=` is no variable: no lookup finds it.
        let Some(equals) = entry.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = entry.split_at_checked(equals).unwrap_or_default();
        if !is_steering(name) {
            continue;
        }
        length = length.saturating_add(entry.len());
        if length > MAX_STEERING {
            return Err(MeasurementError::EnvironmentTooLong { limit: MAX_STEERING });
        }
        let name = escape(name);
        let value = escape(value.strip_prefix(b"=").unwrap_or_default());
        // Programs differ in whether the first or the last one counts.
        if found.insert(name.clone(), value).is_some() {
            return Err(MeasurementError::EnvironmentAmbiguous { name });
        }
    }
    Ok(found)
}

fn is_steering(name: &[u8]) -> bool {
    NAMES.iter().any(|known| known.as_bytes() == name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(block: &[u8]) -> Vec<(String, String)> {
        steering(block).unwrap().into_iter().collect()
    }

    #[test]
    fn steering_variables_are_kept_and_others_left_out() {
        let block = b"PATH=/bin\0LD_PRELOAD=/a.so\0HOME=/root\0PYTHONPATH=\0ENVIRONMENT=x\0ENV=/rc\0\
            SOFTHSM2_CONF=/c\0LD_AUDIT=a=b\0P11_KIT_STRICT=1\0_JAVA_OPTIONS=-x\0";
        let expected = [
            ("ENV", "/rc"),
            ("LD_AUDIT", "a=b"),
            ("LD_PRELOAD", "/a.so"),
            ("P11_KIT_STRICT", "1"),
            ("PYTHONPATH", ""),
            ("_JAVA_OPTIONS", "-x"),
        ];
        assert_eq!(pairs(block), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn every_listed_name_is_steering() {
        for name in NAMES.iter().chain(PREFIXES) {
            assert!(is_steering(name.as_bytes()), "{name}");
        }
        for name in ["", "LD", "ld_preload", "XLD_PRELOAD", "BASH_ENVIRONMENT", "CLASSPATHS", "HOME"] {
            assert!(!is_steering(name.as_bytes()), "{name}");
        }
        assert!(NAMES.is_sorted() && PREFIXES.is_sorted());
        assert!(!NAMES.iter().any(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix))));
    }

    #[test]
    fn what_has_an_interpreter_run_more_than_its_script_is_steering() {
        for name in [
            "BUNDLER_SETUP",
            "BUNDLE_APP_CONFIG",
            "BUNDLE_GEMFILE",
            "BUNDLE_LOCAL__RACK",
            "BUNDLE_PATH",
            "BUN_OPTIONS",
            "DENO_DIR",
            "DOTDIR",
            "GEM_HOME",
            "GEM_PATH",
            "GUILE_LOAD_COMPILED_PATH",
            "IBM_JAVA_OPTIONS",
            "JAVA_TOOL_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "JRUBY_OPTS",
            "LUA_CPATH_5_4",
            "LUA_INIT_5_4",
            "LUA_PATH",
            "NODE_OPTIONS",
            "NODE_PATH",
            "OPENJ9_JAVA_OPTIONS",
            "PERL5DB",
            "PERL5LIB",
            "PERL5OPT",
            "PHPRC",
            "PHP_INI_SCAN_DIR",
            "PYTHONHOME",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PYTHONUSERBASE",
            "RUBYGEMS_GEMDEPS",
            "RUBYLIB",
            "RUBYOPT",
            "R_LIBS",
            "R_PROFILE_USER",
            "TCL8_6_TM_PATH",
            "TCLLIBPATH",
            "TCL_LIBRARY",
            "TK_LIBRARY",
            "TRUFFLERUBYOPT",
            "_JAVA_OPTIONS",
        ] {
            assert!(is_steering(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn names_and_values_are_escaped() {
        let expected = (r"LD_\x1b".to_owned(), r"a\x0a\xff".to_owned());
        assert_eq!(pairs(b"LD_\x1b=a\n\xff\0"), [expected]);
    }

    #[test]
    fn a_variable_that_is_set_twice_is_refused() {
        for block in [&b"LD_PRELOAD=/a\0LD_PRELOAD=/b\0"[..], b"LD_PRELOAD=/a\0LD_PRELOAD=/a\0"] {
            let error = steering(block).unwrap_err();
            assert!(matches!(error, MeasurementError::EnvironmentAmbiguous { .. }), "{error}");
        }
        assert!(steering(b"HOME=/a\0HOME=/b\0").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_variable_is_no_error() {
        assert!(steering(b"").unwrap().is_empty());
        assert!(steering(b"\0\0LD_PRELOAD\0=x\0").unwrap().is_empty());
    }

    #[test]
    fn more_than_evidence_can_carry_is_refused() {
        let fits = [b"LD_X=".to_vec(), vec![b'a'; MAX_STEERING - 5]].concat();
        assert_eq!(pairs(&fits).len(), 1);
        let block = [fits, b"a".to_vec()].concat();
        assert!(matches!(steering(&block), Err(MeasurementError::EnvironmentTooLong { .. })));
    }
}
