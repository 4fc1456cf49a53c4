//! How often and how long the approved program signs while it is attacked.

use std::time::Duration;

use e2e::attacked::Told;

/// For so long a look at a client stands (`guard/src/worker/watch.rs`).
pub(crate) const STANDS: Duration = Duration::from_millis(250);
/// What a busy machine may take besides.
pub(crate) const SLACK: Duration = Duration::from_millis(750);

/// What `sign-on` says.
pub(crate) struct Signed {
    /// All signatures.
    pub(crate) all: u64,
    /// Whether the program has found its code patched.
    pub(crate) patched: bool,
    /// Signatures after that.
    pub(crate) since: u64,
    /// And how long after that the last one was.
    pub(crate) within: Duration,
    /// What ended it.
    pub(crate) rv: String,
}

impl Signed {
    pub(crate) fn by(service: &mut Told, time: Duration) -> Self {
        Self::of(&service.ask(&format!("sign-on {}", time.as_millis())))
    }

    pub(crate) fn of(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, all, _, patched, _, since, _, within, _, rv] = words[..] else { panic!("{line}") };
        Self {
            all: all.parse().unwrap(),
            patched: patched == "1",
            since: since.parse().unwrap(),
            within: Duration::from_millis(within.parse().unwrap()),
            rv: rv.to_owned(),
        }
    }
}
