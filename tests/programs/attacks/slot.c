/* What a client may do with the memory that the guard has given it for its frames, without a shim: `slot SOCKET KIND COUNT`, as
 * often as that, each time as a new client; for the kind `flipping`, COUNT is seconds. Says how many connections were closed, how
 * many calls were answered, and how many were neither. */
#include "guard.h"

#include <pthread.h>

enum { MEMORY = 65536, LENGTH_AT = 64, PROCESSOR_AT = 72, CONTENT_AT = 80, ROOM = MEMORY - CONTENT_AT, WAIT_FOR_SLOT_EVENT = 67, FUNCTIONS = 104 };
#define BY_SOCKET (~0ul)

struct client { int control, calls; char *memory; };

static uint64_t state = 0x9e3779b97f4a7c15;

/* The same numbers each time (xorshift64). */
static uint64_t random_of(uint64_t *state)
{
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

static uint64_t random_word(void)
{
    return random_of(&state);
}

static uint32_t *turn_of(const struct client *client)
{
    return (uint32_t *)client->memory;
}

static void set_length(const struct client *client, uint64_t length)
{
    __atomic_store_n((uint64_t *)(client->memory + LENGTH_AT), length, __ATOMIC_RELAXED);
}

static void wake(const struct client *client)
{
    syscall(SYS_futex, turn_of(client), 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0);
}

static void pass(const struct client *client)
{
    __atomic_exchange_n(turn_of(client), 1, __ATOMIC_ACQ_REL);
    wake(client);
}

static void put(const struct client *client, int code, uint32_t stated, const void *body, size_t length)
{
    struct header header = { 1, (uint16_t)code, stated, 7 };
    memcpy(client->memory + CONTENT_AT, &header, sizeof header);
    memcpy(client->memory + CONTENT_AT + sizeof header, body, length);
    set_length(client, sizeof header + length);
}

static void put_info(const struct client *client)
{
    put(client, GET_INFO, 8, &(uint64_t){ 1 }, 8);
}

/* What became of it: 'c' closed, 'a' the turn is this side's, 't' neither in time. */
static char heard(const struct client *client, int patience_ms)
{
    long until = milliseconds() + patience_ms;
    do {
        if (!(__atomic_load_n(turn_of(client), __ATOMIC_ACQUIRE) & 1))
            return 'a';
        struct pollfd closed = { client->calls, POLLRDHUP, 0 };
        if (poll(&closed, 1, 0) == 1)
            return 'c';
        sched_yield();
    } while (milliseconds() < until);
    return 't';
}

/* Passes what is in the place. Where the connection is not closed, it must be good for a call after that. */
static char passed(const struct client *client)
{
    pass(client);
    return heard(client, 8000);
}

static void take_memory(struct client *client, int is_placed)
{
    client->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, handed_memory, 0);
    close(handed_memory);
    if (client->memory == MAP_FAILED)
        abort();
    /* Where the connection is closed already, that shows at the call. */
    if (is_placed)
        frame(client->calls, PLACED, &(uint64_t){ (uintptr_t)client->memory }, 8);
}

static void leave(const struct client *client)
{
    munmap(client->memory, MEMORY);
    close(client->calls), close(client->control);
}

static struct client connected(const char *path, int is_placed)
{
    char body[4096];
    static char nonce[32];
    /* Clients that this process was count until their workers have ended. */
    for (long until = milliseconds() + 20000; milliseconds() < until; usleep(20000)) {
        struct client client = { connect_to(path), -1, NULL };
        int code = next_frame(client.control, body, sizeof body, NULL);
        if (code == CHALLENGE) {
            memcpy(nonce, body + 8, sizeof nonce);
            frame(client.control, PLACED, &(uint64_t){ (uintptr_t)nonce }, 8);
            code = next_frame(client.control, body, sizeof body, &client.calls);
        }
        if (code == WELCOME && handed_memory >= 0) {
            take_memory(&client, is_placed);
            return client;
        }
        close(client.control);
    }
    printf("not let in, or no memory\n");
    exit(1);
}

/* A further connection of the same client in the place of the one that there was; false where it has as many as it may. */
static int another(struct client *client)
{
    char body[4096];
    munmap(client->memory, MEMORY), close(client->calls);
    frame(client->control, MORE, NULL, 0);
    if (next_frame(client->control, body, sizeof body, &client->calls) != ANOTHER) {
        close(client->control);
        return 0;
    }
    take_memory(client, 1);
    return 1;
}

static const uint64_t WORDS[] = { 0, 1, 2, 3, 4, 8, 16, 31, 32, 64, 255, 256, 4096, 65536, 1 << 20, 16 << 20, 1ul << 32, 1ul << 48,
                                  ~0ul, ~0ul - 7, 1ul << 63, 0x1041, 0x40, 0x80000000, 0x12d, 0x600, 0x102, 0x40000211 };

