/* Runs a program under a seccomp filter of its own making, and answers the program's system calls in the kernel's place: what
 * the program opens under the name PATH is another file.
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

/* In the child: every openat is the listener's to answer, who is at the other end of `socket`. */
static void supervised(int socket, char **program)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
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

/* Whether the call that waits is for this file, as far as the caller's memory can be read. */
static int opens(const struct seccomp_notif *call, const char *wanted)
{
    char path[4096] = { 0 };
    struct iovec to = { path, strlen(wanted) + 1 }, from = { (void *)call->data.args[1], strlen(wanted) + 1 };
    return process_vm_readv((pid_t)call->pid, &to, 1, &from, 1, 0) > 0 && strcmp(path, wanted) == 0;
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
        if (opens(&call, wanted)) {
            int file = open(other, O_RDONLY | O_CLOEXEC);
            struct seccomp_notif_addfd instead = { .id = call.id, .flags = SECCOMP_ADDFD_FLAG_SEND,
                                                   .srcfd = (uint32_t)file, .newfd_flags = O_CLOEXEC };
            if (file < 0 || ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &instead) < 0)
                failed("another file");
            close(file);
        } else {
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
