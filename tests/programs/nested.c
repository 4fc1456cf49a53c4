/* A library that opens another one while it is being loaded, by a search path of its own. */
#include <dlfcn.h>
#include <stdio.h>

static int number = -2;

__attribute__((constructor)) static void start(void)
{
    void *inner = dlopen("libinner.so", RTLD_NOW);
    int (*inner_number)(void) = inner ? (int (*)(void))dlsym(inner, "private_number") : 0;
    if (inner_number)
        number = inner_number();
    else
        printf("inner: %s\n", dlerror());
}

int private_number(void) { return number; }
