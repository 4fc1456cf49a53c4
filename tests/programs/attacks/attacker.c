/* What an unprivileged user does to somebody else's process, or with a connection that it has got hold of:
 *   attacker WHAT [ARGUMENT]...
 * Says what came of it in one line. */
#include "guard.h"

static const unsigned char CODE[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */

static void said(const char *what, long result)
{
    printf("%s %ld %s\n", what, result, result < 0 ? strerror(errno) : "done");
}

static long write_memory(const char *pid, uintptr_t address, const void *bytes, size_t length)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/mem", pid);
    int fd = open(path, O_RDWR);
    return fd < 0 ? -1 : pwrite(fd, bytes, length, (off_t)address);
}

static long write_by_call(int pid, uintptr_t address, const void *bytes, size_t length)
{
    struct iovec from = { (void *)bytes, length }, to = { (void *)address, length };
    return process_vm_writev(pid, &from, 1, &to, 1, 0);
}

static long attach(int pid)
{
    long result = ptrace(PTRACE_ATTACH, pid, NULL, NULL);
    if (result == 0)
        waitpid(pid, NULL, 0);
    return result;
}

/* Waits for whoever connects to `path`, and takes the descriptor that comes along. */
static int receive_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd = -1;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1))
        return -1;
    printf("listening\n");
    int stream = accept(listener, NULL, NULL);
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec place = { &byte, 1 };
    struct msghdr message = { .msg_iov = &place, .msg_iovlen = 1, .msg_control = control,
                              .msg_controllen = sizeof control };
    if (recvmsg(stream, &message, 0) == 1)
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

/* Becomes the guard's client with the nonce where it belongs, and says what the guard says. */
static int greet(const char *path, int *connection)
{
    char body[4096];
    static char nonce[32];
    int control = connect_to(path), fd = -1, code = next_frame(control, body, sizeof body, NULL);
    if (code == CHALLENGE) {
        memcpy(nonce, body + 8, sizeof nonce);
        frame(control, PLACED, &(uint64_t){ (uintptr_t)nonce }, 8);
        code = next_frame(control, body, sizeof body, &fd);
    }
    if (code == WELCOME)
        printf("welcome info %ld\n", get_info(fd));
    else if (code == TURNED)
        printf("turned %.*s\n", (int)body[8], body + 16);
    else
        printf("closed\n");
    *connection = fd;
    return control;
}

/* The same with the nonce said to be in a file that is mapped, whoever serves it. */
static void greet_at(const char *path, const char *file)
{
    char body[4096];
    int fd = open(file, O_RDONLY);
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    /* It would wait for the file system, too, when it ends. */
    close(fd);
    printf("mapped %d\n", page != MAP_FAILED);
    getchar();
    int control = connect_to(path), code = next_frame(control, body, sizeof body, NULL);
    if (code != CHALLENGE) {
        printf("turned away\n");
        return;
    }
    frame(control, PLACED, &(uint64_t){ (uintptr_t)page }, 8);
    printf("placed\n");
    for (char byte; read(0, &byte, 1) == 1; )
        ;
}

/* Connects, and executes an approved program in the place of the process that has: one that writes what it reads. A child
 * keeps the connection, and has the approved program say what is to be said. */
static void relay(const char *path, const char *address, char **program)
{
    int ends[2];
    char body[4096], to_say[64];
    if (pipe(ends))
        abort();
    int control = connect_to(path);
    if (fork()) {
        dup2(ends[0], 0);
        dup2(control, 1);
        close(ends[1]);
        personality(ADDR_NO_RANDOMIZE);
        execv(program[0], program);
        abort();
    }
    int fd = -1, code = next_frame(control, body, sizeof body, NULL);
    struct header header = { 1, PLACED, 8, 7 };
    uint64_t place = strtoul(address, NULL, 0);
    memcpy(to_say, &header, sizeof header);
    memcpy(to_say + sizeof header, &place, sizeof place);
    dprintf(ends[1], "take\n");
    if (code != CHALLENGE || write(ends[1], body + 8, 32) != 32)
        abort();
    dprintf(ends[1], "echo ");
    for (size_t i = 0; i < sizeof header + sizeof place; i++)
        dprintf(ends[1], "%02x", (unsigned char)to_say[i]);
    dprintf(ends[1], "\n");
    code = next_frame(control, body, sizeof body, &fd);
    if (code == WELCOME)
        fprintf(stderr, "welcome memory %d info %ld then %ld\n", handed_memory >= 0,
                call_by_memory(GET_INFO, (uint64_t[]){ 1 }, 1), get_info(fd));
    else if (code == TURNED)
        fprintf(stderr, "turned %.*s\n", (int)body[8], body + 16);
    else
        fprintf(stderr, "closed\n");
}

/* Logs in over the memory, once the process that was given it runs another program. */
static int log_in_by_memory(void *unused)
{
    (void)unused;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    usleep(500000);
    long rv = call_by_memory(GET_SLOT_LIST, (uint64_t[]){ 1, 3, 64 }, 3);
    uint64_t slot = answered[3];
    if (rv == 0 && call_by_memory(OPEN_SESSION, (uint64_t[]){ slot, 4, 1 }, 3) == 0)
        rv = call_by_memory(LOGIN, (uint64_t[]){ answered[2], 1, 1, 4, 0x34333231 }, 5);
    fprintf(stderr, "sibling 0x%lx\n", (unsigned long)rv);
    for (;;)
        pause();
    return 0;
}

