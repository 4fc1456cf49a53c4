//! Where the shim answers a bad call otherwise than the real module, and why: everything else is a defect.

use cryptoki_sys::*;
use e2e::{Mode, Outcome};
use pkcs11_table::Function::{self, *};

/// One way to differ.
pub struct Difference {
    functions: &'static [Function],
    /// What is bad about the call.
    bad: fn(&str) -> bool,
    /// The shim's answer.
    rv: CK_RV,
    /// The reason in the shim's log, where it is the gate that refuses.
    reason: Option<&'static str>,
    why: &'static str,
}

/// Those that take a mechanism and look for handles in it.
const WITH_MECHANISM: &[Function] = &[
    C_DecryptInit,
    C_DeriveKey,
    C_EncryptInit,
    C_GenerateKey,
    C_GenerateKeyPair,
    C_SignInit,
    C_SignRecoverInit,
    C_UnwrapKey,
    C_VerifyInit,
    C_VerifyRecoverInit,
    C_WrapKey,
];

/// Those whose templates are judged.
const WITH_TEMPLATE: &[Function] = &[
    C_CopyObject,
    C_CreateObject,
    C_DeriveKey,
    C_FindObjectsInit,
    C_GenerateKey,
    C_GenerateKeyPair,
    C_SetAttributeValue,
    C_UnwrapKey,
];

/// All of them.
pub const ALL: &[Difference] = &[
    Difference {
        functions: &[C_DecryptVerifyUpdate, C_SignEncryptUpdate, C_SignRecover, C_VerifyRecover],
        bad: |_| true,
        rv: CKR_OPERATION_NOT_INITIALIZED,
        reason: None,
        why: "no operation runs that could be judged; SoftHSM, which has none of these, says that first",
    },
    Difference {
        functions: &[
            C_DecryptInit,
            C_DeriveKey,
            C_DigestKey,
            C_EncryptInit,
            C_SetOperationState,
            C_SignInit,
            C_SignRecoverInit,
            C_VerifyInit,
            C_VerifyRecoverInit,
        ],
        bad: |what| what.contains("key is "),
        rv: CKR_KEY_HANDLE_INVALID,
        reason: None,
        why: "the key is looked at first; SoftHSM finds another fault before, or names an object where the standard has a key",
    },
    Difference {
        functions: WITH_MECHANISM,
        bad: |what| what == "the handle in the parameter leads nowhere",
        rv: CKR_KEY_HANDLE_INVALID,
        reason: None,
        why: "a key that a mechanism names is looked at like any other; SoftHSM does not use it",
    },
    Difference {
        functions: WITH_MECHANISM,
        bad: |what| what.starts_with("the parameter with a handle is of "),
        rv: CKR_FUNCTION_REJECTED,
        reason: Some("mechanism-unclear"),
        why: "nobody can tell where the handle is in a parameter of another length",
    },
    Difference {
        functions: WITH_MECHANISM,
        bad: |what| what.starts_with("mechanism has ") || what.contains(" is of an absurd length"),
        rv: CKR_ARGUMENTS_BAD,
        reason: None,
        why: "a buffer that cannot be there; SoftHSM finds another fault, takes no notice, or dies of it",
    },
    Difference {
        functions: &[C_DecryptInit, C_DeriveKey, C_EncryptInit],
        bad: |what| what.starts_with("mechanism is 0x"),
        rv: CKR_FUNCTION_REJECTED,
        reason: Some("mechanism-unclear"),
        why: "nobody can tell whether the parameter of an unknown mechanism names keys",
    },
    Difference {
        functions: &[C_EncryptInit, C_SignRecoverInit, C_VerifyInit, C_VerifyRecoverInit],
        bad: |what| what == "mechanism is 0xffffffffffffffff",
        rv: CKR_MECHANISM_INVALID,
        reason: None,
        why: "a mechanism beyond 32 bits may be a known one to a module that cuts it; SoftHSM finds another fault first",
    },
    Difference {
        functions: WITH_TEMPLATE,
        bad: |what| what.ends_with("is of no type"),
        rv: CKR_ARGUMENTS_BAD,
        reason: None,
        why: "a type beyond 32 bits may be a known one to a module that cuts it",
    },
    Difference {
        functions: &[
            C_CopyObject,
            C_CreateObject,
            C_DeriveKey,
            C_GenerateKey,
            C_GenerateKeyPair,
            C_SetAttributeValue,
            C_UnwrapKey,
        ],
        bad: |what| what.contains("a flag of ") || what.contains("a class of one byte"),
        rv: CKR_FUNCTION_REJECTED,
        reason: Some("template-unclear"),
        why: "an object is judged by what its template says, which cannot be read",
    },
    Difference {
        functions: &[
            C_CopyObject,
            C_CreateObject,
            C_DeriveKey,
            C_FindObjectsInit,
            C_GenerateKey,
            C_GenerateKeyPair,
            C_SetAttributeValue,
            C_UnwrapKey,
        ],
        bad: |what| what.starts_with("a value of ") && (what.contains("NULL") || what.contains("absurd")),
        rv: CKR_ARGUMENTS_BAD,
        reason: None,
        why: "a value that cannot be there; SoftHSM notices some, and dies of others",
    },
    Difference {
        functions: &[
            C_Decrypt,
            C_DecryptDigestUpdate,
            C_DecryptUpdate,
            C_DecryptVerifyUpdate,
            C_DigestEncryptUpdate,
            C_Encrypt,
            C_EncryptUpdate,
            C_InitPIN,
            C_InitToken,
            C_SetOperationState,
            C_SetPIN,
            C_SignEncryptUpdate,
            C_SignRecover,
            C_UnwrapKey,
            C_Verify,
            C_VerifyFinal,
            C_VerifyRecover,
        ],
        bad: |what| what.ends_with("absurd") || what.ends_with("huge"),
        rv: CKR_ARGUMENTS_BAD,
        reason: None,
        why: "a length that no memory has; SoftHSM finds another fault in some calls, and dies of others",
    },
    Difference {
        functions: &[C_SignRecoverInit, C_VerifyRecoverInit],
        bad: |what| what == "mechanism is NULL",
        rv: CKR_ARGUMENTS_BAD,
        reason: None,
        why: "nothing can be judged; SoftHSM has neither function, whatever the arguments",
    },
    Difference {
        functions: &[C_InitToken],
        bad: |what| what == "label is NULL",
        rv: CKR_ARGUMENTS_BAD,
        reason: None,
        why: "the new name is judged; SoftHSM first finds that there are sessions",
    },
    Difference {
        functions: &[C_InitToken],
        bad: |what| what == "the label is no text",
        rv: CKR_FUNCTION_REJECTED,
        reason: Some("not-granted"),
        why: "the new name is judged, and not the one that is granted",
    },
    Difference {
        functions: &[C_UnwrapKey],
        bad: |what| what == "template is NULL and empty",
        rv: CKR_TEMPLATE_INCOMPLETE,
        reason: None,
        why: "the class must be stated, since nobody can tell what comes out; SoftHSM wants a template for its own sake",
    },
    Difference {
        functions: &[C_WaitForSlotEvent],
        bad: |what| what == "slot is NULL",
        rv: CKR_ARGUMENTS_BAD,
        reason: None,
        why: "the shim looks whether the slot is a hidden one; SoftHSM never writes there",
    },
];

