// See scenario.h. Used by tests/crash.
#include "tests/crash/scenario.h"

#include <fmt/format.h>
#include <xxhash.h>

#include "common/check.h"
#include "tests/crash/stepper.h"

namespace millrace::crash {

using md::kNoExpiry;
using md::Store;
using md::Value;
namespace st = md::st;

namespace {

constexpr int64_t kSoonMs = 5'000, kLaterMs = 900'000'000;
constexpr unsigned kChannel = 3;
constexpr uint64_t kLargeBytes = 70'000;  ///< an extent and a tail

/// Bytes that tell where they are from.
std::string text(uint64_t length, char mark) {
    std::string bytes(length, mark);
    for (uint64_t i = 0; i < length; i += 16) bytes[i] = static_cast<char>('0' + i / 16 % 10);
    return bytes;
}

// --- what md does with a request --------------------------------------------------------------------------------------

/// One request: its changes, the record of them, its consumption and its reply, all in one commit.
void request(Store& store, const std::function<void()>& changes) {
    store.begin_record();
    changes();
    CHECK(store.end_record());
    const st::ChannelWords& channel = store.channel(kChannel);
    store.set_cursors(kChannel, channel.request_head + 48, channel.reply_tail + 16);
    CHECK(store.commit());
}

void make_room(Store& store, unsigned database, const std::string& key) {
    const st::KeyPlace place = store.place_of(key);
    CHECK(store.make_room(database, std::span(&place, 1)));
}

void put(Store& store, unsigned database, const std::string& key, const Value& value) {
    CHECK(store.put(database, key, store.place_of(key), value) == Store::Put::done);
}

void erase(Store& store, unsigned database, const std::string& key) { CHECK(store.erase(database, key, store.place_of(key))); }

Operation set(unsigned database, std::string key, std::string bytes, int64_t expire_at_ms = kNoExpiry) {
    return [=](Store& store) {
        make_room(store, database, key);
        request(store, [&] { put(store, database, key, Value::of(bytes, expire_at_ms)); });
    };
}

Operation del(unsigned database, std::string key) {
    return [=](Store& store) { request(store, [&] { erase(store, database, key); }); };
}

Operation append(unsigned database, std::string key, std::string bytes) {
    return [=](Store& store) {
        request(store, [&] {
            auto value = store.find(database, key, store.place_of(key));
            CHECK(value);
            value->rest = bytes;
            put(store, database, key, *value);
        });
    };
}

Operation set_all(unsigned database, std::vector<std::pair<std::string, std::string>> pairs) {
    return [=](Store& store) {
        for (const auto& [key, bytes] : pairs) make_room(store, database, key);
        request(store, [&] {
            for (const auto& [key, bytes] : pairs) put(store, database, key, Value::of(bytes, kNoExpiry));
        });
    };
}

Operation clear(unsigned database) {
    return [=](Store& store) { request(store, [&] { CHECK(store.clear(database)); }); };
}

/// Frees whatever is in the garbage, a little at a time.
Operation free_all(unsigned limit) {
    return [=](Store& store) {
        while (store.memory().root().garbage != 0) store.free_some(limit);
    };
}

/// Removes the expired keys of one bucket, in a commit of its own, if there are any.
Operation expire_next() {
    return [](Store& store) {
        for (unsigned i = 0; i < 2 * md::kDatabases * st::kBuckets; ++i)
            if (store.expire_some(kSoonMs + 1, 1) != 0) return;
    };
}

/// Evicts a key, as the evictor does once it has chosen it, if it is there.
Operation evict(std::string key) {
    return [=](Store& store) {
        const auto found = store.index().find(0, store.place_of(key), [&](uint64_t item) { return store.key_of(item) == key; });
        if (found) store.evict(0, *found);
    };
}

/// EXPIRE and PERSIST.
Operation expire_at(std::string key, int64_t at_ms) {
    return [=](Store& store) {
        request(store, [&] {
            Value value = store.find(0, key, store.place_of(key)).value();
            value.expire_at_ms = at_ms;
            put(store, 0, key, value);
        });
    };
}

/// SETRANGE inside a large value.
Operation patch(std::string key, uint64_t offset, std::string bytes) {
    return [=](Store& store) {
        request(store, [&] {
            Value value = store.find(0, key, store.place_of(key)).value();
            value.patch = bytes;
            value.patch_at = offset;
            put(store, 0, key, value);
        });
    };
}

/// SWAPDB.
Operation swap(unsigned one, unsigned other) {
    return [=](Store& store) {
        request(store, [&] { store.swap_databases(one, other); });
    };
}

/// CONFIG SET.
Operation configure(OptionId id, int64_t value) {
    return [=](Store& store) {
        request(store, [&] { store.set_live(id, value); });
    };
}

Operation both(Operation first, Operation second) {
    return [=](Store& store) { first(store), second(store); };
}

// --- replies in the store ---------------------------------------------------------------------------------------------

/// The reference of a key's large item.
uint64_t large_item(Store& store, unsigned database, const std::string& key) {
    const auto value = store.find(database, key, store.place_of(key));
    CHECK(value && value->large != 0);
    return value->large;
}

void add_reply_with(Store& store, unsigned database, const std::string& key) {
    const std::vector<md::ReplyPart> parts = {{text(40, 'f'), large_item(store, database, key), kLargeBytes}, {text(200, 'g'), 0, 0}};
    CHECK(store.add_record(kChannel, parts) != 0);
}

/// A reply with a large value, by reference, and with fields before and after it.
Operation reply_with(unsigned database, std::string key) {
    return [=](Store& store) { request(store, [&] { add_reply_with(store, database, key); }); };
}

/// The same, and the key goes in the same operation: only the reply keeps the value. `first`: the key goes first.
Operation take_out(unsigned database, std::string key, bool first) {
    return [=](Store& store) {
        request(store, [&] {
            if (!first) add_reply_with(store, database, key);
            const md::ReplyPart part{text(40, 'f'), large_item(store, database, key), kLargeBytes};
            erase(store, database, key);
            if (first) CHECK(store.add_record(kChannel, std::span(&part, 1)) != 0);
        });
    };
}

Operation reply_of(uint64_t bytes) {
    return [=](Store& store) {
        request(store, [&] {
            const std::vector<md::ReplyPart> parts = {{text(bytes, 'r'), 0, 0}};
            CHECK(store.add_record(kChannel, parts) != 0);
        });
    };
}

/// Releases the reply that is `older` places behind the youngest.
Operation release(unsigned older) {
    return [=](Store& store) {
        uint64_t record = store.channel(kChannel).records;
        for (unsigned i = 0; i < older; ++i) record = store.memory().as<st::ReplyRecord>(record)->next_record;
        CHECK(store.release_record(kChannel, record));
        CHECK(store.commit());
    };
}

Operation new_channel(uint64_t generation) {
    return [=](Store& store) {
        store.reset_channel(kChannel, generation);
        CHECK(store.commit());
    };
}

// --- keys for certain places ------------------------------------------------------------------------------------------

st::KeyPlace place_of(const std::string& key) { return {XXH3_64bits_withSeed(key.data(), key.size(), kHashSeed)}; }

/// `count` keys that `wanted` accepts.
template <class Wanted>
std::vector<std::string> keys_where(const std::string& stem, unsigned count, const Wanted& wanted) {
    std::vector<std::string> keys;
    for (uint64_t i = 0; keys.size() < count; ++i) {
        std::string key = fmt::format("{}{}", stem, i);
        if (wanted(place_of(key))) keys.push_back(std::move(key));
    }
    return keys;
}

/// Keys that compete with `key` for the very same two buckets.
std::vector<std::string> rivals_of(const std::string& key, unsigned count) {
    const st::KeyPlace place = place_of(key);
    return keys_where("rival", count, [place](st::KeyPlace each) { return each.first() == place.first() && each.tag() == place.tag(); });
}

/// Fills both buckets of a key with keys that could move elsewhere.
std::vector<std::string> movable_neighbours_of(const std::string& key) {
    const st::KeyPlace place = place_of(key);
    std::vector<std::string> keys;
    for (const auto& [here, there] : {std::pair{place.first(), place.second()}, std::pair{place.second(), place.first()}})
        for (std::string& each : keys_where(fmt::format("near{}-", here), st::kSlots, [here = here, there = there](st::KeyPlace other) {
                 return other.first() == here && other.second() != there;
             }))
            keys.push_back(std::move(each));
    return keys;
}

Operation set_each(unsigned database, std::vector<std::string> keys, std::string bytes) {
    return [=](Store& store) {
        for (const std::string& key : keys) set(database, key, bytes)(store);
    };
}

// --- a strict pair's open window --------------------------------------------------------------------------------------

void pair_step(Store& store, const std::function<void(md::PairStep&)>& fill) {
    md::PairStep made;
    made.next = store.pair();
    fill(made);
    CHECK(store.make_pair_step(made));
}

Operation become_primary() {
    return [](Store& store) {
        pair_step(store, [](md::PairStep& made) {
            made.next.role = md::PairRole::primary;
            made.next.state = md::PairState::in_sync;
            made.next.epoch = {1, 0, 7};
            made.next.mark = made.next.number;
        });
    };
}

/// Everything open is undone, unless that has been done.
Operation undo_window() {
    return [](Store& store) {
        if (store.memory().root().pair.first_open == 0) return;
        pair_step(store, [&store](md::PairStep& made) {
            made.undo = made.fails_owed = made.file = true;
            made.undo_above = made.next.mark;
            made.number = made.next.number = made.next.mark = store.next_number();
        });
    };
}

Operation confirm_window() {
    return [](Store& store) {
        if (store.memory().root().pair.first_open == 0) return;
        pair_step(store, [](md::PairStep& made) {
            made.confirm = true;
            made.confirm_up_to = made.next.mark = made.next.number;
        });
    };
}

Operation release_window() {
    return [](Store& store) {
        while (store.release_window(2)) {}
    };
}

using Groups = std::vector<std::vector<Watched>>;

std::vector<Watched> watched(unsigned database, const std::vector<std::string>& keys) {
    std::vector<Watched> group;
    for (const std::string& key : keys) group.push_back({database, key});
    return group;
}

Operation nothing() {
    return [](Store&) {};
}

// --- the scenarios ----------------------------------------------------------------------------------------------------

void add_small_values(std::vector<Scenario>& all) {
    const auto watch_s3 = Groups{watched(0, {"s3"})};
    all.push_back({"set_new", nothing(), {set(0, "fresh", text(21, 'n'))}, {watched(0, {"fresh"}), watched(0, {"fresh", "s3"})}});
    all.push_back({"set_same_size", nothing(), {set(0, "s3", text(30, 'n'))}, watch_s3});
    all.back().nested_max = ~0u;
    all.push_back({"set_same_class", nothing(), {set(0, "s3", text(29, 'n'))}, watch_s3});
    all.push_back({"set_other_class", nothing(), {set(0, "s3", text(900, 'n'))}, watch_s3});
    all.push_back({"set_with_expiry", nothing(), {set(0, "s3", text(30, 'n'), kLaterMs)}, watch_s3});
    all.push_back({"set_without_expiry", nothing(), {set(0, "e1", text(30, 'n'))}, {watched(0, {"e1"})}});
    all.push_back({"set_twice", nothing(), {set(0, "s3", text(30, 'n')), set(0, "s3", text(30, 'o'))}, watch_s3});
    all.push_back({"del", nothing(), {del(0, "s3")}, {watched(0, {"s3"}), watched(0, {"s3", "s4"})}});
    all.push_back({"del_with_expiry", nothing(), {del(0, "e1")}, {watched(0, {"e1"})}});
    // The chunk that the first frees is what the second fills: stalled readers see it under both.
    all.push_back({"del_then_set", nothing(), {del(0, "s3"), set(0, "s3", text(30, 'n'))}, watch_s3});
    all.push_back({"set_other_then_reuse", nothing(), {set(0, "s3", text(31, 'n')), set(0, "zz", text(31, 'z')), set(0, "s3", text(29, 'o'))}, watch_s3});
    all.push_back({"set_del_set", nothing(), {set(0, "x", text(30, 'a')), del(0, "x"), set(0, "x", text(30, 'b'))}, {watched(0, {"x"})}});
    all.push_back({"mset", nothing(), {set_all(0, {{"s1", text(30, 'n')}, {"s3", text(30, 'o')}, {"s5", text(30, 'p')}})},
                   {watched(0, {"s1", "s3", "s5"}), watched(0, {"s1"}), watched(0, {"s5", "s1"})}});
    all.back().nested_max = ~0u;
    // Values too long to be overwritten where they lie: a chunk each for the old and the new ones, of one class.
    const std::string old_bytes = text(200, 'a');
    const auto three_old = set_all(0, {{"s1", old_bytes}, {"s3", old_bytes}, {"s5", old_bytes}});
    all.push_back({"set_other_chunk", set(0, "s3", old_bytes), {set(0, "s3", text(201, 'n')), set(0, "s3", text(199, 'o'))}, watch_s3});
    all.push_back({"mset_other_chunks", three_old, {set_all(0, {{"s1", text(200, 'n')}, {"s3", text(201, 'o')}, {"s5", text(202, 'p')}})},
                   {watched(0, {"s1", "s3", "s5"}), watched(0, {"s1"}), watched(0, {"s5", "s1"})}});
    all.push_back({"mset_same_key_twice", three_old, {set_all(0, {{"s1", text(200, 'n')}, {"s1", text(201, 'o')}})}, {watched(0, {"s1"})}});
    all.push_back({"overwrite_in_class", set(0, "s3", text(97, 'a')), {set(0, "s3", text(101, 'n')), set(0, "s3", text(98, 'o'))}, watch_s3});
    all.push_back({"overwrite_expiry", nothing(), {set(0, "e1", text(30, 'n'), kLaterMs), set(0, "e1", text(30, 'o'), kSoonMs)}, {watched(0, {"e1"})}});
    all.push_back({"mset_new_and_old", nothing(), {set_all(0, {{"s1", text(12, 'n')}, {"fresh", text(300, 'o')}, {"s5", text(30, 'p')}})},
                   {watched(0, {"s1", "fresh", "s5"})}});
    all.push_back({"mset_new", nothing(), {set_all(0, {{"fresh", text(12, 'n')}, {"fresher", text(300, 'o')}, {"freshest", text(30, 'p')}})},
                   {watched(0, {"fresh", "fresher", "freshest"}), watched(0, {"freshest", "fresh"})}});
    // Some of the many direct readers have missed the first key before, and go on to the second after.
    all.push_back({"mset_new_and_more", nothing(), {set_all(0, {{"fresh", text(12, 'n')}, {"freshest", text(30, 'p')}}), set(0, "s3", text(300, 'n')), set(0, "s3", text(30, 'o'))},
                   Groups(40, watched(0, {"fresh", "freshest"}))});
    all.push_back({"clear_then_reuse", nothing(),
                   {clear(1), free_all(100), set_all(0, {{"r1", text(50, 'r')}, {"r2", text(40, 's')}, {"r3", text(30, 't')}, {"r4", text(20, 'u')}, {"r5", text(10, 'v')}})},
                   Groups(40, watched(1, {"d1"}))});  // few of the direct readers stop at the one right place for so long
    all.push_back({"mset_same_key", nothing(), {set_all(0, {{"s1", text(30, 'n')}, {"s1", text(30, 'o')}, {"s1", text(31, 'p')}})}, {watched(0, {"s1"})}});
    all.push_back({"set_and_del_in_one", nothing(), {[](Store& store) {
                       request(store, [&] { put(store, 0, "s1", Value::of(text(30, 'n'), kSoonMs)), erase(store, 0, "s1"), erase(store, 0, "s4"); });
                   }}, {watched(0, {"s1", "s4"})}});
    all.push_back({"abandoned", nothing(), {[](Store& store) {
                       put(store, 0, "s3", Value::of(text(30, 'n'), kNoExpiry)), erase(store, 0, "s5");
                       store.abandon();
                   }, set(0, "s3", text(30, 'm'))}, watch_s3});
    all.push_back({"append_in_place", append(0, "s3", text(40, 'a')), {append(0, "s3", text(9, 'b'))}, watch_s3});
    all.push_back({"append_copies", nothing(), {append(0, "s3", text(40, 'a'))}, watch_s3});
    all.push_back({"append_twice", nothing(), {append(0, "s3", text(60, 'a')), append(0, "s3", text(13, 'b'))}, watch_s3});
    // Who followed has read a record that refers to a value and to a chain: both go, each once.
    all.push_back({"oplog_release", [](Store& store) {
                       store.set_oplog_on(true);
                       set(0, "large2", text(kLargeBytes, 'n'))(store);
                       del(0, "large2")(store);
                       set(0, "s1", text(20'000, 'l'))(store);
                   }, {[](Store& store) { store.release_oplog(store.memory().root().oplog_tail); }, free_all(3)}, {watched(0, {"s1"})}});
    all.push_back({"oplog_off_and_on", [](Store& store) {
                       store.set_oplog_on(true);
                       set(0, "large2", text(kLargeBytes, 'n'))(store);
                   }, {[](Store& store) { store.set_oplog_on(false); }, [](Store& store) { store.set_oplog_on(true); }, set(0, "s1", text(30, 'r'))}, {watched(0, {"s1"})}});
    all.push_back({"oplog_wraps", [](Store& store) { store.memory().root().oplog_tail = 3 * 64 * 1024 - 40; },
                   {set(0, "s3", text(30, 'n')), set(0, "fresh", text(50, 'o'))}, watch_s3});
}

/// Every pair of small operations on the same key: what the first leaves (a free chunk, room behind a value, a version) is
/// what the second meets.
void add_pairs(std::vector<Scenario>& all) {
    const auto del_if_there = [](Store& store) {
        request(store, [&] { store.erase(0, "s3", store.place_of("s3")); });
    };
    const auto append_or_set = [](Store& store) {
        make_room(store, 0, "s3");
        request(store, [&] {
            Value value = store.find(0, "s3", store.place_of("s3")).value_or(Value{});
            const std::string bytes = text(11, 'a');
            value.rest = bytes;
            put(store, 0, "s3", value);
        });
    };
    const std::vector<std::pair<const char*, Operation>> kinds = {{"set", set(0, "s3", text(30, 'n'))},
                                                                  {"longer", set(0, "s3", text(400, 'n'))},
                                                                  {"expiry", set(0, "s3", text(30, 'n'), kLaterMs)},
                                                                  {"del", del_if_there},
                                                                  {"append", append_or_set}};
    for (const auto& [first_name, first] : kinds)
        for (const auto& [second_name, second] : kinds) {
            all.push_back({fmt::format("pair_{}_{}", first_name, second_name), nothing(), {first, second}, {watched(0, {"s3"})}});
            all.back().nested_max = 1;
        }
}

void add_index(std::vector<Scenario>& all) {
    constexpr unsigned kDatabase = 5;
    const std::string key = "wanted", guest = "guest-of-the-segment";
    const auto rivals = rivals_of(key, 2 * st::kSlots), neighbours = movable_neighbours_of(key);
    const auto first_rival = Groups{watched(kDatabase, {rivals.front()}), watched(kDatabase, {key}), watched(kDatabase, {key, rivals.back()})};
    all.push_back({"first_key", nothing(), {set(kDatabase, key, text(30, 'n'))}, {watched(kDatabase, {key})}});
    all.push_back({"put_moves", set_each(kDatabase, neighbours, text(20, 'o')), {set(kDatabase, key, text(30, 'n'))},
                   {watched(kDatabase, {key}), watched(kDatabase, {neighbours[0]}), watched(kDatabase, {key, neighbours[0], neighbours[1]})}});
    all.push_back({"split", set_each(kDatabase, rivals, text(20, 'o')), {[=](Store& store) { make_room(store, kDatabase, key); }, set(kDatabase, key, text(30, 'n'))},
                   first_rival});
    // What a split has left behind is changed at once: who still looks there must not be told of it.
    all.push_back({"split_then_change", set_each(kDatabase, rivals, text(20, 'o')),
                   {set(kDatabase, key, text(30, 'n')), set(kDatabase, rivals.front(), text(20, 'p')), set(kDatabase, guest, text(20, 'q'))}, first_rival});
    all.push_back({"split_alone", [=](Store& store) {
                       set_each(kDatabase, rivals, text(20, 'o'))(store);
                       CHECK(store.split(kDatabase, {0}) && store.split(kDatabase, {0}));
                   }, {[](Store& store) { CHECK(store.split(kDatabase, {~0ull})); }, set(kDatabase, rivals.front(), text(20, 'p'))}, first_rival});
    const auto split_at_key = [=](Store& store) { CHECK(store.split(kDatabase, store.place_of(key))); };
    // From one page of names to a table of two, and to a table of four in which two entries share a page.
    all.push_back({"split_of_the_directory", [=](Store& store) {
                       set_each(kDatabase, rivals, text(20, 'o'))(store);
                       for (unsigned depth = 0; depth < md::st::kDirectoryChunkDepthMax; ++depth) split_at_key(store);
                   }, {split_at_key, split_at_key, set(kDatabase, key, text(30, 'n'))}, first_rival});
    all.back().pages = 64;
}

void add_large_values(std::vector<Scenario>& all) {
    const std::string value = text(kLargeBytes, 'l'), other = text(kLargeBytes + 66'000, 'm');
    const auto watch = Groups{watched(0, {"large"}), watched(0, {"s3"})};
    all.push_back({"large_new", nothing(), {set(0, "large2", value)}, {watched(0, {"large2"})}});
    all.push_back({"large_overwrite", nothing(), {set(0, "large", other, kLaterMs), free_all(1)}, watch});
    all.push_back({"large_becomes_small", nothing(), {set(0, "large", text(30, 'n')), free_all(1)}, watch});
    all.push_back({"large_del", nothing(), {del(0, "large"), free_all(1)}, watch});
    all.push_back({"large_append_in_place", append(0, "large", text(100, 'a')), {append(0, "large", text(90, 'b'))}, watch});
    all.push_back({"large_append_copies", nothing(), {append(0, "large", text(3'000, 'a')), free_all(2)}, watch});
    all.push_back({"record_of_large", nothing(), {reply_with(0, "large"), del(0, "large"), release(0), free_all(1)}, watch});
    all.push_back({"reply_then_del_in_one", nothing(), {take_out(0, "large", false), free_all(3), release(0), free_all(1)}, watch});
    all.push_back({"del_then_reply_in_one", nothing(), {take_out(0, "large", true), free_all(3), release(0), free_all(1)}, watch});
    all.push_back({"record_and_overwrite", both(reply_with(0, "large"), reply_with(0, "large")),
                   {set(0, "large", text(30, 'n')), release(1), free_all(3), release(0), free_all(3)}, watch});
}

void add_slices(std::vector<Scenario>& all) {
    all.push_back({"clear", nothing(), {clear(1), free_all(3)}, {watched(1, {"d1"}), watched(0, {"s3"})}});
    all.push_back({"clear_then_set", nothing(), {clear(1), set(1, "d1", text(30, 'n')), free_all(100)}, {watched(1, {"d1"}), watched(1, {"d1", "d2"})}});
    all.push_back({"clear_with_reply", reply_with(1, "large"), {clear(1), free_all(2), release(0), free_all(2)}, {}});
    all.push_back({"expire", nothing(), {expire_next(), expire_next(), set(0, "s3", text(30, 'n'))},
                   {watched(0, {"e1"}), watched(0, {"e2"})}});
    all.push_back({"expiry", nothing(), {expire_at("s3", 5'000'000), expire_at("s3", 6'000'000), expire_at("large", 5'000'000), expire_at("large", kNoExpiry), expire_at("s3", kNoExpiry)},
                   {watched(0, {"s3"}), watched(0, {"large"})}});
    all.push_back({"patch", nothing(), {patch("large", 3, text(20, 'p')), patch("large", st::kPageBytes - 10, text(30, 'q')), append(0, "large", text(5, 'r')), patch("large", 0, "x")},
                   {watched(0, {"large"})}});
    all.push_back({"patch_under_a_reply", reply_with(0, "large"), {patch("large", 100, text(20, 'p')), release(0), patch("large", 200, text(20, 'q')), free_all(3)}, {watched(0, {"large"})}});
    all.push_back({"swap", nothing(), {swap(0, 1), set(1, "s3", text(30, 'n')), swap(0, 1), swap(1, 2), swap(3, 4)},
                   {watched(0, {"s3", "d1"}), watched(1, {"d1", "s3"}), watched(2, {"d1"})}});
    all.push_back({"evict", nothing(), {evict("s3"), evict("large"), free_all(2), configure(OptionId::maxmemory, 1000), evict("e1")},
                   {watched(0, {"s3"}), watched(0, {"e1"})}});
    all.push_back({"record", reply_of(500), {reply_of(2'000), release(0), release(0), free_all(1)}, {}});
    all.push_back({"reset_channel", both(reply_of(500), reply_with(0, "large")), {new_channel(8), free_all(2), set(0, "s3", text(30, 'n'))}, {watched(0, {"s3"})}});
    all.push_back({"give_back", both(both(set(0, "huge", text(70 * st::kPageBytes, 'h')), del(0, "huge")), free_all(100)),
                   {[](Store& store) { store.give_back_some(3); }, set(0, "large2", text(kLargeBytes, 'n'))}, {}});
    all.back().pages = 112;
}

/// The first page of a new region, which brings descriptors of its own; and memory that does not suffice.
void add_ends_of_memory(std::vector<Scenario>& all) {
    constexpr unsigned kPagesLeft = 2;
    const auto fill_region = [](Store& store) {
        const uint64_t pages = st::kRegionPages - kPagesLeft - store.memory().root().frontier;
        set(2, "filling", std::string(pages * st::kPageBytes, 'f'))(store);
    };
    all.push_back({"second_region", fill_region, {set(0, "large2", text(3 * kLargeBytes, 'n')), del(0, "large2"), free_all(1)}, {watched(0, {"large2"})}});
    all.back().pages = st::kRegionPages + 16;
    all.back().image_every = 50;  // images of 16 MiB take their time
    all.back().nested_max = 0;
    all.push_back({"no_memory", nothing(), {[](Store& store) {
                       store.begin_record();
                       put(store, 0, "s3", Value::of(text(30, 'n'), kNoExpiry));
                       const std::string key = "larger", bytes(60 * st::kPageBytes, 'x');
                       CHECK(store.put(0, key, store.place_of(key), Value::of(bytes, kNoExpiry)) == Store::Put::no_memory);
                       store.abandon();
                   }, set(0, "s3", text(30, 'm'))}, {watched(0, {"s3"})}});
}

/// A list that goes on behind its page. Only its commit is stepped.
void add_overflow(std::vector<Scenario>& all) {
    static constexpr unsigned kKeys = 1'400, kDatabase = 5;
    Scenario scenario{"list_overflow", nothing(), {[](Store& store) {
                          std::vector<st::KeyPlace> places;
                          for (unsigned i = 0; i < kKeys; ++i) places.push_back(store.place_of(fmt::format("many{}", i)));
                          CHECK(store.make_room(kDatabase, places));
                          store.begin_record();
                          for (unsigned i = 0; i < kKeys; ++i) put(store, kDatabase, fmt::format("many{}", i), Value::of(fmt::format("v{}", i), kNoExpiry));
                          CHECK(store.end_record());
                          toggle_stepping();
                          CHECK(store.commit());
                          toggle_stepping();
                      }}, {watched(kDatabase, {"many1", "many2", "many700"})}};
    scenario.image_every = 20;
    scenario.steps_all = false;
    scenario.nested_max = 0;
    scenario.oplog_bytes = 512 * 1024;
    all.push_back(scenario);

    // The same with no memory but free pages: the list goes into those that the operation leaves alone.
    scenario.name = "list_in_free_pages";
    scenario.pages = 100;
    scenario.prepare = [](Store& store) {
        for (unsigned i = 0; i < kKeys; ++i) set(kDatabase, fmt::format("many{}", i), fmt::format("v{}", i))(store);
        const std::string bytes(3 * st::kPageBytes, 'x');
        unsigned fillers = 0;
        for (bool full = false; !full; ++fillers) {
            const std::string key = fmt::format("filler{}", fillers);
            CHECK(store.make_room(0, std::array{store.place_of(key)}));
            store.begin_record();
            full = store.put(0, key, store.place_of(key), Value::of(bytes, kNoExpiry)) != Store::Put::done;
            if (full) store.abandon();
            else CHECK(store.end_record() && store.commit());
        }
        CHECK(fillers > 3);
        for (const char* key : {"filler0", "filler1"}) del(0, key)(store);
        free_all(100)(store);
    };
    scenario.operations = {[](Store& store) {
        store.begin_record();
        for (unsigned i = 0; i < kKeys; ++i) erase(store, kDatabase, fmt::format("many{}", i));
        CHECK(store.end_record());
        toggle_stepping();
        CHECK(store.commit());
        toggle_stepping();
        CHECK(store.memory().as<st::JournalHeader>(st::kJournalAt)->overflow == st::kOverflowInTable);
    }};
    all.push_back(std::move(scenario));
}

}  // namespace

void base(Store& store) {
    new_channel(7)(store);
    for (unsigned i = 1; i <= 8; ++i) set(0, fmt::format("s{}", i), text(30, static_cast<char>('a' + i)))(store);
    for (unsigned i = 1; i <= 3; ++i) set(0, fmt::format("e{}", i), text(20 + i, 'e'), i == 3 ? kLaterMs : kSoonMs)(store);
    for (unsigned i = 1; i <= 5; ++i) set(1, fmt::format("d{}", i), text(10 * i, 'd'), i == 5 ? kLaterMs : kNoExpiry)(store);
    set(0, "large", text(kLargeBytes, 'L'))(store);
    set(1, "large", text(kLargeBytes, 'D'))(store);
    // Free chunks in the middle of pages, and a free page.
    for (const char* key : {"g1", "g2", "g3", "g4", "g5"}) set(0, key, text(30, 'g'))(store);
    for (const char* key : {"g4", "g2"}) del(0, key)(store);
    set(0, "gone", text(kLargeBytes, 'G'))(store), del(0, "gone")(store), free_all(100)(store);
}

void add_window(std::vector<Scenario>& all) {
    const auto on = become_primary();
    all.push_back({"window_set", on, {set(0, "s3", text(30, 'n')), set(0, "s3", text(30, 'o'))}, {watched(0, {"s3"})}});
    all.push_back({"window_undo_set", both(on, set(0, "s3", text(30, 'n'))), {undo_window()}, {watched(0, {"s3"})}});
    all.back().nested_max = ~0u;
    all.push_back({"window_undo_many", both(on, both(set_all(0, {{"s1", text(30, 'n')}, {"fresh", text(300, 'o')}, {"s5", text(31, 'p')}}), both(del(0, "s4"), expire_at("e1", kLaterMs)))),
                   {undo_window()}, {watched(0, {"s1", "fresh", "s5"}), watched(0, {"s4", "s1"})}});
    all.push_back({"window_undo_large", both(on, both(set(0, "big", text(kLargeBytes, 'n')), append(0, "big", text(30, 'm')))), {undo_window(), free_all(1)}, {watched(0, {"big"})}});
    all.push_back({"window_confirm", both(on, both(set(0, "s3", text(30, 'n')), del(0, "s4"))), {confirm_window(), release_window()}, {watched(0, {"s3", "s4"})}});
    all.push_back({"window_undo_swap", both(on, both(set(1, "d1", text(30, 'n')), swap(0, 1))), {undo_window()}, {watched(0, {"d1"}), watched(1, {"s3"})}});
    all.push_back({"window_clear", on, {clear(1), set(1, "d1", text(9, 'n')), confirm_window(), release_window(), free_all(3)}, {watched(1, {"d1"})}});
}

std::vector<Scenario> all_scenarios() {
    std::vector<Scenario> all;
    add_window(all);
    add_small_values(all);
    add_pairs(all);
    add_index(all);
    add_large_values(all);
    add_slices(all);
    add_ends_of_memory(all);
    add_overflow(all);
    return all;
}

}  // namespace millrace::crash
