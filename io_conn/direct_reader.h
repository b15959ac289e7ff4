// Reading keys straight from the shared store, without md: while it is busy, stopped or dead. Runs in io_conn.
//
// The store changes while it is read, so nothing read counts until it has been validated. The order, for the keys of one command
// (invariants T3, T8 and T9 of common/store_layout.h are what it stands on):
//   begin     publish in the roster that this io_conn reads, fence, take the number n of the last finished commit (T9)
//   locate    the route, [the table's word,] the directory's entry; route [and table] still say the same: the segment
//   version   the first bucket's version: even, and of a commit that is not after n
//   copy      the bucket; version and route are still the same: what the slots refer to was in use then
//   second    version and copy of the other bucket, if the key's tag is not in the first, or turns out to be another key's: a key is in one
//             of its two buckets, and it moves by a commit that changes the versions of both, so a hit needs one, a miss both
//   choose    of the items that may be the key the one that is, compared where they lie
//   value     copied to where the client's answer is put together
//   validate  versions and routes of all keys once more, after the last copy of any: then the answer counts, and all of it
//             is from one moment; a miss too
//             Where the disk is waited for (common/log_words.h, D3) all of it is of commits that the disk has: a bucket's version says of which
//             it is, and a route that was not seen before of none later than the last one that emptied or swapped databases
//   use       the marks of the keys that the command uses say so, if marks are kept (marks.h)
//   end       withdraw what begin has published
// Any step that finds something else than it should gives the answer up, with what has been put together of it; it is tried anew
// kAttempts times with a fresh n, and then the request goes to md like any other. So a bucket that md left odd when it died
// makes its readers wait for the next md, and nobody spins.
//   D1  No reference is followed before the word that holds it has been validated: it may be half of two others, and behind it may
//       be memory that was given back to the system, which reading would take again.
//   D2  Between begin and end md gives no page back and lets none become another kind of memory that was an index page at begin.
//   D3  Lengths that an item states are not believed beyond the end of its page.
//   D4  Bytes of the store are copied by racing_copy_out() or racing_copy_words() and compared by racing_equal(), and by nothing else here.
//   D5  A route word that stood while no commit was under way, and the last one that changed routes was durable, is one that may be shown for ever: it
//       never repeats. Of a commit under way nobody knows which words are there already; so a new route waits until there is none.
// Large values up to kValueBytesMax are copied as well. Longer ones go through md, whose reply pins them for as long as a slow client
// needs: copying them would cost each such client the memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "common/marks.h"
#include "common/racing_copy.h"
#include "common/roster.h"
#include "common/store_layout.h"
#include "io_conn/buffer.h"

namespace millrace::io_conn {

/// A key to read, and what has been found out about it.
struct DirectLookup {
    DirectLookup() = default;
    DirectLookup(std::string_view its_key, unsigned its_database) : key(its_key), database(its_database) {}

    std::string_view key;
    unsigned database = 0;
    bool not_durable;             ///< found not stable because the disk does not have it
    bool stable = false;          ///< nothing unexpected was found; what follows is set by find()
    bool expires;
    bool large;
    store::KeyPlace place;
    uint64_t route;               ///< the word
    uint64_t table_at;            ///< of a deep directory's table the word's reference; 0 = none
    uint32_t table_word;
    unsigned candidate_count;
    unsigned buckets_read;        ///< of the two; their versions stand below
    uint64_t segment;             ///< 0: the database has none
    std::array<uint64_t, 2> versions;
    std::array<uint64_t, 4> candidates;  ///< items that may be the key
    std::array<uint8_t, 4> candidate_slots;  ///< where they are: slot, + kSecondBucket
    uint8_t slot;                 ///< of the item, like these
    uint64_t item;                ///< reference; 0 = there is no such key, or its time is over
    uint64_t value_at;            ///< where the value begins: in the store, or in a large item behind the key
    uint64_t value_length;
    int64_t expire_at_ms;         ///< with `expires`
};

template <class Load>
class BasicDirectReader {
  public:
    static constexpr unsigned kAttempts = 4;
    /// Values longer than this go through md, bytes.
    static constexpr uint64_t kValueBytesMax = 1024 * 1024;
    /// Keys whose cache lines are asked for together.
    static constexpr size_t kAhead = 32;
    static constexpr uint8_t kSecondBucket = 0x80;