/* A call that is as it should be, or one that might be. */
static void put_some_call(const struct client *client)
{
    uint64_t words[24], session = random_word() % 4;
    int code = (int)(random_word() % FUNCTIONS);
    size_t count = random_word() % 24;
    switch (random_word() % 8) {
    case 0: case 1: case 2: put_info(client); return;
    case 3: put(client, SIGN_INIT, 48, (uint64_t[]){ session, 1, ECDSA, 0, 0, 1 }, 48); return;
    case 4: put(client, SIGN, 72, (uint64_t[]){ session, 1, 32, 1, 2, 3, 4, 3, 512 }, 72); return;
    case 5: put(client, OPEN_SESSION, 24, (uint64_t[]){ random_word() % 2, 4, 0 }, 24); return;
    }
    for (size_t i = 0; i < count; i++)
        words[i] = random_word() % 4 ? WORDS[random_word() % (sizeof WORDS / sizeof *WORDS)] : random_word();
    put(client, code == WAIT_FOR_SLOT_EVENT ? GET_INFO : code, (uint32_t)(count * 8), words, count * 8);
}

/* The memory whose bits are flipped; none while there is another to be had. */
static struct { pthread_mutex_t lock; char *memory; int is_over; unsigned long flips; } flipped = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void *flips(void *unused)
{
    uint64_t own = 0xdeadbeefcafef00d;
    (void)unused;
    while (!__atomic_load_n(&flipped.is_over, __ATOMIC_RELAXED)) {
        pthread_mutex_lock(&flipped.lock);
        for (int i = 0; flipped.memory && i < 20; i++, flipped.flips++) {
            uint64_t number = random_of(&own);
            /* Mostly of the frame's beginning, of its length and of the processor now and then, of the turn seldom. */
            size_t at = number % 4096 == 0 ? 0 : number % 16 == 0 ? LENGTH_AT + number / 4096 % 3
                : number % 16 == 1 ? PROCESSOR_AT + number / 4096 % 8 : CONTENT_AT + number / 4096 % 100;
            __atomic_fetch_xor((unsigned char *)flipped.memory + at, 1 << (number >> 40) % 8, __ATOMIC_RELAXED);
            for (volatile uint64_t pause = (number >> 32) % 8192; pause; pause--)
                ;
        }
        pthread_mutex_unlock(&flipped.lock);
        /* So that some calls get through as they are. */
        usleep((useconds_t)(random_of(&own) % 1000));
    }
    return NULL;
}

static void flip_in(char *memory)
{
    pthread_mutex_lock(&flipped.lock);
    flipped.memory = memory;
    pthread_mutex_unlock(&flipped.lock);
}

static int is_answer(const struct client *client)
{
    struct header header;
    memcpy(&header, client->memory + CONTENT_AT, sizeof header);
    return header.code == ANSWER;
}

/* Calls on and on while the bits of each are flipped; a connection that was closed is replaced. At the end there is a client that
 * does nothing of the kind. */
static char flip(const char *path, int seconds)
{
    pthread_t flipper;
    unsigned long calls = 0, answered = 0, closed = 0, lost = 0, clients = 1;
    long until = milliseconds() + seconds * 1000L;
    struct client client = connected(path, 1);
    if (pthread_create(&flipper, NULL, flips, NULL))
        abort();
    flip_in(client.memory);
    for (; milliseconds() < until; calls++) {
        put_some_call(&client);
        pass(&client);
        switch (heard(&client, 500)) {
        /* Or the turn was flipped back. */
        case 'a': answered += is_answer(&client); continue;
        case 'c': closed++; break;
        default: lost++;
        }
        flip_in(NULL);
        if (!another(&client))
            clients++, client = connected(path, 1);
        flip_in(client.memory);
    }
    flip_in(NULL);
    __atomic_store_n(&flipped.is_over, 1, __ATOMIC_RELAXED);
    pthread_join(flipper, NULL);
    leave(&client);
    printf("flipped %lu bits in %lu calls of %lu clients: %lu answered, %lu closed, %lu lost\n", flipped.flips, calls, clients,
           answered, closed, lost);
    if (!flipped.flips || !answered || !closed)
        return 't';
    client = connected(path, 1);
    put_info(&client);
    char what = passed(&client);
    leave(&client);
    return what;
}

