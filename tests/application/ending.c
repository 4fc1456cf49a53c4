/* How processes end: without C_Finalize, with threads inside calls, and with C_Finalize where everything comes to an end. */
#include "application.h"

static CK_C_INITIALIZE_ARGS threads = {NULL, NULL, NULL, NULL, CKF_OS_LOCKING_OK, NULL};
static signer common;

/* Until the library is gone. */
static void *calls_for_ever(void *unused) {
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    CK_BYTE signature[64];
    signer own = open_signer();
    CK_RV rv;
    do {
        CK_ULONG length = sizeof signature;
        rv = C_SignInit(own.session, &mechanism, own.private_key);
        if (rv == CKR_OK)
            rv = C_Sign(own.session, signature, 32, signature, &length);
    } while (rv == CKR_OK);
    require(rv == CKR_CRYPTOKI_NOT_INITIALIZED, "C_SignInit or C_Sign: %#lx", rv);
    pause();
    return unused;
}

static void finalise(void) {
    printf("C_Finalize at exit: %#lx\n", C_Finalize(NULL));
}

static void use_and_finalise(void) {
    sign(&common);
    finalise();
}

static void *outlives_main(void *unused) {
    usleep(50000);
    use_and_finalise();
    return unused;
}

static int finalises_in_destructor;

__attribute__((destructor)) static void destructor(void) {
    if (finalises_in_destructor)
        finalise();
}

static void *attests_by_login(void *unused) {
    C_Login(common.session, CKU_USER, (CK_BYTE *)"1234", 4);
    require(0, "the policy server has said something");
    return unused;
}

static void *attests(void *unused) {
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    C_SignInit(common.session, &mechanism, common.private_key);
    require(0, "the policy server has said something");
    return unused;
}

static void ends_while_another_attests(int by_login, int port) {
    int listening = listen_as_policy_server(port);
    answers(CKR_OK, C_Initialize(&threads));
    if (by_login)
        common.session = open_session();
    else
        common = open_signer();
    start_thread(by_login ? attests_by_login : attests, NULL);
    accept_attester(listening);
    puts("main ends");
    exit(0);
}

void scene_ending(int kind, int port) {
    if (kind == 1)
        atexit(finalise);
    load_module();
    if (kind == 7 || kind == 8)
        ends_while_another_attests(kind == 8, port);
    if (kind == 2)
        atexit(finalise);
    answers(CKR_OK, C_Initialize(&threads));
    common = open_signer();
    sign(&common);
    switch (kind) {
    case 0: /* Nobody finalises. */
    case 1: /* In a handler from before the module was loaded, */
    case 2: /* before it was initialised, */
        break;
    case 3: /* and after that, once it was used again. */
        atexit(use_and_finalise);
        break;
    case 4:
        finalises_in_destructor = 1;
        break;
    case 5: /* Other threads are inside calls, and one finalises. */
        for (int i = 0; i < 4; i++)
            start_thread(calls_for_ever, NULL);
        usleep(200000);
        atexit(finalise);
        break;
    case 6: /* The main thread ends before the others. */
        start_thread(outlives_main, NULL);
        pthread_exit(NULL);
    default:
        require(0, "there is no ending %d", kind);
    }
    puts("main returns");
}
