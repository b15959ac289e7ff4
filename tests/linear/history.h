// Histories of operations on one object, and whether there is an order in which they could have happened one after the other:
// each between the moments when its client sent it and had its answer, each client's own in its order. Used by tests/linear.
//
// The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memory of states already
// tried ("Testing for linearizability", 2017). An object is a number; what an operation does with it is one of Kind.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace::linear {

enum class Kind : uint8_t {
    write,  ///< the object becomes `number`
    read,   ///< the object was `number`
    add,    ///< the object rose by one and was `number` afterwards
};

inline constexpr uint64_t kAbsent = 0;  ///< an object that is not there reads so, and counts from here

struct Operation {
    Kind kind;
    uint32_t client;
    uint64_t number;
    uint64_t sent_ns, answered_ns;
};

/// Operations of one object in any order, at most kHistoryMax; `initial`: what it was before.
inline constexpr size_t kHistoryMax = 4096;

/// Empty, or the operation at which no order is possible any more, as a sentence.
std::string check(std::vector<Operation> history, uint64_t initial);

}  // namespace millrace::linear
