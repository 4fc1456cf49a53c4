/* Signatures with the key `demo-ec` of the token `sandbox`, verified by the module as well. */
#include "application.h"

#include <string.h>

static CK_BYTE digest[32] = "thirty-two bytes that are signed";

static CK_ULONG sandbox(void) {
    CK_ULONG slots[16], count = 16;
    answers(CKR_OK, C_GetSlotList(1, slots, &count));
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        answers(CKR_OK, C_GetTokenInfo(slots[i], &info));
        if (memcmp(info.label, "sandbox ", 8) == 0)
            return slots[i];
    }
    require(0, "no token `sandbox` among %lu", count);
    return 0;
}

static CK_ULONG find(CK_ULONG session, CK_ULONG class) {
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, "demo-ec", 7}};
    CK_ULONG object, count;
    answers(CKR_OK, C_FindObjectsInit(session, template, 2));
    answers(CKR_OK, C_FindObjects(session, &object, 1, &count));
    answers(CKR_OK, C_FindObjectsFinal(session));
    require(count == 1, "no key demo-ec of class %lu", class);
    return object;
}

CK_ULONG open_session(void) {
    CK_ULONG session;
    answers(CKR_OK, C_OpenSession(sandbox(), CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session));
    return session;
}

signer open_signer(void) {
    signer made;
    made.session = open_session();
    CK_RV rv = C_Login(made.session, CKU_USER, (CK_BYTE *)"1234", 4);
    require(rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN, "C_Login: %#lx", rv);
    made.private_key = find(made.session, CKO_PRIVATE_KEY);
    made.public_key = find(made.session, CKO_PUBLIC_KEY);
    return made;
}

void begin_signature(const signer *with) {
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    answers(CKR_OK, C_SignInit(with->session, &mechanism, with->private_key));
}

void end_signature(const signer *with) {
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    CK_BYTE signature[64];
    CK_ULONG length = sizeof signature;
    answers(CKR_OK, C_Sign(with->session, digest, sizeof digest, signature, &length));
    answers(CKR_OK, C_VerifyInit(with->session, &mechanism, with->public_key));
    answers(CKR_OK, C_Verify(with->session, digest, sizeof digest, signature, length));
}

void sign(const signer *with) {
    begin_signature(with);
    end_signature(with);
}

void whole_life(void) {
    answers(CKR_OK, C_Initialize(NULL));
    signer signer = open_signer();
    sign(&signer);
    answers(CKR_OK, C_Finalize(NULL));
}

void scene_sign(void) {
    load_module();
    whole_life();
    puts("signed");
}
