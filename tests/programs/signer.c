/* Signs 32 bytes with demo-rsa as an application does that has the module's name built in:
 *   signer dlopen|dlmopen|newlm NAME INPUT SIGNATURE
 * or, compiled with LINKED, as one that is linked with the module: signer INPUT SIGNATURE.
 * Ends with status 0 if there is a signature, else says which function answered what. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long ulong_t;
struct attribute { ulong_t type; void *value; ulong_t length; };
struct mechanism { ulong_t type; void *parameter; ulong_t length; };

#ifdef LINKED
#define FUNCTION(name, arguments) ulong_t name arguments
#else
#define FUNCTION(name, arguments) static ulong_t (*name) arguments
#endif
FUNCTION(C_Initialize, (void *));
FUNCTION(C_GetSlotList, (unsigned char, ulong_t *, ulong_t *));
FUNCTION(C_GetTokenInfo, (ulong_t, void *));
FUNCTION(C_OpenSession, (ulong_t, ulong_t, void *, void *, ulong_t *));
FUNCTION(C_Login, (ulong_t, ulong_t, const char *, ulong_t));
FUNCTION(C_FindObjectsInit, (ulong_t, struct attribute *, ulong_t));
FUNCTION(C_FindObjects, (ulong_t, ulong_t *, ulong_t, ulong_t *));
FUNCTION(C_FindObjectsFinal, (ulong_t));
FUNCTION(C_SignInit, (ulong_t, struct mechanism *, ulong_t));
FUNCTION(C_Sign, (ulong_t, void *, ulong_t, void *, ulong_t *));
FUNCTION(C_Finalize, (void *));

static void fail(const char *what, const char *why)
{
    printf("%s: %s\n", what, why ? why : "no reason");
    exit(1);
}

#define MUST(call) must(#call, call)
static void must(const char *call, ulong_t rv)
{
    char text[32];
    snprintf(text, sizeof text, "0x%lx", rv);
    if (rv != 0)
        fail(call, text);
}

#ifndef LINKED
static void open_module(const char *how, const char *name)
{
    void *module;
    if (strcmp(how, "dlopen") == 0)
        module = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    else
        module = dlmopen(strcmp(how, "newlm") == 0 ? LM_ID_NEWLM : LM_ID_BASE, name, RTLD_NOW);
    if (!module)
        fail(how, dlerror());
#define FIND(name) if (!(*(void **)&name = dlsym(module, #name))) fail(#name, dlerror())
    FIND(C_Initialize); FIND(C_GetSlotList); FIND(C_GetTokenInfo); FIND(C_OpenSession); FIND(C_Login);
    FIND(C_FindObjectsInit); FIND(C_FindObjects); FIND(C_FindObjectsFinal); FIND(C_SignInit); FIND(C_Sign);
    FIND(C_Finalize);
}
#endif

static ulong_t slot_of_sandbox(void)
{
    ulong_t slots[64], count = 64;
    MUST(C_GetSlotList(1, slots, &count));
    for (ulong_t i = 0; i < count; i++) {
        char info[256];
        MUST(C_GetTokenInfo(slots[i], info));
        if (memcmp(info, "sandbox ", 8) == 0)
            return slots[i];
    }
    fail("sandbox", "no such token");
    return 0;
}

int main(int count, char **arguments)
{
    char digest[19 + 32] = "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
    unsigned char signature[512];
    ulong_t session, key, found = 0, private_key = 3, length = sizeof signature;
    struct attribute wanted[] = { { 0, &private_key, sizeof private_key }, { 3, "demo-rsa", 8 } };
    struct mechanism rsa_pkcs = { 1, NULL, 0 };
#ifndef LINKED
    open_module(arguments[1], arguments[2]);
#endif
    FILE *input = fopen(arguments[count - 2], "rb");
    if (!input || fread(digest + 19, 1, 32, input) != 32)
        fail(arguments[count - 2], "not 32 bytes");
    MUST(C_Initialize(NULL));
    MUST(C_OpenSession(slot_of_sandbox(), 4, NULL, NULL, &session));
    MUST(C_Login(session, 1, "1234", 4));
    MUST(C_FindObjectsInit(session, wanted, 2));
    MUST(C_FindObjects(session, &key, 1, &found));
    MUST(C_FindObjectsFinal(session));
    if (found != 1)
        fail("demo-rsa", "not found");
    MUST(C_SignInit(session, &rsa_pkcs, key));
    MUST(C_Sign(session, digest, sizeof digest, signature, &length));
    MUST(C_Finalize(NULL));
    FILE *output = fopen(arguments[count - 1], "wb");
    if (!output || fwrite(signature, 1, length, output) != length || fclose(output) != 0)
        fail(arguments[count - 1], "not written");
    return 0;
}
