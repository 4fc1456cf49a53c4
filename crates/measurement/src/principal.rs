//! On whose behalf the process runs: user, group, systemd unit and namespaces.

use attestation::component::Principal;
use attestation::digest::escape;

use crate::error::MeasurementError;
use crate::proc_file::ProcessDirectory;
use crate::runtime::Ids;

const CGROUP: &str = "cgroup";
/// `PROC_USER_INIT_INO` and `PROC_PID_INIT_INO` (linux/nsfs.h since 6.18; the same since 3.8).
const INITIAL_USER: &[u8] = b"user:[4026531837]";
const INITIAL_PID: &[u8] = b"pid:[4026531836]";

pub(crate) fn read(process: &ProcessDirectory, ids: Ids) -> Result<Principal, MeasurementError> {
    Ok(Principal {
        uid: ids.uid,
        gid: ids.gid,
        unit: unit(&process.read(CGROUP, 64 * 1024)?),
        initial_user_namespace: is_in_initial_user_namespace(process)?,
        initial_pid_namespace: process.link("ns/pid")? == INITIAL_PID,
    })
}

/// Whether user ids mean what they mean to the host.
pub(crate) fn is_in_initial_user_namespace(process: &ProcessDirectory) -> Result<bool, MeasurementError> {
    Ok(process.link("ns/user")? == INITIAL_USER)
}

/// The innermost service of the unified hierarchy's line, `0::PATH` (cgroups(7)).
///
/// A user's own service manager makes services below `user@UID.service`: their names are the user's choice, and
/// count only together with the user id.
fn unit(cgroup: &[u8]) -> Option<String> {
    let path = cgroup.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    path.rsplit(|byte| *byte == b'/').find(|element| element.ends_with(b".service")).map(escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_innermost_service() {
        for (cgroup, expected) in [
            (&b"0::/system.slice/nginx.service\n"[..], Some("nginx.service")),
            (b"0::/system.slice/nginx.service/worker\n", Some("nginx.service")),
            (b"0::/user.slice/user@1000.service/app.slice/sign.service\n", Some("sign.service")),
            (b"0::/user.slice/user-1000.slice/session-2.scope\n", None),
            (b"0::/\n", None),
            (b"12:pids:/system.slice/other.service\n0::/system.slice/nginx.service\n", Some("nginx.service")),
            (b"1:name=systemd:/system.slice/nginx.service\n", None),
            (b"0::/system.slice/nginx.service.d\n", None),
            (b"0::/system.slice/a\\x2db.service", Some(r"a\\x2db.service")),
            (b"", None),
        ] {
            assert_eq!(unit(cgroup).as_deref(), expected, "{}", escape(cgroup));
        }
    }
}
