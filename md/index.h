// The index: from a database and a key's hash to the reference of its item. Runs in md.
//
// A multi-hash index (two candidate buckets a key, short tags, after MemC3) inside segments that split one at a time
// (extendible hashing, Fagin et al. 1979), so it grows without a pause. A split is a commit of its own, made before the
// operation that needs the room; moving one key to its other bucket is part of the operation. Geometry and its fill:
// tests/model/index_geometry.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "md/allocator.h"
#include "md/commit.h"

namespace millrace::md {

/// A slot in use, and where it is.
struct FoundSlot {
    uint64_t bucket_at = 0;  ///< offset of the bucket
    unsigned slot = 0;
    st::Slot content;
};

class Index {
  public:
    Index(const StoreMemory& memory, WriteSet& set, Allocator& allocator, Committer& committer, Marks& marks = no_marks())
        : memory_(memory), set_(set), allocator_(allocator), committer_(committer), marks_(marks) {}

    /// The slot of a key, in the store as the write set leaves it.
    template <class Match>
    std::optional<FoundSlot> find(unsigned database, st::KeyPlace place, const Match& matches) const {
        const uint64_t segment = segment_of(database, place);
        if (segment == 0) return std::nullopt;
        const unsigned buckets[2] = {place.first(), place.second()};
        for (const unsigned which : buckets) {
            const uint64_t at = segment + which * st::kBucketBytes;
            const st::Bucket bucket = set_.read_bucket(at);
            for (uint64_t candidates = bucket.tags_equal(place.tag()); candidates != 0; candidates &= candidates - 1) {
                const unsigned slot = st::Bucket::slot_of(candidates);
                const st::Slot content = st::Slot::from(bucket.slot_bits(slot));
                if (content.reference != 0 && matches(content.reference)) return FoundSlot{at, slot, content};
            }
        }
        return std::nullopt;
    }
    /// Changes what a slot refers to.
    void replace(const FoundSlot& found, uint64_t reference, bool expires);
    void erase(const FoundSlot& found);
    /// Puts a new key in. False when its buckets are full and nobody can move: make_room() first.
    bool insert(unsigned database, st::KeyPlace place, uint64_t reference, bool expires);

    /// Splits until the key has room, each split a commit of its own. False when there is no memory.
    /// REQUIRES: the write set is empty. `hash_of` gives the hash of an item's key.
    template <class HashOf>
    bool make_room(unsigned database, st::KeyPlace place, const HashOf& hash_of) {
        while (!has_room(database, place))
            if (!split(database, place, hash_of)) return false;
        return true;
    }
    /// Splits the segment of this place once. False when there is no memory.
    bool split(unsigned database, st::KeyPlace place, const std::function<uint64_t(uint64_t reference)>& hash_of);

    uint64_t splits() const { return splits_; }
    /// Keys in the segment of this place.
    unsigned keys_in_segment(unsigned database, st::KeyPlace place) const;
    /// The segment that a key of this database belongs to; 0 if there is none.
    uint64_t segment_of(unsigned database, st::KeyPlace place) const;
    /// The segment that an entry of a directory names.
    uint64_t segment_at(st::Route route, uint64_t entry) const;
    unsigned depth_of_segment(uint64_t segment) const;
    st::Route route_of(unsigned database) const {
        return st::Route::from(set_.read(&memory_.root().databases[database].route));
    }
    /// Each of two databases has what the other had, as of the commit with this number.
    void swap_routes(unsigned one, unsigned other, uint64_t number);
    /// Frees the chunks and pages of a directory.
    void free_directory(st::Route route);
    /// Asks for the lines that find() will read; returns the segment, 0 if there is none.
    uint64_t prefetch(unsigned database, st::KeyPlace place) const;
    /// Asks for the items that find() would compare with; the buckets should be there by now.
    void prefetch_item(uint64_t segment, st::KeyPlace place) const;

  private:
    uint64_t splits_ = 0;

    bool has_room(unsigned database, st::KeyPlace place) const;
    /// A key in one of the two buckets that could move: its slot and where to.
    struct Move {
        FoundSlot from;
        uint64_t to_bucket_at;
        unsigned to_slot;
    };
    std::optional<Move> find_move(uint64_t segment, st::KeyPlace place) const;
    static std::optional<unsigned> free_slot(const st::Bucket& bucket);
    uint64_t new_segment(unsigned depth);
    bool make_directory(unsigned database);
    bool deepen_directory(unsigned database);
    bool split_page(st::Route route, uint64_t entry);
    template <class Content>
    uint64_t new_entries(uint64_t count, const Content& content);
    uint32_t read_entry(uint64_t at) const;
    void write_entry(uint64_t at, uint32_t content);
    st::DirectoryPage page_at(st::Route route, uint64_t entry) const;
    uint64_t entry_at(st::Route route, uint64_t entry) const;
    bool commit_alone();
    bool give_up();

    const StoreMemory& memory_;
    WriteSet& set_;
    Allocator& allocator_;
    Committer& committer_;
    Marks& marks_;
};

}  // namespace millrace::md