/// Those of guarded mode besides.
pub const GUARDED: &[Difference] = &[
    Difference {
        functions: &[
            C_CreateObject,
            C_DeriveKey,
            C_FindObjectsInit,
            C_GenerateKey,
            C_GenerateKeyPair,
            C_UnwrapKey,
        ],
        bad: |what| what.ends_with("is of an unknown type"),
        rv: CKR_ATTRIBUTE_TYPE_INVALID,
        reason: None,
        why: "nobody can tell whether a value of an unknown type leads to more, which would have to go along",
    },
    Difference {
        functions: &[
            C_CopyObject,
            C_CreateObject,
            C_DeriveKey,
            C_FindObjectsInit,
            C_GenerateKey,
            C_GenerateKeyPair,
            C_GetAttributeValue,
            C_SetAttributeValue,
            C_UnwrapKey,
        ],
        bad: |what| what.ends_with("is a template of one byte"),
        rv: CKR_ATTRIBUTE_VALUE_INVALID,
        reason: None,
        why: "a template in a template goes along, and this is none; SoftHSM takes no notice or finds another fault",
    },
    Difference {
        functions: &[C_DigestInit],
        bad: |what| what.ends_with(" is of an absurd length"),
        rv: CKR_ARGUMENTS_BAD,
        reason: None,
        why: "a parameter that cannot be there cannot go along; SoftHSM does not look at it",
    },
];

impl Difference {
    /// Whether this is it.
    pub fn explains(&self, function: Function, bad: &str, shim: Outcome, reason: &str) -> bool {
        self.functions.contains(&function)
            && (self.bad)(bad)
            && shim == Outcome::Returned(self.rv)
            && self.reason.is_none_or(|own| own == reason)
    }
}

/// The differences that have been met.
pub struct Met {
    known: Vec<&'static Difference>,
    met: Vec<(usize, Function)>,
}

impl Met {
    /// None yet, of those that there are in this mode.
    pub fn none(mode: Mode) -> Self {
        let besides = if mode == Mode::Guarded { GUARDED } else { &[] };
        Self { known: ALL.iter().chain(besides).collect(), met: Vec::new() }
    }

    /// Whether the difference is a known one.
    pub fn explains(&mut self, function: Function, bad: &str, shim: Outcome, reason: &str) -> bool {
        let known = self.known.iter().position(|one| one.explains(function, bad, shim, reason));
        self.met.extend(known.map(|known| (known, function)));
        known.is_some()
    }

    /// What the list has, and nothing differs by.
    pub fn missing(&self) -> Vec<String> {
        let all =
            self.known.iter().enumerate().flat_map(|(number, one)| {
                one.functions.iter().map(move |function| (number, *function, one.why))
            });
        all.filter(|(number, function, _)| !self.met.contains(&(*number, *function)))
            .map(|(_, function, why)| format!("{function} does not differ any more: {why}"))
            .collect()
    }
}
