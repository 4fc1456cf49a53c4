//! Runs a client on the vendor's module directly and through the shim, each time on a fresh copy of the token, and compares
//! result by result, failures included.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stack::{Approval, Stack, Token};

/// How a client reaches the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The vendor's module, with the application's token alone: what the shim hides is not there.
    Direct,
    /// The shim, in a complete installation.
    Shim,
}

/// What came of each test of a run, by the name of the test.
pub type Results = BTreeMap<String, String>;

/// A result that differs by design.
#[derive(Clone, Copy)]
pub struct Known {
    /// The name of the test.
    pub test: &'static str,
    /// A part of the result directly.
    pub direct: &'static str,
    /// A part of the result through the shim.
    pub shim: &'static str,
    /// Why it differs.
    pub because: &'static str,
}

/// An installation whose tokens are as they were at the start of each run.
pub struct Parity<'a> {
    stack: &'a Stack,
    pristine: PathBuf,
}

impl<'a> Parity<'a> {
    /// Keeps the tokens as they are now.
    pub fn of(stack: &'a Stack) -> Self {
        let parity = Self { stack, pristine: stack.file("pristine") };
        copy(&parity.tokens(Access::Shim), &parity.pristine, &|_| true);
        for access in [Access::Direct, Access::Shim] {
            let directory = parity.directory(access);
            fs::create_dir(&directory).expect("a directory of the test");
            let module = match access {
                Access::Direct => stack.real_module(),
                Access::Shim => stack.shim(),
            };
            symlink(module, parity.module(access)).expect("a link of the test");
        }
        fs::write(parity.directory(Access::Direct).join("settings"), parity.direct_settings())
            .expect("a file of the test");
        parity
    }

    /// The module, under the name of the vendor's: some suites skip tests by that name.
    pub fn module(&self, access: Access) -> PathBuf {
        let name = self.stack.real_module().file_name().expect("a file");
        self.directory(access).join(name)
    }

    /// A command in the environment of an application that reaches the token this way.
    pub fn application(&self, access: Access, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match access {
            Access::Direct => {
                let mut command = self.stack.owner(program);
                command.env(self.stack.token().settings(), self.directory(access).join("settings"));
                command
            }
            Access::Shim => self.stack.application(program),
        }
    }

    /// Begins a run: the token is what it was at first.
    pub fn renew(&self, access: Access) {
        let tokens = self.tokens(access);
        if tokens.exists() {
            fs::remove_dir_all(&tokens).expect("the tokens of the last run");
        }
        copy(&self.pristine, &tokens, &|entry| access == Access::Shim || !self.is_the_attesters(entry));
        self.stack.give_to_owner(&tokens);
        if access == Access::Shim {
            // A guard has workers ready, each with the tokens as it has found them.
            self.stack.forget_tokens();
        }
    }

    /// Approves what the newest refusal measured as a general tool, for everything on the application's token.
    #[track_caller]
    pub fn approve(&self, component: &str) {
        let approval = Approval::of(component, "pkcs11:token=sandbox", "all");
        self.stack.approve_last(&approval.with(&["--many", "--any-arguments"]));
    }

    /// Panics where a result differs that is not known to differ, or no longer does as it is known to.
    #[track_caller]
    pub fn assert_same(&self, direct: &Results, shim: &Results, known: &[Known]) {
        let report = differences(direct, shim, known);
        let token = self.stack.token();
        let refusals: Vec<_> = self.stack.log().iter().map(|line| line["message"].to_string()).collect();
        assert!(
            report.is_empty(),
            "on {token:?} through the shim it is not as directly:\n{report}\nlog:\n{refusals:#?}"
        );
    }

    fn directory(&self, access: Access) -> PathBuf {
        self.stack.file(match access {
            Access::Direct => "direct",
            Access::Shim => "through-the-shim",
        })
    }

