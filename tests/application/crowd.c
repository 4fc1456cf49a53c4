/* Many threads at once, many sessions, and how long it takes until a new process is permitted something. */
#include "application.h"

#include <time.h>

#define MOST 256

static double milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static int signatures;

/* Gives its longest signature, in microseconds. */
static void *signs(void *unused) {
    double longest = 0;
    (void)unused;
    signer signer = open_signer();
    for (int i = 0; i < signatures; i++) {
        double began = milliseconds();
        sign(&signer);
        double took = milliseconds() - began;
        longest = took > longest ? took : longest;
    }
    return (void *)(long)(longest * 1e3);
}

void scene_crowd(int threads, int each) {
    pthread_t started[MOST];
    long longest = 0;
    double began = milliseconds();
    require(threads > 0 && threads <= MOST, "%d threads", threads);
    signatures = each;
    load_module();
    answers(CKR_OK, C_Initialize(NULL));
    for (int i = 0; i < threads; i++)
        started[i] = start_thread(signs, NULL);
    for (int i = 0; i < threads; i++) {
        void *its_longest;
        require(pthread_join(started[i], &its_longest) == 0, "no such thread");
        longest = (long)its_longest > longest ? (long)its_longest : longest;
    }
    double signed_all = milliseconds() - began;
    answers(CKR_OK, C_Finalize(NULL));
    printf("%.1f ms, longest signature %.1f ms\n", signed_all, longest / 1e3);
}

void scene_sessions(int most) {
    CK_ULONG slots[16], count = 16, session, first = 0, opened = 0;
    CK_RV rv;
    load_module();
    answers(CKR_OK, C_Initialize(NULL));
    answers(CKR_OK, C_GetSlotList(1, slots, &count));
    while ((rv = C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session)) == CKR_OK) {
        first = first ? first : session;
        require((int)++opened <= most, "more than %d sessions", most);
    }
    printf("%lu sessions, then %#lx\n", opened, rv);
    /* One that is closed makes room for another. */
    answers(CKR_OK, C_CloseSession(first));
    answers(CKR_OK, C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session));
    answers(rv, C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &first));
    answers(CKR_OK, C_CloseAllSessions(slots[0]));
    answers(CKR_OK, C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session));
    answers(CKR_OK, C_Finalize(NULL));
}

/* How long a new process takes for each of its first calls, until it is permitted to sign. */
void scene_ready(void) {
    double times[6];
    times[0] = milliseconds();
    load_module();
    times[1] = milliseconds();
    answers(CKR_OK, C_Initialize(NULL));
    times[2] = milliseconds();
    signer signer = open_signer();
    times[3] = milliseconds();
    begin_signature(&signer);
    times[4] = milliseconds();
    end_signature(&signer);
    answers(CKR_OK, C_Finalize(NULL));
    times[5] = milliseconds();
    printf("ready %.2f ms: load %.2f, C_Initialize %.2f, session, login and search %.2f, C_SignInit %.2f; the rest %.2f\n",
           times[4] - times[1], times[1] - times[0], times[2] - times[1], times[3] - times[2], times[4] - times[3],
           times[5] - times[4]);
}
