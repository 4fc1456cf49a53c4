//! Who comes to an installation: programs, and the users that they run as.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Stack, build};
use crate::client::{copy_program, run};

impl Stack {
    /// A program or library of this build, where every user reaches it and none can change it.
    pub fn built(&self, name: &str) -> PathBuf {
        if self.apart.is_none() {
            return build().join(name);
        }
        let copy = self.directory().join("lib").join(name);
        if !copy.exists() {
            copy_program(build().join(name), &copy);
        }
        copy
    }

    /// The program of a guard.
    pub fn guard(&self) -> PathBuf {
        build().join("trustshim-guard")
    }

    /// User and group of the clients in guarded mode.
    pub fn client(&self) -> String {
        self.apart.as_ref().expect("clients of another user").client()
    }

    /// A command in the environment of an application: nothing of the test's own, and no operator's credential. In guarded
    /// mode its user is none of the installation's.
    pub fn application(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(program);
        command.env("TRUSTSHIM_CONFIG", self.variable("TRUSTSHIM_CONFIG"));
        match &self.apart {
            None => drop(command.env(self.token.settings(), self.variable(self.token.settings()))),
            Some(apart) => apart.become_client(&mut command),
        }
        command
    }

    /// A command that reaches the real module's tokens by itself.
    pub fn owner(&self, program: impl AsRef<OsStr>) -> Command {
        let Some(apart) = &self.apart else { return self.application(program) };
        let mut command = self.command(program);
        apart.become_owner(&mut command);
        command.env(self.token.settings(), self.variable(self.token.settings()));
        command
    }

    /// Has a directory and all in it belong to whoever owns the tokens.
    pub fn give_to_owner(&self, directory: &Path) {
        if let Some(apart) = &self.apart {
            apart.give_to_owner(directory);
        }
    }

    /// The command of whoever may open this module: of the keys' owner for the vendor's, else of an application.
    pub fn user_of(&self, module: &Path, program: impl AsRef<OsStr>) -> Command {
        if module == self.real_module() { self.owner(program) } else { self.application(program) }
    }

    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.scratch.path());
        // Of scripts/asan.
        if let Some(options) = env::var_os("ASAN_OPTIONS") {
            command.env("ASAN_OPTIONS", options);
        }
        command
    }

    /// The same with the shim preloaded.
    pub fn preloaded(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.application(program);
        command.env("LD_PRELOAD", self.shim());
        command
    }

    /// A command in the environment of an application that root runs: by `sudo` where the tests are not root's.
    pub fn as_root(&self, program: &str) -> Command {
        let is_root = run(Command::new("id").arg("-u")).text().trim() == "0";
        let mut command = self.application(if is_root { program } else { "sudo" });
        if !is_root {
            command.args(["-n", "--preserve-env", program]);
        }
        command
    }
}
