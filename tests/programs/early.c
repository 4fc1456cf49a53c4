/* A library that opens what EARLY names as soon as it is loaded itself, and says whose functions it got. Its own
 * allocator does the same with another library, in the middle of the program's first allocation. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t);
static int inside;
static void *inner;

void *malloc(size_t size)
{
    if (!inside) {
        inside = 1;
        inner = dlopen("libm.so.6", RTLD_NOW);
    }
    return __libc_malloc(size);
}

__attribute__((constructor)) static void start(void)
{
    free(malloc(1));
    Dl_info info = { 0 };
    void *module = dlopen(getenv("EARLY"), RTLD_NOW);
    void *function = module ? dlsym(module, "C_GetFunctionList") : NULL;
    if (function && dladdr(function, &info))
        printf("early: %s, %s\n", strrchr(info.dli_fname, '/') + 1, inner ? "libm too" : "no libm");
}
