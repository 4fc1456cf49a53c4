/* Which scene it is to be. */
#include "application.h"

#include <string.h>

int main(int count, char **arguments) {
    require(count >= 3, "usage: application MODULE SCENE [NUMBER]...");
    module_path = arguments[1];
    const char *scene = arguments[2];
    int number = count > 3 ? atoi(arguments[3]) : 0, other = count > 4 ? atoi(arguments[4]) : 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(scene, "sign") == 0)
        scene_sign();
    else if (strcmp(scene, "initialise-at-once") == 0)
        scene_initialise_at_once();
    else if (strcmp(scene, "promise-one-thread") == 0)
        scene_promise_one_thread();
    else if (strcmp(scene, "again-and-again") == 0)
        scene_again_and_again(number);
    else if (strcmp(scene, "several-users") == 0)
        scene_several_users();
    else if (strcmp(scene, "unload-and-load") == 0)
        scene_unload_and_load();
    else if (strcmp(scene, "mutexes") == 0)
        scene_mutexes();
    else if (strcmp(scene, "no-thread-is-made") == 0)
        scene_no_thread_is_made();
    else if (strcmp(scene, "without-seals") == 0)
        scene_without_seals();
    else if (strcmp(scene, "ending") == 0)
        scene_ending(number, other);
    else if (strcmp(scene, "thread-local") == 0)
        scene_thread_local();
    else if (strcmp(scene, "share-a-session") == 0)
        scene_share_a_session(number);
    else if (strcmp(scene, "fork") == 0)
        scene_fork(number, other);
    else if (strcmp(scene, "crowd") == 0)
        scene_crowd(number, other);
    else if (strcmp(scene, "gathering") == 0)
        scene_gathering(number, other);
    else if (strcmp(scene, "sessions") == 0)
        scene_sessions(number);
    else if (strcmp(scene, "ready") == 0)
        scene_ready();
    else if (strcmp(scene, "outlives-the-guard") == 0)
        scene_outlives_the_guard();
    else
        require(0, "there is no scene %s", scene);
    return 0;
}
