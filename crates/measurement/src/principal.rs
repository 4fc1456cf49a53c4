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

/// The service of the unified hierarchy's line, `0::PATH` (cgroups(7)): what comes first after the slices.
///
/// What is below a unit is for those to name to whom it is delegated (`Delegate=`): a user's own service manager, a
/// container, or a service that makes a group called like another one. So it is the outermost name that counts, and below
/// a scope, or anything else that is no slice, there is no service.
fn unit(cgroup: &[u8]) -> Option<String> {
    let path = cgroup.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    let mut elements = path.split(|byte| *byte == b'/');
    // `..` is how the kernel shows what is outside the reader's own part of the hierarchy; no group is called so.
    let unit = elements.find(|element| {
        !element.is_empty() && !element.ends_with(b".slice") && *element != b"..".as_slice()
    })?;
    unit.ends_with(b".service").then(|| escape(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_outermost_service() {
        for (cgroup, expected) in [
            (&b"0::/system.slice/nginx.service\n"[..], Some("nginx.service")),
            (b"0::/system.slice/nginx.service/worker\n", Some("nginx.service")),
            (b"0::/system.slice/a.service/nginx.service\n", Some("a.service")),
            (b"0::/system.slice/a.service/system.slice/nginx.service\n", Some("a.service")),
            (
                b"0::/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service\n",
                Some("user@1000.service"),
            ),
            (b"0::/system.slice/system-getty.slice/getty@tty1.service\n", Some("getty@tty1.service")),
            (b"0::/nginx.service\n", Some("nginx.service")),
            (b"0::/../nginx.service\n", Some("nginx.service")),
            (b"0::/machine.slice/machine-a.scope/system.slice/nginx.service\n", None),
            (b"0::/docker/0123/system.slice/nginx.service\n", None),
            (b"0::/init.scope\n", None),
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
