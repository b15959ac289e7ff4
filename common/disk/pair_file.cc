// See pair_file.h. Runs in md and md_repl. System calls: openat, pwrite, fsync, renameat, unlink.
#include "common/disk/pair_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>

#include "common/disk/data_folder.h"
#include "common/disk/file_io.h"
#include "common/segment.h"

namespace millrace::disk {

namespace {

constexpr std::array<const char*, 4> kRoles{"none", "primary", "secondary", "fenced"};

std::string text_of(store::PairEpoch epoch) { return fmt::format("{} {} {}", epoch.promotions, epoch.raises, epoch.run); }

bool read_epoch(std::istream& file, store::PairEpoch& epoch) { return static_cast<bool>(file >> epoch.promotions >> epoch.raises >> epoch.run); }

}  // namespace

std::string pair_path(const std::string& folder) { return folder + "/pair"; }

std::optional<PairFile> read_pair(const std::string& folder, std::string& fault) {
    if (access(pair_path(folder).c_str(), F_OK) != 0) return std::nullopt;
    std::ifstream file(pair_path(folder));
    PairFile found;
    std::string word, role;
    const bool good = file >> word && word == "role" && file >> role && file >> word && word == "epoch" && read_epoch(file, found.epoch) && file >> word && word == "heard" &&
                      file >> found.heard && file >> word && word == "void" && read_epoch(file, found.void_epoch) && file >> found.void_cut;
    if (!good) fault = pair_path(folder) + " cannot be understood";
    for (size_t i = 0; i < kRoles.size(); ++i)
        if (role == kRoles[i]) found.role = static_cast<store::PairRole>(i);
    return found;
}

bool write_pair(const std::string& folder, const PairFile& pair) {
    const std::string path = pair_path(folder), partial = partial_path(path);
    const std::string text = fmt::format("role {}\nepoch {}\nheard {}\nvoid {} {}\n", kRoles[static_cast<size_t>(pair.role) % kRoles.size()], text_of(pair.epoch), pair.heard,
                                         text_of(pair.void_epoch), pair.void_cut);
    const Descriptor fd(open(partial.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
    return fd.open() && write_at(fd.get(), text.data(), text.size(), 0) && fsync(fd.get()) == 0 && rename(partial.c_str(), path.c_str()) == 0 && sync_folder(folder);
}

bool remove_pair(const std::string& folder) { return unlink(pair_path(folder).c_str()) == 0 || errno == ENOENT; }

}  // namespace millrace::disk
