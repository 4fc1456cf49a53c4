/* Says in which file the functions of a PKCS#11 module are that it opens by name, several times over:
 *   whose [--global LIBRARY] NAME...
 * With --global another library is opened first, so that its symbols are everybody's. From a name chroot:DIRECTORY on it is
 * there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The head of CK_FUNCTION_LIST of PKCS#11 2.40, on a machine where pointers have 8 bytes. */
struct list { char version[8]; void *functions[68]; };

static const char *file_of(void *address)
{
    Dl_info info;
    if (!address || !dladdr(address, &info))
        return "nowhere";
    const char *slash = strrchr(info.dli_fname, '/');
    return slash ? slash + 1 : info.dli_fname;
}

int main(int count, char **arguments)
{
    int first = 1;
    if (count > 2 && strcmp(arguments[1], "--global") == 0) {
        if (!dlopen(arguments[2], RTLD_NOW | RTLD_GLOBAL)) {
            printf("%s\n", dlerror());
            return 1;
        }
        first = 3;
    }
    printf("dlopen: %s\n", file_of(dlsym(RTLD_DEFAULT, "dlopen")));
    for (int i = first; i < count; i++) {
        if (strncmp(arguments[i], "chroot:", 7) == 0) {
            if (chroot(arguments[i] + 7) != 0 || chdir("/") != 0)
                return 1;
            continue;
        }
        void *module = dlopen(arguments[i], RTLD_NOW);
        if (!module) {
            printf("%s: %s\n", arguments[i], dlerror());
            continue;
        }
        unsigned long (*get_list)(struct list **) = (unsigned long (*)(struct list **))dlsym(module, "C_GetFunctionList");
        struct list *list = NULL;
        if (!get_list || get_list(&list) != 0) {
            printf("%s: no module\n", arguments[i]);
            continue;
        }
        const char *file = file_of((void *)get_list);
        for (int f = 0; f < 68; f++)
            if (strcmp(file_of(list->functions[f]), file) != 0)
                file = "several files";
        for (int again = 0; again < 3; again++)
            if (dlopen(arguments[i], RTLD_NOW) != module || dlclose(module) != 0)
                file = "another one each time";
        printf("%s: %s\n", arguments[i], file);
    }
    return 0;
}
