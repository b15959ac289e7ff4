// Options that CONFIG SET changes while the group runs. Used by md, which keeps their values, and io_conn, which shows them.
//
// Each has a word in the store's root, or a text, changed by a commit, so that a change outlives md and everybody sees it. Beside it stands
// what the configuration said: when it says something else at the start of an md (the group was restarted with another one), that
// counts from then on. All of them have one version, which changes as a bucket's does: whoever copies them under it (LiveValues) has
// all that one CONFIG SET has changed, or nothing of it, and never half a text.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "common/options.h"
#include "common/store_layout.h"

namespace millrace {

/// In the order of their words.
inline constexpr std::array kLiveOptions{OptionId::maxmemory, OptionId::maxmemory_policy, OptionId::maxmemory_samples,
                                         OptionId::lfu_log_factor, OptionId::lfu_decay_time, OptionId::timeout,
                                         OptionId::tcp_keepalive, OptionId::maxclients, OptionId::loglevel,
                                         OptionId::proto_max_bulk_len, OptionId::md_hang_timeout, OptionId::assembly_memory,
                                         OptionId::protected_mode, OptionId::slowlog_log_slower_than, OptionId::slowlog_max_len,
                                         OptionId::latency_tracking, OptionId::latency_monitor_threshold, OptionId::appendonly, OptionId::appendfsync,
                                         OptionId::rdbcompression, OptionId::stop_writes, OptionId::auto_aof_rewrite_percentage,
                                         OptionId::auto_aof_rewrite_min_size, OptionId::log_compression, OptionId::snapshot_rate,
                                         OptionId::replica_read_only, OptionId::replica_serve_stale_data, OptionId::replica_refuse_older, OptionId::replica_full_sync, OptionId::replica_priority,
                                         OptionId::repl_timeout, OptionId::repl_ping_period, OptionId::min_replicas, OptionId::min_replicas_lag,
                                         OptionId::replication_mode, OptionId::replication_acks, OptionId::replication_timeout};
static_assert(kLiveOptions.size() <= store::kLiveWords);
/// Those that are texts, in the order of their places.
inline constexpr std::array kLiveTextOptions{OptionId::requirepass, OptionId::save, OptionId::replicaof, OptionId::masterauth};
static_assert(kLiveTextOptions.size() <= store::kLiveTexts);

/// Values of replication-mode.
inline constexpr int64_t kSyncMode = 1, kStrictMode = 2;

/// The place of an option's word; empty for one that cannot be changed, or is a text.
constexpr std::optional<unsigned> live_index(OptionId id) {
    for (unsigned i = 0; i < kLiveOptions.size(); ++i)
        if (kLiveOptions[i] == id) return i;
    return std::nullopt;
}
/// The place of an option's text; empty for others.
constexpr std::optional<unsigned> live_text_index(OptionId id) {
    for (unsigned i = 0; i < kLiveTextOptions.size(); ++i)
        if (kLiveTextOptions[i] == id) return i;
    return std::nullopt;
}
/// Whether this server follows another one: the option replicaof.
inline constexpr unsigned kReplicaofIndex = *live_text_index(OptionId::replicaof);
namespace store {
inline bool is_following(const Root& root) { return root.live_texts[kReplicaofIndex].length != 0; }
}  // namespace store
constexpr bool is_live(OptionId id) { return live_index(id) || live_text_index(id); }

/// The value of a live option that is no text. `word` gives words of the store by offset.
template <class Load>
int64_t live_number(OptionId id, const Load& word) {
    return static_cast<int64_t>(word(store::live_word_at(*live_index(id))));
}

/// All live options as they were at one moment.
class LiveValues {
  public:
    /// What counts until there is a store.
    explicit LiveValues(const Options& options) {
        for (unsigned i = 0; i < kLiveOptions.size(); ++i) numbers_[i] = options.number(kLiveOptions[i]);
        for (unsigned i = 0; i < kLiveTextOptions.size(); ++i) texts_[i] = options.text(kLiveTextOptions[i]);
    }

    /// Takes over what the store has; true if that has changed since the last look. While md changes it, what was before counts. Costs one load
    /// when nothing has changed. `word` gives words of the store by offset, with relaxed order.
    template <class Load>
    bool look(const Load& word) {
        const uint64_t version = word(store::kLiveVersionAt);
        if (version == version_ || version == 0 || version % 2 != 0) return false;
        std::atomic_thread_fence(std::memory_order_acquire);
        LiveValues fresh(*this);
        for (unsigned i = 0; i < kLiveOptions.size(); ++i) fresh.numbers_[i] = live_number(kLiveOptions[i], word);
        for (unsigned i = 0; i < kLiveTextOptions.size(); ++i) fresh.texts_[i] = read_text(store::live_text_at(i), word);
        std::atomic_thread_fence(std::memory_order_acquire);
        if (word(store::kLiveVersionAt) != version) return false;
        fresh.version_ = version;
        *this = std::move(fresh);
        return true;
    }

    /// REQUIRES: it is a live option, and of that kind.
    int64_t number(OptionId id) const { return numbers_[*live_index(id)]; }
    const std::string& text(OptionId id) const { return texts_[*live_text_index(id)]; }

  private:
    template <class Load>
    static std::string read_text(uint64_t at, const Load& word) {
        const uint64_t length = std::min(word(at + offsetof(store::LiveText, length)), store::kLiveTextBytesMax);
        std::string text(length, '\0');
        for (uint64_t i = 0; i < length; i += 8) {
            const uint64_t bytes = word(at + offsetof(store::LiveText, words) + i);
            std::memcpy(text.data() + i, &bytes, std::min<uint64_t>(8, length - i));
        }
        return text;
    }

    uint64_t version_ = 0;
    std::array<int64_t, kLiveOptions.size()> numbers_{};
    std::array<std::string, kLiveTextOptions.size()> texts_;
};

}  // namespace millrace
