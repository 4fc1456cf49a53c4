/* Threads, children, and a policy server that says nothing. */
#include "application.h"

#include <arpa/inet.h>
#include <sys/socket.h>
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

int listen_as_policy_server(int port) {
    int listening = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    require(bind(listening, (struct sockaddr *)&address, sizeof address) == 0, "port %d", port);
    require(listen(listening, 1) == 0, "port %d", port);
    return listening;
}

int accept_attester(int listening) {
    int attester = accept(listening, NULL, NULL);
    require(attester >= 0, "nobody attests");
    return attester;
}
