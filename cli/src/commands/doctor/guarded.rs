//! What only guarded mode has: the guard itself, its users, and that neither of them reaches what is the other's.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use configuration::{Account, Client, Guard, Login};
use rustix::process::geteuid;

use super::report::Report;
use crate::access::{self, Answer, Attempt, User};
use crate::error::CliError;

const START: &str =
    "systemctl start trustshim-guard.socket; its log says why it ended: journalctl -u trustshim-guard";

/// An application's side: there is a guard that answers this user.
pub fn examine_client(report: &mut Report, client: &Client) {
    listens(report, &client.socket);
    report.skip("everything else", "it is the guard's: name its file with --config, as root");
}

/// The guard's side, besides what it has in common with inline mode.
pub fn examine(report: &mut Report, guard: &Guard) {
    listens(report, &guard.socket);
    if let Some(group) = &guard.group {
        report.step("clients' group", group_of(group), |gid| format!("{} is group {gid}", name(group)));
    }
    let worker = user(report, "worker's user", guard.worker_user.as_ref());
    let attester = user(report, "attester's user", guard.attester_user.as_ref());
    let (Some(worker), Some(attester)) = (worker, attester) else { return };
    if worker.uid == attester.uid {
        report.fail(
            "attester's user",
            format!("{} is the worker's user too, who can use the attestation key", attester.name),
            "give [guard] attester_user another user",
        );
    }
    if geteuid().is_root() {
        of_each_other(report, guard, &worker, &attester);
    } else {
        report.skip("each other's", "only root can try what these users reach");
    }
}

fn listens(report: &mut Report, socket: &std::path::Path) {
    match UnixStream::connect(socket) {
        Ok(_) => report.ok("guard", format!("it listens on {}", socket.display())),
        Err(error) => report.fail("guard", format!("{}: {error}", socket.display()), START),
    }
}

fn user(report: &mut Report, line: &'static str, account: Option<&Account>) -> Option<User> {
    let Some(account) = account else {
        report.fail(
            line,
            "none is named: whoever breaks the vendor's module has the guard's rights",
            "name a user of its own in [guard]; packaging/sysusers.d has two",
        );
        return None;
    };
    report.step(line, user_of(account), |user| format!("{} is user {}", user.name, user.uid))
}

fn user_of(account: &Account) -> Result<User, CliError> {
    match account {
        Account::Name(name) => User::find(name, &[]),
        // It need not have a name.
        Account::Number(number) => User::find(&number.to_string(), &[]).or_else(|error| match number {
            0 => Err(error),
            _ => Ok(User { name: number.to_string(), uid: *number, gid: *number, groups: vec![*number] }),
        }),
    }
}

fn group_of(account: &Account) -> Result<u32, CliError> {
    access::group_number(&name(account))
}

fn name(account: &Account) -> String {
    match account {
        Account::Name(name) => name.clone(),
        Account::Number(number) => number.to_string(),
    }
}

/// Each reads its own PIN and token, and nothing of the other's.
fn of_each_other(report: &mut Report, guard: &Guard, worker: &User, attester: &User) {
    let module = &guard.configuration.real_module.path;
    let places = access::token_places(module, &guard.worker_environment)
        .and_then(|token| Ok((token, access::token_places(module, &guard.attester_environment)?)));
    let (workers, attesters) = match places {
        Ok(places) => places,
        Err(error) => {
            report.fail("each other's", error.to_string(), error.advice());
            return;
        }
    };
    // PINs are opened before a process gives up root's rights: their files need not be its user's.
    let mut workers_pins = Vec::new();
    if let Login::Guard { pin_file, component_pins } = &guard.login {
        workers_pins.push(pin_file.clone());
        workers_pins.extend(component_pins.values().cloned());
    }
    let of_workers: Vec<_> = workers.iter().cloned().chain(workers_pins).collect();
    let attestation_pin = guard.configuration.attestation.pin_file.clone();
    let of_attester: Vec<_> = attesters.iter().cloned().chain(attestation_pin).collect();
    for (line, user, own, others) in [
        ("worker reaches", worker, &workers, &of_attester),
        ("attester reaches", attester, &attesters, &of_workers),
    ] {
        let attempts: Vec<Attempt> = own.iter().chain(others).map(Attempt::read).collect();
        match access::try_as(user, &attempts) {
            Ok(answers) => {
                let (of_own, of_others) = answers.split_at_checked(own.len()).unwrap_or_default();
                compare(report, line, user, (own, of_own), (others, of_others));
            }
            Err(error) => report.fail(line, error.to_string(), error.advice()),
        }
    }
}

fn compare(
    report: &mut Report,
    line: &'static str,
    user: &User,
    own: (&[PathBuf], &[Answer]),
    others: (&[PathBuf], &[Answer]),
) {
    for (path, answer) in own.0.iter().zip(own.1) {
        if *answer != Answer::Granted {
            let detail = format!("{} cannot read {}", user.name, path.display());
            report.fail(line, detail, format!("chown {} {}", user.name, path.display()));
        }
    }
    for (path, answer) in others.0.iter().zip(others.1) {
        // A token that both have is none of one's own.
        if *answer != Answer::Refused && !own.0.contains(path) {
            let detail = format!("{} is not kept from {}", user.name, path.display());
            report.fail(line, detail, "let it belong to the other user, for nobody else");
        }
    }
    if !report.has_failed(line) {
        report.ok(
            line,
            format!("{} reads its own token, and neither PIN nor token of the other user", user.name),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Ended;

    #[test]
    fn each_has_its_own_and_not_the_others() {
        let user = User { name: "worker".to_owned(), uid: 7, gid: 7, groups: vec![7] };
        let (own, others) = ([PathBuf::from("/own")], [PathBuf::from("/other")]);
        let compared = |of_own, of_others| {
            let mut report = Report::default();
            compare(&mut report, "worker reaches", &user, (&own, &[of_own]), (&others, &[of_others]));
            (report.ended(), report.text())
        };
        assert_eq!(compared(Answer::Granted, Answer::Refused).0, Ended::Well);
        let unknown = || Answer::Unknown("EIO".to_owned());
        for (of_own, of_others, word) in [
            (Answer::Refused, Answer::Refused, "cannot read /own"),
            (unknown(), Answer::Refused, "cannot read /own"),
            (Answer::Granted, Answer::Granted, "not kept from /other"),
            (Answer::Granted, unknown(), "not kept from /other"),
        ] {
            let (ended, text) = compared(of_own, of_others);
            assert_eq!(ended, Ended::WithFailures);
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn accounts_have_names_or_numbers() {
        assert_eq!(user_of(&Account::Name("nobody".to_owned())).unwrap().uid, 65_534);
        assert_eq!(user_of(&Account::Number(65_534)).unwrap().uid, 65_534);
        assert_eq!(user_of(&Account::Number(3_999_999)).unwrap().groups, [3_999_999]);
        assert!(user_of(&Account::Number(0)).is_err());
        assert!(user_of(&Account::Name("no-such-user".to_owned())).is_err());
        assert_eq!(group_of(&Account::Name("nogroup".to_owned())).unwrap(), 65_534);
    }
}
