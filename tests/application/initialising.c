/* Initialising: from many threads at once, again and again, by several users of one process, after an unload. */
#include "application.h"

#include <dlfcn.h>
#include <string.h>

enum { THREADS = 16, ROUNDS = 20 };

static pthread_barrier_t barrier;
static unsigned first, others, last;

static void *initialises_and_finalises(void *unused) {
    for (int round = 0; round < ROUNDS; round++) {
        char info[256];
        pthread_barrier_wait(&barrier);
        CK_RV rv = C_Initialize(NULL);
        require(rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED, "C_Initialize: %#lx", rv);
        __atomic_fetch_add(rv == CKR_OK ? &first : &others, 1, __ATOMIC_SEQ_CST);
        answers(CKR_OK, C_GetInfo(info));
        pthread_barrier_wait(&barrier);
        rv = C_Finalize(NULL);
        require(rv == CKR_OK || rv == CKR_CRYPTOKI_NOT_INITIALIZED, "C_Finalize: %#lx", rv);
        if (rv == CKR_OK)
            __atomic_fetch_add(&last, 1, __ATOMIC_SEQ_CST);
        answers(CKR_CRYPTOKI_NOT_INITIALIZED, C_GetInfo(info));
    }
    return unused;
}

void scene_initialise_at_once(void) {
    pthread_t threads[THREADS];
    load_module();
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        threads[i] = start_thread(initialises_and_finalises, NULL);
    for (int i = 0; i < THREADS; i++)
        join_thread(threads[i]);
    require(first == ROUNDS && last == ROUNDS, "initialised %u times, finalised %u times", first, last);
    require(others == ROUNDS * (THREADS - 1), "%u", others);
    whole_life();
}

static void *lists_slots(void *unused) {
    for (int round = 0; round < 50 * ROUNDS; round++) {
        CK_ULONG slots[64], count = 64;
        answers(CKR_OK, C_GetSlotList(1, slots, &count));
        require(count > 0, "no token");
    }
    return unused;
}

/* Initialising with NULL promises that one thread calls; some applications look for their slots with several. */
void scene_promise_one_thread(void) {
    pthread_t threads[THREADS / 4];
    load_module();
    answers(CKR_OK, C_Initialize(NULL));
    for (int i = 0; i < THREADS / 4; i++)
        threads[i] = start_thread(lists_slots, NULL);
    for (int i = 0; i < THREADS / 4; i++)
        join_thread(threads[i]);
    answers(CKR_OK, C_Finalize(NULL));
}

static long resident_kib(void) {
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");
    require(status, "no /proc");
    while (fgets(line, sizeof line, status))
        sscanf(line, "VmRSS: %ld", &kib);
    fclose(status);
    return kib;
}

static int mappings(void) {
    int lines = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    require(maps, "no /proc");
    for (int byte; (byte = fgetc(maps)) != EOF;)
        lines += byte == '\n';
    fclose(maps);
    return lines;
}

/* By how much the process has grown from the first quarter of the rounds to the last. */
void scene_again_and_again(int rounds) {
    long kib = 0;
    int maps = 0;
    load_module();
    for (int round = 0; round < rounds; round++) {
        if (round == rounds / 4) {
            kib = resident_kib();
            maps = mappings();
        }
        answers(CKR_OK, C_Initialize(NULL));
        signer signer = open_signer();
        if (round % 16 == 0)
            sign(&signer);
        answers(CKR_OK, C_Finalize(NULL));
    }
    printf("%ld %d\n", resident_kib() - kib, mappings() - maps);
}

void scene_several_users(void) {
    char info[256];
    load_module();
    printf("one: %#lx\n", C_Initialize(NULL));
    printf("other: %#lx\n", C_Initialize(NULL));
    signer one = open_signer(), other = open_signer();
    sign(&one);
    sign(&other);
    printf("one: %#lx\n", C_Finalize(NULL));
    printf("other: %#lx\n", C_GetInfo(info));
    printf("other: %#lx\n", C_CloseSession(other.session));
    printf("other: %#lx\n", C_Finalize(NULL));
    printf("other: %#lx\n", C_Initialize(NULL));
    printf("one's session: %#lx\n", C_CloseSession(one.session));
    other = open_signer();
    sign(&other);
    printf("other: %#lx\n", C_Finalize(NULL));
}

static volatile int unloaded;

static void *calls_until_unloaded(void *unused) {
    char info[256];
    while (!unloaded)
        answers(CKR_OK, C_GetInfo(info));
    return unused;
}

void scene_unload_and_load(void) {
    char info[256];
    for (int round = 0; round < 3; round++) {
        void *library = load_module();
        whole_life();
        dlclose(library);
    }
    void *library = load_module();
    CK_C_INITIALIZE_ARGS threads = {NULL, NULL, NULL, NULL, CKF_OS_LOCKING_OK, NULL};
    answers(CKR_OK, C_Initialize(&threads));
    signer signer = open_signer();
    pthread_t inside = start_thread(calls_until_unloaded, NULL);
    dlclose(library);
    usleep(50000);
    unloaded = 1;
    join_thread(inside);
    /* What nobody has finalised is there. */
    load_module();
    answers(CKR_CRYPTOKI_ALREADY_INITIALIZED, C_Initialize(NULL));
    sign(&signer);
    answers(CKR_OK, C_Finalize(NULL));
    answers(CKR_CRYPTOKI_NOT_INITIALIZED, C_GetInfo(info));
    whole_life();
}
