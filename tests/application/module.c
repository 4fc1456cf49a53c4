/* Loads the module, and finds its functions. */
#include "application.h"

#include <dlfcn.h>

const char *module_path;

#define DEFINE(place, name, arguments) CK_RV(*name) arguments;
FUNCTIONS(DEFINE)
#undef DEFINE

void *load_module(void) {
    CK_RV (*get_function_list)(CK_FUNCTION_LIST **);
    CK_FUNCTION_LIST *list;
    void *library = dlopen(module_path, RTLD_NOW | RTLD_LOCAL);
    require(library, "%s", dlerror());
    get_function_list = (CK_RV(*)(CK_FUNCTION_LIST **))dlsym(library, "C_GetFunctionList");
    require(get_function_list, "%s", dlerror());
    answers(CKR_OK, get_function_list(&list));
#define FIND(place, name, arguments) name = (CK_RV(*) arguments)list->functions[place];
    FUNCTIONS(FIND)
#undef FIND
    return library;
}
