// See places.h. Runs in the program under test.
#include "tests/disk/places.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/disk/journal.h"
#include "tests/disk/real_calls.h"

namespace millrace::disk {

namespace {

constinit Descriptor descriptors[kDescriptors];
/// The folder as it was spelled, and without symbolic links.
char spelled[PATH_MAX], resolved[2 * PATH_MAX];
char current[PATH_MAX];

/// Appends the parts of a path to an absolute one, going up at "..".
bool append(char* to, size_t room, const char* path) {
    size_t length = std::strlen(to);
    while (*path != 0) {
        path += std::strspn(path, "/");
        const size_t part = std::strcspn(path, "/");
        if (part == 2 && std::memcmp(path, "..", 2) == 0) {
            while (length > 0 && to[--length] != '/') {}
        } else if (part > 0 && !(part == 1 && *path == '.')) {
            if (length + part + 2 > room) return false;
            to[length] = '/';
            std::memcpy(to + length + 1, path, part);
            length += part + 1;
        }
        to[length] = 0;
        path += part;
    }
    return true;
}

const char* behind(const char* absolute, const char* folder) {
    const size_t length = std::strlen(folder);
    if (std::strncmp(absolute, folder, length) != 0) return nullptr;
    return absolute[length] == '/' ? absolute + length + 1 : absolute[length] == 0 ? absolute + length : nullptr;
}

void resolve_folder() {
    char parent[PATH_MAX], real_parent[PATH_MAX];
    std::snprintf(parent, sizeof parent, "%s", spelled);
    if (realpath(parent, real_parent) != nullptr) {
        std::snprintf(resolved, sizeof resolved, "%s", real_parent);
        return;
    }
    char* const slash = std::strrchr(parent, '/');
    *slash = 0;
    if (realpath(slash == parent ? "/" : parent, real_parent) == nullptr) give_up("the folder above MILLRACE_SHIM_FOLDER does not exist");
    std::snprintf(resolved, sizeof resolved, "%s/%s", real_parent, slash + 1);
}

}  // namespace

const char* below_of(const char* absolute) {
    const char* const found = behind(absolute, resolved);
    return found != nullptr ? found : behind(absolute, spelled);
}

void prepare_places(const char* folder) {
    if (folder[0] != '/' || !append(spelled, sizeof spelled, folder)) give_up("MILLRACE_SHIM_FOLDER is no absolute path");
    resolve_folder();
    if (getcwd(current, sizeof current) == nullptr) give_up("getcwd");
}

void note_inherited_descriptors() {
    DIR* const listed = opendir("/proc/self/fd");
    if (listed == nullptr) give_up("/proc/self/fd");
    while (const dirent* entry = readdir(listed)) {
        const int fd = std::atoi(entry->d_name);
        char name[300], path[PATH_MAX];
        std::snprintf(name, sizeof name, "/proc/self/fd/%s", entry->d_name);
        const ssize_t length = readlink(name, path, sizeof path - 1);
        if (length <= 0 || path[0] != '/' || fd == dirfd(listed) || is_own_descriptor(fd)) continue;
        path[length] = 0;
        uint64_t size = 0;
        const char* const below = below_of(path);
        const Descriptor* const made = note_descriptor(fd, real().fcntl64(fd, F_GETFL), below, path, size);
        if (made != nullptr && made->place == Place::file) Turn().done(Kind::open, {.id = made->id, .offset = size, .path = made->path});
    }
    closedir(listed);
}

const char* watched_folder() { return resolved; }

Descriptor* find_descriptor(int fd) {
    if (fd < 0 || fd >= kDescriptors || descriptors[fd].place == Place::elsewhere) return nullptr;
    return &descriptors[fd];
}

void forget_descriptor(int fd) {
    if (fd >= 0 && fd < kDescriptors) descriptors[fd].place = Place::elsewhere;
}

void copy_descriptor(int from, int to) {
    const Descriptor* const known = find_descriptor(from);
    if (known == nullptr) return forget_descriptor(to);
    if (to >= kDescriptors) give_up("more descriptors than the shim's table has");
    descriptors[to] = *known;
}

void rename_descriptors(const char* from, const char* to) {
    for (Descriptor& each : descriptors)
        if (each.place == Place::file && std::strcmp(each.path, from) == 0) std::snprintf(each.path, sizeof each.path, "%s", to);
}

Descriptor* note_descriptor(int fd, int flags, const char* below, const char* absolute, uint64_t& size) {
    struct stat state {};
    forget_descriptor(fd);
    if (fstat(fd, &state) != 0) return nullptr;
    const bool file = below != nullptr && S_ISREG(state.st_mode);
    if (!file && !S_ISDIR(state.st_mode)) return nullptr;
    if (fd >= kDescriptors) give_up("more descriptors than the shim's table has");
    Descriptor& made = descriptors[fd];
    const int length = std::snprintf(made.path, sizeof made.path, "%s", file ? below : absolute);
    if (length >= static_cast<int>(sizeof made.path)) give_up("a path is too long");
    made.appends = (flags & O_APPEND) != 0;
    made.durable = (flags & O_DSYNC) != 0;
    made.id = state.st_ino;
    made.place = file ? Place::file : Place::folder;
    size = static_cast<uint64_t>(state.st_size);
    return &made;
}

void changed_folder(const char* absolute) { std::snprintf(current, sizeof current, "%s", absolute); }

Resolved::Resolved(int dirfd, const char* path) {
    absolute[0] = 0;
    if (path == nullptr || path[0] == 0) return;
    if (path[0] != '/') {
        const Descriptor* const from = dirfd == AT_FDCWD ? nullptr : find_descriptor(dirfd);
        if (dirfd != AT_FDCWD && (from == nullptr || from->place != Place::folder)) return;
        if (!append(absolute, sizeof absolute, from != nullptr ? from->path : current)) return;
    }
    if (append(absolute, sizeof absolute, path)) below = below_of(absolute);
}

}  // namespace millrace::disk
