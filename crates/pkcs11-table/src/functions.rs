//! The functions of PKCS#11, one row each, in the order of `CK_FUNCTION_LIST_3_2` (PKCS#11 3.2, section 5; the header
//! `pkcs11f.h`). Exports, function lists, the gate's classes and the spy token all come from here.

/// Hands the whole table to another macro, which makes of it what it needs.
///
/// There is one group for each version of the standard, `V2_40 { ... } V3_0 { ... } V3_2 { ... }`: the function list of a
/// version has the rows of its own group behind those of the groups before. Each row reads
/// `C_Name: Class, (argument: type, ...);`. The types are those of the `cryptoki-sys` bindings and must be in scope where
/// the macro is used; the classes are [`Class`](crate::Class)'s.
#[macro_export]
macro_rules! pkcs11_functions {
    ($callback:path) => {
        $callback! {
            V2_40 {
                C_Initialize: Library, (init_args: CK_VOID_PTR);
                C_Finalize: Library, (reserved: CK_VOID_PTR);
                C_GetInfo: Open, (info: *mut CK_INFO);
                C_GetFunctionList: Library, (list: *mut *mut CK_FUNCTION_LIST);
                C_GetSlotList: Open, (token_present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG);
                C_GetSlotInfo: Open, (slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO);
                C_GetTokenInfo: Open, (slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO);
                C_GetMechanismList: Open, (slot: CK_SLOT_ID, mechanisms: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG);
                C_GetMechanismInfo: Open, (slot: CK_SLOT_ID, mechanism: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO);
                C_InitToken: Use(Administer), (slot: CK_SLOT_ID, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG, label: *mut CK_UTF8CHAR);
                C_InitPIN: Use(Administer), (session: CK_SESSION_HANDLE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG);
                C_SetPIN: Use(Administer), (session: CK_SESSION_HANDLE, old_pin: *mut CK_UTF8CHAR, old_len: CK_ULONG, new_pin: *mut CK_UTF8CHAR, new_len: CK_ULONG);
                C_OpenSession: Open, (slot: CK_SLOT_ID, flags: CK_FLAGS, application: CK_VOID_PTR, notify: CK_NOTIFY, session: *mut CK_SESSION_HANDLE);
                C_CloseSession: Open, (session: CK_SESSION_HANDLE);
                C_CloseAllSessions: Open, (slot: CK_SLOT_ID);
                C_GetSessionInfo: Open, (session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO);
                C_GetOperationState: Use(Reveal), (session: CK_SESSION_HANDLE, state: *mut CK_BYTE, state_len: *mut CK_ULONG);
                C_SetOperationState: Use(Reveal), (session: CK_SESSION_HANDLE, state: *mut CK_BYTE, state_len: CK_ULONG, encryption_key: CK_OBJECT_HANDLE, authentication_key: CK_OBJECT_HANDLE);
                C_Login: Conditional(Administer), (session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG);
                C_Logout: Open, (session: CK_SESSION_HANDLE);
                C_CreateObject: Conditional(Import), (session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, object: *mut CK_OBJECT_HANDLE);
                C_CopyObject: Conditional(Modify), (session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, new_object: *mut CK_OBJECT_HANDLE);
                C_DestroyObject: Conditional(Destroy), (session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE);
                C_GetObjectSize: Keyless, (session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, size: *mut CK_ULONG);
                C_GetAttributeValue: Conditional(Reveal), (session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
                C_SetAttributeValue: Conditional(Modify), (session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
                C_FindObjectsInit: Keyless, (session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
                C_FindObjects: Open, (session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, max_count: CK_ULONG, count: *mut CK_ULONG);
                C_FindObjectsFinal: Open, (session: CK_SESSION_HANDLE);
                C_EncryptInit: Begin(Encrypt), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
                C_Encrypt: Continue(Encrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_EncryptUpdate: Continue(Encrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_EncryptFinal: Continue(Encrypt), (session: CK_SESSION_HANDLE, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_DecryptInit: Begin(Decrypt), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
                C_Decrypt: Continue(Decrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_DecryptUpdate: Continue(Decrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_DecryptFinal: Continue(Decrypt), (session: CK_SESSION_HANDLE, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_DigestInit: Keyless, (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM);
                C_Digest: Open, (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_DigestUpdate: Open, (session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG);
                C_DigestKey: Use(Reveal), (session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE);
                C_DigestFinal: Open, (session: CK_SESSION_HANDLE, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_SignInit: Begin(Sign), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
                C_Sign: Continue(Sign), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_SignUpdate: Continue(Sign), (session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG);
                C_SignFinal: Continue(Sign), (session: CK_SESSION_HANDLE, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_SignRecoverInit: Begin(Sign), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
                C_SignRecover: Continue(Sign), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_VerifyInit: Begin(Verify), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
                C_Verify: Continue(Verify), (session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, signature: *mut CK_BYTE, signature_len: CK_ULONG);
                C_VerifyUpdate: Continue(Verify), (session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG);
                C_VerifyFinal: Continue(Verify), (session: CK_SESSION_HANDLE, signature: *mut CK_BYTE, signature_len: CK_ULONG);
                C_VerifyRecoverInit: Begin(Verify), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
                C_VerifyRecover: Continue(Verify), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_DigestEncryptUpdate: Continue(Encrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_DecryptDigestUpdate: Continue(Decrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_SignEncryptUpdate: Dual(Sign, Encrypt), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_DecryptVerifyUpdate: Dual(Decrypt, Verify), (session: CK_SESSION_HANDLE, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_GenerateKey: Use(Generate), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
                C_GenerateKeyPair: Use(Generate), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public_template: *mut CK_ATTRIBUTE, public_count: CK_ULONG, private_template: *mut CK_ATTRIBUTE, private_count: CK_ULONG, public_key: *mut CK_OBJECT_HANDLE, private_key: *mut CK_OBJECT_HANDLE);
                C_WrapKey: Use(Wrap), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, wrapping_key: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE, wrapped_len: *mut CK_ULONG);
                C_UnwrapKey: Use(Unwrap), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, unwrapping_key: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE, wrapped_len: CK_ULONG, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
                C_DeriveKey: Use(Derive), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, base_key: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
                C_SeedRandom: Keyless, (session: CK_SESSION_HANDLE, seed: *mut CK_BYTE, seed_len: CK_ULONG);
                C_GenerateRandom: Keyless, (session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG);
                C_GetFunctionStatus: Open, (session: CK_SESSION_HANDLE);
                C_CancelFunction: Open, (session: CK_SESSION_HANDLE);
                C_WaitForSlotEvent: Open, (flags: CK_FLAGS, slot: *mut CK_SLOT_ID, reserved: CK_VOID_PTR);
            }
            V3_0 {
                C_GetInterfaceList: Library, (interfaces: *mut CK_INTERFACE, count: *mut CK_ULONG);
                C_GetInterface: Library, (name: *mut CK_UTF8CHAR, version: *mut CK_VERSION, interface: *mut *mut CK_INTERFACE, flags: CK_FLAGS);
                C_LoginUser: Conditional(Administer), (session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG, username: *mut CK_UTF8CHAR, username_len: CK_ULONG);
                C_SessionCancel: Open, (session: CK_SESSION_HANDLE, flags: CK_FLAGS);
                C_MessageEncryptInit: Begin(Encrypt), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
                C_EncryptMessage: Continue(Encrypt), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG, associated: *mut CK_BYTE, associated_len: CK_ULONG, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_EncryptMessageBegin: Continue(Encrypt), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG, associated: *mut CK_BYTE, associated_len: CK_ULONG);
                C_EncryptMessageNext: Continue(Encrypt), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG, flags: CK_FLAGS);
                C_MessageEncryptFinal: Continue(Encrypt), (session: CK_SESSION_HANDLE);
                C_MessageDecryptInit: Begin(Decrypt), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
                C_DecryptMessage: Continue(Decrypt), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG, associated: *mut CK_BYTE, associated_len: CK_ULONG, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_DecryptMessageBegin: Continue(Decrypt), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG, associated: *mut CK_BYTE, associated_len: CK_ULONG);
                C_DecryptMessageNext: Continue(Decrypt), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG, flags: CK_FLAGS);
                C_MessageDecryptFinal: Continue(Decrypt), (session: CK_SESSION_HANDLE);
                C_MessageSignInit: Begin(Sign), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
                C_SignMessage: Continue(Sign), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_SignMessageBegin: Continue(Sign), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG);
                C_SignMessageNext: Continue(Sign), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG, input: *mut CK_BYTE, input_len: CK_ULONG, output: *mut CK_BYTE, output_len: *mut CK_ULONG);
                C_MessageSignFinal: Continue(Sign), (session: CK_SESSION_HANDLE);
                C_MessageVerifyInit: Begin(Verify), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
                C_VerifyMessage: Continue(Verify), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG, data: *mut CK_BYTE, data_len: CK_ULONG, signature: *mut CK_BYTE, signature_len: CK_ULONG);
                C_VerifyMessageBegin: Continue(Verify), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG);
                C_VerifyMessageNext: Continue(Verify), (session: CK_SESSION_HANDLE, parameter: CK_VOID_PTR, parameter_len: CK_ULONG, data: *mut CK_BYTE, data_len: CK_ULONG, signature: *mut CK_BYTE, signature_len: CK_ULONG);
                C_MessageVerifyFinal: Continue(Verify), (session: CK_SESSION_HANDLE);
            }
            V3_2 {
                C_EncapsulateKey: Use(Encapsulate), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public_key: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, ciphertext: *mut CK_BYTE, ciphertext_len: *mut CK_ULONG, key: *mut CK_OBJECT_HANDLE);
                C_DecapsulateKey: Use(Decapsulate), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, private_key: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, ciphertext: *mut CK_BYTE, ciphertext_len: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
                C_VerifySignatureInit: Begin(Verify), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE, signature: *mut CK_BYTE, signature_len: CK_ULONG);
                C_VerifySignature: Continue(Verify), (session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG);
                C_VerifySignatureUpdate: Continue(Verify), (session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG);
                C_VerifySignatureFinal: Continue(Verify), (session: CK_SESSION_HANDLE);
                C_GetSessionValidationFlags: Open, (session: CK_SESSION_HANDLE, kind: CK_SESSION_VALIDATION_FLAGS_TYPE, flags: *mut CK_FLAGS);
                C_AsyncComplete: Use(Reveal), (session: CK_SESSION_HANDLE, function: *mut CK_UTF8CHAR, result: *mut CK_ASYNC_DATA);
                C_AsyncGetID: Use(Reveal), (session: CK_SESSION_HANDLE, function: *mut CK_UTF8CHAR, id: *mut CK_ULONG);
                C_AsyncJoin: Use(Reveal), (session: CK_SESSION_HANDLE, function: *mut CK_UTF8CHAR, id: CK_ULONG, data: *mut CK_BYTE, data_len: CK_ULONG);
                C_WrapKeyAuthenticated: Use(Wrap), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, wrapping_key: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE, associated: *mut CK_BYTE, associated_len: CK_ULONG, wrapped: *mut CK_BYTE, wrapped_len: *mut CK_ULONG);
                C_UnwrapKeyAuthenticated: Use(Unwrap), (session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, unwrapping_key: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE, wrapped_len: CK_ULONG, template: *mut CK_ATTRIBUTE, count: CK_ULONG, associated: *mut CK_BYTE, associated_len: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
            }
        }
    };
}
