//! A configuration that is not beyond doubt, or that names a real module which is none, stops everything: the application
//! hears it at once, one line in the log says which file and what in it, and nothing is forwarded.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki_sys::*;
use e2e::client::run;
use e2e::{Mode, Probe, SpyRecord, Stack};
use serde_json::json;

/// An installation whose journal is the test's own, and whose real module is the spy.
struct Host {
    stack: Stack,
    journal: UnixDatagram,
    record: SpyRecord,
    probe: PathBuf,
    shim: PathBuf,
}

/// Runs the rest of its arguments where the journal's socket is its first argument.
const WITH_JOURNAL: &str = r#"
    mount -t tmpfs none /run && mkdir -p /run/systemd/journal && ln -s "$1" /run/systemd/journal/socket && shift && exec "$@"
"#;
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

impl Host {
    fn up() -> Self {
        let stack = Stack::up(Mode::Inline);
        let socket = stack.file("journal");
        let journal = UnixDatagram::bind(&socket).unwrap();
        journal.set_nonblocking(true).unwrap();
        let record = SpyRecord::at(stack.file("spy.record"));
        // Where another user reaches them.
        let [probe, shim] = ["probe", "libtrustshim.so"].map(|file| {
            let copy = stack.file(file);
            fs::copy(e2e::stack::build().join(file), &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
            copy
        });
        for (path, mode) in [(stack.file(""), 0o711), (socket, 0o777)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Self { stack, journal, record, probe, shim }
    }

    /// A copy of the configuration with the spy in it and another change.
    fn configuration(&self, name: &str, change: impl FnOnce(String) -> String) -> PathBuf {
        let spy = e2e::stack::build().join("libspytoken.so");
        self.stack.configuration(name, |text| {
            change(text.replace(self.stack.variable("REAL_MODULE"), spy.to_str().unwrap()))
        })
    }

    /// A copy of the configuration that names another real module.
    fn with_module(&self, name: &str, module: &Path) -> PathBuf {
        let real = self.stack.variable("REAL_MODULE");
        self.stack.configuration(name, |text| text.replace(real, module.to_str().unwrap()))
    }

    /// A probe under a configuration, in a mount namespace of its own; `prefix` starts it.
    fn start(&self, configuration: &Path, prefix: &[&str]) -> Probe {
        let is_root = run(Command::new("id").arg("-u")).text().trim() == "0";
        let mut command = self.stack.application(if is_root { "unshare" } else { "sudo" });
        if !is_root {
            command.args(["-n", "--preserve-env", "unshare"]);
        }
        command.args(["--mount", "--", "sh", "-c", WITH_JOURNAL, "sh"]).arg(self.stack.file("journal"));
        command.args(prefix).arg(&self.probe).arg(&self.shim).env("TRUSTSHIM_CONFIG", configuration);
        command.env("SPY_REAL", self.stack.real_module()).env("SPY_LOG", self.record.path().unwrap());
        Probe::spawn(command)
    }

    /// What has come in at the journal.
    fn journal(&self) -> Vec<String> {
        let mut datagrams = Vec::new();
        let mut room = [0; 4096];
        while let Ok(length) = self.journal.recv(&mut room) {
            datagrams.push(String::from_utf8(room[..length].to_vec()).unwrap());
        }
        datagrams
    }

    /// Nothing works under this configuration, and one line in `log` says all of `words`.
    #[track_caller]
    fn assert_stopped(&self, log: Place, configuration: &Path, prefix: &[&str], words: &[&str]) {
        let lines_before = self.stack.log().len();
        let shown = configuration.display();
        let mut probe = self.start(configuration, prefix);
        assert_eq!(probe.call("C_Initialize", json!({})).rv, CKR_GENERAL_ERROR, "{shown}");
        let lines: Vec<_> = self.stack.log()[lines_before..].iter().map(ToString::to_string).collect();
        let datagrams = self.journal();
        let (said, silent) = match log {
            Place::Journal => (datagrams, lines),
            Place::Configured => (lines, datagrams),
        };
        assert_eq!(silent.len(), 0, "{shown}: {silent:?}");
        assert_eq!(said.len(), 1, "{shown}: {said:?}");
        for word in words.iter().chain(&["start-failed"]) {
            assert!(said[0].contains(word), "{shown}: {word} is not in {}", said[0]);
        }
        for function in pkcs11_table::Function::ALL {
            let gives_functions =
                matches!(function.name(), "C_GetFunctionList" | "C_GetInterfaceList" | "C_GetInterface");
            if function.name() != "C_Initialize" && !gives_functions {
                let reply = probe.call(function.name(), json!({ "by": "symbol" }));
                assert_eq!(reply.rv, CKR_CRYPTOKI_NOT_INITIALIZED, "{shown}: {function}");
            }
        }
        // What a module can do is asked for when it is loaded, and nothing of it used.
        let asks = |name: &str| matches!(name, "C_GetFunctionList" | "C_GetInterfaceList");
        let forwarded = self.record.calls_since(0).into_iter().filter(|call| !asks(&call.function));
        assert_eq!(forwarded.count(), 0, "{shown}: something was forwarded");
        // None of that has said more.
        assert_eq!((self.journal().len(), self.stack.log().len() - lines_before), (0, silent_or_one(log)));
    }
}

/// Where a failure to start is logged.
#[derive(Clone, Copy)]
enum Place {
    Configured,
    Journal,
}

const fn silent_or_one(log: Place) -> usize {
    match log {
        Place::Configured => 1,
        Place::Journal => 0,
    }
}

#[test]
fn a_configuration_that_is_not_beyond_doubt_stops_everything() {
    let host = Host::up();
    let sound = host.configuration("sound.toml", |text| text);
    assert_eq!(host.start(&sound, &[]).call("C_Initialize", json!({})).rv, CKR_OK);
    assert!(host.record.mark() > 0, "the spy is not in place");
    fs::remove_file(host.record.path().unwrap()).unwrap();

    let with = |name: &str, from: &str, to: &str| host.configuration(name, |text| text.replace(from, to));
    let mode = |name: &str, mode: u32| {
        let path = host.configuration(name, |text| format!("{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let without_pin = host.configuration("without-pin.toml", |text| {
        let kept: String = text
            .lines()
            .filter(|line| !line.starts_with("pin_file"))
            .map(|line| format!("{line}\n"))
            .collect();
        kept.replace("\"keys\"", "\"everything\"")
    });
    let faults = [
        (host.stack.file("absent.toml"), "no such file"),
        (host.stack.directory(), "not a regular file"),
        (with("unknown-key.toml", "[gate]", "[gate]\nscoop = 1"), "scoop"),
        (with("unknown-table.toml", "[gate]", "[guard]\n[gate]"), "guard"),
        (with("no-table.toml", "[attestation]", "[attestations]"), "attestation"),
        (with("guarded.toml", "\"inline\"", "\"guarded\""), "unknown field"),
        (with("scope.toml", "\"keys\"", "\"nothing\""), "nothing"),
        (without_pin, "gate.scope"),
        (with("plain-http.toml", "https://", "http://"), "policy_server.url"),
        (with("relative.toml", "path = \"/", "path = \""), "real_module.path"),
        (with("vague-log.toml", "\"file:", "\"files:"), "log.target"),
        (host.stack.write("garbage.toml", [0xff, 0xfe, 0x00]), "UTF-8"),
        (host.stack.write("long.toml", vec![b'#'; 64 * 1024 + 1]), "larger"),
        (mode("world-writable.toml", 0o666), "chmod"),
        (mode("group-writable.toml", 0o664), "chmod"),
    ];
    for (configuration, word) in faults {
        let path = configuration.to_str().unwrap();
        host.assert_stopped(Place::Journal, &configuration, &[], &[path, word]);
    }
    let nobody = host.stack.file("nobody.sock");
    let guarded = format!("mode = \"guarded\"\n[guard]\nsocket = \"{}\"\n", nobody.display());
    let guarded = host.stack.write("guard-client.toml", guarded);
    let words = ["[guard] socket", nobody.to_str().unwrap(), "does trustshim-guard run?"];
    host.assert_stopped(Place::Journal, &guarded, &[], &words);
    host.assert_stopped(
        Place::Journal,
        Path::new("relative.toml"),
        &[],
        &["TRUSTSHIM_CONFIG", "relative.toml"],
    );
    // Which is root's, and nobody else's to read; or another user's.
    let unreadable = mode("unreadable.toml", 0o600);
    let path = unreadable.to_str().unwrap();
    host.assert_stopped(Place::Journal, &unreadable, &NOBODY, &[path, "denied"]);
    let owned = mode("owned.toml", 0o644);
    std::os::unix::fs::chown(&owned, Some(65_534), None).unwrap();
    host.assert_stopped(Place::Journal, &owned, &[], &[owned.to_str().unwrap(), "65534"]);
}

#[test]
fn a_real_module_that_is_none_stops_everything() {
    let host = Host::up();
    let copied_shim = host.stack.file("copied-shim.so");
    fs::copy(host.stack.shim(), &copied_shim).unwrap();
    let text = host.stack.write("text.so", "no library\n");
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    for (name, module) in [
        ("absent", host.stack.file("absent.so").as_path()),
        ("directory", &host.stack.directory()),
        ("text", &text),
        ("libc", libc),
        ("ourselves", &host.shim),
        ("ourselves-copied", &copied_shim),
    ] {
        let configuration = host.with_module(&format!("{name}.toml"), module);
        let words = ["real_module", module.to_str().unwrap()];
        host.assert_stopped(Place::Configured, &configuration, &[], &words);
    }
}

#[test]
fn files_that_the_configuration_names_stop_everything_where_they_are_no_good() {
    let host = Host::up();
    let anchors = host.stack.directory().join("policy-server/anchors.jwks");
    let absent = host.stack.file("absent.jwks");
    let (anchors, absent) = (anchors.to_str().unwrap(), absent.to_str().unwrap());
    let without_anchors = host.configuration("anchors.toml", |text| text.replace(anchors, absent));
    host.assert_stopped(Place::Configured, &without_anchors, &[], &[absent]);
    let garbage = host.stack.write("garbage.jwks", "{}");
    let garbage = garbage.to_str().unwrap();
    let garbled = host.configuration("garbled.toml", |text| text.replace(anchors, garbage));
    host.assert_stopped(Place::Configured, &garbled, &[], &["anchors"]);
    let vague = host.configuration("vague.toml", |text| {
        text.lines()
            .map(|line| if line.starts_with("key = ") { "key = \"pkcs11:type=private\"" } else { line })
            .map(|line| format!("{line}\n"))
            .collect()
    });
    host.assert_stopped(Place::Configured, &vague, &[], &["attestation", "key"]);
}
