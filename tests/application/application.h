/* An application with a life of its own: `application MODULE SCENE [NUMBER]...`. Each scene says what it saw on standard
 * output, or ends with a line on standard error and exit status 1 where something is not as it must be. */
#ifndef APPLICATION_H
#define APPLICATION_H

#include "cryptoki.h"

#include <linux/filter.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

/* Ends the process, threads or not. */
#define require(condition, ...)                                                                               \
    do {                                                                                                      \
        if (!(condition)) {                                                                                   \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                   \
            fprintf(stderr, __VA_ARGS__);                                                                     \
            fputc('\n', stderr);                                                                              \
            _exit(1);                                                                                         \
        }                                                                                                     \
    } while (0)

/* Makes a call that must be answered so. */
#define answers(expected, call)                                                                               \
    do {                                                                                                      \
        CK_RV rv_ = (call);                                                                                   \
        require(rv_ == (CK_RV)(expected), "%s: %#lx and not %s", #call, rv_, #expected);                      \
    } while (0)

/* module.c */
extern const char *module_path;
void *load_module(void);

/* signing.c */
typedef struct {
    CK_ULONG session;
    CK_ULONG private_key;
    CK_ULONG public_key;
} signer;
/* A session on the token `sandbox`, its user logged in, with the keys `demo-ec`. */
CK_ULONG open_session(void);
signer open_signer(void);
/* The slot of the token `sandbox`. */
CK_ULONG sandbox(void);
void begin_signature(const signer *with);
/* Ends a signature that was begun, and has it verified. */
void end_signature(const signer *with);
void sign(const signer *with);
/* Initialises, signs, finalises. */
void whole_life(void);

/* filters.c: has the kernel ask this about every call, for ever. */
void filter_calls(struct sock_filter *code, unsigned short length);

/* mutexes.c: mutexes as an application has them that forks: what a thread of the parent's held is free in a child. */
extern CK_C_INITIALIZE_ARGS own_mutexes;
/* Called by every locking and making of a mutex, where it is set. */
extern void (*on_mutex)(void);
extern unsigned mutexes_made, mutexes_locked;

/* processes.c */
typedef void (*work)(void);
pthread_t start_thread(void *(*body)(void *), void *argument);
void join_thread(pthread_t thread);
/* Forks; the child does its work and ends, killed where that takes longer than a minute. */
pid_t start_child(work work);
void child_ends_well(pid_t child);
/* A policy server that says nothing, on a port of this host. */
int listen_as_policy_server(int port);
/* An attester waits for as long as what this gives is open. */
int accept_attester(int listening);

/* The scenes, one file each. */
void scene_sign(void);
void scene_initialise_at_once(void);
void scene_promise_one_thread(void);
void scene_again_and_again(int rounds);
void scene_several_users(void);
void scene_unload_and_load(void);
void scene_mutexes(void);
void scene_no_thread_is_made(void);
void scene_without_seals(void);
void scene_ending(int kind, int port);
void scene_thread_local(void);
void scene_share_a_session(int is_for_threads);
void scene_fork(int kind, int number);
void scene_crowd(int threads, int each);
void scene_gathering(int processes, int threads);
void scene_sessions(int most);
void scene_ready(void);
void scene_outlives_the_guard(void);

#endif
