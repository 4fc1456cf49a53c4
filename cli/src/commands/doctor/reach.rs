//! `trustshim doctor --as-user`: whether that user reaches the real token around the guard, tried as that user.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use configuration::{Guard, Login};

use super::report::Report;
use super::separation;
use crate::access::{self, Answer, Attempt, How, Process, User};
use crate::error::CliError;

/// What a line names one by one.
const NAMED: usize = 3;
/// A guard that systemd starts at the first connection is there within that time.
const START: (u32, Duration) = (50, Duration::from_millis(100));

/// From whom things must be kept, and what besides those that the configuration names.
pub struct Subject<'a> {
    /// The applications' user.
    pub user: &'a User,
    /// Devices, keys of a network HSM and whatever else leads to the token.
    pub paths: &'a [PathBuf],
    /// A process of the service.
    pub process: Option<u32>,
}

/// One line of attempts that must all be refused.
struct Section {
    name: &'static str,
    /// What they are made on.
    on: String,
    attempts: Vec<Attempt>,
    advice: &'static str,
}

/// Makes all attempts and reports them.
pub fn examine(report: &mut Report, guard: &Guard, subject: &Subject<'_>) -> Result<(), CliError> {
    let user = subject.user;
    let groups: Vec<String> = user.groups.iter().map(ToString::to_string).collect();
    report.ok("user", format!("{} is user {}, with the groups {}", user.name, user.uid, groups.join(", ")));
    let sections = sections(report, guard, subject);
    let mut attempts: Vec<Attempt> = sections.iter().flat_map(|section| &section.attempts).cloned().collect();
    attempts.push(Attempt::connect(&guard.socket));
    let mut answers = access::try_as(user, &attempts)?.into_iter();
    for section in &sections {
        let answers: Vec<_> = answers.by_ref().take(section.attempts.len()).collect();
        section.judge(report, user, &answers);
    }
    socket(report, guard, user, answers.next());
    separation::examine(report, user, subject.process);
    Ok(())
}

fn sections(report: &mut Report, guard: &Guard, subject: &Subject<'_>) -> Vec<Section> {
    let mut sections = Vec::new();
    let module = &guard.configuration.real_module.path;
    let worker = access::token_places(module, &guard.worker_environment);
    let attester = access::token_places(module, &guard.attester_environment);
    for (name, places) in [("token", worker), ("attestation token", attester)] {
        let places = match places {
            Ok(places) => places,
            Err(error) => {
                report.fail(name, error.to_string(), error.advice());
                continue;
            }
        };
        if places.is_empty() && subject.paths.is_empty() {
            report.fail(
                name,
                "this program does not know where such a module keeps it, and no --path was given",
                "name the device, or what else leads to the token, with --path",
            );
        }
        let advice = "let it belong to [guard] worker_user or attester_user, mode 0700";
        sections.extend(Section::on(report, name, &places, advice));
    }
    let mut pins = vec![guard.configuration.attestation.pin_file.clone()];
    if let Login::Guard { pin_file, component_pins } = &guard.login {
        pins.push(Some(pin_file.clone()));
        pins.extend(component_pins.values().cloned().map(Some));
    }
    let pins: Vec<PathBuf> = pins.into_iter().flatten().collect();
    let advice = "chown root, chmod 400: the guard opens them before it gives up root's rights";
    sections.extend(Section::on(report, "PIN files", &pins, advice));
    sections.extend(Section::on(
        report,
        "named paths",
        subject.paths,
        "let it belong to [guard] worker_user (a udev rule for a device), for nobody else",
    ));
    sections.push(Section::files_of(guard));
    sections.extend(guard_memory(report, guard));
    sections.extend(subject.process.and_then(|pid| service_memory(report, pid)));
    sections
}

