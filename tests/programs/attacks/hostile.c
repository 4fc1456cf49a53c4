/* Frames that no shim sends: `hostile SOCKET KIND COUNT`, as often as that, each time on a connection of its own. Says how
 * many connections were closed, how many frames were answered, and how many were neither. */
#include "guard.h"

static uint64_t state = 0x9e3779b97f4a7c15;

/* The same numbers each time (xorshift64). */
static uint64_t random_word(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

static const uint64_t WORDS[] = { 0, 1, 2, 3, 4, 8, 16, 31, 32, 64, 255, 256, 4096, 65536, 1 << 20, 16 << 20, 1ul << 32, 1ul << 48,
                                  ~0ul, ~0ul - 7, 1ul << 63, 0x1041, 0x40, 0x80000000, 0x12d, 0x600 };
static const uint64_t ATTRIBUTES[] = { 0, 1, 2, 3, 0x11, 0x100, 0x102, 0x104, 0x161, 0x163, 0x40000211, 0x40000600 };

static uint64_t likely_word(void)
{
    switch (random_word() % 4) {
    case 0: return random_word();
    case 1: return ATTRIBUTES[random_word() % (sizeof ATTRIBUTES / sizeof *ATTRIBUTES)];
    default: return WORDS[random_word() % (sizeof WORDS / sizeof *WORDS)];
    }
}

/* What became of it: 'c' closed, 'a' answered (or turned away, which is an answer), 't' neither in time. */
static char heard(int fd, int patience_ms)
{
    char body[1 << 16];
    struct pollfd ready = { fd, POLLIN, 0 };
    if (poll(&ready, 1, patience_ms) != 1)
        return 't';
    return recv(fd, body, sizeof body, 0) > 0 ? 'a' : 'c';
}

static void send_bytes(int fd, const void *bytes, size_t length)
{
    /* It may be closed already. */
    if (send(fd, bytes, length, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
        abort();
}

static void send_header(int fd, int version, int code, uint32_t length)
{
    struct header header = { (uint16_t)version, (uint16_t)code, length, random_word() };
    send_bytes(fd, &header, sizeof header);
}

static int control_connection(const char *path)
{
    char body[4096];
    int fd = connect_to(path);
    return next_frame(fd, body, sizeof body, NULL) == CHALLENGE ? fd : -1;
}

static int call_connection(const char *path, int *control)
{
    char body[4096];
    static char nonce[32];
    int fd = -1;
    *control = connect_to(path);
    if (next_frame(*control, body, sizeof body, NULL) != CHALLENGE)
        return -1;
    memcpy(nonce, body + 8, sizeof nonce);
    frame(*control, PLACED, &(uint64_t){ (uintptr_t)nonce }, 8);
    return next_frame(*control, body, sizeof body, &fd) == WELCOME ? fd : -1;
}

static void send_random(int fd)
{
    uint64_t bytes[40];
    for (int i = 0; i < 40; i++)
        bytes[i] = random_word();
    send_bytes(fd, bytes, 1 + random_word() % sizeof bytes);
    shutdown(fd, SHUT_WR);
}

/* A body of words that might be one. */
static void send_likely(int fd, int code)
{
    uint64_t words[24];
    size_t count = random_word() % 24;
    for (size_t i = 0; i < count; i++)
        words[i] = likely_word();
    frame(fd, code, words, count * sizeof *words);
}

static void send_with_descriptor(int fd, int code)
{
    struct header header = { 1, (uint16_t)code, 8, 1 };
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    uint64_t body = 1;
    struct iovec places[] = { { &header, sizeof header }, { &body, sizeof body } };
    struct msghdr message = { .msg_iov = places, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *place = CMSG_FIRSTHDR(&message);
    *place = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
    memcpy(CMSG_DATA(place), &(int){ 0 }, sizeof(int));
    if (sendmsg(fd, &message, MSG_NOSIGNAL) < 0)
        abort();
}

/* The socket is readable then, and has nothing to be read. */
static void send_out_of_band(int fd)
{
    if (send(fd, "x", 1, MSG_OOB | MSG_NOSIGNAL) != 1)
        abort();
}

/* On a connection that knows no client yet. */
static char on_control(const char *path, const char *kind, int round)
{
    int fd = control_connection(path), patience = 8000;
    static char elsewhere[32];
    if (strcmp(kind, "random") == 0)
        send_random(fd);
    else if (strcmp(kind, "truncated") == 0)
        send_header(fd, 1, PLACED, 8), shutdown(fd, SHUT_WR);
    else if (strcmp(kind, "stalled") == 0)
        send_header(fd, 1, PLACED, 8);
    else if (strcmp(kind, "silent") == 0)
        ;
    else if (strcmp(kind, "out-of-band") == 0)
        send_out_of_band(fd);
    else if (strcmp(kind, "oversized") == 0)
        send_header(fd, 1, PLACED, (uint32_t[]){ 4097, 1 << 20, 16 << 20, ~0u }[round % 4]);
    else if (strcmp(kind, "version") == 0)
        send_header(fd, (int[]){ 0, 2, 0xffff }[round % 3], PLACED, 8);
    else if (strcmp(kind, "code") == 0)
        frame(fd, (int[]){ CHALLENGE, OFFER, WELCOME, MORE, ANOTHER, GET_INFO, SIGN, ANSWER, 0x8008, 0xffff }[round % 10],
              NULL, 0);
    else if (strcmp(kind, "length") == 0)
        frame(fd, PLACED, (uint64_t[]){ 1, 2, 3 }, (size_t[]){ 0, 7, 9, 16, 24 }[round % 5]);
    else if (strcmp(kind, "address") == 0)
        frame(fd, PLACED, (uint64_t[]){ 0, 8, (uintptr_t)elsewhere, 1ul << 47, ~0ul, 1ul << 63 } + round % 6, 8);
    else if (strcmp(kind, "two") == 0) {
        struct header headers[] = { { 1, ASK, 0, 1 }, { 1, ASK, 0, 2 } };
        send_bytes(fd, headers, sizeof headers);
    } else if (strcmp(kind, "descriptor") == 0)
        send_with_descriptor(fd, PLACED);
    else
        exit(2);
    char what = heard(fd, patience);
    close(fd);
    return what;
}

/* As much of the body of a frame as the other side takes, but for the last byte; gives up where nothing has gone for a while. */
static size_t send_but_the_last(int fd, size_t length)
{
    static char body[1 << 16];
    size_t sent = 0;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    while (sent < length - 1) {
        struct pollfd room = { fd, POLLOUT, 0 };
        size_t part = length - 1 - sent < sizeof body ? length - 1 - sent : sizeof body;
        if (poll(&room, 1, 500) != 1)
            break;
        ssize_t went = send(fd, body, part, MSG_NOSIGNAL);
        if (went <= 0)
            break;
        sent += (size_t)went;
    }
    return sent;
}

/* The largest frames at once, none of them whole, on a dozen connections: how much of them is taken. */
static size_t send_a_crowd(int control, int first)
{
    enum { CROWD = 12, LARGEST = 16 << 20 };
    char body[4096];
    int connections[CROWD] = { first };
    size_t sent = 0;
    for (int i = 1; i < CROWD; i++) {
        frame(control, MORE, NULL, 0);
        if (next_frame(control, body, sizeof body, connections + i) != ANOTHER)
            return 0;
    }
    for (int i = 0; i < CROWD; i++) {
        send_header(connections[i], 1, SIGN, LARGEST);
        sent += send_but_the_last(connections[i], LARGEST);
    }
    for (int i = 1; i < CROWD; i++)
        close(connections[i]);
    return sent;
}

/* On a connection for calls. */
static char on_calls(const char *path, const char *kind, int round)
{
    int control, fd = call_connection(path, &control), patience = 8000;
    char what = 'a';
    if (strcmp(kind, "calls-random") == 0)
        send_random(fd);
    else if (strcmp(kind, "calls-likely") == 0) {
        /* As many as are answered: every function but the one that waits for a token. */
        for (int code = round % 105; what == 'a' && code < 105; code++)
            for (int i = 0; code != 67 && what == 'a' && i < 4; i++)
                send_likely(fd, code), what = heard(fd, patience);
        close(fd), close(control);
        return what;
    } else if (strcmp(kind, "calls-truncated") == 0)
        send_header(fd, 1, SIGN, 64), shutdown(fd, SHUT_WR);
    else if (strcmp(kind, "calls-stalled") == 0)
        send_header(fd, 1, SIGN, 16 << 20), patience = 300;
    else if (strcmp(kind, "calls-out-of-band") == 0)
        send_header(fd, 1, SIGN, 64), send_out_of_band(fd), patience = 20000;
    else if (strcmp(kind, "calls-begun") == 0) {
        if (round % 2)
            send_bytes(fd, (char[8]){ 1 }, 8);
        else
            send_header(fd, 1, SIGN, 16 << 20), send_but_the_last(fd, 1 << 20);
        patience = 20000;
    } else if (strcmp(kind, "calls-crowd") == 0) {
        size_t sent = send_a_crowd(control, fd);
        printf("sent %zu\n", sent);
        close(fd), close(control);
        return 'a';
    } else if (strcmp(kind, "calls-oversized") == 0)
        send_header(fd, 1, SIGN, (uint32_t[]){ (16 << 20) + 1, 1u << 31, ~0u }[round % 3]);
    else if (strcmp(kind, "calls-code") == 0)
        frame(fd, (int[]){ 0, 1, 3, ANSWER, PLACED, MORE, 0x7fff, 200 }[round % 8], NULL, 0);
    else if (strcmp(kind, "calls-lying") == 0)
        /* The data of C_Sign are longer than the body, the room is more than there can be, or there is no such flag. */
        frame(fd, SIGN, (uint64_t[][5]){ { 1, 1, 1 << 20, 0, 0 }, { 1, 1, ~0ul, 0, 0 }, { 1, 1, 0, 3, 1ul << 40 },
                                         { 1, 7, 0, 3, 8 }, { 1, 1, 0, 9, 8 } }[round % 5], 40);
    else if (strcmp(kind, "calls-descriptor") == 0)
        send_with_descriptor(fd, GET_INFO);
    else if (strcmp(kind, "calls-ahead") == 0) {
        /* Many at a time, each of them answered in its turn. */
        for (int i = 0; i < 50; i++)
            frame(fd, GET_INFO, (uint64_t[]){ 1 }, 8);
        char body[4096];
        for (int i = 0; i < 50 && what == 'a'; i++)
            what = next_frame(fd, body, sizeof body, NULL) == ANSWER ? 'a' : 'c';
        close(fd), close(control);
        return what;
    } else if (strcmp(kind, "calls-more") == 0) {
        /* More connections than a process may have, then one frame that has no business on that connection. */
        char body[4096];
        int another, last = ANOTHER;
        for (int i = 0; i < 200 && last == ANOTHER; i++) {
            frame(control, MORE, NULL, 0);
            last = next_frame(control, body, sizeof body, &another);
        }
        if (last != TURNED || get_info(fd) != 0)
            return 't';
        frame(control, PLACED, &(uint64_t){ 1 }, 8);
        what = heard(control, patience);
        close(fd), close(control);
        return what;
    } else if (strcmp(kind, "calls-unread") == 0) {
        /* Nobody reads the answers. */
        int flags = fcntl(fd, F_GETFL);
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
        for (int i = 0; i < 100000; i++)
            if (frame(fd, GET_INFO, (uint64_t[]){ 1 }, 8) != 0)
                break;
        close(fd), close(control);
        return 'a';
    } else
        exit(2);
    what = heard(fd, patience);
    close(fd), close(control);
    return what;
}

int main(int count, char **arguments)
{
    int closed = 0, answered = 0, neither = 0;
    if (count != 4)
        return 2;
    for (int round = 0; round < atoi(arguments[3]); round++) {
        int is_call = strncmp(arguments[2], "calls", 5) == 0;
        switch ((is_call ? on_calls : on_control)(arguments[1], arguments[2], round)) {
        case 'c': closed++; break;
        case 'a': answered++; break;
        default: neither++;
        }
    }
    printf("closed %d answered %d neither %d\n", closed, answered, neither);
    return 0;
}