/* A process of its own that passes a call, or is about to, and is killed a moment later. */
static char die(const char *path, int round)
{
    pid_t child = fork();
    if (child == 0) {
        struct client client = connected(path, 1);
        for (int i = 0; i < 1 + round; i++) {
            put_info(&client);
            if (passed(&client) != 'a')
                _exit(1);
        }
        put_info(&client);
        if (round % 2)
            pass(&client);
        raise(SIGKILL);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? 'c' : 't';
}

/* Turns at random, with a call in the place. Whatever becomes of it: closed, or good for another call. */
static char turn_at_random(const struct client *client)
{
    for (int i = 0; i < 2000; i++) {
        if (i % 16 == 0)
            put_info(client);
        __atomic_store_n(turn_of(client), (uint32_t)(random_word() % 2 ? random_word() : random_word() % 4), __ATOMIC_RELEASE);
        wake(client);
    }
    put_info(client);
    return passed(client);
}

static char once(const char *path, const char *kind, int round)
{
    if (strcmp(kind, "dying") == 0)
        return die(path, round);
    struct client client = connected(path, strcmp(kind, "unplaced") != 0);
    char what;
    if (strcmp(kind, "good") == 0)
        put_info(&client), what = passed(&client);
    else if (strcmp(kind, "turns") == 0)
        what = turn_at_random(&client);
    else if (strcmp(kind, "lengths") == 0) {
        static const uint64_t LENGTHS[] = { 0, 1, 15, 16, 23, 25, ROOM, ROOM + 1, MEMORY, 1 << 20, (16 << 20) + 16, 1ul << 32, 1ul << 63,
                                            BY_SOCKET - 1 };
        size_t many = sizeof LENGTHS / sizeof *LENGTHS;
        put_info(&client);
        set_length(&client, (size_t)round < many ? LENGTHS[round] : random_word() % 2 ? random_word() >> 1 : 25 + random_word() % ROOM);
        what = passed(&client);
    } else if (strcmp(kind, "lying") == 0) {
        put(&client, GET_INFO, (uint32_t[]){ 0, 7, 9, 16, 1 << 20, 16 << 20, (16 << 20) + 1, ~0u }[round % 8], &(uint64_t){ 1 }, 8);
        what = passed(&client);
    } else if (strcmp(kind, "lying-inside") == 0) {
        /* The data of C_Sign are longer than the frame or than the memory, the room is more than there can be, or there is no such
         * flag. */
        put(&client, SIGN, 40, (uint64_t[][5]){ { 1, 1, 1 << 20, 0, 0 }, { 1, 1, ROOM, 0, 0 }, { 1, 1, ~0ul, 0, 0 },
                                                { 1, 1, 0, 3, 1ul << 40 }, { 1, 7, 0, 3, 8 }, { 1, 1, 0, 9, 8 } }[round % 6], 40);
        what = passed(&client);
    } else if (strcmp(kind, "random") == 0) {
        for (size_t i = 0; i < ROOM / 8; i++)
            memcpy(client.memory + CONTENT_AT + 8 * i, &(uint64_t){ random_word() }, 8);
        set_length(&client, random_word() % (ROOM + 1));
        what = passed(&client);
    } else if (strcmp(kind, "empty") == 0)
        what = passed(&client);
    else if (strcmp(kind, "again") == 0) {
        /* What is in the place is the guard's own answer. */
        put_info(&client);
        what = passed(&client) == 'a' ? passed(&client) : 't';
    } else if (strcmp(kind, "unread") == 0) {
        /* Without a look at any answer. */
        for (int i = 0; i < 1000; i++)
            put_info(&client), pass(&client);
        what = heard(&client, 8000);
    } else if (strcmp(kind, "silent") == 0) {
        /* A frame is said to come over the socket, and does not. The client's other connections go on. */
        set_length(&client, BY_SOCKET);
        pass(&client);
        what = heard(&client, 300);
        struct client other = { client.control, dup(client.calls), mmap(NULL, MEMORY, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) };
        if (what == 't' && another(&other))
            put_info(&other), what = passed(&other) == 'a' ? 't' : 'c';
    } else if (strcmp(kind, "other-by-socket") == 0) {
        /* Something else comes over the socket than a call, or half a call. */
        set_length(&client, BY_SOCKET);
        if (round % 2)
            frame(client.calls, PLACED, &(uint64_t){ 1 }, 8);
        else
            send(client.calls, &(struct header){ 1, SIGN, 64, 7 }, sizeof(struct header), MSG_NOSIGNAL), shutdown(client.calls, SHUT_WR);
        what = passed(&client);
    } else if (strcmp(kind, "unplaced") == 0) {
        /* Nobody has said that the memory is this process's. What is in it is not looked at; who calls by the socket is served there,
         * and cannot come back to the memory. */
        put_info(&client), pass(&client);
        what = heard(&client, 300);
        frame(client.calls, GET_INFO, &(uint64_t){ 1 }, 8);
        struct pollfd answered = { client.calls, POLLIN, 0 };
        if (what != 't' || poll(&answered, 1, 8000) != 1 || answered.revents != POLLIN || heard(&client, 300) != 't')
            what = 'a';
        else {
            frame(client.calls, PLACED, &(uint64_t){ (uintptr_t)client.memory }, 8);
            what = heard(&client, 8000);
        }
    } else
        exit(2);
    leave(&client);
    return what;
}

int main(int count, char **arguments)
{
    int closed = 0, answered = 0, neither = 0;
    if (count != 4)
        return 2;
    int is_flipping = strcmp(arguments[2], "flipping") == 0, number = atoi(arguments[3]);
    for (int round = 0; round < (is_flipping ? 1 : number); round++)
        switch (is_flipping ? flip(arguments[1], number) : once(arguments[1], arguments[2], round)) {
        case 'c': closed++; break;
        case 'a': answered++; break;
        default: neither++;
        }
    printf("closed %d answered %d neither %d\n", closed, answered, neither);
    return 0;
}
