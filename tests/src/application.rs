//! An application in C with a life of its own, from `tests/application`: it plays one scene and says what it saw.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::{Finished, run};
use crate::stack::{Approval, Stack};

/// The compiled application.
pub struct Application<'a> {
    stack: &'a Stack,
    program: PathBuf,
}

impl<'a> Application<'a> {
    /// Compiles it.
    pub fn compiled(stack: &'a Stack) -> Self {
        let program = stack.file("application");
        let sources =
            fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("application")).expect("sources");
        let mut sources: Vec<_> = sources.map(|entry| entry.expect("a file").path()).collect();
        sources.retain(|source| source.extension().is_some_and(|extension| extension == "c"));
        sources.sort();
        let mut compiler = Command::new("gcc");
        compiler.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]);
        run(compiler.arg(&program).args(sources).arg("-ldl")).must_succeed();
        Self { stack, program }
    }

    /// Compiles it, and has it approved for every signature, whatever its scene.
    pub fn approved(stack: &'a Stack) -> Self {
        let application = Self::compiled(stack);
        application.approve(&mut application.scene(stack.shim(), &["sign"]));
        application
    }

    /// Runs a command that must be refused, and approves it as it was measured, for all arguments.
    pub fn approve(&self, command: &mut Command) {
        let refused = run(command).must_fail();
        assert!(refused.all_text().contains("0x200"), "not refused by the gate: {refused}");
        let approval = Approval::of("application", "pkcs11:token=sandbox", "sign");
        self.stack.approve_last(&approval.with(&["--many", "--any-arguments"]));
    }

    /// Plays a scene on a module.
    pub fn scene(&self, module: &Path, arguments: &[&str]) -> Command {
        let mut command = self.stack.user_of(module, &self.program);
        command.arg(module).args(arguments);
        command
    }

    /// Plays a scene on the shim, which must go well.
    #[track_caller]
    pub fn must_play(&self, arguments: &[&str]) -> Finished {
        run(&mut self.scene(self.stack.shim(), arguments)).must_succeed()
    }

    /// Plays a scene on the vendor's module and on the shim.
    pub fn on_both(&self, arguments: &[&str]) -> [Finished; 2] {
        [self.stack.real_module(), self.stack.shim()].map(|module| run(&mut self.scene(module, arguments)))
    }
}
