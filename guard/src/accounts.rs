//! Users and groups of this host, by the files that hold them.

use std::fs;

use configuration::Account;

use crate::error::GuardError;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// A user, with the group that is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The user that the configuration names under `key`. A user that is named by a number has the group of that number unless
/// the host knows better.
pub(crate) fn user(account: &Account, key: &'static str) -> Result<User, GuardError> {
    let users = read(USERS)?;
    let fields = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((name, User { uid, gid }))
    };
    let mut known = users.lines().filter_map(fields);
    let found = match account {
        Account::Name(wanted) => known.find(|(name, _)| name == wanted).map(|(_, user)| user),
        Account::Number(uid) => known
            .find(|(_, user)| user.uid == *uid)
            .map(|(_, user)| user)
            .or(Some(User { uid: *uid, gid: *uid })),
    };
    found.ok_or_else(|| unknown(account, key))
}

/// The group that the configuration names under `key`.
pub(crate) fn group(account: &Account, key: &'static str) -> Result<u32, GuardError> {
    let name = match account {
        Account::Number(gid) => return Ok(*gid),
        Account::Name(name) => name,
    };
    let groups = read(GROUPS)?;
    let number = |line: &str| {
        let mut fields = line.split(':');
        if fields.next()? == name { fields.nth(1)?.parse().ok() } else { None }
    };
    groups.lines().find_map(number).ok_or_else(|| unknown(account, key))
}

fn read(path: &'static str) -> Result<String, GuardError> {
    fs::read_to_string(path).map_err(|source| GuardError::Unreadable { path, source })
}

fn unknown(account: &Account, key: &'static str) -> GuardError {
    let name = match account {
        Account::Name(name) => name.clone(),
        Account::Number(number) => number.to_string(),
    };
    GuardError::NoSuchName { key, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Account {
        Account::Name(name.to_owned())
    }

    #[test]
    fn names_and_numbers_lead_to_the_same() {
        let nobody = user(&name("nobody"), "worker_user").unwrap();
        assert_eq!(nobody, User { uid: 65534, gid: 65534 });
        assert_eq!(user(&Account::Number(65534), "worker_user").unwrap(), nobody);
        assert_eq!(group(&name("nogroup"), "group").unwrap(), 65534);
        assert_eq!(user(&name("root"), "worker_user").unwrap(), User { uid: 0, gid: 0 });
    }

    #[test]
    fn whom_nobody_knows_is_an_error_that_names_the_key() {
        for error in [
            user(&name("nobody-of-this-name"), "worker_user").unwrap_err(),
            group(&name("nobody-of-this-name"), "worker_user").unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "[guard] worker_user: there is no nobody-of-this-name");
        }
    }
}
