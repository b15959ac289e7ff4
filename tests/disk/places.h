// Where the descriptors and paths of a program lead: the disk shim's own table, so that it need not ask /proc (J5, see disk_shim.cc). Runs in the
// program under test.
#pragma once

#include "tests/disk/journal_format.h"

namespace millrace::disk {

inline constexpr int kDescriptors = 4096;

enum class Place : uint8_t { elsewhere, file, folder };

/// What a descriptor is: a file below the folder, or any folder.
struct Descriptor {
    Place place = Place::elsewhere;
    bool appends = false, durable = false;
    uint64_t id = 0;
    char path[kPathBytes] = {};  ///< of a file relative to the folder, of a folder absolute
};

/// Before any other. `folder` need not exist yet.
void prepare_places(const char* folder);
/// The folder without symbolic links, as far as it exists.
const char* watched_folder();
/// What the program has inherited; after open_journal.
void note_inherited_descriptors();

/// Null for one that is not known.
Descriptor* find_descriptor(int fd);
void forget_descriptor(int fd);
void copy_descriptor(int from, int to);
/// A name has changed: descriptors of it follow.
void rename_descriptors(const char* from, const char* to);
/// A descriptor that has just been opened, with these flags of open, below the folder at `below` or (null) elsewhere at `absolute`. Returns what
/// it is now, null if nothing of interest.
Descriptor* note_descriptor(int fd, int flags, const char* below, const char* absolute, uint64_t& size);

void changed_folder(const char* absolute);

/// A path in normal form.
struct Resolved {
    char absolute[2 * kPathBytes];
    const char* below = nullptr;  ///< the part below the folder ("" for itself), null when it leads elsewhere

    Resolved(int dirfd, const char* path);
};

/// The path below the folder of an absolute one, null when it is elsewhere.
const char* below_of(const char* absolute);

}  // namespace millrace::disk
