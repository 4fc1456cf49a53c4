/* As much of the C interface of PKCS#11 2.40 as the application uses: its own declarations, for no package of the system
 * brings the standard's header along. */
#ifndef CRYPTOKI_H
#define CRYPTOKI_H

typedef unsigned long CK_ULONG;
typedef CK_ULONG CK_RV;
typedef unsigned char CK_BYTE;

typedef struct {
    CK_ULONG mechanism;
    void *parameter;
    CK_ULONG parameter_len;
} CK_MECHANISM;

typedef struct {
    CK_ULONG type;
    void *value;
    CK_ULONG value_len;
} CK_ATTRIBUTE;

typedef struct {
    CK_BYTE label[32];
    CK_BYTE rest[256];
} CK_TOKEN_INFO;

typedef struct {
    CK_BYTE version[2];
    void *functions[68];
} CK_FUNCTION_LIST;

typedef struct {
    CK_RV (*create)(void **mutex);
    CK_RV (*destroy)(void *mutex);
    CK_RV (*lock)(void *mutex);
    CK_RV (*unlock)(void *mutex);
    CK_ULONG flags;
    void *reserved;
} CK_C_INITIALIZE_ARGS;

enum {
    CKF_LIBRARY_CANT_CREATE_OS_THREADS = 1,
    CKF_OS_LOCKING_OK = 2,
    CKF_RW_SESSION = 2,
    CKF_SERIAL_SESSION = 4,
    CKU_USER = 1,
    CKA_CLASS = 0x0,
    CKA_LABEL = 0x3,
    CKO_PUBLIC_KEY = 2,
    CKO_PRIVATE_KEY = 3,
    CKM_ECDSA = 0x1041,
    CKR_OK = 0,
    CKR_GENERAL_ERROR = 5,
    CKR_FUNCTION_FAILED = 6,
    CKR_DEVICE_REMOVED = 0x32,
    CKR_USER_ALREADY_LOGGED_IN = 0x100,
    CKR_CRYPTOKI_NOT_INITIALIZED = 0x190,
    CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191
};

/* The functions that the application calls, with their places in the function list. */
#define FUNCTIONS(F)                                                                                          \
    F(0, C_Initialize, (void *))                                                                              \
    F(1, C_Finalize, (void *))                                                                                \
    F(2, C_GetInfo, (void *))                                                                                 \
    F(4, C_GetSlotList, (CK_BYTE, CK_ULONG *, CK_ULONG *))                                                    \
    F(6, C_GetTokenInfo, (CK_ULONG, CK_TOKEN_INFO *))                                                         \
    F(12, C_OpenSession, (CK_ULONG, CK_ULONG, void *, void *, CK_ULONG *))                                    \
    F(13, C_CloseSession, (CK_ULONG))                                                                         \
    F(14, C_CloseAllSessions, (CK_ULONG))                                                                     \
    F(18, C_Login, (CK_ULONG, CK_ULONG, CK_BYTE *, CK_ULONG))                                                 \
    F(26, C_FindObjectsInit, (CK_ULONG, CK_ATTRIBUTE *, CK_ULONG))                                            \
    F(27, C_FindObjects, (CK_ULONG, CK_ULONG *, CK_ULONG, CK_ULONG *))                                        \
    F(28, C_FindObjectsFinal, (CK_ULONG))                                                                     \
    F(42, C_SignInit, (CK_ULONG, CK_MECHANISM *, CK_ULONG))                                                   \
    F(43, C_Sign, (CK_ULONG, CK_BYTE *, CK_ULONG, CK_BYTE *, CK_ULONG *))                                     \
    F(48, C_VerifyInit, (CK_ULONG, CK_MECHANISM *, CK_ULONG))                                                 \
    F(49, C_Verify, (CK_ULONG, CK_BYTE *, CK_ULONG, CK_BYTE *, CK_ULONG))                                    \
    F(64, C_GenerateRandom, (CK_ULONG, CK_BYTE *, CK_ULONG))

#define DECLARE(place, name, arguments) extern CK_RV(*name) arguments;
FUNCTIONS(DECLARE)
#undef DECLARE

#endif
