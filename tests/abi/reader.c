/* Reads the function lists and interfaces of a PKCS#11 module as a program in C does: reader MODULE. The declarations are
 * our own, after the text of PKCS#11 3.2 (sections 3.6 and 5.4), and share nothing with the bindings that the module is
 * made with.
 *
 * Says of each list its version and size, and of each entry where it lies and whether it is the module's symbol of that
 * name: `3.2 C_Sign 344 symbol`, or `other`, or `null`. */

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define OF_2_40(X) \
    X(C_Initialize) X(C_Finalize) X(C_GetInfo) X(C_GetFunctionList) X(C_GetSlotList) X(C_GetSlotInfo) \
    X(C_GetTokenInfo) X(C_GetMechanismList) X(C_GetMechanismInfo) X(C_InitToken) X(C_InitPIN) X(C_SetPIN) \
    X(C_OpenSession) X(C_CloseSession) X(C_CloseAllSessions) X(C_GetSessionInfo) X(C_GetOperationState) \
    X(C_SetOperationState) X(C_Login) X(C_Logout) X(C_CreateObject) X(C_CopyObject) X(C_DestroyObject) \
    X(C_GetObjectSize) X(C_GetAttributeValue) X(C_SetAttributeValue) X(C_FindObjectsInit) X(C_FindObjects) \
    X(C_FindObjectsFinal) X(C_EncryptInit) X(C_Encrypt) X(C_EncryptUpdate) X(C_EncryptFinal) \
    X(C_DecryptInit) X(C_Decrypt) X(C_DecryptUpdate) X(C_DecryptFinal) X(C_DigestInit) X(C_Digest) \
    X(C_DigestUpdate) X(C_DigestKey) X(C_DigestFinal) X(C_SignInit) X(C_Sign) X(C_SignUpdate) \
    X(C_SignFinal) X(C_SignRecoverInit) X(C_SignRecover) X(C_VerifyInit) X(C_Verify) X(C_VerifyUpdate) \
    X(C_VerifyFinal) X(C_VerifyRecoverInit) X(C_VerifyRecover) X(C_DigestEncryptUpdate) \
    X(C_DecryptDigestUpdate) X(C_SignEncryptUpdate) X(C_DecryptVerifyUpdate) X(C_GenerateKey) \
    X(C_GenerateKeyPair) X(C_WrapKey) X(C_UnwrapKey) X(C_DeriveKey) X(C_SeedRandom) X(C_GenerateRandom) \
    X(C_GetFunctionStatus) X(C_CancelFunction) X(C_WaitForSlotEvent)

#define OF_3_0(X) \
    X(C_GetInterfaceList) X(C_GetInterface) X(C_LoginUser) X(C_SessionCancel) X(C_MessageEncryptInit) \
    X(C_EncryptMessage) X(C_EncryptMessageBegin) X(C_EncryptMessageNext) X(C_MessageEncryptFinal) \
    X(C_MessageDecryptInit) X(C_DecryptMessage) X(C_DecryptMessageBegin) X(C_DecryptMessageNext) \
    X(C_MessageDecryptFinal) X(C_MessageSignInit) X(C_SignMessage) X(C_SignMessageBegin) \
    X(C_SignMessageNext) X(C_MessageSignFinal) X(C_MessageVerifyInit) X(C_VerifyMessage) \
    X(C_VerifyMessageBegin) X(C_VerifyMessageNext) X(C_MessageVerifyFinal)

#define OF_3_2(X) \
    X(C_EncapsulateKey) X(C_DecapsulateKey) X(C_VerifySignatureInit) X(C_VerifySignature) \
    X(C_VerifySignatureUpdate) X(C_VerifySignatureFinal) X(C_GetSessionValidationFlags) X(C_AsyncComplete) \
    X(C_AsyncGetID) X(C_AsyncJoin) X(C_WrapKeyAuthenticated) X(C_UnwrapKeyAuthenticated)

struct version {
    unsigned char major;
    unsigned char minor;
};

struct interface {
    unsigned char *name;
    void *list;
    unsigned long flags;
};

#define MEMBER(name) void *name;

struct list_2_40 {
    struct version version;
    OF_2_40(MEMBER)
};

struct list_3_0 {
    struct version version;
    OF_2_40(MEMBER) OF_3_0(MEMBER)
};

struct list_3_2 {
    struct version version;
    OF_2_40(MEMBER) OF_3_0(MEMBER) OF_3_2(MEMBER)
};

static void *module;

static void show(const char *version, const char *name, size_t offset, void *entry) {
    const char *what = entry == NULL ? "null" : entry == dlsym(module, name) ? "symbol" : "other";
    printf("%s %s %zu %s\n", version, name, offset, what);
}

#define SHOW(name) show(version, #name, offsetof(struct LIST, name), list->name);

#define LIST list_2_40
static void show_2_40(const char *version, struct list_2_40 *list) { OF_2_40(SHOW) }
#undef LIST
#define LIST list_3_0
static void show_3_0(const char *version, struct list_3_0 *list) { OF_2_40(SHOW) OF_3_0(SHOW) }
#undef LIST
#define LIST list_3_2
static void show_3_2(const char *version, struct list_3_2 *list) { OF_2_40(SHOW) OF_3_0(SHOW) OF_3_2(SHOW) }
#undef LIST

static int read_interface(unsigned char major, unsigned char minor) {
    unsigned long (*get)(unsigned char *, struct version *, struct interface **, unsigned long);
    struct version wanted = {major, minor};
    struct interface *interface = NULL;
    char version[16];

    *(void **)&get = dlsym(module, "C_GetInterface");
    if (get == NULL || get((unsigned char *)"PKCS 11", &wanted, &interface, 0) != 0) {
        fprintf(stderr, "no interface %d.%d\n", major, minor);
        return 1;
    }
    struct version *found = interface->list;
    if (strcmp((char *)interface->name, "PKCS 11") != 0 || found->major != major || found->minor != minor) {
        fprintf(stderr, "another interface than %d.%d\n", major, minor);
        return 1;
    }
    snprintf(version, sizeof version, "%d.%d", major, minor);
    printf("%s interface %zu flags %lu\n", version, sizeof *interface, interface->flags);
    if (major == 2) {
        show_2_40(version, interface->list);
    } else if (minor == 2) {
        show_3_2(version, interface->list);
    } else {
        show_3_0(version, interface->list);
    }
    return 0;
}

int main(int count, char **arguments) {
    unsigned long (*get_list)(struct list_2_40 **);
    struct list_2_40 *list = NULL;

    module = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (module == NULL) {
        fprintf(stderr, "usage: reader MODULE\n");
        return 1;
    }
    printf("sizes %zu %zu %zu\n", sizeof(struct list_2_40), sizeof(struct list_3_0), sizeof(struct list_3_2));
    *(void **)&get_list = dlsym(module, "C_GetFunctionList");
    if (get_list == NULL || get_list(&list) != 0 || list->version.major != 2 || list->version.minor != 40) {
        fprintf(stderr, "no function list\n");
        return 1;
    }
    show_2_40("list", list);
    return read_interface(2, 40) || read_interface(3, 0) || read_interface(3, 1) || read_interface(3, 2);
}
