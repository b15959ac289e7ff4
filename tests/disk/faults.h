// Which call fails, how: MILLRACE_SHIM_FAULT and the text in the control file (see disk_shim.cc). Runs in the program under test.
#pragma once

#include "tests/disk/journal_format.h"

namespace millrace::disk {

enum class What { nothing, error, cut_short, kill_before, kill_inside, kill_after, slow };

struct Fault {
    What what = What::nothing;
    int value = 0;  ///< the errno, or milliseconds
};

/// Before any other; `list` may be null. Ends the process when it makes no sense.
void prepare_faults(const char* list);

/// Counts the call and says what is to become of it.
Fault next_fault(Call call);

/// When the call begins: waits, or ends the process.
void before(const Fault& fault);

/// Between the operation and its record.
void inside(const Fault& fault);

/// After the operation and its record.
void after(const Fault& fault);

}  // namespace millrace::disk
