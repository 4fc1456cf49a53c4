//! The exported symbols `dlopen` and `dlmopen`, as code that a library instantiates where it exports its symbols.

/// Exports `dlopen` and `dlmopen`. `$is_ours` is a `fn(&Opening<'_>) -> bool` that says which names the library
/// answers for; every other call arrives at the next function of that name as if this one had not been in between.
///
/// The loader looks up the search paths and the namespace of its caller by the return address. That is why these
/// functions are written in assembly: they leave registers and stack as they were and jump, so that the next one returns
/// to the caller itself.
#[macro_export]
macro_rules! export_dlopen {
    ($is_ours:path) => {
        #[doc = "`dlopen` of dlfcn.h."]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn dlopen(
            name: *const core::ffi::c_char,
            mode: core::ffi::c_int,
        ) -> *mut core::ffi::c_void {
            unsafe extern "C" fn decide(
                name: *const core::ffi::c_char,
                mode: core::ffi::c_int,
                caller: *const core::ffi::c_void,
            ) -> $crate::loader::Answer {
                // SAFETY: this is the C caller's call, with the caller's promises (dlopen(3)).
                unsafe { $crate::loader::decide_dlopen(name, mode, caller, $is_ours) }
            }

            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "push rsi",
                ".cfi_adjust_cfa_offset 8",
                "mov rdx, [rsp + 16]", // the return address
                "sub rsp, 8",
                ".cfi_adjust_cfa_offset 8",
                "call {decide}",
                "add rsp, 8",
                ".cfi_adjust_cfa_offset -8",
                "pop rsi",
                ".cfi_adjust_cfa_offset -8",
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                "test rax, rax",
                "jz 2f",
                "jmp rax",
                "2:",
                "mov rax, rdx",
                "ret",
                ".cfi_endproc",
                decide = sym decide,
            );
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(
                ".cfi_startproc",
                "hint #34", // bti c
                "stp x29, x30, [sp, #-32]!",
                ".cfi_def_cfa_offset 32",
                ".cfi_offset x29, -32",
                ".cfi_offset x30, -24",
                "stp x0, x1, [sp, #16]",
                "mov x29, sp",
                "mov x2, x30", // the return address
                "bl {decide}",
                "mov x16, x0",
                "mov x17, x1",
                "ldp x0, x1, [sp, #16]",
                "ldp x29, x30, [sp], #32",
                ".cfi_def_cfa_offset 0",
                ".cfi_restore x29",
                ".cfi_restore x30",
                "cbz x16, 2f",
                "br x16",
                "2:",
                "mov x0, x17",
                "ret",
                ".cfi_endproc",
                decide = sym decide,
            );
        }

        #[doc = "`dlmopen` of dlfcn.h."]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn dlmopen(
            namespace: core::ffi::c_long,
            name: *const core::ffi::c_char,
            mode: core::ffi::c_int,
        ) -> *mut core::ffi::c_void {
            unsafe extern "C" fn decide(
                namespace: core::ffi::c_long,
                name: *const core::ffi::c_char,
                mode: core::ffi::c_int,
                caller: *const core::ffi::c_void,
            ) -> $crate::loader::Answer {
                // SAFETY: this is the C caller's call, with the caller's promises (dlmopen(3)).
                unsafe { $crate::loader::decide_dlmopen(namespace, name, mode, caller, $is_ours) }
            }

            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "push rsi",
                ".cfi_adjust_cfa_offset 8",
                "push rdx",
                ".cfi_adjust_cfa_offset 8",
                "mov rcx, [rsp + 24]", // the return address
                "call {decide}",
                "mov rcx, rdx",
                "pop rdx",
                ".cfi_adjust_cfa_offset -8",
                "pop rsi",
                ".cfi_adjust_cfa_offset -8",
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                "test rax, rax",
                "jz 2f",
                "jmp rax",
                "2:",
                "mov rax, rcx",
                "ret",
                ".cfi_endproc",
                decide = sym decide,
            );
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(
                ".cfi_startproc",
                "hint #34", // bti c
                "stp x29, x30, [sp, #-48]!",
                ".cfi_def_cfa_offset 48",
                ".cfi_offset x29, -48",
                ".cfi_offset x30, -40",
                "stp x0, x1, [sp, #16]",
                "str x2, [sp, #32]",
                "mov x29, sp",
                "mov x3, x30", // the return address
                "bl {decide}",
                "mov x16, x0",
                "mov x17, x1",
                "ldp x0, x1, [sp, #16]",
                "ldr x2, [sp, #32]",
                "ldp x29, x30, [sp], #48",
                ".cfi_def_cfa_offset 0",
                ".cfi_restore x29",
                ".cfi_restore x30",
                "cbz x16, 2f",
                "br x16",
                "2:",
                "mov x0, x17",
                "ret",
                ".cfi_endproc",
                decide = sym decide,
            );
        }
    };
}
