// Two small segments that hold the group together: `control` (written by md) and `roster` (a line for each io_conn).
//
// control: one writer, the md that holds the lease. md_epoch rises with every md that takes over, md_park is its park word
//          (wakeup.h), md_turns its progress; the lease (md/lease.h) is of all md, and killed_by_watchdog and standby_pid are of the waiting one.
// roster:  line i is written by io_conn i only; all others read it. It says which channel is current, how many
//          connections it has and whether its loop turns (accept rule, io_conn/acceptor.h). The words at its head
//          are the exception to "one writer": client ids, `changes` and `orders`, and the numbers of what is noted
//          (diagnostics.h), are taken with fetch_add by any process, so that they rise over all of them; a word lost or set by a
//          faulty io_conn costs numbering, nothing else.
// Order when an io_conn joins: generation = 0 -> make rings-<i> (channel.h) -> line: life, park, state -> generation (release) -> changes
// (fetch_add, release) -> wake md. md reads `changes` (acquire) once a turn and looks at the lines when it moved.
// An io_conn holds the robust mutex `life` for its whole life. The kernel marks it before it closes the dead process's sockets: a client that sees its
// connection end may go on elsewhere, and md executes nothing any more of what it had sent before (owner_lives).
#pragma once

#include <linux/futex.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "common/layout.h"
#include "common/segment.h"

namespace millrace {

/// The largest number of io_conn processes of one instance; indices are 0 .. kMaxIoConns - 1.
inline constexpr unsigned kMaxIoConns = 64;
inline constexpr unsigned kMdPlaces = 2;  ///< one serves, one waits

/// Calls visit(role, index) for each place that a daemon of an instance can have.
template <class Visit>
void for_each_place(Visit&& visit) {
    for (unsigned index = 0; index < kMdPlaces; ++index) visit("md", index);
    visit("md_log", 0u);
    visit("md_repl", 0u);
    for (unsigned index = 0; index < kMaxIoConns; ++index) visit("io_conn", index);
}

/// What `read(path)` gives of each segment that there is at `path_of(role, index)`; `hear(sentence)` is told of those that it throws at. An md
/// that takes over moves the file of its predecessor to its own place: who reads one place after the other meanwhile may find that file twice
/// or not at all, and reads all of them again.
template <class PathOf, class Read, class Hear>
auto read_all_places(const PathOf& path_of, const Read& read, const Hear& hear) {
    const auto files = [&path_of] {
        std::array<FileStand, kMdPlaces> files;
        for (unsigned index = 0; index < kMdPlaces; ++index) files[index] = Segment::file_at(path_of("md", index));
        return files;
    };
    constexpr int kTries = 8;  // md change places 50 times a second at most
    for (int attempt = 1;; ++attempt) {
        std::vector<std::invoke_result_t<const Read&, const std::string&>> found;
        std::vector<std::string> faults;
        const auto before = files();
        for_each_place([&](std::string_view role, unsigned index) {
            const std::string path = path_of(role, index);
            if (!Segment::is_there(path)) return;
            try {
                found.push_back(read(path));
            } catch (const std::exception& fault) {
                faults.emplace_back(fault.what());
            }
        });
        if (attempt < kTries && files() != before) continue;
        for (const std::string& fault : faults) hear(fault);
        return found;
    }
}

/// A mutex between processes, which the kernel marks when its holder dies.
inline void make_robust_mutex(pthread_mutex_t& mutex) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

struct Control {
    alignas(kCacheLineDistance) std::atomic<uint64_t> md_epoch;  ///< number of md that have served in this segment's life
    std::atomic<uint32_t> md_pid;
    std::atomic<uint32_t> standby_pid;  ///< written by the md that waits, once it has everything mapped; it may have died since. 0: none
    std::atomic<uint64_t> killed_by_watchdog;  ///< epoch of the md that was
    alignas(kCacheLineDistance) std::atomic<uint32_t> md_park;
    alignas(kCacheLineDistance) std::atomic<uint64_t> md_turns;
    alignas(kCacheLineDistance) pthread_mutex_t lease;
};
static_assert(sizeof(Control) == 4 * kCacheLineDistance);
inline constexpr uint64_t kControlLayout =
    layout_hash("control-3", {sizeof(Control), offsetof(Control, md_pid), offsetof(Control, standby_pid), offsetof(Control, md_park),
                              offsetof(Control, md_turns), offsetof(Control, lease), sizeof(pthread_mutex_t)});

/// What LATENCY tells of.
enum class LatencyEvent : unsigned { command, fast_command, expire_cycle, eviction_cycle };
inline constexpr unsigned kLatencyEvents = 4;

enum class IoConnState : uint32_t {
    absent = 0,
    serving = 1,
    draining = 2,  ///< retired: takes no new connections
    full = 3,      ///< out of descriptors: takes none for the moment
};

struct RosterLine {
    alignas(kCacheLineDistance) std::atomic<uint64_t> generation;  ///< of the channel rings-<i>; 0 = none
    std::atomic<uint64_t> turns;                                   ///< turns of its loop
    std::atomic<uint32_t> pid;
    std::atomic<uint32_t> state;  ///< IoConnState
    std::atomic<uint32_t> park;   ///< wakeup.h
    std::atomic<uint32_t> connections;
    std::atomic<uint32_t> yielding;  ///< 1: it has left a waiting connection to a process with fewer (io_conn/acceptor.h)
    std::atomic<uint64_t> reading;   ///< number of a commit since which it reads the store directly; 0: it does not (T9)
    std::atomic<uint64_t> save_wanted;     ///< SAVE and BGSAVE asked for so far (log_words.h)
    std::atomic<uint64_t> pause_followed;  ///< word of CLIENT PAUSE that it follows (io_conn/server_pause.cc, U1)
    // On a line of its own: md looks at it in every turn, and the owner writes `turns` in each of its own.
    alignas(kCacheLineDistance) pthread_mutex_t life;
    std::atomic<uint64_t> life_generation;  ///< of the process that has taken `life`; 0 while that changes

