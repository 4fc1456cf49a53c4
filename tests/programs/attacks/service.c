/* An application that signs with demo-ec, and does from inside what an attacker would have it do: `service MODULE`, and a
 * command in each line of standard input. Each is answered by one line. */
#include "guard.h"

typedef unsigned long ulong_t;
struct attribute { ulong_t type; void *value; ulong_t length; };
struct mechanism { ulong_t type; void *parameter; ulong_t length; };

#define FUNCTION(name, arguments) static ulong_t (*name) arguments
FUNCTION(C_Initialize, (void *));
FUNCTION(C_Finalize, (void *));
FUNCTION(C_GetSlotList, (unsigned char, ulong_t *, ulong_t *));
FUNCTION(C_GetTokenInfo, (ulong_t, void *));
FUNCTION(C_OpenSession, (ulong_t, ulong_t, void *, void *, ulong_t *));
FUNCTION(C_Login, (ulong_t, ulong_t, const char *, ulong_t));
FUNCTION(C_FindObjectsInit, (ulong_t, struct attribute *, ulong_t));
FUNCTION(C_FindObjects, (ulong_t, ulong_t *, ulong_t, ulong_t *));
FUNCTION(C_FindObjectsFinal, (ulong_t));
FUNCTION(C_SignInit, (ulong_t, struct mechanism *, ulong_t));
FUNCTION(C_Sign, (ulong_t, void *, ulong_t, void *, ulong_t *));

static ulong_t session, key;
/* Somebody else's to write to. */
static volatile long fed = 1;
/* What was handed in by standard input, whatever it is. */
static char taken[64];

/* Somebody else's to patch: by itself it says that nobody has. */
__attribute__((noinline, aligned(4096))) static int is_patched(void)
{
    /* Room for whole words. */
    __asm__ volatile(".skip 16, 0x90");
    return 0;
}

static ulong_t open_session(void)
{
    ulong_t slots[64], count = 64, found = 0, private_key = 3, rv;
    struct attribute wanted[] = { { 0, &private_key, sizeof private_key }, { 3, "demo-ec", 7 } };
    if ((rv = C_Initialize(NULL)) || (rv = C_GetSlotList(1, slots, &count)))
        return rv;
    for (ulong_t i = 0; i < count; i++) {
        char info[256];
        if ((rv = C_GetTokenInfo(slots[i], info)))
            return rv;
        if (memcmp(info, "sandbox ", 8) == 0)
            count = i, slots[0] = slots[i];
    }
    if ((rv = C_OpenSession(slots[0], 4, NULL, NULL, &session)) || (rv = C_Login(session, 1, "1234", 4)) ||
        (rv = C_FindObjectsInit(session, wanted, 2)) || (rv = C_FindObjects(session, &key, 1, &found)))
        return rv;
    C_FindObjectsFinal(session);
    return found == 1 ? 0 : 0x60;
}

static ulong_t sign(void)
{
    struct mechanism ecdsa = { ECDSA, NULL, 0 };
    char digest[32] = "to be signed", signature[512];
    ulong_t length = sizeof signature, rv = C_SignInit(session, &ecdsa, key);
    return rv ? rv : C_Sign(session, digest, sizeof digest, signature, &length);
}

/* Signs until it is refused or the time is over, and says how often, and for how long, it did after it was patched. */
static void sign_on_and_on(long limit)
{
    long began = milliseconds(), patched = 0, last = 0;
    ulong_t all = 0, since = 0, rv = 0;
    for (; !rv && milliseconds() - began < limit; all++) {
        if (!patched && is_patched())
            patched = milliseconds();
        if (!(rv = sign()) && patched)
            since++, last = milliseconds();
    }
    printf("signed %lu patched %d since %lu within %ld then 0x%lx\n", all - !!rv, patched != 0, since,
           patched && last ? last - patched : 0, rv);
}