impl Section {
    /// Attempts to read, write and exchange everything at some places, which must be there.
    fn on(report: &mut Report, name: &'static str, places: &[PathBuf], advice: &'static str) -> Option<Self> {
        let mut attempts = Vec::new();
        for place in places {
            let entries = match access::below(place) {
                Ok(entries) => entries,
                Err(error) => {
                    report.fail(name, error.to_string(), error.advice());
                    continue;
                }
            };
            attempts.push(Attempt::change(place));
            for entry in entries {
                // A directory is not opened for writing by anybody.
                if !entry.is_dir() {
                    attempts.push(Attempt::write(&entry));
                }
                attempts.push(Attempt::read(entry));
            }
        }
        let on = listed(places.iter().map(|place| place.display().to_string()));
        (!attempts.is_empty()).then_some(Self { name, on, attempts, advice })
    }

    /// What the guard goes by: whoever can exchange that is as good as the guard.
    fn files_of(guard: &Guard) -> Self {
        let configuration = &guard.configuration;
        let mut files = vec![
            configuration.path.clone(),
            configuration.real_module.path.clone(),
            configuration.policy_server.ca.clone(),
            configuration.policy_server.anchors.clone(),
            guard.socket.clone(),
        ];
        let values = guard.worker_environment.values().chain(guard.attester_environment.values());
        // Settings of the vendor's module, as a rule.
        files.extend(values.map(PathBuf::from).filter(|path| path.is_absolute() && path.exists()));
        // Links are followed: what they lead to counts, and where they lie.
        let targets: Vec<PathBuf> = files.iter().filter_map(|file| fs::canonicalize(file).ok()).collect();
        files.extend(targets);
        files.sort();
        files.dedup();
        Self {
            name: "guard's files",
            on: configuration.path.display().to_string() + " and what it names",
            attempts: files.into_iter().map(Attempt::change).collect(),
            advice: "let them and the directories above them belong to root, and nobody else write there",
        }
    }

    fn judge(&self, report: &mut Report, user: &User, answers: &[Answer]) {
        let mut done = Vec::new();
        let mut unknown = Vec::new();
        for (attempt, answer) in self.attempts.iter().zip(answers) {
            let path = attempt.path.display();
            match answer {
                Answer::Granted => done.push(format!("{} {path}", verb(attempt.how))),
                Answer::Refused => {}
                Answer::Unknown(why) => unknown.push(format!("{path}: {why}")),
            }
        }
        // One path comes several times.
        done.dedup();
        if !done.is_empty() {
            report.fail(self.name, format!("{} can {}", user.name, listed(done)), self.advice);
        }
        if !unknown.is_empty() {
            let detail = format!("nobody knows whether {} can open {}", user.name, listed(unknown));
            report.fail(
                self.name,
                detail,
                "look at it by hand; nothing is taken for safe that was not refused",
            );
        }
        if !report.has_failed(self.name) {
            report.ok(self.name, format!("{}: {} attempts, all refused", self.on, self.attempts.len()));
        }
    }
}

fn verb(how: How) -> &'static str {
    match how {
        How::Change => "exchange",
        How::Connect => "connect to",
        How::Read => "read",
        How::Write => "write",
    }
}

/// The first few, and how many more there are.
fn listed(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    let more = items.len().saturating_sub(NAMED);
    let named: Vec<String> = items.into_iter().take(NAMED).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    named.join(", ") + &more
}

fn guard_memory(report: &mut Report, guard: &Guard) -> Option<Section> {
    let advice =
        "start it: `systemctl start trustshim-guard.socket`; `systemctl status trustshim-guard` says more";
    if let Err(error) = UnixStream::connect(&guard.socket) {
        report.fail("guard", format!("nobody listens on {}: {error}", guard.socket.display()), advice);
        return None;
    }
    match running_guard() {
        Ok(processes) if !processes.is_empty() => {
            let memory = processes.iter().map(|process| Attempt::read(process.memory()));
            let programs = processes.iter().filter_map(|process| {
                fs::read_link(format!("/proc/{}/exe", process.pid)).ok().map(Attempt::change)
            });
            let mut attempts: Vec<Attempt> = memory.chain(programs).collect();
            attempts.dedup();
            Some(Section {
                name: "guard's processes",
                on: format!("memory and program of {} processes", processes.len()),
                attempts,
                advice: "let guard, workers and attester be of users of their own, and the program root's",
            })
        }
        Ok(_) => {
            report.fail("guard's processes", "no process of trustshim-guard runs", advice);
            None
        }
        Err(error) => {
            report.fail("guard's processes", error.to_string(), error.advice());
            None
        }
    }
}

