/* The application's own mutexes, and what a module makes of each way to offer them. */
#include "application.h"

typedef struct {
    pid_t process;
    pthread_mutex_t mutex;
} own_mutex;

void (*on_mutex)(void);
unsigned mutexes_made, mutexes_locked;

static CK_RV create(void **made) {
    own_mutex *mutex = malloc(sizeof *mutex);
    require(mutex, "no memory");
    mutex->process = getpid();
    pthread_mutex_init(&mutex->mutex, NULL);
    __atomic_fetch_add(&mutexes_made, 1, __ATOMIC_SEQ_CST);
    *made = mutex;
    if (on_mutex)
        on_mutex();
    return CKR_OK;
}

static CK_RV destroy(void *mutex) {
    free(mutex);
    if (on_mutex)
        on_mutex();
    return CKR_OK;
}

static CK_RV lock(void *locked) {
    own_mutex *mutex = locked;
    if (mutex->process != getpid()) {
        pthread_mutex_init(&mutex->mutex, NULL);
        mutex->process = getpid();
    }
    __atomic_fetch_add(&mutexes_locked, 1, __ATOMIC_SEQ_CST);
    if (on_mutex)
        on_mutex();
    return pthread_mutex_lock(&mutex->mutex) == 0 ? CKR_OK : 5;
}

static CK_RV unlock(void *mutex) {
    return pthread_mutex_unlock(&((own_mutex *)mutex)->mutex) == 0 ? CKR_OK : 5;
}

CK_C_INITIALIZE_ARGS own_mutexes = {create, destroy, lock, unlock, 0, NULL};

static void offer(const char *what, CK_C_INITIALIZE_ARGS *arguments) {
    mutexes_made = mutexes_locked = 0;
    CK_RV rv = C_Initialize(arguments);
    printf("%s: C_Initialize %#lx, ", what, rv);
    if (rv == CKR_OK) {
        signer signer = open_signer();
        sign(&signer);
    }
    rv = C_Finalize(NULL);
    printf("mutexes %s, locked %s, C_Finalize %#lx\n", mutexes_made ? "made" : "not made",
           mutexes_locked ? "once at least" : "never", rv);
}

void scene_mutexes(void) {
    load_module();
    offer("no arguments", NULL);
    for (unsigned given = 0; given < 16; given++) {
        for (unsigned flags = 0; flags < 4; flags++) {
            for (unsigned reserved = 0; reserved < 2; reserved++) {
                char what[64];
                snprintf(what, sizeof what, "functions %x, flags %u, reserved %u", given, flags, reserved);
                CK_C_INITIALIZE_ARGS arguments = {
                    given & 1 ? create : NULL, given & 2 ? destroy : NULL, given & 4 ? lock : NULL,
                    given & 8 ? unlock : NULL, flags, reserved ? what : NULL,
                };
                offer(what, &arguments);
            }
        }
    }
}
