// What md_repl tells the group, in the segment run/shm/repl: who follows this server, and how its own following goes. Made by md before anybody
// else starts; written by md_repl, but for the last line; read by md, md_log, io_conn and those who show it.
//
// What is not to be mixed:
//   number         of a commit of this server: versions of its buckets, records of its log. Each server counts for itself.
//   stream number  the number that a record has at the master that it comes from. The records of a follower carry it (EffectKind::origin); those of a
//                  master need not, because there both are the same. Root::stream_number is that of the last record which is in a follower's data.
//                  Behind a redis-server it is an offset in its stream of commands, as Redis counts it.
//   stream database  the database that a redis-server has selected at the stream number: it does not say so again when the link comes back.
//   history        40 hexadecimal digits: whose stream numbers they are (Root::history). Two servers that have the same history and the same stream number
//                  have the same data. A promotion begins another one, and so does a start from disk, which may have lost the end.
// Invariants:
//   R1  A follower's `number` is never below its stream number (Store::set_stream_number). So what it does after a promotion is above all that it was told.
//   R2  `needs_log` is 1 while anybody follows, or this server does, and for an hour after: md writes the oplog and md_log the log, whatever appendonly says,
//       because md_repl sends from the log's files, and who comes back, or to a promoted follower, is to find there what it has missed.
//   R4  `replicated_number` is a stream number that replication-acks followers have reached; it rises. Under `replication-mode sync` md_log lets the durable
//       marks (log_words.h, D2) not pass it, so that replies and reads wait for followers as they wait for the disk.
//   R5  While the log is needed (R2) md keeps checksums (T10 of store_layout.h). At the end of each sync, and every kCheckMs, it says the checksum in a record:
//       all that follow compare it with theirs at that very place (EffectKind::checksum). A follower whose data is another syncs fully.
//   R6  `verify_asked` rises: md says its checksum in a record by which all take theirs anew from the data, itself too. Its number is `verify_wanted`, at a
//       follower the stream number; `verify_done` and `verify_damaged` are the last that has come to its end, and the last that has found other data than was
//       written. A follower tells its master both with what it acknowledges.
//   R3  No log file with a record above `keep_from` is removed.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>

#include "common/layout.h"

