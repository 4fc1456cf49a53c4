//! The functions of PKCS#11, one row each, in the order of `CK_FUNCTION_LIST` (PKCS#11 2.40 base specification,
//! section 5; the header `pkcs11f.h`). Exports, function lists, the gate's classes and the spy token all come from here.

/// Hands the whole table to another macro, which makes of it what it needs.
///
/// Each row reads `C_Name: Since, Class, (argument: type, ...);`. The types are those of the `cryptoki-sys`
/// bindings and must be in scope where the macro is used; the classes are [`Class`](crate::Class)'s.
#[macro_export]
macro_rules! pkcs11_functions {
    ($callback:path) => {
        $callback! {
            C_Initialize: V2_40, Library, (init_args: CK_VOID_PTR);
            C_Finalize: V2_40, Library, (reserved: CK_VOID_PTR);
            C_GetInfo: V2_40, Open, (info: *mut CK_INFO);
            C_GetFunctionList: V2_40, Library, (list: *mut *mut CK_FUNCTION_LIST);
            C_GetSlotList: V2_40, Open, (token_present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG);
            C_GetSlotInfo: V2_40, Open, (slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO);
            C_GetTokenInfo: V2_40, Open, (slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO);
            C_GetMechanismList: V2_40, Open, (slot: CK_SLOT_ID, mechanisms: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG);
            C_GetMechanismInfo: V2_40, Open, (slot: CK_SLOT_ID, mechanism: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO);
            C_InitToken: V2_40, Use(Administer), (slot: CK_SLOT_ID, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG, label: *mut CK_UTF8CHAR);
            C_InitPIN: V2_40, Use(Administer), (session: CK_SESSION_HANDLE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG);
            C_SetPIN: V2_40, Use(Administer), (session: CK_SESSION_HANDLE, old_pin: *mut CK_UTF8CHAR, old_len: CK_ULONG, new_pin: *mut CK_UTF8CHAR, new_len: CK_ULONG);
            C_OpenSession: V2_40, Open, (slot: CK_SLOT_ID, flags: CK_FLAGS, application: CK_VOID_PTR, notify: CK_NOTIFY, session: *mut CK_SESSION_HANDLE);
            C_CloseSession: V2_40, Open, (session: CK_SESSION_HANDLE);
            C_CloseAllSessions: V2_40, Open, (slot: CK_SLOT_ID);
            C_GetSessionInfo: V2_40, Open, (session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO);
            C_GetOperationState: V2_40, Use(Reveal), (session: CK_SESSION_HANDLE, state: *mut CK_BYTE, state_len: *mut CK_ULONG);
            C_SetOperationState: V2_40, Use(Reveal), (session: CK_SESSION_HANDLE, state: *mut CK_BYTE, state_len: CK_ULONG, encryption_key: CK_OBJECT_HANDLE, authentication_key: CK_OBJECT_HANDLE);
            C_Login: V2_40, Conditional(Administer), (session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG);
            C_Logout: V2_40, Open, (session: CK_SESSION_HANDLE);
            C_CreateObject: V2_40, Conditional(Import), (session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, object: *mut CK_OBJECT_HANDLE);
            C_CopyObject: V2_40, Conditional(Modify), (session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, new_object: *mut CK_OBJECT_HANDLE);
            C_DestroyObject: V2_40, Conditional(Destroy), (session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE);
            C_GetObjectSize: V2_40, Keyless, (session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, size: *mut CK_ULONG);
            C_GetAttributeValue: V2_40, Conditional(Reveal), (session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
            C_SetAttributeValue: V2_40, Conditional(Modify), (session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
            C_FindObjectsInit: V2_40, Keyless, (session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
            C_FindObjects: V2_40, Open, (session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, max_count: CK_ULONG, count: *mut CK_ULONG);
            C_FindObjectsFinal: V2_40, Open, (session: CK_SESSION_HANDLE);
            C_EncryptInit: V2_40, Begin(Encrypt), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
            C_Encrypt: V2_40, Continue(Encrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_EncryptUpdate: V2_40, Continue(Encrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_EncryptFinal: V2_40, Continue(Encrypt), (session: CK_SESSION_HANDLE, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_DecryptInit: V2_40, Begin(Decrypt), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
            C_Decrypt: V2_40, Continue(Decrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_DecryptUpdate: V2_40, Continue(Decrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_DecryptFinal: V2_40, Continue(Decrypt), (session: CK_SESSION_HANDLE, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_DigestInit: V2_40, Keyless, (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM);
            C_Digest: V2_40, Open, (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_DigestUpdate: V2_40, Open, (session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG);
            C_DigestKey: V2_40, Use(Reveal), (session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE);
            C_DigestFinal: V2_40, Open, (session: CK_SESSION_HANDLE, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_SignInit: V2_40, Begin(Sign), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
            C_Sign: V2_40, Continue(Sign), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_SignUpdate: V2_40, Continue(Sign), (session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG);
            C_SignFinal: V2_40, Continue(Sign), (session: CK_SESSION_HANDLE, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_SignRecoverInit: V2_40, Begin(Sign), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
            C_SignRecover: V2_40, Continue(Sign), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_VerifyInit: V2_40, Begin(Verify), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
            C_Verify: V2_40, Continue(Verify), (session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, signature: *mut CK_BYTE, signature_len: CK_ULONG);
            C_VerifyUpdate: V2_40, Continue(Verify), (session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG);
            C_VerifyFinal: V2_40, Continue(Verify), (session: CK_SESSION_HANDLE, signature: *mut CK_BYTE, signature_len: CK_ULONG);
            C_VerifyRecoverInit: V2_40, Begin(Verify), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
            C_VerifyRecover: V2_40, Continue(Verify), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_DigestEncryptUpdate: V2_40, Continue(Encrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_DecryptDigestUpdate: V2_40, Continue(Decrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_SignEncryptUpdate: V2_40, Dual(Sign, Encrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_DecryptVerifyUpdate: V2_40, Dual(Decrypt, Verify), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
            C_GenerateKey: V2_40, Use(Generate), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
            C_GenerateKeyPair: V2_40, Use(Generate), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public_template: *mut CK_ATTRIBUTE, public_count: CK_ULONG, private_template: *mut CK_ATTRIBUTE, private_count: CK_ULONG, public_key: *mut CK_OBJECT_HANDLE, private_key: *mut CK_OBJECT_HANDLE);
            C_WrapKey: V2_40, Use(Wrap), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, wrapping_key: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE, wrapped_len: *mut CK_ULONG);
            C_UnwrapKey: V2_40, Use(Unwrap), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, unwrapping_key: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE, wrapped_len: CK_ULONG, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
            C_DeriveKey: V2_40, Use(Derive), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, base_key: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
            C_SeedRandom: V2_40, Keyless, (session: CK_SESSION_HANDLE, seed: *mut CK_BYTE, seed_len: CK_ULONG);
            C_GenerateRandom: V2_40, Keyless, (session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG);
            C_GetFunctionStatus: V2_40, Open, (session: CK_SESSION_HANDLE);
            C_CancelFunction: V2_40, Open, (session: CK_SESSION_HANDLE);
            C_WaitForSlotEvent: V2_40, Open, (flags: CK_FLAGS, slot: *mut CK_SLOT_ID, reserved: CK_VOID_PTR);
        }
    };
}
