// Runs a piece of work in a child process and shows every image of the arena that it leaves behind, one instruction after
// the other. Used by tests/crash; x86-64 Linux.
//
// Only an instruction that stores in the arena leaves another image, so the others need not be stepped: the child's mapping
// is read-only, a store faults, the child makes the page writable for this one instruction (the trap flag brings it back
// after it), and waits while the parent looks at the image. A copy by `rep movs` counts as one instruction per byte, as the
// processor may be interrupted there; its first bytes are taken so, the rest in pieces.
//
// The work says itself where the interesting part is: toggle_stepping() in the child turns stepping on or off.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/crash/arena.h"

namespace millrace::crash {

/// In a stepped child: stepping goes on or off. Anywhere else: nothing.
void toggle_stepping();
/// In a stepped child: which of several operations is under way.
void tell_operation(unsigned number);
/// In a stepped child: a system call has changed the arena.
void show_image(uint64_t offset);

/// A new image.
struct Change {
    uint64_t offset = 0;     ///< of the first word that changed
    uint64_t store = 0;      ///< number of the storing instruction, those that changed nothing included
    uint64_t rip = 0;        ///< of that instruction; 0 = it was not stepped
    unsigned operation = 0;  ///< as told by the child
};

class Stepper {
  public:
    /// False: enough seen, the child is ended.
    using OnChange = std::function<bool(const Change&)>;

    explicit Stepper(const Arena& arena);

    /// Empty, or why the child did not get to its end.
    std::string run(const std::function<void()>& work, const OnChange& on_change);
    /// Instructions that stored in the arena.
    uint64_t stores() const { return stores_; }

  private:
    std::string follow(int changes, int answers, const OnChange& on_change);

    const Arena& arena_;
    std::vector<std::byte> shadow_;  ///< the arena as it was last shown: nothing may change behind the stepper's back
    uint64_t stores_ = 0;
};

/// The function and line of an address of this program, as far as the system can tell.
std::string place_in_code(uint64_t rip);

}  // namespace millrace::crash