    /// Takes `life`. Only for the io_conn whose line this is, while its generation is 0.
    void begin_life(uint64_t own_generation) {
        life_generation.store(0, std::memory_order_release);
        make_robust_mutex(life);
        pthread_mutex_lock(&life);
        life_generation.store(own_generation, std::memory_order_release);
    }

    /// Whether the io_conn that has made the channel of this generation has not died. The order of the two looks matters: a successor takes the
    /// generation away before it makes `life` anew.
    bool owner_lives(uint64_t of_generation) {
        const auto word = static_cast<unsigned>(std::atomic_ref<int>(life.__data.__lock).load(std::memory_order_acquire));
        return (word & FUTEX_OWNER_DIED) == 0 && life_generation.load(std::memory_order_acquire) == of_generation;
    }
};
static_assert(sizeof(RosterLine) == 2 * kCacheLineDistance);

struct Roster {
    alignas(kCacheLineDistance) std::atomic<uint64_t> next_client_id;
    alignas(kCacheLineDistance) std::atomic<uint64_t> changes;
    alignas(kCacheLineDistance) std::atomic<uint64_t> orders;  ///< rises when an io_conn has issued some (client_rows.h)
    alignas(kCacheLineDistance) std::atomic<uint64_t> slow_commands;    ///< ever noted
    std::atomic<uint64_t> slow_forgotten;                               ///< of these, those that SLOWLOG RESET has forgotten
    std::atomic<uint64_t> latency_samples;                              ///< ever noted
    std::atomic<uint64_t> latency_forgotten[kLatencyEvents];            ///< of these, those that LATENCY RESET has forgotten
    RosterLine lines[kMaxIoConns];
};
inline constexpr uint64_t kRosterLayout =
    layout_hash("roster-7", {sizeof(Roster), offsetof(Roster, changes), offsetof(Roster, orders), offsetof(Roster, lines), kMaxIoConns,
                             offsetof(RosterLine, turns), offsetof(RosterLine, pid), offsetof(RosterLine, state),
                             offsetof(RosterLine, park), offsetof(RosterLine, connections),
                             offsetof(RosterLine, yielding), offsetof(RosterLine, reading), offsetof(RosterLine, pause_followed), offsetof(RosterLine, life), sizeof(pthread_mutex_t), offsetof(RosterLine, life_generation)});

}  // namespace millrace