    /// Where the module keeps its tokens.
    fn tokens(&self, access: Access) -> PathBuf {
        match access {
            Access::Direct => self.directory(access).join("tokens"),
            Access::Shim => self.stack.directory().join("tokens"),
        }
    }

    /// The module's settings with the tokens elsewhere, and with no slot for the attester's.
    fn direct_settings(&self) -> String {
        let path = self.stack.variable(self.stack.token().settings());
        let text = fs::read_to_string(path).expect("the settings of the module");
        let [there, here] = [Access::Shim, Access::Direct].map(|access| self.tokens(access));
        let slots: Vec<_> = text
            .split("[[slots]]")
            .filter(|slot| !slot.contains("/trustshim.sql"))
            .map(|slot| slot.replace(text_of(&there), text_of(&here)))
            .collect();
        slots.join("[[slots]]")
    }

    /// Whether this file or directory holds the token of the attestation key.
    fn is_the_attesters(&self, entry: &Path) -> bool {
        match self.stack.token() {
            Token::Kryoptic => entry.ends_with("trustshim.sql"),
            Token::SoftHsm => {
                let token = fs::read(entry.join("token.object")).expect("a token of SoftHSM");
                token.windows(9).any(|bytes| bytes == b"trustshim")
            }
        }
    }
}

/// Each difference in three lines.
fn differences(direct: &Results, shim: &Results, known: &[Known]) -> String {
    let tests: BTreeSet<_> = direct.keys().chain(shim.keys()).collect();
    let mut report = String::new();
    for test in &tests {
        let [direct, shim] =
            [direct, shim].map(|results| results.get(*test).map_or("not run", String::as_str));
        let known = known.iter().find(|known| known.test == **test);
        let as_known = known.is_some_and(|known| direct.contains(known.direct) && shim.contains(known.shim));
        if direct != shim && !as_known {
            let _ = writeln!(report, "{test}\n  direct: {direct}\n  shim:   {shim}");
        } else if direct == shim
            && let Some(known) = known
        {
            let _ = writeln!(report, "{test}\n  no longer differs, although {}", known.because);
        }
    }
    for known in known.iter().filter(|known| !tests.iter().any(|test| **test == known.test)) {
        let _ = writeln!(report, "{}\n  is known to differ, and was not run", known.test);
    }
    report
}

/// Copies a directory, of the entries at its top only those that are `wanted`.
fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) {
    fs::create_dir(to).expect("a directory of the test");
    for entry in fs::read_dir(from).expect("a directory of the test") {
        let entry = entry.expect("an entry");
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if !wanted(&path) {
            continue;
        }
        if entry.file_type().expect("a type").is_dir() {
            copy(&path, &copied, &|_| true);
        } else {
            fs::copy(&path, &copied).expect("a file of the token");
        }
    }
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(of: &[(&str, &str)]) -> Results {
        of.iter().map(|(test, result)| ((*test).to_owned(), (*result).to_owned())).collect()
    }

    const KNOWN: &[Known] = &[Known { test: "slots", direct: "two", shim: "one", because: "one is hidden" }];

    #[test]
    fn only_what_differs_as_it_is_known_to_passes() {
        let direct = results(&[("sign", "failed: 0x30"), ("slots", "two slots")]);
        let shim = results(&[("sign", "failed: 0x30"), ("slots", "one slot")]);
        assert_eq!(differences(&direct, &shim, KNOWN), "");

        for (changed, complaint) in [
            (results(&[("sign", "passed"), ("slots", "one slot")]), "sign\n  direct: failed: 0x30"),
            (results(&[("slots", "one slot")]), "shim:   not run"),
            (results(&[("sign", "failed: 0x30"), ("slots", "three")]), "slots\n  direct: two"),
            (direct.clone(), "no longer differs"),
        ] {
            assert!(differences(&direct, &changed, KNOWN).contains(complaint), "{complaint}");
        }
        let none = Results::new();
        assert!(differences(&none, &none, KNOWN).contains("was not run"));
    }
}
