//! `policy-server operator`: who has a credential at an installation. Whoever may write its database decides that, and a server
//! that runs meanwhile goes by it from the next request on.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use attestation::digest::Digest;
use serde_json::json;

use crate::authentication::Role;
use crate::clock;
use crate::configuration::{Configuration, Layout};
use crate::error::ServerError;
use crate::new_file::{PRIVATE, create};
use crate::random;
use crate::store::administrators::{self, Administrator};
use crate::store::{Store, commit};
use crate::text::check_names;

/// Adds an operator, whose credential is written into a new file that only its owner may read.
///
/// # Errors
/// [`ServerError::Conflict`] where the name is taken, [`ServerError::File`] where the file is there already, and whatever the
/// installation's files and database have against it. Then nobody is added, and no file is left.
pub async fn add(directory: &Path, name: &str, role: Role, credential: &Path) -> Result<(), ServerError> {
    check_names([("NAME", &name.to_owned())])?;
    let store = open(directory).await?;
    enter(&store, name, role, credential).await?;
    store.close().await;
    tracing::info!(name, role = role.name(), "operator added");
    Ok(())
}

/// Adds an operator to a database that is open, see [`add`].
pub(crate) async fn enter(
    store: &Store,
    name: &str,
    role: Role,
    credential: &Path,
) -> Result<(), ServerError> {
    let mut transaction = store.write().await?;
    if administrators::all(&mut transaction).await?.iter().any(|other| other.name == name) {
        return Err(ServerError::Conflict(format!("there is an operator {name} already")));
    }
    let secret = random::secret()?;
    let created_at = clock::now()?;
    let administrator =
        Administrator { name: name.to_owned(), role, credential: Digest::of(secret.as_bytes()), created_at };
    administrators::add(&mut transaction, &administrator).await?;
    create(credential, PRIVATE, secret.as_bytes())?;
    if let Err(error) = commit(transaction).await {
        fs::remove_file(credential)
            .map_err(|error| ServerError::File { path: credential.to_owned(), error })?;
        return Err(error.into());
    }
    Ok(())
}

/// Takes an operator's credential away. What is on record of them stays.
///
/// # Errors
/// [`ServerError::NotFound`] where there is none of that name, and whatever the installation's files and database have against it.
pub async fn remove(directory: &Path, name: &str) -> Result<(), ServerError> {
    let store = open(directory).await?;
    let mut transaction = store.write().await?;
    if !administrators::remove(&mut transaction, name).await? {
        return Err(ServerError::NotFound(format!("operator {name}")));
    }
    let may_approve =
        administrators::all(&mut transaction).await?.iter().any(|one| one.role == Role::Approver);
    commit(transaction).await?;
    store.close().await;
    tracing::info!(name, "operator removed");
    if !may_approve {
        tracing::warn!(
            "nobody is left who may approve: add one with `policy-server operator add … --role approver`"
        );
    }
    Ok(())
}

/// Prints all operators, but no credentials.
///
/// # Errors
/// Whatever the installation's files and database have against it, and [`ServerError::File`] for standard output.
pub async fn list(directory: &Path, as_json: bool) -> Result<(), ServerError> {
    let store = open(directory).await?;
    let all = administrators::all(&mut *store.read().await?).await?;
    store.close().await;
    let mut text = if as_json {
        let entry = |one: &Administrator| json!({ "name": one.name, "role": one.role.name(), "created_at": one.created_at });
        json!(all.iter().map(entry).collect::<Vec<_>>()).to_string()
    } else {
        let width = all.iter().map(|one| one.name.len()).max().unwrap_or(0);
        let line = |one: &Administrator| format!("{:width$}  {}", one.name, one.role.name());
        all.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    if !text.is_empty() {
        text.push('\n');
    }
    let mut output = io::stdout().lock();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .map_err(|error| ServerError::File { path: PathBuf::from("standard output"), error })
}

/// The database of an installation, which must be one.
async fn open(directory: &Path) -> Result<Store, ServerError> {
    let layout = Layout::new(directory);
    Configuration::load(&layout.configuration())?;
    Ok(Store::open(&layout.database()).await?)
}
