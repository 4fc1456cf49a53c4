/* Runs a program under a seccomp filter of its own making, and answers the program's system calls in the kernel's place: what
 * the program opens under the name PATH is another file, and where it connects to PATH, the connection is the supervisor's own.
 *   supervisor PATH OTHER PROGRAM [ARGUMENT]... */
#include "guard.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>

static int failed(const char *what)
{
    perror(what);
    exit(1);
}

/* In the child: every openat and connect is the listener's to answer, who is at the other end of `socket`. */
static void supervised(int socket, char **program)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = { sizeof code / sizeof *code, code };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        failed("no_new_privs");
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    if (listener < 0)
        failed("seccomp");
    hand_over(socket, listener);
    close(listener);
    close(socket);
    execv(program[0], program);
    failed(program[0]);
}

static int listener_from(int socket)
{
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec place = { &byte, 1 };
    struct msghdr message = { .msg_iov = &place, .msg_iovlen = 1, .msg_control = control,
                              .msg_controllen = sizeof control };
    int listener;
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1)
        failed("no listener");
    memcpy(&listener, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof listener);
    return listener;
}

/* Whether the call that waits is for this file or socket, as far as the caller's memory can be read. */
static int is_for(const struct seccomp_notif *call, const char *wanted)
{
    char path[4096] = { 0 };
    size_t before = call->data.nr == SYS_connect ? offsetof(struct sockaddr_un, sun_path) : 0;
    struct iovec to = { path, strlen(wanted) + 1 }, from = { (char *)call->data.args[1] + before, strlen(wanted) + 1 };
    return process_vm_readv((pid_t)call->pid, &to, 1, &from, 1, 0) > 0 && strcmp(path, wanted) == 0;
}

/* Has the caller find `descriptor` in the place of what it asked for. */
static void give_instead(int listener, const struct seccomp_notif *call, int descriptor)
{
    struct seccomp_notif_addfd instead = { .id = call->id, .srcfd = (uint32_t)descriptor, .newfd_flags = O_CLOEXEC };
    if (call->data.nr == SYS_openat)
        instead.flags = SECCOMP_ADDFD_FLAG_SEND;
    else
        instead.flags = SECCOMP_ADDFD_FLAG_SETFD, instead.newfd = (uint32_t)call->data.args[0];
    if (descriptor < 0 || ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &instead) < 0)
        failed("another descriptor");
    close(descriptor);
    struct seccomp_notif_resp connected = { .id = call->id };
    if (call->data.nr == SYS_connect && ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &connected))
        failed("connected");
}

static void answer_calls(int listener, const char *wanted, const char *other)
{
    for (;;) {
        struct pollfd ready = { listener, POLLIN, 0 };
        struct seccomp_notif call = { 0 };
        if (poll(&ready, 1, -1) < 0 || (ready.revents & POLLHUP))
            return;
        /* The caller may have been killed meanwhile. */
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
            continue;
        if (is_for(&call, wanted))
            give_instead(listener, &call,
                         call.data.nr == SYS_openat ? open(other, O_RDONLY | O_CLOEXEC) : connect_to(other));
        else {
            struct seccomp_notif_resp as_it_is = { .id = call.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
            ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &as_it_is);
        }
    }
}

int main(int count, char **arguments)
{
    int pair[2];
    if (count < 4 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return 2;
    pid_t child = fork();
    if (child == 0)
        supervised(pair[1], arguments + 3);
    close(pair[1]);
    answer_calls(listener_from(pair[0]), arguments[1], arguments[2]);
    waitpid(child, NULL, 0);
    return 0;
}
