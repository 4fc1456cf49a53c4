//! Open files: the monitor has some for each client, and most hosts let a process have few unless it asks for more.

use configuration::GuardLimits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Control connection, pidfd, memory and three channels of a client; the rest for what is handed out at the moment.
const OF_CLIENT: u64 = 8;
/// Of the monitor itself, its roles, and of those who connect and do not become clients.
const OWN: u64 = 256;

/// Asks for as many as the clients may need that the configuration allows.
pub(super) fn make_room(limits: GuardLimits) {
    let wanted = u64::from(limits.processes) * OF_CLIENT + OWN;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        tracing::warn!(wanted, allowed = limit.maximum, "[guard] max_processes takes more open files");
    }
    if let Some(raised) = raised(limit, wanted)
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(wanted, %error, "more open files were refused");
    }
}

/// The limit to ask for, where that is another than there is. None is no bound.
fn raised(Rlimit { current, maximum }: Rlimit, wanted: u64) -> Option<Rlimit> {
    let allowed = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    (current? < allowed).then_some(Rlimit { current: Some(allowed), maximum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be_and_never_lowered() {
        let limit = |current, maximum| Rlimit { current, maximum };
        assert_eq!(raised(limit(Some(1024), Some(4096)), 2000), Some(limit(Some(2000), Some(4096))));
        assert_eq!(raised(limit(Some(1024), Some(4096)), 5000), Some(limit(Some(4096), Some(4096))));
        assert_eq!(raised(limit(Some(1024), None), 5000), Some(limit(Some(5000), None)));
        for enough in [limit(Some(2000), Some(4096)), limit(Some(4096), Some(4096)), limit(None, None)] {
            assert_eq!(raised(enough, 2000), None);
        }
    }
}
