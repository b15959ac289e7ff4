// Filters on system calls (seccomp, through libseccomp): what a daemon may still ask of the kernel once it has everything open. Which
// calls these are is said by io_conn/confinement.cc and md/confinement.cc. Used by every daemon.
//
// Invariants:
//   F1  A list of what is allowed. A call that is not on it is refused with EPERM, and the log says which one, once for each: so what a
//       library does that nobody has thought of is seen, and rarely harms.
//   F2  What only an intruder does ends the process: by the kernel (Forbidden::ends_by_kernel), or, where a successor has to know that the
//       process has failed by itself, by abort() from the signal that a refused call is (Forbidden::ends_by_abort). That is no weaker: the call
//       is never executed, whatever has become of the handler; with SIGSYS blocked the kernel ends the process.
//   F3  Conditions look at a call's numbers only. int arguments are compared in their lower 32 bits, as the kernel reads them.
//   F4  The filter cannot be taken back, and holds for whatever the process might become. A process that cannot have one (the kernel has
//       none) says so and serves without.
//   F5  Calls on the way of a request are allowed without conditions: the kernel remembers that and does not run the filter for them.
#pragma once

#include <seccomp.h>

#include <cstdint>
#include <functional>
#include <initializer_list>

#include "common/options.h"

namespace millrace {

enum class Forbidden { ends_by_kernel, ends_by_abort };

/// Conditions on argument `number`, 0 to 5.
constexpr scmp_arg_cmp int_is(unsigned number, uint32_t value, uint32_t of_mask = 0xffffffff) { return {number, SCMP_CMP_MASKED_EQ, of_mask, value}; }
constexpr scmp_arg_cmp word_is(unsigned number, uint64_t value, uint64_t of_mask = ~uint64_t{0}) { return {number, SCMP_CMP_MASKED_EQ, of_mask, value}; }
constexpr scmp_arg_cmp at_most(unsigned number, uint64_t value) { return {number, SCMP_CMP_LE, value, 0}; }
constexpr scmp_arg_cmp at_least(unsigned number, uint64_t value) { return {number, SCMP_CMP_GE, value, 0}; }

class CallFilter {
  public:
    /// Throws Error.
    explicit CallFilter(Forbidden forbidden);
    ~CallFilter();
    CallFilter(const CallFilter&) = delete;

    void allow(std::initializer_list<int> calls);
    /// Allows a call under all of these conditions; several rules for a call are alternatives.
    void allow_if(int call, std::initializer_list<scmp_arg_cmp> conditions);
    void forbid(std::initializer_list<int> calls);
    /// Forbids what no daemon of ours has any use for: other programs, other processes, memory that others make, another view of the system.
    void forbid_foreign_business();
    /// A call that is on the list under conditions: under others it ends the process (by abort).
    void forbid_otherwise(std::initializer_list<int> calls);
    /// From here on. Throws Error.
    void load();

  private:
    void add(uint32_t action, int call, std::initializer_list<scmp_arg_cmp> conditions);

    scmp_filter_ctx context_;
    Forbidden forbidden_;
};

/// Has `load` put a filter on, if it is wanted, and says in the log whether there is one. Without it the process goes on.
void load_if_wanted(const Options& options, const std::function<void()>& load);

}  // namespace millrace
