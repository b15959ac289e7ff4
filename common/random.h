// Numbers that nobody can guess: names of histories and links, nonces, seeds.
#pragma once

#include <sys/random.h>

#include "common/check.h"

namespace millrace {

/// A number, or an array of numbers, from the kernel. Throws Error.
template <class T>
T random_number() {
    T number{};
    if (getrandom(&number, sizeof number, 0) != static_cast<ssize_t>(sizeof number)) throw Error("the kernel gives no random numbers (getrandom)");
    return number;
}

}  // namespace millrace
