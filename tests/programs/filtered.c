/* Runs a program under so many seccomp filters, each of which allows everything: filtered COUNT PROGRAM [ARGUMENT]...
 * What a supervisor of such a filter would answer is not played here: the program finds all as it is. With `last` for COUNT, under one
 * that refuses any further filter. */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int failed(const char *what) {
    perror(what);
    return 1;
}

int main(int count, char **arguments) {
    struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_filter refusing[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    struct sock_fprog last = {sizeof refusing / sizeof *refusing, refusing};
    if (count < 3)
        return 2;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return failed("no_new_privs");
    if (strcmp(arguments[1], "last") == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &last) != 0)
        return failed("seccomp");
    for (int left = atoi(arguments[1]); left > 0; left--)
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
            return failed("seccomp");
    execv(arguments[2], arguments + 2);
    return failed(arguments[2]);
}
