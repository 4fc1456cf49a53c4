//! Reference values: what a component version is expected to measure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::component::{Component, MeasuredFile};
use crate::digest::Digest;
use crate::evidence::AttesterClaims;

/// The expected measurement of one component version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
    /// Executable by path: each with the digests that count.
    pub executables: BTreeMap<String, BTreeSet<Digest>>,
    /// Permitted libraries by path: every executable mapping must be here (or be the executable), with a digest
    /// that stands here or in one of `library_sets` for the same path.
    pub libraries: BTreeMap<String, BTreeSet<Digest>>,
    /// Named sets that supply digests for the paths of `libraries`, and no path of their own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub library_sets: BTreeSet<String>,
    /// Scripts by path. A component with scripts here must be started with exactly these.
    pub scripts: BTreeMap<String, BTreeSet<Digest>>,
    /// Configuration files by path: each must be measured, and no other may be.
    pub configuration: BTreeMap<String, BTreeSet<Digest>>,
    /// Who may run it.
    pub principal: PrincipalRule,
    /// With which arguments.
    pub argv: ArgvRule,
    /// The approved values of the environment variables that steer code loading; absent ones must not be set.
    pub environment: BTreeMap<String, BTreeSet<String>>,
    /// The measurers that may vouch for it.
    pub attester: AttesterRule,
    /// Run-time code generation is part of this component (`--allow-jit`).
    pub allow_jit: bool,
    /// The restrictions that it runs under. Values that say nothing of them are of before they were compared, and
    /// mean a process without a seccomp filter: nobody has looked at one.
    #[serde(default)]
    pub sandbox: SandboxRule,
}

impl ReferenceValues {
    /// Exactly what was measured.
    pub fn of(component: &Component, attester: &AttesterClaims) -> Self {
        let libraries = component.mappings.iter().filter(|file| file.path != component.executable.path);
        Self {
            executables: by_path([&component.executable]),
            libraries: by_path(libraries),
            library_sets: BTreeSet::new(),
            scripts: by_path(&component.scripts),
            configuration: by_path(&component.configuration),
            principal: PrincipalRule::Exact(component.principal.clone()),
            argv: ArgvRule::Exact(component.argv.clone()),
            environment: component
                .environment
                .iter()
                .map(|(variable, value)| (variable.clone(), BTreeSet::from([value.clone()])))
                .collect(),
            attester: AttesterRule {
                shim: BTreeSet::from([attester.shim.sha256]),
                real_module: BTreeSet::from([attester.real_module.sha256]),
                configuration: BTreeSet::from([attester.configuration.sha256]),
            },
            allow_jit: false,
            sandbox: SandboxRule {
                seccomp: component.runtime.seccomp,
                seccomp_filters: component.runtime.seccomp_filters,
                no_new_privs: Some(component.runtime.no_new_privs),
            },
        }
    }
}

fn by_path<'a>(files: impl IntoIterator<Item = &'a MeasuredFile>) -> BTreeMap<String, BTreeSet<Digest>> {
    let mut map = BTreeMap::<_, BTreeSet<_>>::new();
    for file in files {
        map.entry(file.path.clone()).or_default().insert(file.sha256);
    }
    map
}

/// Who may run a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PrincipalRule {
    /// Only this user, group and systemd unit, in the initial namespaces as stated.
    Exact(crate::component::Principal),
    /// Any user (`--any-user`).
    Any,
}

/// Which arguments count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ArgvRule {
    /// Exactly these, `argv[0]` included.
    Exact(Vec<String>),
    /// One pattern for each.
    Patterns(ArgumentPatterns),
    /// Any: a *general tool* that signs what it is told (`--any-arguments`).
    Any,
}

/// Patterns for arguments. In a pattern `*` is any run of characters but `/`, `**` any run of characters, and `\*` an
/// asterisk; everything else is itself, escaped as it is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgumentPatterns {
    /// One for each argument, `argv[0]` included: so many there must be.
    pub each: Vec<String>,
    /// Any number of further arguments may follow, each of this pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<String>,
}

/// Under which restrictions a component runs; by default under no seccomp filter.
///
/// A filter can hand system calls to a supervisor (`SECCOMP_RET_USER_NOTIF`), which answers them in the kernel's place: with
/// another file than the one that the program opens, for instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxRule {
    /// Seccomp mode: 0 off, 1 strict, 2 filter.
    pub seccomp: u8,
    /// How many filters.
    pub seccomp_filters: u32,
    /// Whether `PR_SET_NO_NEW_PRIVS` is set. Not compared where nothing is said: it takes rights away and lends nobody a
    /// hold on the process, so that not to have looked at it is no reason to refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_new_privs: Option<bool>,
}

/// The measurers that may vouch for a component: digests of shim, real module and configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttesterRule {
    /// `libtrustshim.so` or the guard.
    pub shim: BTreeSet<Digest>,
    /// The vendor's module.
    pub real_module: BTreeSet<Digest>,
    /// The shim's configuration file.
    pub configuration: BTreeSet<Digest>,
}