static const unsigned char CODE[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */

static void *code_in(int fd)
{
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    memcpy(page, CODE, sizeof CODE);
    if (fd >= 0)
        munmap(page, 4096), page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    else
        mprotect(page, 4096, PROT_READ | PROT_EXEC);
    return page;
}

static int run_code(void *page)
{
    return ((int (*)(void))page)();
}

static int patch_oneself(void)
{
    char *page = (char *)((uintptr_t)is_patched & ~4095UL);
    mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy((void *)is_patched, CODE, sizeof CODE);
    mprotect(page, 4096, PROT_READ | PROT_EXEC);
    return is_patched();
}

struct act { long (*act)(void); int end; };

static int do_act(void *place)
{
    struct act *act = place;
    long rv = act->act();
    if (write(act->end, &rv, sizeof rv) != sizeof rv)
        abort();
    _exit(0);
}

/* What a child says that runs `act`: one that was forked, or has the same memory. */
static void in_child(int flags, long (*act)(void))
{
    static char stack[1 << 16];
    int ends[2];
    if (pipe(ends))
        abort();
    struct act task = { act, ends[1] };
    pid_t child = flags ? clone(do_act, stack + sizeof stack, flags | SIGCHLD, &task) : fork();
    if (child == 0)
        do_act(&task);
    close(ends[1]);
    long rv = 0;
    if (read(ends[0], &rv, sizeof rv) != sizeof rv)
        abort();
    waitpid(child, NULL, 0);
    close(ends[0]);
    if (rv == -1)
        printf("child closed\n");
    else
        printf("child 0x%lx\n", rv);
}

static long sign_through_the_shim(void)
{
    return (long)sign();
}

static long sign_over_the_connection(void)
{
    return sign_on(own_connection(), session, key);
}

static void keep_over_exec(int keep)
{
    for (int fd = 3; keep && fd < 1024; fd++)
        fcntl(fd, F_SETFD, 0);
    char text[64];
    snprintf(text, sizeof text, "%d %lu %lu", own_connection(), session, key);
    setenv("KEPT", text, 1);
}

static int rest(void *unused)
{
    (void)unused;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        pause();
    return 0;
}

int main(int count, char **arguments)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    /* A command at a time, so that what is executed finds the rest. */
    setvbuf(stdin, NULL, _IONBF, 0);
    void *module = count >= 2 ? dlopen(arguments[1], RTLD_NOW) : NULL;
    if (!module) {
        printf("%s\n", dlerror());
        return 1;
    }
#define FIND(name) *(void **)&name = dlsym(module, #name)
    FIND(C_Initialize); FIND(C_Finalize); FIND(C_GetSlotList); FIND(C_GetTokenInfo); FIND(C_OpenSession);
    FIND(C_Login); FIND(C_FindObjectsInit); FIND(C_FindObjects); FIND(C_FindObjectsFinal); FIND(C_SignInit);
    FIND(C_Sign);
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *space = strchr(line, ' '), *rest_of_it = space ? space + 1 : "";
        if (space)
            *space = 0;
#define COMMAND(name) else if (strcmp(line, name) == 0)
#define COMMAND2(name, other) else if (strcmp(line, name) == 0 || strcmp(line, other) == 0)
        if (0)
            ;
        COMMAND("open") printf("open 0x%lx\n", open_session());
        COMMAND("close") printf("close 0x%lx\n", C_Finalize(NULL));
        COMMAND("sign") printf("sign 0x%lx\n", sign());
        COMMAND("sign-on") sign_on_and_on(atol(rest_of_it));
        COMMAND("raw") printf("raw 0x%lx\n", sign_over_the_connection());
        COMMAND("kept") use_what_was_kept();
        COMMAND("dlopen") printf("dlopen %d\n", dlopen(rest_of_it, RTLD_NOW) != NULL);
        COMMAND("anonymous") printf("code %d\n", run_code(code_in(-1)));
        COMMAND("memfd") {
            int fd = memfd_create("code", 0);
            if (ftruncate(fd, 4096))
                abort();
            printf("code %d\n", run_code(code_in(fd)));
        }
        COMMAND("patch") printf("code %d\n", patch_oneself());
        /* A patched page is the file's again once it is given back. */
        COMMAND("unpatch") printf("unpatched %d\n",
                                  madvise((void *)((uintptr_t)is_patched & ~4095UL), 4096, MADV_DONTNEED));
        COMMAND("patched") printf("code %d\n", is_patched());
        COMMAND("pid") printf("%d\n", getpid());
        COMMAND("where") printf("%p %p %p\n", (void *)is_patched, (void *)&fed, (void *)taken);
        COMMAND("take") {
            if (fread(taken, 1, 32, stdin) != 32)
                abort();
        }
        COMMAND("echo") {
            for (const char *at = rest_of_it; at[0] && at[1]; at += 2) {
                char digits[3] = { at[0], at[1], 0 };
                putchar((int)strtol(digits, NULL, 16));
            }
            fflush(stdout);
        }
        /* As it would read its configuration. */
        COMMAND("read") {
            char content[64] = "";
            FILE *file = fopen(rest_of_it, "r");
            printf("read %s", file && fgets(content, sizeof content, file) ? content : "nothing\n");
            if (file)
                fclose(file);
        }
        COMMAND("fed") printf("fed %ld\n", fed);
        COMMAND("handles") printf("%d %lu %lu\n", own_connection(), session, key);
        COMMAND("fork") in_child(0, sign_through_the_shim);
        COMMAND("fork-raw") in_child(0, sign_over_the_connection);
        COMMAND("sibling") in_child(CLONE_VM, sign_over_the_connection);
        COMMAND("pass") {
            int fd = connect_to(rest_of_it);
            hand_over(fd, own_connection());
            close(fd);
            printf("passed\n");
        }
        COMMAND("hide") printf("hidden %d\n", prctl(PR_SET_DUMPABLE, 0));
        COMMAND2("exec", "exec-closed") {
            keep_over_exec(strcmp(line, "exec") == 0);
            char *words[16] = { NULL };
            int many = 0;
            for (char *word = strtok(rest_of_it, " "); word && many < 15; word = strtok(NULL, " "))
                words[many++] = word;
            execv(words[0], words);
            printf("exec: %s\n", strerror(errno));
        }
        COMMAND("exec-sibling") {
            /* The memory, with the nonce in it, goes on to live in the sibling. */
            static char stack[1 << 16];
            keep_over_exec(1);
            clone(rest, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
            char *words[] = { rest_of_it, "kept", NULL };
            execv(words[0], words);
            printf("exec: %s\n", strerror(errno));
        }
        else printf("what is %s?\n", line);
    }
    return 0;
}
