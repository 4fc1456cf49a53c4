/* The frames between shim and guard, written by hand: what somebody sends who does without the shim. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GET_INFO = 2, GET_SLOT_LIST = 4, OPEN_SESSION = 12, LOGIN = 18, SIGN_INIT = 42, SIGN = 43, ANSWER = 0x200 };
enum { CHALLENGE = 0x8000, PLACED, ASK, OFFER, WELCOME, MORE, ANOTHER, TURNED };
enum { ECDSA = 0x1041 };

struct header { uint16_t version, code; uint32_t length; uint64_t sequence; };

static inline int frame(int fd, int code, const void *body, size_t length)
{
    struct header header = { 1, (uint16_t)code, (uint32_t)length, 7 };
    char whole[512];
    if (length > sizeof whole - sizeof header)
        abort();
    memcpy(whole, &header, sizeof header);
    memcpy(whole + sizeof header, body, length);
    return send(fd, whole, sizeof header + length, MSG_NOSIGNAL) == (ssize_t)(sizeof header + length) ? 0 : -1;
}

/* What came along last besides the first descriptor: memory for frames. */
static int handed_memory = -1;

/* The next frame: its code, or -1 where the connection was closed or nothing has come within five seconds; the descriptor
 * that came along. */
static inline int next_frame(int fd, char *body, size_t room, int *descriptor)
{
    struct header header = { 0 };
    char control[CMSG_SPACE(sizeof(int) * 4)], *to = (char *)&header;
    size_t wanted = sizeof header, got = 0;
    for (int part = 0; part < 2; part++, to = body, wanted = header.length, got = 0)
        for (; got < wanted; ) {
            struct pollfd ready = { fd, POLLIN, 0 };
            if (wanted > (part ? room : sizeof header) || poll(&ready, 1, 5000) != 1)
                return -1;
            struct iovec place = { to + got, wanted - got };
            struct msghdr message = { .msg_iov = &place, .msg_iovlen = 1, .msg_control = control,
                                      .msg_controllen = sizeof control };
            ssize_t received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
            if (received <= 0)
                return -1;
            struct cmsghdr *more = CMSG_FIRSTHDR(&message);
            if (more && more->cmsg_type == SCM_RIGHTS && descriptor) {
                memcpy(descriptor, CMSG_DATA(more), sizeof(int));
                if (more->cmsg_len >= CMSG_LEN(2 * sizeof(int)))
                    memcpy(&handed_memory, CMSG_DATA(more) + sizeof(int), sizeof(int));
            }
            got += (size_t)received;
        }
    return header.code;
}

/* What a call is answered, or -1 where the connection was closed. */
static inline long call(int fd, int function, const uint64_t *words, size_t count)
{
    char body[4096];
    if (frame(fd, function, words, count * sizeof *words) != 0 || next_frame(fd, body, sizeof body, NULL) != ANSWER)
        return -1;
    long rv;
    memcpy(&rv, body, sizeof rv);
    return rv;
}

/* What was answered by memory. */
static uint64_t answered[64];

/* The same by memory: -1 where there is none, or nobody answers within three seconds. */
static inline long call_by_memory(int function, const uint64_t *words, size_t count)
{
    char *place = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, handed_memory, 0);
    if (place == MAP_FAILED)
        return -1;
    uint32_t *turn = (uint32_t *)place;
    struct header header = { 1, (uint16_t)function, (uint32_t)(count * 8), 7 };
    *(volatile uint64_t *)(place + 64) = sizeof header + count * 8;
    memcpy(place + 72, &header, sizeof header);
    memcpy(place + 72 + sizeof header, words, count * 8);
    __atomic_exchange_n(turn, 1, __ATOMIC_ACQ_REL);
    syscall(SYS_futex, turn, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0);
    for (int i = 0; i < 3000 && (__atomic_load_n(turn, __ATOMIC_ACQUIRE) & 1); i++)
        usleep(1000);
    long rv = -1;
    if (!(__atomic_load_n(turn, __ATOMIC_ACQUIRE) & 1))
        memcpy(answered, place + 72 + sizeof header, sizeof answered), rv = (long)answered[0];
    munmap(place, 65536);
    return rv;
}

static inline long get_info(int fd)
{
    return call(fd, GET_INFO, (uint64_t[]){ 1 }, 1);
}

/* Signs 32 bytes on somebody's session. */
static inline long sign_on(int fd, uint64_t session, uint64_t key)
{
    long rv = call(fd, SIGN_INIT, (uint64_t[]){ session, 1, ECDSA, 0, 0, key }, 6);
    return rv ? rv : call(fd, SIGN, (uint64_t[]){ session, 1, 32, 1, 2, 3, 4, 3, 512 }, 9);
}

static inline int connect_to(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        printf("connect: %s\n", strerror(errno));
        exit(1);
    }
    return fd;
}

static inline void hand_over(int socket, int descriptor)
{
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec place = { "x", 1 };
    struct msghdr message = { .msg_iov = &place, .msg_iovlen = 1, .msg_control = control,
                              .msg_controllen = sizeof control };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    if (sendmsg(socket, &message, 0) != 1)
        abort();
}

static inline int is_call_connection(int fd)
{
    struct sockaddr_un address;
    socklen_t length = sizeof address;
    return getpeername(fd, (struct sockaddr *)&address, &length) == 0 && address.sun_family == AF_UNIX &&
           length == sizeof(sa_family_t);
}

/* The connection for calls that the shim of this process has: the one socket whose other end has no name. */
static inline int own_connection(void)
{
    for (int fd = 3; fd < 1024; fd++)
        if (is_call_connection(fd))
            return fd;
    return -1;
}

static inline long milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What becomes of a connection that somebody else was given. */
static inline void sign_by(const char *what, int fd, uint64_t session, uint64_t key)
{
    int failed = errno;
    long info = fd < 0 ? -1 : get_info(fd), rv = info < 0 ? -1 : 0, many = 0;
    long began = milliseconds(), last = began;
    while (rv == 0 && milliseconds() - began < 5000)
        if ((rv = sign_on(fd, session, key)) == 0)
            many++, last = milliseconds();
    printf("%s %s info %ld signed %ld within %ld then %ld\n", what, fd < 0 ? strerror(failed) : "held", info, many,
           last - began, rv);
}

/* In a program that was executed by the process that had the connection. */
static inline void use_what_was_kept(void)
{
    int fd = -1;
    unsigned long session = 0, key = 0;
    char *kept = getenv("KEPT");
    if (kept)
        sscanf(kept, "%d %lu %lu", &fd, &session, &key);
    errno = EBADF;
    sign_by("kept", is_call_connection(fd) ? fd : -1, session, key);
}