/* Is let in, leaves its memory, with the nonce in it, to a sibling, and executes an approved program. */
static void usurp(const char *path, char **program)
{
    static char nonce[32], stack[1 << 16];
    char body[4096];
    int fd = -1, control = connect_to(path);
    if (next_frame(control, body, sizeof body, NULL) != CHALLENGE)
        abort();
    memcpy(nonce, body + 8, sizeof nonce);
    frame(control, PLACED, &(uint64_t){ (uintptr_t)nonce }, 8);
    if (next_frame(control, body, sizeof body, &fd) != WELCOME)
        abort();
    /* As the shim does that has mapped the memory. */
    frame(fd, PLACED, &(uint64_t){ 1 }, 8);
    fcntl(control, F_SETFD, 0);
    fcntl(fd, F_SETFD, 0);
    clone(log_in_by_memory, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
    execv(program[0], program);
    abort();
}

/* Uses the connection in a process that has the number of the one that had it, which has ended. */
static void come_round(int pid, int fd, uint64_t session, uint64_t key)
{
    printf("waiting\n");
    while (kill(pid, 0) == 0)
        usleep(1000);
    for (int i = 0; i < 100000; i++) {
        pid_t child = vfork();
        if (child == 0) {
            if (getpid() == pid)
                sign_by("again", fd, session, key);
            _exit(0);
        }
        if (child > 0)
            waitpid(child, NULL, 0);
        if (child == pid)
            return;
    }
    printf("the number has not come round\n");
}

static int steal(int pid, int number)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    return (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
}

/* Looks for the memory that the guard shares with a process, by all names that the kernel has for it, and opens it. */
static void open_memory(const char *pid)
{
    char path[512], line[512], target[512];
    int mapped = 0, descriptors = 0, opened = 0;
    snprintf(path, sizeof path, "/proc/%s/maps", pid);
    FILE *maps = fopen(path, "r");
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "memfd:trustshim")) {
            snprintf(path, sizeof path, "/proc/%s/map_files/%.*s", pid, (int)strcspn(line, " "), line);
            mapped++, opened += open(path, O_RDWR) >= 0;
        }
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory)); ) {
        snprintf(path, sizeof path, "/proc/%s/fd/%s", pid, entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = 0;
        if (strstr(target, "memfd:trustshim"))
            descriptors++, opened += open(path, O_RDWR) >= 0;
    }
    printf("mapped %d descriptors %d opened %d\n", mapped, descriptors, opened);
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    const char *more[6] = { "", "", "", "", "", "" };
    for (int i = 2; i < count && i < 8; i++)
        more[i - 2] = arguments[i];
    int pid = atoi(more[0]);
    uintptr_t address = strtoul(more[1], NULL, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    umask(0);
#define ATTACK(name) else if (strcmp(what, name) == 0)
    if (0)
        ;
    ATTACK("mem") said("mem", write_memory(more[0], address, CODE, sizeof CODE));
    ATTACK("vm") said("vm", write_by_call(pid, address, CODE, sizeof CODE));
    ATTACK("vm-data") said("vm-data", write_by_call(pid, address, &(long){ 666 }, sizeof(long)));
    ATTACK("ptrace") {
        long result = attach(pid);
        for (size_t at = 0; result == 0 && at < sizeof CODE; at += sizeof(long)) {
            long word = 0;
            memcpy(&word, CODE + at, sizeof CODE - at < sizeof word ? sizeof CODE - at : sizeof word);
            result = ptrace(PTRACE_POKETEXT, pid, address + at, word);
        }
        if (result == 0)
            result = ptrace(PTRACE_DETACH, pid, NULL, NULL);
        said("ptrace", result);
    }
    ATTACK("trace") {
        /* Attached, the process running, until standard input ends. */
        long result = ptrace(PTRACE_SEIZE, pid, NULL, NULL);
        said("trace", result);
        while (result == 0 && getchar() != EOF)
            ;
    }
    ATTACK("open-fd") {
        char path[64];
        snprintf(path, sizeof path, "/proc/%s/fd/%s", more[0], more[1]);
        said("open-fd", open(path, O_RDWR));
    }
    ATTACK("open-memory") open_memory(more[0]);
    ATTACK("open-kept-memory") {
        int memory = memfd_create("trustshim", 0);
        if (ftruncate(memory, 4096) || mmap(NULL, 4096, PROT_READ, MAP_SHARED, memory, 0) == MAP_FAILED)
            abort();
        open_memory("self");
    }
    ATTACK("steal") sign_by("stolen", steal(pid, atoi(more[1])), strtoul(more[2], NULL, 0), strtoul(more[3], NULL, 0));
    ATTACK("receive") sign_by("received", receive_at(more[0]), strtoul(more[1], NULL, 0), strtoul(more[2], NULL, 0));
    ATTACK("again") come_round(pid, receive_at(more[1]), strtoul(more[2], NULL, 0), strtoul(more[3], NULL, 0));
    ATTACK("greet") {
        int fd;
        greet(more[0], &fd);
    }
    ATTACK("greet-at") greet_at(more[0], more[1]);
    ATTACK("relay") relay(more[0], more[1], arguments + 4);
    ATTACK("usurp") usurp(more[0], arguments + 3);
    ATTACK("kept") use_what_was_kept();
    ATTACK("open") {
        int fd = open(more[0], O_RDONLY);
        said("open", fd);
    }
    else return 2;
    return 0;
}
