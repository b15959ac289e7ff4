// verify-replicas: has a running server and all that follow it read their data anew and compare it (R5, R6 of common/repl_words.h). Started by
// `millrace verify-replicas`. It asks through shared memory, so no client's password or port is needed, and a server full of clients answers.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "common/check.h"
#include "common/clock.h"
#include "common/live_options.h"
#include "common/paths.h"
#include "common/repl_words.h"
#include "common/roster.h"
#include "common/store_reader.h"
#include "common/versioned_words.h"
#include "common/wakeup.h"

namespace millrace {

namespace {

constexpr unsigned kLookUs = 50'000;

class Verification {
  public:
    Verification(const std::string& dir, uint64_t timeout_s)
        : words_segment_(Segment::attach({paths::repl_words(dir), kReplWordsLayout}, Access::read_write)),
          control_segment_(Segment::attach({paths::control(dir), kControlLayout}, Access::read_only)),
          store_(paths::store(dir), 0),
          words_(*words_segment_.payload<ReplWords>()),
          md_bell_(const_cast<std::atomic<uint32_t>&>(control_segment_.payload<Control>()->md_park), Fifo(paths::md_fifo(dir))),
          until_us_(monotonic_us() + timeout_s * 1'000'000),
          on_terminal_(isatty(STDERR_FILENO) != 0) {}

    int run() {
        if (root(offsetof(st::Root, live_texts) + kReplicaofIndex * sizeof(st::LiveText)) != 0) throw Error("this server follows another one: it is that one that has to be asked");
        if (words_.needs_log.load(std::memory_order_relaxed) == 0) throw Error("nobody follows this server, nor has for an hour: there is nothing to compare with");
        if (!wait("the checksum of the data is being taken", [this] { return root(offsetof(st::Root, checksums_kept)) != 0; })) throw Error("the checksum of the data was not there in time");
        followers_ = online();
        const uint64_t ticket = words_.verify_asked.fetch_add(1, std::memory_order_release) + 1;
        md_bell_.ring_always();
        if (!wait("md is asked", [&] { return words_.verify_seen.load(std::memory_order_acquire) >= ticket; })) throw Error("md did not answer in time; see 'millrace status'");
        number_ = words_.verify_wanted.load(std::memory_order_relaxed);
        const bool ended = wait("reading", [this] { return words_.verify_done.load(std::memory_order_acquire) >= number_ && all_have_said(); });
        return tell(ended);
    }

  private:
    struct Name {
        std::string address;
        uint16_t port;
        auto operator<=>(const Name&) const = default;
    };

    uint64_t root(size_t field) const { return store_.root(field); }
    std::map<Name, Replica> rows() const {
        std::map<Name, Replica> found;
        for (const ReplicaRow& row : words_.replicas) {
            Replica replica;
            if (!read_versioned(row.version, row.words, &replica) || replica.state == ReplicaState::none) continue;
            replica.address[sizeof replica.address - 1] = '\0';
            found[{replica.address, replica.port}] = replica;
        }
        return found;
    }
    std::vector<Name> online() const {
        std::vector<Name> names;
        for (const auto& [name, replica] : rows())
            if (replica.state == ReplicaState::online) names.push_back(name);
        return names;
    }
    /// One whose link has ended meanwhile is compared when it has come again.
    bool has_said(const Replica& replica) const { return replica.verified >= number_ || replica.checked > number_; }
    bool all_have_said() const {
        const auto now = rows();
        return std::ranges::all_of(followers_, [&](const Name& name) {
            const auto at = now.find(name);
            return at != now.end() && has_said(at->second);
        });
    }

    template <class Condition>
    bool wait(const char* what, const Condition& is_met) const {
        bool met = false, shown = false;
        while (!(met = is_met()) && monotonic_us() < until_us_) {
            if (on_terminal_) fmt::print(stderr, "\r{}: {} of {} keys here ", what, words_.verify_keys.load(std::memory_order_relaxed), store_.keys());
            shown = on_terminal_;
            usleep(kLookUs);
        }
        if (shown) fmt::print(stderr, "\r\033[K");
        return met;
    }

    /// 0: all is well.
    int tell(bool ended) const {
        bool good = ended;
        if (words_.verify_done.load(std::memory_order_acquire) < number_) {
            fmt::print("this server: not read to the end in time\n");
        } else if (words_.verify_damaged.load(std::memory_order_relaxed) >= number_) {
            good = false;
            fmt::print("this server: DAMAGED: its memory is not what was written to it; promote one of its followers (REPLICAOF NO ONE there) and replace it\n");
        } else {
            fmt::print("this server: {} keys, all as they were written\n", words_.verify_keys.load(std::memory_order_relaxed));
        }
        const auto now = rows();
        for (const Name& name : followers_) {
            const auto at = now.find(name);
            const bool said = at != now.end() && has_said(at->second), read = said && at->second.verified >= number_;
            const bool damaged = read && at->second.damaged >= number_;
            good &= read && !damaged;
            fmt::print("{} port {}: {}\n", name.address, name.port,
                       damaged ? "DAMAGED: its memory is not what was written to it; it syncs fully by itself"
                       : read  ? fmt::format("the same data, at number {}", number_)
                       : said  ? std::string("its data was another, or its link has ended meanwhile; it has come again, and has the same data now")
                               : std::string("has not answered in time; see INFO replication here, and log/md_repl-0.log there"));
        }
        if (followers_.empty()) fmt::print("nobody follows at the moment\n");
        return good ? 0 : 1;
    }

    Segment words_segment_, control_segment_;
    const StoreReader store_;
    ReplWords& words_;
    Bell md_bell_;
    const uint64_t until_us_;
    const bool on_terminal_;
    std::vector<Name> followers_;
    uint64_t number_ = 0;
};

}  // namespace

}  // namespace millrace

int main(int argc, char** argv) {
    using namespace millrace;
    if (argc != 3) {
        fmt::print(stderr, "usage: verify-replicas DIR TIMEOUT-SECONDS\n");
        return 2;
    }
    try {
        return Verification(argv[1], std::strtoull(argv[2], nullptr, 10)).run();
    } catch (const std::exception& error) {
        fmt::print(stderr, "millrace: {}\n", error.what());
        return 1;
    }
}
