/* A guard that is started anew while its application goes on. */
#include "application.h"

#include <time.h>

enum { SECONDS = 60, A_SECOND = 10 };

static void wait_a_little(void) {
    struct timespec little = {0, 1000000000 / A_SECOND};
    nanosleep(&little, NULL);
}

/* Signs until the guard is gone. */
static void sign_while_it_is_there(void) {
    CK_BYTE digest[32] = {0}, signature[64];
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    signer with = open_signer();
    CK_RV rv;
    sign(&with);
    puts("signed");
    do {
        CK_ULONG length = sizeof signature;
        wait_a_little();
        rv = C_SignInit(with.session, &mechanism, with.private_key);
        if (rv == CKR_OK)
            rv = C_Sign(with.session, digest, sizeof digest, signature, &length);
    } while (rv == CKR_OK);
    require(rv == CKR_DEVICE_REMOVED, "neither signed nor told that the guard is gone: %#lx", rv);
    puts("the guard is gone");
}

/* Runs until somebody ends it. */
void scene_outlives_the_guard(void) {
    load_module();
    answers(CKR_OK, C_Initialize(NULL));
    for (;;) {
        CK_RV rv = CKR_GENERAL_ERROR;
        sign_while_it_is_there();
        C_Finalize(NULL);
        for (int tries = 0; tries < SECONDS * A_SECOND && rv != CKR_OK; tries++) {
            wait_a_little();
            rv = C_Initialize(NULL);
        }
        answers(CKR_OK, rv);
        puts("initialised again");
    }
}
