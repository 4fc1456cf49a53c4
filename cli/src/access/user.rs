//! A user of this host with its groups, and becoming that user for good.

use std::fs;
use std::process::Command;

use rustix::process::{Gid, Uid, getegid, geteuid, getgroups};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// A user other than root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// As it was asked for.
    pub name: String,
    /// Its number; not 0.
    pub uid: u32,
    /// Its own group.
    pub gid: u32,
    /// All its groups.
    pub groups: Vec<u32>,
}

impl User {
    /// The user `name`, with the groups that a login gives it and those of `more_groups`.
    pub fn find(name: &str, more_groups: &[String]) -> Result<Self, CliError> {
        let number = |option| {
            let numbers = id(name, option)?;
            numbers.first().copied().ok_or_else(|| CliError::NoSuchAccount { name: name.to_owned() })
        };
        let (uid, gid) = (number("-u")?, number("-g")?);
        if uid == 0 {
            return Err(CliError::Usage(format!("{name} is root, from whom nothing on this host is kept")));
        }
        let mut groups = id(name, "-G")?;
        for group in more_groups {
            groups.push(group_number(group)?);
        }
        groups.sort_unstable();
        groups.dedup();
        Ok(Self { name: name.to_owned(), uid, gid, groups })
    }

    /// Makes this process, which must have one thread and be root's, this user's, with no capability left.
    pub fn become_it(&self) -> Result<(), CliError> {
        let refuse = |why: String| CliError::BecomeUser { name: self.name.clone(), why };
        let failed = |errno: rustix::io::Errno| refuse(errno.to_string());
        let groups: Vec<Gid> = self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&groups).map_err(failed)?;
        set_thread_res_gid(gid, gid, gid).map_err(failed)?;
        set_thread_res_uid(uid, uid, uid).map_err(failed)?;
        let have = getgroups().map_err(failed)?;
        let status = fs::read_to_string("/proc/self/status").map_err(|error| refuse(error.to_string()))?;
        let is_it = geteuid() == uid
            && getegid() == gid
            && have.iter().all(|group| groups.contains(group))
            && has_one_thread(&status)
            && has_no_capability(&status);
        if is_it { Ok(()) } else { Err(refuse("the kernel has left it other rights".to_owned())) }
    }
}

/// `id OPTION NAME`: it asks whatever this host has its users from.
fn id(name: &str, option: &str) -> Result<Vec<u32>, CliError> {
    let unknown = || CliError::NoSuchAccount { name: name.to_owned() };
    let output = Command::new("/usr/bin/id")
        .env_clear()
        .args([option, "--", name])
        .output()
        .map_err(|source| CliError::File { path: "/usr/bin/id".into(), source })?;
    if !output.status.success() {
        return Err(unknown());
    }
    let text = String::from_utf8(output.stdout).map_err(|_| unknown())?;
    text.split_whitespace().map(|number| number.parse().map_err(|_| unknown())).collect()
}

/// The number of a group, by its name or by itself.
pub fn group_number(name: &str) -> Result<u32, CliError> {
    let unknown = || CliError::NoSuchAccount { name: name.to_owned() };
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let output = Command::new("/usr/bin/getent")
        .env_clear()
        .args(["group", "--", name])
        .output()
        .map_err(|source| CliError::File { path: "/usr/bin/getent".into(), source })?;
    let text = String::from_utf8(output.stdout).map_err(|_| unknown())?;
    text.split(':').nth(2).and_then(|number| number.parse().ok()).ok_or_else(unknown)
}

fn has_one_thread(status: &str) -> bool {
    field(status, "Threads") == Some("1")
}

fn has_no_capability(status: &str) -> bool {
    ["CapInh", "CapPrm", "CapEff", "CapAmb"].into_iter().all(|name| {
        field(status, name).is_some_and(|set| u64::from_str_radix(set, 16).is_ok_and(|set| set == 0))
    })
}

/// A field of `/proc/PID/status` (proc(5)).
pub fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_with_their_groups() {
        let nobody = User::find("nobody", &["4242".to_owned(), "nogroup".to_owned()]).unwrap();
        assert_eq!((nobody.uid, nobody.gid, nobody.groups), (65_534, 65_534, vec![4242, 65_534]));
        for name in ["no such user", "--help", ""] {
            assert!(matches!(User::find(name, &[]), Err(CliError::NoSuchAccount { .. })), "{name}");
        }
        let group = ["no such group".to_owned()];
        assert!(matches!(User::find("nobody", &group), Err(CliError::NoSuchAccount { .. })));
        assert!(matches!(User::find("root", &[]), Err(CliError::Usage(_))));
    }

    #[test]
    fn a_process_with_a_capability_or_a_second_thread_is_noticed() {
        let status = "Name:\tx\nThreads:\t1\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
                      CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n";
        assert!(has_no_capability(status) && has_one_thread(status));
        let capable = status.replace("CapPrm:\t0000000000000000", "CapPrm:\t0000000000080000");
        assert!(!has_no_capability(&capable));
        assert!(!has_no_capability(&status.replace("CapEff", "CapOff")));
        assert!(!has_one_thread(&status.replace("Threads:\t1", "Threads:\t2")));
    }
}
