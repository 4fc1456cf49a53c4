//! Manifests: reference values of one version in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use attestation::api::{ComponentRecord, ImportRequest, MANIFEST_FORMAT, Manifest, VersionName};
use policy_client::Client;

use super::show;
use crate::confirm;
use crate::error::CliError;
use crate::output;

/// Bytes that a manifest may have: what the server takes.
const LIMIT: u64 = 512 << 10;

#[derive(clap::Args)]
pub struct Import {
    /// The manifest; - is standard input
    file: PathBuf,
    /// Name of the software; without it the manifest's
    #[arg(long)]
    component: Option<String>,
    /// Its version, which must be new; without it the manifest's
    #[arg(long)]
    version: Option<String>,
    /// Asks nothing: for scripts that have checked by themselves
    #[arg(long)]
    yes: bool,
    /// For programs; needs --yes
    #[arg(long, requires = "yes")]
    json: bool,
}

/// Writes one version of a component.
pub fn export(record: &ComponentRecord, version: &str, output: Option<&Path>) -> Result<(), CliError> {
    let found = record.versions.iter().find(|known| known.version == version).ok_or_else(|| {
        CliError::Usage(format!(
            "{} has no version {version}; `trustshim component list` shows all",
            record.name
        ))
    })?;
    let name = VersionName { component: record.name.clone(), version: version.to_owned() };
    let format = MANIFEST_FORMAT.to_owned();
    write(&Manifest { format, name: Some(name), reference: found.reference.clone() }, output)
}

/// Writes a manifest to a new file, or to standard output.
pub fn write(manifest: &Manifest, output: Option<&Path>) -> Result<(), CliError> {
    let Some(path) = output else { return output::print_json(manifest) };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => CliError::Exists { path: path.to_owned() },
        _ => CliError::File { path: path.to_owned(), source },
    };
    let text = serde_json::to_string_pretty(manifest).map_err(|error| CliError::Output(error.into()))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(failed)?;
    let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
    written.map_err(|source| {
        // Half a manifest is of no use to anybody; that it may stay is all that can go wrong now.
        let _ = fs::remove_file(path);
        CliError::File { path: path.to_owned(), source }
    })
}

fn read(path: &Path) -> Result<Manifest, CliError> {
    let failed = |source| CliError::File { path: path.to_owned(), source };
    let refuse = |why: String| CliError::Manifest { path: path.to_owned(), why };
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(LIMIT + 1).read_to_end(&mut text).map_err(failed)?;
    } else {
        File::open(path).map_err(failed)?.take(LIMIT + 1).read_to_end(&mut text).map_err(failed)?;
    }
    if text.len() as u64 > LIMIT {
        return Err(refuse(format!("it is longer than {LIMIT} bytes")));
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
    if manifest.format != MANIFEST_FORMAT {
        return Err(refuse(format!("its format is {:?}, not {MANIFEST_FORMAT}", manifest.format)));
    }
    Ok(manifest)
}

/// Shows a manifest and makes it a version.
pub fn import(client: &Client, import: &Import) -> Result<(), CliError> {
    let manifest = read(&import.file)?;
    let name = name(import, manifest.name)?;
    if !import.json {
        output::print(&format!(
            "Will approve {} {}\n\n{}",
            output::one_line(&name.component),
            output::one_line(&name.version),
            show::values(&manifest.reference)
        ))?;
    }
    if !import.yes {
        confirm::yes("Approve this?")?;
    }
    let request = ImportRequest { version: name.version.clone(), reference: manifest.reference };
    let record: ComponentRecord =
        client.post(&format!("{}/versions", super::path(&name.component)), &request)?;
    if import.json {
        return output::print_json(&record);
    }
    output::print(&output::one_line(&format!(
        "Approved: {} {}. `trustshim grant list` shows whether it may use a key.",
        name.component, name.version
    )))
}

fn name(import: &Import, stated: Option<VersionName>) -> Result<VersionName, CliError> {
    let (component, version) = stated.map(|name| (name.component, name.version)).unzip();
    let missing = |option: &str| CliError::Usage(format!("the manifest has no name: say {option}"));
    Ok(VersionName {
        component: import.component.clone().or(component).ok_or_else(|| missing("--component"))?,
        version: import.version.clone().or(version).ok_or_else(|| missing("--version"))?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use attestation::digest::Digest;
    use attestation::reference::{ArgvRule, AttesterRule, PrincipalRule, ReferenceValues, SandboxRule};

    use super::*;

    fn manifest() -> Manifest {
        let some = || BTreeSet::from([Digest::of(b"x")]);
        Manifest {
            format: MANIFEST_FORMAT.to_owned(),
            name: None,
            reference: ReferenceValues {
                executables: BTreeMap::from([("/usr/bin/a".to_owned(), some())]),
                libraries: BTreeMap::from([("/lib/b.so".to_owned(), BTreeSet::new())]),
                library_sets: BTreeSet::from(["debian-12".to_owned()]),
                scripts: BTreeMap::new(),
                configuration: BTreeMap::new(),
                principal: PrincipalRule::Any,
                argv: ArgvRule::Any,
                environment: BTreeMap::new(),
                attester: AttesterRule { shim: some(), real_module: some(), configuration: some() },
                allow_jit: false,
                sandbox: SandboxRule { seccomp: 2, seccomp_filters: 3, no_new_privs: Some(true) },
            },
        }
    }

    #[test]
    fn a_manifest_that_was_written_is_read_back_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        write(&manifest(), Some(&path)).unwrap();
        assert_eq!(read(&path).unwrap(), manifest());
        assert!(matches!(write(&manifest(), Some(&path)), Err(CliError::Exists { .. })));
    }

    #[test]
    fn other_files_are_no_manifests() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        let other = Manifest { format: "other".to_owned(), ..manifest() };
        for text in [
            String::new(),
            "{}".to_owned(),
            serde_json::to_string(&other).unwrap(),
            format!("{}{}", serde_json::to_string(&manifest()).unwrap(), " ".repeat(600_000)),
        ] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(&path), Err(CliError::Manifest { .. })));
        }
    }

    #[test]
    fn options_name_a_version_before_the_manifest_does() {
        let stated = || Some(VersionName { component: "a".to_owned(), version: "1".to_owned() });
        let import = |component: Option<&str>, version: Option<&str>| Import {
            file: PathBuf::new(),
            component: component.map(str::to_owned),
            version: version.map(str::to_owned),
            yes: false,
            json: false,
        };
        let named = name(&import(Some("b"), None), stated()).unwrap();
        assert_eq!((named.component.as_str(), named.version.as_str()), ("b", "1"));
        assert!(matches!(name(&import(Some("b"), None), None), Err(CliError::Usage(_))));
    }

    #[test]
    fn libraries_that_a_set_supplies_are_shown_as_such() {
        let text = show::values(&manifest().reference);
        assert!(text.contains("/lib/b.so") && text.contains("by set"), "{text}");
        assert!(text.contains("Library sets debian-12") && text.contains("GENERAL TOOL"), "{text}");
        assert!(text.contains("seccomp filters: 3, no_new_privs: yes"), "{text}");
    }

    #[test]
    fn a_manifest_without_restrictions_means_no_filter() {
        let mut old = serde_json::to_value(manifest()).unwrap();
        old["reference"].as_object_mut().unwrap().remove("sandbox");
        let read: Manifest = serde_json::from_value(old).unwrap();
        assert_eq!(read.reference.sandbox, SandboxRule::default());
        assert!(show::values(&read.reference).contains("seccomp filters: none, no_new_privs: not compared"));
    }
}