namespace millrace {

inline constexpr unsigned kReplicasMax = 16;
inline constexpr size_t kHistoryBytes = 40;
inline constexpr uint64_t kCheckMs = 30'000;
inline constexpr uint64_t kKeepNothing = ~uint64_t{0};

/// Whom a server follows, as the option replicaof says it: "host port". Both are empty if it follows nobody.
struct MasterAddress {
    std::string host, port;
};
inline MasterAddress master_address(const std::string& text) {
    const size_t space = std::min(text.rfind(' '), text.size());
    return {text.substr(0, space), text.substr(std::min(space + 1, text.size()))};
}

/// The name of a history whose words `word(i)` gives, 8 characters each; empty if there is none.
template <class Word>
std::string history_text(const Word& word) {
    std::string text(kHistoryBytes, '\0');
    for (size_t i = 0; i < kHistoryBytes / 8; ++i) {
        const uint64_t bytes = word(i);
        std::memcpy(text.data() + 8 * i, &bytes, sizeof bytes);
    }
    return text[0] == '\0' ? std::string() : text;
}

/// What a follower does at the moment.
enum class LinkState : uint32_t {
    none = 0,        ///< this server follows nobody
    connect = 1,     ///< it is about to try
    connecting = 2,  ///< the connection is being made, or the master has not answered yet
    waiting = 3,     ///< the master makes ready what is to be sent
    receiving = 4,   ///< a snapshot comes
    loading = 5,     ///< and is loaded
    following = 6,   ///< records come as they are made
};

/// What a follower of this server does, as the server sees it.
enum class ReplicaState : uint32_t {
    none = 0,        ///< there is none in this row
    registered = 1,  ///< it has not said what it has
    saving = 2,      ///< it waits for a snapshot
    sending = 3,     ///< the snapshot is on its way
    online = 4,      ///< it gets records
};

/// How far FAILOVER is (md/repl/failover.h).
enum class FailoverState : uint32_t {
    none = 0,
    waiting = 1,  ///< writes wait until a follower has everything
    handing = 2,  ///< this server follows it, and it is about to be promoted
};

/// A follower. What belongs together is written in one go (versioned_words.h).
struct Replica {
    uint64_t id;              ///< never used twice
    uint64_t acknowledged;    ///< stream number up to which it has everything
    uint64_t acknowledged_ms; ///< when it said so, CLOCK_MONOTONIC
    uint64_t to_send;         ///< bytes of the snapshot that are still to go
    uint64_t checked;         ///< stream number at which its checksum was the same last, these three: R5, R6
    uint64_t verified;
    uint64_t damaged;
    ReplicaState state;
    uint16_t port;            ///< where it serves
    uint16_t padding;
    char address[48];         ///< of its host
};
static_assert(sizeof(Replica) % 8 == 0);

struct ReplicaRow {
    std::atomic<uint64_t> version;
    std::array<std::atomic<uint64_t>, sizeof(Replica) / 8> words;
};

/// What md_repl has heard from the other server of a strict pair (md/README.md), over the connection `link`; 0: there is none.
struct PairHeard {
    uint64_t link;
    uint64_t epoch_counts, epoch_run;  ///< that the two numbers are of
    uint64_t confirmed;                ///< CONFIRM: stream number
    uint64_t marked;                   ///< MARK: stream number
};

struct PairRow {
    std::atomic<uint64_t> version;
    std::array<std::atomic<uint64_t>, sizeof(PairHeard) / 8> words;
};

struct ReplWords {
    alignas(kCacheLineDistance) std::atomic<uint32_t> pid;
    std::atomic<uint32_t> park;        ///< wakeup.h
    std::atomic<uint32_t> needs_log;   ///< R2
    std::atomic<uint32_t> good_replicas;  ///< followers that were heard of lately (min-replicas-max-lag)
    std::atomic<uint32_t> online_replicas;  ///< followers that get records as they are made
    std::atomic<uint64_t> replicated_number;  ///< R4
    std::atomic<uint64_t> keep_from;   ///< R3; kKeepNothing: anything may go
    std::atomic<uint64_t> save_wanted;  ///< snapshots asked for so far
    std::atomic<uint64_t> full_syncs, partial_syncs, partial_refused;  ///< of followers
    alignas(kCacheLineDistance) std::atomic<uint32_t> link_state;      ///< LinkState
    std::atomic<uint64_t> link_since_s, link_down_since_s;             ///< seconds since 1970
    std::atomic<uint64_t> heard_ms;        ///< when the master was heard of last, CLOCK_MONOTONIC; 0: never
    std::atomic<uint64_t> master_number;   ///< stream number that the master has told last
    std::atomic<uint64_t> sync_bytes, sync_bytes_done;
    std::atomic<uint32_t> link_refused;    ///< 1: the master was refused, or refuses; see the log file
    std::atomic<uint32_t> failover_state;  ///< FailoverState; from none to waiting by the io_conn that was asked, all else by md_repl
    std::atomic<uint64_t> check_wanted;    ///< rises when a follower has come to the end of its sync
    std::atomic<uint64_t> damage_mended;   ///< value of verify_damaged after which all data has come anew
    std::atomic<uint32_t> door_wanted;     ///< rises when md_repl wants a connection to an io_conn of its group, made by that
    alignas(kCacheLineDistance) PairRow pair;
    std::atomic<uint64_t> pair_filed_run;  ///< run id that the next is about (PairWords::run); stored behind it
    std::atomic<uint64_t> pair_filed;      ///< PairWords::file_wanted that the file has on disk
    alignas(kCacheLineDistance) std::array<ReplicaRow, kReplicasMax> replicas;
    alignas(kCacheLineDistance) std::atomic<uint32_t> door_taken;  ///< by io_conn: the value of door_wanted that it makes a connection for
    std::atomic<uint64_t> save_seen, save_failed;                  ///< by md_log: value of save_wanted of whom a finished save has served, or failed
    std::atomic<uint64_t> verify_asked;                            ///< R6, by whoever asks
    alignas(kCacheLineDistance) std::atomic<uint64_t> verify_seen;  ///< these by md: value of verify_asked that was followed
    std::atomic<uint64_t> verify_wanted, verify_done, verify_damaged;  ///< R6
    std::atomic<uint64_t> verify_keys;                             ///< looked at so far
    std::atomic<uint64_t> checked;                                 ///< stream number at which the checksum was that of the master last; a master: at which it was said
};
inline constexpr uint64_t kReplWordsLayout =
    layout_hash("repl-3", {sizeof(ReplWords), offsetof(ReplWords, verify_seen), offsetof(ReplWords, link_state), offsetof(ReplWords, pair), sizeof(PairHeard), offsetof(ReplWords, replicas), offsetof(ReplWords, door_taken), sizeof(Replica)});

}  // namespace millrace
