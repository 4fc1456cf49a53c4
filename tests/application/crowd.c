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

/* Initialises, and has each thread sign so often; gives the longest signature, in microseconds. */
static long sign_in_threads(int threads, int each) {
    pthread_t started[MOST];
    long longest = 0;
    require(threads > 0 && threads <= MOST, "%d threads", threads);
    signatures = each;
    answers(CKR_OK, C_Initialize(NULL));
    for (int i = 0; i < threads; i++)
        started[i] = start_thread(signs, NULL);
    for (int i = 0; i < threads; i++) {
        void *its_longest;
        require(pthread_join(started[i], &its_longest) == 0, "no such thread");
        longest = (long)its_longest > longest ? (long)its_longest : longest;
    }
    return longest;
}

void scene_crowd(int threads, int each) {
    load_module();
    double began = milliseconds();
    long longest = sign_in_threads(threads, each);
    double signed_all = milliseconds() - began;
    answers(CKR_OK, C_Finalize(NULL));
    printf("%.1f ms, longest signature %.1f ms\n", signed_all, longest / 1e3);
}

/* How long after the start a process is given up: none of the crowd waits as long. */
#define BOUND 120

/* Waits until nobody has the other end any more. */
static void wait_for_end(const int pipe[2]) {
    char nothing;
    require(read(pipe[0], &nothing, 1) == 0, "nobody says when to go on");
}

static void say(const int pipe[2], double number) {
    require(write(pipe[1], &number, sizeof number) == sizeof number, "nobody listens");
}

static double largest_said(const int pipe[2], int processes) {
    double largest = 0;
    for (int i = 0; i < processes; i++) {
        double number;
        require(read(pipe[0], &number, sizeof number) == sizeof number, "%d of %d are left", i, processes);
        largest = number > largest ? number : largest;
    }
    return largest;
}

/* So many processes initialise at once, at a line of standard input, sign, and keep what they have of the token until all of
 * them have signed and there is another line. */
void scene_gathering(int processes, int threads) {
    int said[2], begin[2], end[2];
    pid_t children[MOST];
    require(processes > 0 && processes <= MOST, "%d processes", processes);
    require(pipe(said) == 0 && pipe(begin) == 0 && pipe(end) == 0, "no pipe");
    for (int i = 0; i < processes; i++) {
        children[i] = fork();
        require(children[i] >= 0, "no child");
        if (children[i] == 0) {
            alarm(BOUND);
            close(begin[1]);
            close(end[1]);
            load_module();
            say(said, 0);
            wait_for_end(begin);
            double began = milliseconds();
            sign_in_threads(threads, 5);
            say(said, milliseconds() - began);
            wait_for_end(end);
            answers(CKR_OK, C_Finalize(NULL));
            _exit(0);
        }
    }
    close(said[1]);
    largest_said(said, processes);
    printf("%d processes are there\n", processes);
    require(getchar() == '\n', "nobody says when to begin");
    close(begin[1]);
    printf("%d processes have signed, the last after %.1f ms\n", processes, largest_said(said, processes));
    require(getchar() == '\n', "nobody says when to end");
    close(end[1]);
    for (int i = 0; i < processes; i++)
        child_ends_well(children[i]);
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

/* How long a new process takes for its first calls, until it is permitted to sign: the whole, and its parts. */
void scene_ready(void) {
    double times[7];
    CK_ULONG session;
    load_module();
    times[0] = milliseconds();
    answers(CKR_OK, C_Initialize(NULL));
    times[1] = milliseconds();
    CK_ULONG slot = sandbox();
    times[2] = milliseconds();
    answers(CKR_OK, C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session));
    times[3] = milliseconds();
    answers(CKR_OK, C_Login(session, CKU_USER, (CK_BYTE *)"1234", 4));
    times[4] = milliseconds();
    signer signer = open_signer();
    times[5] = milliseconds();
    begin_signature(&signer);
    times[6] = milliseconds();
    end_signature(&signer);
    answers(CKR_OK, C_Finalize(NULL));
    printf("%.2f ms: C_Initialize %.2f, slots %.2f, C_OpenSession %.2f, C_Login %.2f, search %.2f, C_SignInit %.2f\n",
           times[6] - times[0], times[1] - times[0], times[2] - times[1], times[3] - times[2], times[4] - times[3],
           times[5] - times[4], times[6] - times[5]);
}
