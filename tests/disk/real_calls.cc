// See real_calls.h. Runs in the program under test.
#include "tests/disk/real_calls.h"

#include <dlfcn.h>

namespace millrace::disk {

const RealCalls& real() {
    static constinit RealCalls calls{};
    static constinit bool known = false;
    if (!known) {
#define MR_LOOK_UP(name) calls.name = reinterpret_cast<decltype(calls.name)>(dlsym(RTLD_NEXT, #name));
        MR_REAL_CALLS(MR_LOOK_UP)
#undef MR_LOOK_UP
        known = true;
    }
    return calls;
}

}  // namespace millrace::disk
