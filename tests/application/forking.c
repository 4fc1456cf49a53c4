/* Forks, at every moment at which a thread of the parent may be somewhere else. */
#include "application.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

enum { SIGNERS = 4, SIGNED = 7 };

static void begins_anew(void) {
    char info[256];
    answers(CKR_CRYPTOKI_NOT_INITIALIZED, C_GetInfo(info));
    answers(CKR_CRYPTOKI_NOT_INITIALIZED, C_Finalize(NULL));
    whole_life();
}

static void begins_anew_and_has_a_child(void) {
    begins_anew();
    answers(CKR_OK, C_Initialize(NULL));
    signer signer = open_signer();
    begin_signature(&signer);
    child_ends_well(start_child(begins_anew));
    end_signature(&signer);
    answers(CKR_OK, C_Finalize(NULL));
}

static void has_a_child_that_begins_anew(void) {
    child_ends_well(start_child(begins_anew));
}

static void does_nothing(void) {
}

static void has_nothing(void) {
    char info[256];
    answers(CKR_CRYPTOKI_NOT_INITIALIZED, C_GetInfo(info));
    answers(CKR_GENERAL_ERROR, C_Initialize(NULL));
}

static char *again[] = {"application", NULL, "sign", NULL};

static void executes(void) {
    execve("/proc/self/exe", again, environ);
    _exit(1);
}

/* Between two calls of one operation. */
static void in_an_operation(void) {
    static const work works[] = {
        does_nothing, executes, begins_anew, has_a_child_that_begins_anew, begins_anew_and_has_a_child,
    };
    pid_t child;
    answers(CKR_OK, C_Initialize(NULL));
    signer signer = open_signer();
    for (unsigned i = 0; i < sizeof works / sizeof *works; i++) {
        begin_signature(&signer);
        child_ends_well(start_child(works[i]));
        end_signature(&signer);
    }
    begin_signature(&signer);
    require(posix_spawn(&child, "/proc/self/exe", NULL, NULL, again, environ) == 0, "no child");
    child_ends_well(child);
    child = vfork();
    if (child == 0) {
        execve("/proc/self/exe", again, environ);
        _exit(1);
    }
    child_ends_well(child);
    end_signature(&signer);
    answers(CKR_OK, C_Finalize(NULL));
}

/* A thread that stops in the middle of a call, where the module comes to a mutex of the application. */
static pthread_mutex_t stopping = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int stopped, go_on;
static pthread_t stops;
static pid_t stops_in;

static void stop(void) {
    if (getpid() != stops_in || !pthread_equal(pthread_self(), stops))
        return;
    pthread_mutex_lock(&stopping);
    stopped = 1;
    pthread_cond_broadcast(&changed);
    while (!go_on)
        pthread_cond_wait(&changed, &stopping);
    pthread_mutex_unlock(&stopping);
}

static signer common;

static void *initialises(void *unused) {
    answers(CKR_OK, C_Initialize(&own_mutexes));
    return unused;
}

static void *attests(void *unused) {
    sign(&common);
    return unused;
}

static void *finalises(void *unused) {
    answers(CKR_OK, C_Finalize(NULL));
    return unused;
}

static void *(*stopped_in)(void *);

static void *stops_and(void *unused) {
    stops = pthread_self();
    stops_in = getpid();
    on_mutex = stop;
    stopped_in(NULL);
    return unused;
}

/* Where the copy of the module is in the middle of something, it may be of no use; it may not hang or crash. */
static void begins_anew_if_it_can(void) {
    char info[256];
    answers(CKR_CRYPTOKI_NOT_INITIALIZED, C_GetInfo(info));
    for (int attempt = 0; attempt < 2; attempt++) {
        CK_RV rv = C_Initialize(&own_mutexes);
        require(rv == CKR_OK || rv == CKR_GENERAL_ERROR, "C_Initialize: %#lx", rv);
        if (rv == CKR_OK) {
            signer signer = open_signer();
            sign(&signer);
            answers(CKR_OK, C_Finalize(NULL));
            _exit(SIGNED);
        }
        answers(CKR_CRYPTOKI_NOT_INITIALIZED, C_GetInfo(info));
    }
    child_ends_well(start_child(has_nothing));
}

static void while_another_thread(void *(*call)(void *), work then) {
    stopped_in = call;
    stopped = go_on = 0;
    pthread_t thread = start_thread(stops_and, NULL);
    pthread_mutex_lock(&stopping);
    while (!stopped)
        pthread_cond_wait(&changed, &stopping);
    pthread_mutex_unlock(&stopping);
    then();
    on_mutex = NULL;
    pthread_mutex_lock(&stopping);
    go_on = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&stopping);
    join_thread(thread);
}

