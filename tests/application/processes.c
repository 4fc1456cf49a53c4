/* Threads and children. */
#include "application.h"

#include <sys/wait.h>

pthread_t start_thread(void *(*body)(void *), void *argument) {
    pthread_t thread;
    require(pthread_create(&thread, NULL, body, argument) == 0, "no thread");
    return thread;
}

void join_thread(pthread_t thread) {
    require(pthread_join(thread, NULL) == 0, "no such thread");
}

pid_t start_child(work work) {
    pid_t child = fork();
    require(child >= 0, "no child");
    if (child == 0) {
        alarm(60);
        work();
        _exit(0);
    }
    return child;
}

void child_ends_well(pid_t child) {
    int status;
    require(waitpid(child, &status, 0) == child, "no child of ours");
    require(!WIFSIGNALED(status), "the child was ended by signal %d", WTERMSIG(status));
    require(WEXITSTATUS(status) == 0, "the child ended with %d", WEXITSTATUS(status));
}
