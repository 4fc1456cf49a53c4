/* Runs a program under so many seccomp filters, each of which allows everything: filtered COUNT PROGRAM [ARGUMENT]...
 * What a supervisor of such a filter would answer is not played here: the program finds all as it is. */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

static int failed(const char *what) {
    perror(what);
    return 1;
}

int main(int count, char **arguments) {
    struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    if (count < 3)
        return 2;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return failed("no_new_privs");
    for (int left = atoi(arguments[1]); left > 0; left--)
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
            return failed("seccomp");
    execv(arguments[2], arguments + 2);
    return failed(arguments[2]);
}
