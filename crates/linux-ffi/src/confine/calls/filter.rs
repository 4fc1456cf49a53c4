//! A filter of system calls, as a program of the kernel's small machine (classic BPF).

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};

use crate::error::LinuxError;

/// Calls of other architectures' tables have other numbers (`AUDIT_ARCH_…`).
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
/// And so have those of the second table of x86-64 (x32), by this bit.
const OTHER_TABLE: u32 = 0x4000_0000;

/// Places in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

const REFUSE: sock_filter = give(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
const PASS: sock_filter = give(libc::SECCOMP_RET_ALLOW);

/// What a call must be like to pass. Arguments are compared by their lower 32 bits: numbers of processes and commands have no
/// more, and the kernel looks at no more of them.
pub(super) enum Rule<'a> {
    /// It never does.
    Never,
    /// An argument is one of these.
    Only { argument: u32, values: &'a [u32] },
    /// It is none of these.
    Not { argument: u32, values: &'a [u32] },
}

/// A filter in the making. What no rule is about passes.
pub(super) struct Filter(Vec<sock_filter>);

impl Filter {
    /// With calls of other tables refused.
    pub(super) fn new() -> Self {
        let known_table = [load(ARCHITECTURE_AT), equal(ARCHITECTURE, 1, 0), REFUSE, load(NUMBER_AT)];
        let mut program = known_table.to_vec();
        if cfg!(target_arch = "x86_64") {
            program.extend([jump(BPF_JSET, OTHER_TABLE, 0, 1), REFUSE]);
        }
        Self(program)
    }

    /// Of each call, one rule at most: the first decides.
    pub(super) fn add(&mut self, call: libc::c_long, rule: &Rule<'_>) {
        let decision = decision(rule);
        // Both are small: numbers of calls, and rules of a few values.
        let beyond = u8::try_from(decision.len()).unwrap_or(u8::MAX);
        self.0.push(equal(call as u32, 0, beyond));
        self.0.extend(decision);
    }

    /// For this thread, and for all that it starts, whatever they execute.
    pub(super) fn install(mut self) -> Result<(), LinuxError> {
        const CALL: &str = "seccomp";
        self.0.push(PASS);
        let len = u16::try_from(self.0.len()).map_err(|_| LinuxError::Range { call: CALL })?;
        let program = sock_fprog { len, filter: self.0.as_mut_ptr() };
        // What it keeps from others is in other processes: speculation past the filter tells nothing of them, and it would cost
        // the process the processor's means against reading its own memory.
        let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
        // SAFETY: the program and its instructions live for the time of the call, which only reads them.
        let status = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
        };
        if status == 0 { Ok(()) } else { Err(LinuxError::last(CALL)) }
    }
}

/// Ends in an answer, whatever the arguments.
fn decision(rule: &Rule<'_>) -> Vec<sock_filter> {
    let (argument, values, found, else_) = match rule {
        Rule::Never => return vec![REFUSE],
        Rule::Only { argument, values } => (argument, values, PASS, REFUSE),
        Rule::Not { argument, values } => (argument, values, REFUSE, PASS),
    };
    let mut decision = vec![load(ARGUMENTS_AT + 8 * argument)];
    for value in *values {
        decision.extend([equal(*value, 0, 1), found]);
    }
    decision.push(else_);
    decision
}

const fn load(at: u32) -> sock_filter {
    sock_filter { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: at }
}

const fn equal(value: u32, then: u8, else_: u8) -> sock_filter {
    jump(BPF_JEQ, value, then, else_)
}

const fn jump(by: u32, value: u32, then: u8, else_: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | by | BPF_K) as u16, jt: then, jf: else_, k: value }
}

const fn give(answer: u32) -> sock_filter {
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: answer }
}
