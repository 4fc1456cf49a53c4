/* Opens libraries in every way that depends on who asks, and prints what came of it. With and without a preloaded
 * library the text must be the same. Its own search path has `libprivate.so` and `libnested.so`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

static void say(const char *what, void *handle)
{
    const char *text = dlerror();
    char error[512];
    /* The next call of the loader takes the text back. */
    snprintf(error, sizeof error, "%s", text ? text : "none");
    int (*number)(void) = handle ? (int (*)(void))dlsym(handle, "private_number") : NULL;
    dlerror();
    struct link_map *map = NULL;
    if (handle)
        dlinfo(handle, RTLD_DI_LINKMAP, &map);
    const char *file = map ? strrchr(map->l_name, '/') : NULL;
    printf("%s: %s, file %s, number %d, error %s\n", what, handle ? "opened" : "not opened", file ? file : "-",
           number ? number() : -1, error);
}

static void opened(const char *name, int mode)
{
    char what[512];
    snprintf(what, sizeof what, "dlopen(%s, %#x)", name ? name : "NULL", mode);
    errno = 77;
    void *handle = dlopen(name, mode);
    int left = errno;
    say(what, handle);
    printf("  errno %d\n", left);
    if (handle)
        printf("  closed %d\n", dlclose(handle));
}

int main(void)
{
    opened("libprivate.so", RTLD_NOW | RTLD_NOLOAD);
    opened("libprivate.so", RTLD_NOW);
    opened("libprivate.so", RTLD_LAZY | RTLD_DEEPBIND);
    opened("libprivate.so", RTLD_NOW | RTLD_NOLOAD);
    opened("$ORIGIN/private/libprivate.so", RTLD_NOW);
    opened("${ORIGIN}/private/libabsent.so", RTLD_NOW);
    opened("private/libprivate.so", RTLD_NOW);
    opened("libabsent.so", RTLD_NOW);
    opened("/nonexistent/libabsent.so", RTLD_NOW);
    opened("/etc/passwd", RTLD_NOW);
    opened("libprivate.so", 0);
    opened("", RTLD_NOW);
    opened(NULL, RTLD_NOW);
    /* Another library of the vendor's name, which is this program's own. */
    opened("libsofthsm2.so", RTLD_NOW);
    opened("libm.so.6", RTLD_NOW);

    printf("before: %s\n", dlsym(RTLD_DEFAULT, "private_number") ? "visible" : "not visible");
    void *local = dlopen("libprivate.so", RTLD_NOW | RTLD_LOCAL);
    printf("local: %s\n", dlsym(RTLD_DEFAULT, "private_number") ? "visible" : "not visible");
    void *again = dlopen("libprivate.so", RTLD_NOW | RTLD_GLOBAL);
    printf("global: %s, the same %d\n", dlsym(RTLD_DEFAULT, "private_number") ? "visible" : "not visible",
           local == again);

    /* An error that nobody has asked for yet, and a call that succeeds. */
    dlopen("libabsent.so", RTLD_NOW);
    dlopen("libm.so.6", RTLD_NOW);
    printf("pending: %s\n", dlerror() ? "some" : "none");

    /* It opens libprivate.so by its own search path, in its constructor. */
    say("nested", dlopen("libnested.so", RTLD_NOW));
    say("base", dlmopen(LM_ID_BASE, "libprivate.so", RTLD_NOW));
    void *apart = dlmopen(LM_ID_NEWLM, "libprivate.so", RTLD_NOW);
    say("new namespace", apart);
    printf("apart %d\n", apart != local);
    say("absent", dlmopen(LM_ID_NEWLM, "libabsent.so", RTLD_NOW));
    say("absurd", dlmopen(LM_ID_NEWLM, NULL, RTLD_NOW));
    return 0;
}
