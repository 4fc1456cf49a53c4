/* What a module does in the threads of an application: none of its own, and nothing that outlives theirs. */
#include "application.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>

static long count_threads(void) {
    char line[256];
    long count = -1;
    FILE *status = fopen("/proc/self/status", "r");
    require(status, "no /proc");
    while (fgets(line, sizeof line, status))
        sscanf(line, "Threads: %ld", &count);
    fclose(status);
    return count;
}

static void *nothing(void *unused) {
    return unused;
}

/* The kernel makes no thread and no process for this one any more. */
static void forbid_threads(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    pthread_t thread;
    filter_calls(code, sizeof code / sizeof *code);
    require(pthread_create(&thread, NULL, nothing, NULL) == EPERM, "a thread in spite of the filter");
}

void scene_no_thread_is_made(void) {
    CK_C_INITIALIZE_ARGS arguments = {
        NULL, NULL, NULL, NULL, CKF_LIBRARY_CANT_CREATE_OS_THREADS | CKF_OS_LOCKING_OK, NULL,
    };
    forbid_threads();
    load_module();
    for (int round = 0; round < 2; round++) {
        answers(CKR_OK, C_Initialize(&arguments));
        signer signer = open_signer();
        sign(&signer);
        require(count_threads() == 1, "%ld threads", count_threads());
        answers(CKR_OK, C_Finalize(NULL));
    }
}

static pthread_key_t key;

/* Runs when the thread's own memory, and that of every library in it, is gone but for this. */
static void closes(void *with) {
    signer *signer = with;
    char info[256];
    sign(signer);
    answers(CKR_OK, C_CloseSession(signer->session));
    answers(CKR_OK, C_GetInfo(info));
}

static void finalises(void *unused) {
    char info[256];
    (void)unused;
    answers(CKR_OK, C_Finalize(NULL));
    answers(CKR_CRYPTOKI_NOT_INITIALIZED, C_GetInfo(info));
    whole_life();
}

static void *has_its_own(void *own) {
    require(pthread_setspecific(key, own) == 0, "no memory");
    sign(own);
    return NULL;
}

static void *has_nothing(void *unused) {
    char info[256];
    require(pthread_setspecific(key, &key) == 0, "no memory");
    answers(CKR_OK, C_GetInfo(info));
    return unused;
}

void scene_thread_local(void) {
    load_module();
    require(pthread_key_create(&key, closes) == 0, "no key");
    answers(CKR_OK, C_Initialize(NULL));
    for (int i = 0; i < 100; i++) {
        signer signer = open_signer();
        join_thread(start_thread(has_its_own, &signer));
    }
    pthread_key_delete(key);
    require(pthread_key_create(&key, finalises) == 0, "no key");
    join_thread(start_thread(has_nothing, NULL));
}

static CK_ULONG shared;
static pthread_barrier_t both;
static int met;

static void *takes_a_random_number(void *unused) {
    CK_BYTE random[16];
    pthread_barrier_wait(&both);
    CK_RV rv = C_GenerateRandom(shared, random, sizeof random);
    require(rv == CKR_OK || rv == CKR_FUNCTION_FAILED, "C_GenerateRandom: %#lx", rv);
    if (rv == CKR_FUNCTION_FAILED)
        __atomic_fetch_add(&met, 1, __ATOMIC_SEQ_CST);
    return unused;
}

/* On a module that fails where two of these calls meet in it. */
void scene_share_a_session(int is_for_threads) {
    CK_C_INITIALIZE_ARGS threads = {NULL, NULL, NULL, NULL, CKF_OS_LOCKING_OK, NULL};
    load_module();
    answers(CKR_OK, C_Initialize(is_for_threads ? &threads : NULL));
    shared = open_session();
    require(pthread_barrier_init(&both, NULL, 2) == 0, "no barrier");
    pthread_t one = start_thread(takes_a_random_number, NULL), other = start_thread(takes_a_random_number, NULL);
    join_thread(one);
    join_thread(other);
    answers(CKR_OK, C_Finalize(NULL));
    printf("%d met another\n", met);
}