    BasicDirectReader() = default;
    /// `store`: the segment's first byte. `published`: this process's word in the roster (T9). Without `marks` none are written.
    BasicDirectReader(const std::byte* store, std::atomic<uint64_t>& published, std::optional<MarkTable> marks = {});

    /// Nothing is shown of a later commit than this number says; null: all that is committed is. `strict`: nor of one that a strict pair has not confirmed.
    void show_up_to(const std::atomic<uint64_t>* durable, bool strict = false) {
        durable_ = durable;
        strict_ = strict;
    }

    void begin();
    void end() { published_->store(0, std::memory_order_release); }
    /// Takes a fresh number, for another attempt.
    void refresh();

    /// Finds the keys: item, lengths and expiry, none of it validated yet. The clock is read for keys that have an expiry.
    void find(std::span<DirectLookup> lookups);
    /// Appends bytes [from, from + count) of the value found. False: it has changed, which validate() would say as well.
    bool append_value(const DirectLookup& lookup, uint64_t from, uint64_t count, Buffer& out) {
        if (!copy_value(lookup, from, count, out.reserve(count))) return false;
        out.commit(count);
        return true;
    }
    /// The same to `to`.
    bool copy_value(const DirectLookup& lookup, uint64_t from, uint64_t count, char* to);
    /// Whether all that was found and copied was so at one moment.
    bool validate(std::span<const DirectLookup> lookups) const;
    /// Notes that the keys, as validated, were used.
    void use(std::span<const DirectLookup> lookups) {
        if (rules_.kind != MarkKind::none) write_marks(lookups);
    }

  private:
    const std::byte* at(uint64_t reference) const { return base_ + reference; }
    uint64_t load(uint64_t reference) const { return Load::load(base_ + reference); }
    uint32_t load_half(uint64_t reference) const {
        return static_cast<uint32_t>(load(reference & ~7ull) >> (reference % 8 != 0 ? 32 : 0));
    }
    bool in_use(uint64_t reference) const { return reference >= store::kPageBytes && reference < end_; }
    uint64_t route_at(unsigned database) const { return store::kRootAt + offsetof(store::Root, databases) + database * sizeof(store::DatabaseWords); }
    uint64_t bucket_at(const DirectLookup& lookup, unsigned which) const {
        return lookup.segment + (which == 0 ? lookup.place.first() : lookup.place.second()) * store::kBucketBytes;
    }
    bool route_stands(const DirectLookup& lookup) const { return load(route_at(lookup.database)) == lookup.route; }
    bool unchanged(const DirectLookup& lookup) const;
    bool route_is_durable(DirectLookup& lookup);
    void read_mark_rules();
    void write_marks(std::span<const DirectLookup> lookups);
    bool locate(DirectLookup& lookup);
    bool locate_segment(DirectLookup& lookup);
    bool search(DirectLookup& lookup);
    bool choose(DirectLookup& lookup);
    enum class Match { no, yes, changed };
    Match match(DirectLookup& lookup, uint64_t item);
    Match match_small(DirectLookup& lookup, uint64_t item, const store::ItemHeader& header);
    Match match_large(DirectLookup& lookup, uint64_t item);
    bool extent(const DirectLookup& lookup, uint64_t index, uint64_t& reference) const;
    template <class Take>
    bool each_piece(const DirectLookup& lookup, uint64_t from, uint64_t count, const Take& take) const;

    const std::byte* base_ = nullptr;
    std::atomic<uint64_t>* published_ = nullptr;
    uint64_t hash_seed_ = 0;
    uint64_t number_ = 0;  ///< n
    uint64_t limit_ = 0;   ///< number of the last commit that may be shown: n, or what the disk has
    bool shows_all_ = true;  ///< the disk is not waited for
    const std::atomic<uint64_t>* durable_ = nullptr;
    bool strict_ = false;  ///< half of a strict pair: W3 of common/pair_layout.h
    std::array<uint64_t, store::kDatabases> durable_routes_;  ///< D5
    uint64_t end_ = 0;     ///< bytes of the store in use; references are below
    int64_t now_ms_ = 0;   ///< 0: not looked at yet
    std::optional<MarkTable> marks_;
    MarkRules rules_;      ///< of the marks that are kept since begin()
    MarkDice dice_{1};
};

using DirectReader = BasicDirectReader<RacingLoad>;
extern template class BasicDirectReader<RacingLoad>;

}  // namespace millrace::io_conn
