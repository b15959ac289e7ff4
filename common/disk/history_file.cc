// See history_file.h. Runs in md and md_repl. System calls: openat, pwritev, fsync, renameat, unlink, getdents.
#include "common/disk/history_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "common/disk/data_folder.h"
#include "common/disk/file_io.h"
#include "common/repl_words.h"
#include "common/segment.h"

namespace millrace::disk {

namespace {

std::string history_path(const std::string& folder) { return folder + "/history"; }
std::string adopted_path(const std::string& folder) { return folder + "/sync-adopted"; }
std::string complete_path(const std::string& folder) { return sync_folder_path(folder) + "/complete"; }

bool is_name(const std::string& text) {
    return text.size() == kHistoryBytes && std::ranges::all_of(text, [](unsigned char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool remove_if_there(const std::string& path) { return unlink(path.c_str()) == 0 || errno == ENOENT; }

bool write_file(const std::string& folder, const std::string& path, const std::string& text) {
    const std::string partial = partial_path(path);
    const Descriptor fd(open(partial.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
    return fd.open() && write_at(fd.get(), text.data(), text.size(), 0) && fsync(fd.get()) == 0 && rename(partial.c_str(), path.c_str()) == 0 && sync_folder(folder);
}

/// Logs and snapshots, whole ones.
std::vector<std::string> data_files(const std::string& folder) {
    std::vector<std::string> paths = snapshot_files(folder);
    for (const NumberedFile& file : numbered_logs(folder)) paths.push_back(file.path);
    return paths;
}

}  // namespace

std::optional<History> read_history(const std::string& folder) {
    std::ifstream file(history_path(folder));
    History found;
    std::string second, end, following;
    if (!(file >> found.history >> second >> found.second_end >> following) || !is_name(found.history)) return std::nullopt;
    if (is_name(second)) found.second = second;
    found.following = following == "following";
    return found;
}

bool write_history(const std::string& folder, const History& history) {
    return write_file(folder, history_path(folder),
                      fmt::format("{} {} {} {}\n", history.history, history.second.empty() ? "-" : history.second, history.second_end, history.following ? "following" : "master"));
}

std::string sync_folder_path(const std::string& folder) { return folder + "/sync"; }

std::string sync_rdb_path(const std::string& folder) { return sync_folder_path(folder) + "/master.rdb"; }

bool sync_is_complete(const std::string& folder) { return access(complete_path(folder).c_str(), F_OK) == 0; }

bool complete_sync(const std::string& folder) { return write_file(sync_folder_path(folder), complete_path(folder), "complete\n"); }

/// What is to be replaced goes first, and `complete` last, so that a death in between leaves what can be gone on with.
bool adopt_sync(const std::string& folder) {
    const std::string from = sync_folder_path(folder), mark = adopted_path(folder);
    if (access(mark.c_str(), F_OK) != 0) {
        for (const std::string& path : data_files(folder))
            if (!remove_if_there(path)) return false;
        if (!write_file(folder, mark, "the files of the folder sync are moved here\n")) return false;
    }
    std::vector<std::string> paths = data_files(from);
    if (access(history_path(from).c_str(), F_OK) == 0) paths.push_back(history_path(from));
    for (const std::string& path : paths)
        if (rename(path.c_str(), (folder + path.substr(path.rfind('/'))).c_str()) != 0) return false;
    if (!sync_folder(folder) || !sync_folder(from)) return false;
    return remove_if_there(complete_path(folder)) && sync_folder(from) && remove_if_there(mark) && sync_folder(folder);
}

void remove_sync(const std::string& folder) {
    const std::string from = sync_folder_path(folder);
    if (!sync_is_complete(folder)) remove_if_there(adopted_path(folder));
    if (access(from.c_str(), F_OK) != 0) return;
    remove_if_there(complete_path(folder));
    remove_if_there(adopted_path(folder));
    for (const std::string& path : data_files(from)) remove_if_there(path);
    for (const std::string& path : partial_files(from)) remove_if_there(path);
    remove_if_there(history_path(from));
    remove_if_there(sync_rdb_path(folder));
    rmdir(from.c_str());
}

}  // namespace millrace::disk
