//! The log of what was refused: one datagram or one line per event, written without threads and never to stdout or stderr.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use attestation::decision::LocalDecision;
use attestation::digest::escape;
use configuration::LogTarget;
use gate::Recorder;

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
/// syslog's `err` in the facility `authpriv` (RFC 5424 section 6.2.1).
const SYSLOG_PRIORITY: u8 = 10 * 8 + 3;
/// The journal's `PRIORITY`, as syslog's severity.
const JOURNAL_PRIORITY: u8 = 3;

/// "trustshim is preloaded …" as datagrams that are there beforehand.
const WITHOUT_CONFIGURATION: [&str; 2] = [
    "MESSAGE=trustshim is preloaded, but guards no module: there is no configuration\nPRIORITY=3\n\
     SYSLOG_IDENTIFIER=trustshim\nTRUSTSHIM_EVENT=preload-inactive\n",
    "<83>trustshim: trustshim is preloaded, but guards no module: there is no configuration",
];

/// Where events go.
pub struct Log {
    target: Target,
    /// The application's process, where it is not this one.
    application: Option<u32>,
}

enum Target {
    File(PathBuf),
    Journal,
    Syslog,
}

impl Log {
    /// The log that the configuration names.
    pub fn of(target: &LogTarget) -> Self {
        let target = match target {
            LogTarget::File(path) => Target::File(path.clone()),
            LogTarget::Journal => Target::Journal,
            LogTarget::Syslog => Target::Syslog,
        };
        Self { target, application: None }
    }

    /// Of another process than this one, by its number.
    #[must_use]
    pub fn on_behalf_of(self, application: u32) -> Self {
        Self { application: Some(application), ..self }
    }

    /// The log while there is no configuration to go by.
    pub const fn before_configuration() -> Self {
        Self { target: Target::Journal, application: None }
    }

    /// `C_Initialize` fails, and this is why.
    pub fn failed_to_start(&self, error: &dyn core::error::Error) {
        let message = format!("trustshim cannot start, no call is forwarded: {}", causes(error));
        self.write("start-failed", &message, &[]);
    }

    /// The guard has served this process, and does not any more.
    pub fn guard_is_gone(&self, error: &dyn core::error::Error) {
        let message =
            format!("the guard does not answer any more, C_Initialize begins anew: {}", causes(error));
        self.write("guard-gone", &message, &[]);
    }

    /// This process and the guard share no memory.
    pub fn memory_is_not_shared(&self, error: &dyn core::error::Error) {
        let message =
            format!("no memory is shared with the guard, calls go over the socket: {}", causes(error));
        self.write("memory-not-shared", &message, &[]);
    }

    /// The library was preloaded, and cannot tell which module is the real one.
    pub fn preloaded_in_vain(&self, error: &dyn core::error::Error) {
        let message = format!("trustshim is preloaded, but guards no module: {}", causes(error));
        self.write("preload-inactive", &message, &[]);
    }

    /// The library was preloaded, and the file of the real module cannot be looked at.
    pub fn module_out_of_sight(&self, path: &str, how: &str) {
        let message = format!("the real module {path} cannot be looked at, and {how}");
        self.write("preload-out-of-sight", &message, &[("module", path)]);
    }

    /// The library was preloaded where there is no configuration. Written without allocating.
    pub fn preloaded_without_configuration() {
        // An event that cannot be written is lost, as in `write`.
        let [journal, syslog] = WITHOUT_CONFIGURATION;
        let _ = send(JOURNAL, journal.as_bytes()).or_else(|_| send(SYSLOG, syslog.as_bytes()));
    }

    /// An event that cannot be written is lost: there is nobody to tell, and the refusal stands without it.
    fn write(&self, event: &str, message: &str, fields: &[(&str, &str)]) {
        let message = escape(message.as_bytes());
        let pid = self.application.unwrap_or_else(std::process::id);
        let _: std::io::Result<()> = match &self.target {
            Target::Journal => {
                let mut datagram = format!(
                    "MESSAGE={message}\nPRIORITY={JOURNAL_PRIORITY}\nSYSLOG_IDENTIFIER=trustshim\n\
                     TRUSTSHIM_EVENT={event}\nTRUSTSHIM_PID={pid}\n"
                );
                for (name, value) in fields {
                    let _ = writeln!(
                        datagram,
                        "TRUSTSHIM_{}={}",
                        name.to_ascii_uppercase(),
                        escape(value.as_bytes())
                    );
                }
                send(JOURNAL, datagram.as_bytes()).or_else(|_| send(SYSLOG, syslog(pid, &message).as_bytes()))
            }
            Target::Syslog => send(SYSLOG, syslog(pid, &message).as_bytes()),
            Target::File(path) => {
                let mut line = serde_json::Map::new();
                line.insert("event".into(), event.into());
                line.insert("pid".into(), pid.into());
                for (name, value) in fields {
                    line.insert((*name).into(), (*value).into());
                }
                line.insert("message".into(), message.into());
                let line = format!("{}\n", serde_json::Value::Object(line));
                OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o640)
                    .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                    .open(path)
                    // One write, so that lines of several processes do not mix.
                    .and_then(|mut file| file.write_all(line.as_bytes()))
            }
        };
    }
}

impl Recorder for Log {
    fn denied(&self, decision: &LocalDecision, component: Option<&str>) {
        let id = decision.id.to_string();
        let at = decision.at.to_string();
        let key = decision.key.as_deref().unwrap_or("-");
        let component = component.unwrap_or("-");
        let message = format!(
            "{id} denied: {} on {key} by component {component}: {} ({}); see `trustshim explain {id}`",
            decision.function, decision.reason.detail, decision.reason.code
        );
        let fields = [
            ("decision", id.as_str()),
            ("time", at.as_str()),
            ("component", component),
            ("key", key),
            ("function", decision.function.as_str()),
            ("operation", decision.operation.as_str()),
            ("reason", decision.reason.code.as_str()),
        ];
        self.write("denied", &message, &fields);
    }

    fn object_left(&self, function: &str) {
        let message = format!(
            "what {function} has made is not what was granted, and the real module did not destroy it: look for it on the token"
        );
        self.write("object-left", &message, &[("function", function)]);
    }
}

fn syslog(pid: u32, message: &str) -> String {
    format!("<{SYSLOG_PRIORITY}>trustshim[{pid}]: {message}")
}

fn send(path: &str, datagram: &[u8]) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A full socket must not hold up the application.
    socket.set_nonblocking(true)?;
    socket.send_to(datagram, path).map(drop)
}

fn causes(error: &dyn core::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let more = source.to_string();
        // Transparent errors repeat their source.
        if !text.ends_with(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = source.source();
    }
    text
}
