//! Reference values: what a component version is expected to measure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The expected measurement of one component version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
    /// Executable by path: each with the digests that count.
    pub executables: BTreeMap<String, BTreeSet<Digest>>,
    /// Permitted libraries by path: every executable mapping must be here (or be the executable).
    pub libraries: BTreeMap<String, BTreeSet<Digest>>,
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
    /// Any: a *general tool* that signs what it is told (`--any-arguments`).
    Any,
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