/* Whether the child has signed. */
static int has_child_signed(pid_t child) {
    int status;
    require(waitpid(child, &status, 0) == child, "no child of ours");
    require(!WIFSIGNALED(status), "the child was ended by signal %d", WTERMSIG(status));
    require(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SIGNED, "the child ended with %d",
            WEXITSTATUS(status));
    return WEXITSTATUS(status) == SIGNED;
}

static void has_a_child_that_signs(void) {
    require(has_child_signed(start_child(begins_anew_if_it_can)), "the child did not begin");
}

static void has_a_child_that_cannot_begin(void) {
    require(!has_child_signed(start_child(begins_anew_if_it_can)), "the child did begin");
}

/* While the attester waits for a policy server, which is this process. */
static void *is_refused_the_login(void *unused) {
    answers(0x200, C_Login(common.session, CKU_USER, (CK_BYTE *)"1234", 4));
    return unused;
}

static void *is_refused(void *unused) {
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    answers(0x200, C_SignInit(common.session, &mechanism, common.private_key));
    return unused;
}

static void has_its_own_policy_server(void) {
    setenv("TRUSTSHIM_CONFIG", getenv("CONFIG_OF_CHILD"), 1);
    begins_anew();
}

static void while_the_policy_server_is_silent(int by_login, int port) {
    int listening = listen_as_policy_server(port);
    answers(CKR_OK, C_Initialize(&own_mutexes));
    if (by_login)
        common.session = open_session();
    else
        common = open_signer();
    pthread_t thread = start_thread(by_login ? is_refused_the_login : is_refused, NULL);
    int attester = accept_attester(listening);
    child_ends_well(start_child(has_its_own_policy_server));
    close(attester);
    close(listening);
    join_thread(thread);
    answers(CKR_OK, C_Finalize(NULL));
}

static volatile int done;

/* SoftHSM writes to the token at each login, and fails in every other process that looks at the token just then. */
static void *signs_until_done(void *own) {
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    CK_BYTE signature[64];
    signer *signer = own;
    while (!done) {
        CK_ULONG length = sizeof signature;
        CK_RV rv = C_SignInit(signer->session, &mechanism, signer->private_key);
        require(rv == CKR_OK || rv == CKR_GENERAL_ERROR, "C_SignInit: %#lx", rv);
        if (rv == CKR_OK)
            answers(CKR_OK, C_Sign(signer->session, signature, 32, signature, &length));
        usleep(2000);
    }
    return NULL;
}

/* Children by the hundred, while other threads sign. */
static void again_and_again(int rounds) {
    pthread_t threads[SIGNERS];
    signer signers[SIGNERS];
    int have_signed = 0, have_not = 0;
    answers(CKR_OK, C_Initialize(&own_mutexes));
    common = open_signer();
    sign(&common);
    for (int i = 0; i < SIGNERS; i++)
        signers[i] = open_signer();
    for (int i = 0; i < SIGNERS; i++)
        threads[i] = start_thread(signs_until_done, &signers[i]);
    for (int round = 0; round < rounds; round++) {
        pid_t child = start_child(begins_anew_if_it_can);
        *(has_child_signed(child) ? &have_signed : &have_not) += 1;
    }
    done = 1;
    for (int i = 0; i < SIGNERS; i++)
        join_thread(threads[i]);
    sign(&common);
    answers(CKR_OK, C_Finalize(NULL));
    printf("%d %d\n", have_signed, have_not);
}

void scene_fork(int kind, int number) {
    again[1] = (char *)module_path;
    load_module();
    switch (kind) {
    case 0:
        in_an_operation();
        return;
    case 1:
        while_another_thread(initialises, has_a_child_that_signs);
        break;
    case 2:
        answers(CKR_OK, C_Initialize(&own_mutexes));
        common = open_signer();
        while_another_thread(attests, has_a_child_that_cannot_begin);
        break;
    case 3:
        answers(CKR_OK, C_Initialize(&own_mutexes));
        common = open_signer();
        sign(&common);
        while_another_thread(finalises, has_a_child_that_cannot_begin);
        answers(CKR_OK, C_Initialize(NULL));
        break;
    case 4:
        again_and_again(number);
        return;
    case 5:
    case 6:
        while_the_policy_server_is_silent(kind == 6, number);
        return;
    default:
        require(0, "there is no fork %d", kind);
    }
    common = open_signer();
    sign(&common);
    answers(CKR_OK, C_Finalize(NULL));
}
