//! The policy database: one writing connection whose transactions run one after the other, and readers beside
//! it. Each submodule holds the statements of one aggregate; callers compose them in one transaction.

pub mod administrators;
pub mod decisions;
pub mod grants;
pub mod hsms;
pub mod library_sets;
pub mod meta;
pub mod retired_files;
pub mod tokens;
pub mod versions;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

/// Connections for reading.
const READERS: u32 = 4;
/// How long a statement waits for another process's lock. Together with the wait for a connection it is shorter than a
/// request may take, so that a locked database is what the answer says.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(6);

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What it holds is not what this version writes.
    #[error("the database holds something unexpected in {place}: {problem}")]
    Corrupt {
        /// Table and column.
        place: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A statement failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A number is too large to be stored.
    #[error("a number is too large for the database: {0}")]
    OutOfRange(u64),
}

/// What kind of failure it is, for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Somebody else holds the database, or there is too much to do: later it may succeed.
    Busy,
    /// There is no room on the disk.
    Full,
    /// Anything else.
    Internal,
}

impl StoreError {
    /// What kind of failure it is.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Database(sqlx::Error::PoolTimedOut) => Failure::Busy,
            Self::Database(sqlx::Error::Database(error)) => {
                // SQLite's primary result codes are the low byte of the extended ones.
                let code = error.code().and_then(|code| code.parse::<u32>().ok());
                match code.map(|code| code & 0xff) {
                    Some(5 | 6) => Failure::Busy,
                    Some(13) => Failure::Full,
                    _ => Failure::Internal,
                }
            }
            _ => Failure::Internal,
        }
    }
}

/// The policy database.
#[derive(Clone, Debug)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Store {
    /// Opens the database file and brings its schema up to date.
    ///
    /// # Errors
    /// Where the file does not exist, cannot be opened, or was written by a newer version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            // A decision must have reached the disk before its answer is sent.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        // A connection to a file in this machine does not die between two requests: nobody need ask.
        let pool = || SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).test_before_acquire(false);
        let writer = pool()
            .max_connections(1)
            .after_release(|connection, _| Box::pin(is_idle(connection)))
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("./migrations").run(&writer).await?;
        let readers =
            pool().max_connections(READERS).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Self { writer, readers })
    }

    /// Starts a transaction that may write; it waits for the one before it. Dropped without a commit it is
    /// rolled back.
    ///
    /// # Errors
    /// Where the writing connection does not become free in time.
    pub async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A reading connection, for one statement.
    ///
    /// # Errors
    /// Where none becomes free in time.
    pub async fn read_once(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        Ok(self.readers.acquire().await?)
    }

    /// Starts a transaction that sees one state of the database and cannot write.
    ///
    /// # Errors
    /// Where no reading connection becomes free in time.
    pub async fn read(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.readers.begin().await?)
    }

    /// Closes all connections; open transactions end first.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Whether a connection that comes back is free of the transaction it was used for. Where SQLite has ended the
/// transaction by itself, as on a full disk, the rollback fails and the connection counts as inside it for good: such
/// a connection is closed, and the next request opens another one.
async fn is_idle(connection: &mut Connection) -> Result<bool, sqlx::Error> {
    // A rollback that was begun by dropping the transaction is over once this is answered.
    sqlx::Connection::ping(connection).await?;
    Ok(!sqlx::Connection::is_in_transaction(connection))
}

/// Makes a transaction's changes durable.
///
/// # Errors
/// Where they are not; then none of them counts.
pub async fn commit(transaction: Transaction<'static, Sqlite>) -> Result<(), StoreError> {
    Ok(transaction.commit().await?)
}

/// The form in which the database holds a number.
fn stored(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::OutOfRange(value))
}

fn loaded(place: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt { place, problem: format!("{value} is negative") })
}

/// Values that are stored as JSON, or as the bare word of a unit variant.
fn to_json<T: Serialize>(place: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt { place, problem: error.to_string() })
}

fn from_json<T: DeserializeOwned>(place: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt { place, problem: error.to_string() })
}

fn to_word<T: Serialize>(place: &'static str, value: &T) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        _ => Err(StoreError::Corrupt { place, problem: "not a word".to_owned() }),
    }
}

fn from_word<T: DeserializeOwned>(place: &'static str, word: &str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|error| StoreError::Corrupt { place, problem: error.to_string() })
}

/// Reads text that has a `FromStr` form.
fn parsed<T: core::str::FromStr<Err: ToString>>(place: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| StoreError::Corrupt { place, problem: error.to_string() })
}

/// The connection inside a transaction.
pub type Connection = SqliteConnection;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_database_is_opened_for_durability_and_consistency() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = Store::open(file.path()).await.unwrap();
        let mut writing = store.write().await.unwrap();
        let mut reading = store.read().await.unwrap();
        for connection in [&mut writing, &mut reading] {
            let mode: String =
                sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut **connection).await.unwrap();
            let full: i64 =
                sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut **connection).await.unwrap();
            let keys: i64 =
                sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut **connection).await.unwrap();
            assert_eq!((mode.as_str(), full, keys), ("wal", 2, 1));
        }
        let refused = sqlx::query("DELETE FROM decisions").execute(&mut *reading).await;
        assert!(refused.is_err(), "a reader wrote");
    }
}