fn running_guard() -> Result<Vec<Process>, CliError> {
    let (times, pause) = START;
    for _ in 1..times {
        let processes = access::guard_processes()?;
        if !processes.is_empty() {
            return Ok(processes);
        }
        thread::sleep(pause);
    }
    access::guard_processes()
}

fn service_memory(report: &mut Report, pid: u32) -> Option<Section> {
    let process = report
        .step("process", Process::find(pid), |process| format!("{pid} runs as user {}", process.uid))?;
    Some(Section {
        name: "process's memory",
        on: process.memory().display().to_string(),
        attempts: vec![Attempt::read(process.memory()), Attempt::write(process.memory())],
        advice: "run the service as a user of its own, or not dumpable",
    })
}

/// The one thing that must not be refused, to those who are meant.
fn socket(report: &mut Report, guard: &Guard, user: &User, answer: Option<Answer>) {
    let path = guard.socket.display();
    let advice = "have the guard, or its socket unit, started anew";
    match answer {
        Some(Answer::Granted) => report.ok("socket", format!("{} can connect to {path}", user.name)),
        Some(Answer::Refused) if report.has_failed("guard") => {
            report.skip("socket", "the guard does not listen")
        }
        Some(Answer::Refused) if is_member(&guard.socket, user) => {
            report.fail(
                "socket",
                format!("{} is in its group and cannot connect to {path}", user.name),
                advice,
            );
        }
        Some(Answer::Refused) => report.skip(
            "socket",
            format!("{} is not in the group of {path}: its applications get CKR_GENERAL_ERROR", user.name),
        ),
        Some(Answer::Unknown(why)) => report.fail("socket", format!("{path}: {why}"), advice),
        None => report.fail("socket", format!("{path}: nobody has tried"), advice),
    }
}

fn is_member(socket: &Path, user: &User) -> bool {
    fs::metadata(socket)
        .is_ok_and(|metadata| metadata.file_type().is_socket() && user.groups.contains(&metadata.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Ended;

    #[test]
    fn a_section_is_well_only_if_everything_was_refused() {
        let user = User { name: "web".to_owned(), uid: 7, gid: 7, groups: vec![7] };
        let section = Section {
            name: "token",
            on: "/t".to_owned(),
            attempts: vec![Attempt::change("/t"), Attempt::read("/t/a"), Attempt::write("/t/a")],
            advice: "chmod",
        };
        let judged = |answers: [Answer; 3]| {
            let mut report = Report::default();
            section.judge(&mut report, &user, &answers);
            (report.ended(), report.text())
        };
        let refused = || Answer::Refused;
        let (ended, text) = judged([refused(), refused(), refused()]);
        assert_eq!((ended, text.lines().count()), (Ended::Well, 1), "{text}");
        let (ended, text) = judged([refused(), Answer::Granted, refused()]);
        assert_eq!(ended, Ended::WithFailures);
        assert!(text.contains("web can read /t/a") && !text.starts_with("ok"), "{text}");
        let (ended, text) = judged([refused(), refused(), Answer::Unknown("EIO".to_owned())]);
        assert_eq!(ended, Ended::WithFailures);
        assert!(text.contains("nobody knows") && text.contains("EIO"), "{text}");
    }

    #[test]
    fn long_lists_are_cut() {
        let items = |count: usize| (0..count).map(|item| item.to_string());
        assert_eq!(listed(items(3)), "0, 1, 2");
        assert_eq!(listed(items(5)), "0, 1, 2 and 2 more");
    }
}
