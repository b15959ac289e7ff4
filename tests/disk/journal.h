// The journal of the disk shim, its lock, and what is done about an operation whose process was killed in the middle (J1 to J4, see
// disk_shim.cc). Runs in the program under test.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include "tests/disk/journal_format.h"

namespace millrace::disk {

/// Ends the process: what the shim cannot do must not look like a result.
[[noreturn]] void give_up(const char* what);

/// Puts a descriptor where no program looks for its own, and keeps it open (see is_own_descriptor).
int keep_descriptor(int fd);
bool is_own_descriptor(int fd);
/// The first from `fd` on that is the shim's, or one above all.
unsigned next_own_descriptor(unsigned fd);

/// Known without a system call; 0 when a filter on system calls kept it from a forked child.
pid_t process_id();
/// Whether this is a child of the process that has loaded the shim.
bool is_forked();

/// Opens everything; before any other call. `folder` is absolute.
void open_journal(const char* folder, const char* journal, const char* control);

Control& control();

/// What a record says besides its kind.
struct Entry {
    uint64_t id = 0, offset = 0, token = 0;
    uint32_t flags = 0;
    const char* path = "";
    const char* other = "";
    const iovec* parts = nullptr;
    size_t bytes = 0;  ///< of the parts
};

/// Holds the lock of all processes and threads from the look before an operation to its record (J2).
class Turn {
  public:
    Turn();
    ~Turn();
    Turn(const Turn&) = delete;

    /// Notes what is about to be done (J4).
    void begin(Kind kind, const Entry& entry);
    /// It has not been done.
    void failed();
    /// It has been done: writes the record.
    void done(Kind kind, const Entry& entry);
    uint64_t new_token();

  private:
    int saved_errno_ = 0;
};

}  // namespace millrace::disk
