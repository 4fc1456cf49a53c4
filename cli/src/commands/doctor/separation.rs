//! Whether processes are kept apart by their users, and what the kernel does where they are not.

use super::report::Report;
use crate::access::{self, Process, User};

/// Yama's scope from which on nobody without a capability gets at another process of the same user.
const NOBODYS: u8 = 2;

/// Reports on the guard's processes, on that of the service, and on Yama.
pub fn examine(report: &mut Report, user: &User, service: Option<u32>) {
    let (processes, yama) = match (access::guard_processes(), access::yama()) {
        (Ok(processes), Ok(yama)) => (processes, yama),
        (Err(error), _) | (_, Err(error)) => {
            report.fail("separation", error.to_string(), error.advice());
            return;
        }
    };
    for process in processes.iter().filter(|process| process.uid == user.uid) {
        report.fail(
            "separation",
            format!("process {} of the guard runs as {} itself", process.pid, user.name),
            "give [guard] worker_user and attester_user users of their own",
        );
    }
    // One that is not there has its own line.
    if let Some(process) = service.and_then(|pid| Process::find(pid).ok()) {
        of_service(report, user, process, yama);
    }
    if !report.has_failed("separation") {
        report.ok("separation", format!("no process of the guard runs as {}", user.name));
    }
    let meaning = match yama {
        None => "the kernel has no Yama: processes of one user open each other's memory".to_owned(),
        Some(0) => "0: processes of one user open each other's memory".to_owned(),
        Some(1) => "1: a process opens the memory of those that it starts".to_owned(),
        Some(scope) => format!("{scope}: no process opens another's memory without a capability"),
    };
    report.ok("ptrace scope", meaning);
}

fn of_service(report: &mut Report, user: &User, process: Process, yama: Option<u8>) {
    let pid = process.pid;
    let name = &user.name;
    if process.uid != user.uid {
        report.ok("service", format!("process {pid} runs as user {}, not as {name}", process.uid));
    } else if yama.is_some_and(|scope| scope >= NOBODYS) {
        report.ok(
            "service",
            format!("process {pid} runs as {name} itself, and the ptrace scope keeps others out"),
        );
    } else if !process.is_dumpable {
        report.ok("service", format!("process {pid} runs as {name} itself, and is not dumpable"));
    } else {
        report.fail(
            "separation",
            format!("process {pid} runs as {name} itself: its other processes can change what it does"),
            "run the service as a user of its own; or set kernel.yama.ptrace_scope to 2 or more",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Ended;

    #[test]
    fn a_process_of_the_same_user_is_apart_only_if_the_kernel_says_so() {
        let user = User { name: "web".to_owned(), uid: 7, gid: 7, groups: vec![7] };
        let ended = |uid, is_dumpable, yama| {
            let mut report = Report::default();
            of_service(&mut report, &user, Process { pid: 1, uid, is_dumpable }, yama);
            report.ended()
        };
        for (uid, is_dumpable, yama, expected) in [
            (8, true, None, Ended::Well),
            (7, true, None, Ended::WithFailures),
            (7, true, Some(0), Ended::WithFailures),
            // Whoever starts the program itself is its parent.
            (7, true, Some(1), Ended::WithFailures),
            (7, true, Some(2), Ended::Well),
            (7, true, Some(3), Ended::Well),
            (7, false, None, Ended::Well),
        ] {
            assert_eq!(ended(uid, is_dumpable, yama), expected, "{uid} {is_dumpable} {yama:?}");
        }
    }
}
