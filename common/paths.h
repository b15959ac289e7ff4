// Every file name of an instance folder, spelled once. Used by every program; the supervisor script makes the
// folders, the FIFOs and the link run/shm (to the instance's folder on the shared-memory file system).
#pragma once

#include <string>
#include <string_view>

namespace millrace::paths {

inline std::string run_folder(const std::string& dir) { return dir + "/run"; }
inline std::string effective_config(const std::string& dir) { return dir + "/run/effective.conf"; }
inline std::string status(const std::string& dir) { return dir + "/run/status.json"; }
inline std::string shm_folder(const std::string& dir) { return dir + "/run/shm"; }

/// `role` is "md", "md_log-0", "md_repl-0" or "io_conn-<index>": the FIFO that wakes it.
inline std::string fifo(const std::string& dir, std::string_view role) {
    return dir + "/run/" + std::string(role) + ".fifo";
}
inline std::string md_fifo(const std::string& dir) { return fifo(dir, "md"); }
inline std::string md_log_fifo(const std::string& dir) { return fifo(dir, "md_log-0"); }
inline std::string io_conn_fifo(const std::string& dir, unsigned index) {
    return fifo(dir, "io_conn-" + std::to_string(index));
}

inline std::string md_repl_fifo(const std::string& dir) { return fifo(dir, "md_repl-0"); }
/// Where md_repl takes connections from the io_conn of its group: those of replicas, and its own way in.
inline std::string md_repl_door(const std::string& dir) { return dir + "/run/md_repl.sock"; }
inline std::string repl_words(const std::string& dir) { return shm_folder(dir) + "/repl"; }
inline std::string log_words(const std::string& dir) { return shm_folder(dir) + "/log"; }
inline std::string control(const std::string& dir) { return shm_folder(dir) + "/control"; }
inline std::string store(const std::string& dir) { return shm_folder(dir) + "/store"; }
inline std::string marks(const std::string& dir) { return shm_folder(dir) + "/marks"; }
inline std::string roster(const std::string& dir) { return shm_folder(dir) + "/roster"; }
inline std::string heartbeats(const std::string& dir) { return shm_folder(dir) + "/heartbeats"; }
inline std::string rings(const std::string& dir, unsigned index) {
    return shm_folder(dir) + "/rings-" + std::to_string(index);
}
inline std::string clients(const std::string& dir, unsigned index) {
    return shm_folder(dir) + "/clients-" + std::to_string(index);
}

inline std::string diagnostics(const std::string& dir, std::string_view role, unsigned index) {
    return shm_folder(dir) + "/diagnostics-" + std::string(role) + "-" + std::to_string(index);
}

inline std::string counters(const std::string& dir, std::string_view role, unsigned index) {
    return shm_folder(dir) + "/counters-" + std::string(role) + "-" + std::to_string(index);
}

}  // namespace millrace::paths
