// The open window of a strict pair in the store: W1 to W5 of common/pair_layout.h. What is undone is as if it had never been, what is confirmed lets go of what
// was before; at random against a model, with the oplog's records replayed. The seed is printed; SEED=n repeats a run.
#include "md/window.h"

#include <map>
#include <string>
#include <vector>

#include "common/effects.h"
#include "tests/crash/contents.h"
#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md::PairEpoch;
using md::PairRole;
using md::PairState;

namespace {

constexpr PairEpoch kEpoch{1, 0, 7};

/// A store that is a primary in sync.
void become_primary(TestStore& store, PairRole role = PairRole::primary) {
    store->set_oplog_on(true);
    md::PairStep made;
    made.next = store->pair();
    made.next.role = role;
    made.next.state = PairState::in_sync;
    made.next.epoch = kEpoch;
    made.next.link = 5;
    made.next.mark = made.next.number;
    REQUIRE(store->make_pair_step(made));
    REQUIRE(store->window().is_on());
}

md::PairStep undo_step(TestStore& store, uint64_t above) {
    md::PairStep made;
    made.next = store->pair();
    made.undo = made.fails_owed = true;
    made.undo_above = above;
    made.number = made.next.number = store->next_number();
    made.next.mark = above;
    return made;
}
void undo(TestStore& store, uint64_t above) { REQUIRE(store->make_pair_step(undo_step(store, above))); }

void confirm(TestStore& store, uint64_t up_to) {
    md::PairStep made;
    made.next = store->pair();
    made.confirm = true;
    made.confirm_up_to = made.next.mark = up_to;
    REQUIRE(store->make_pair_step(made));
    while (store->release_window(3)) {}
}

std::map<crash::Contents::Key, crash::Val> keys_of(TestStore& store) { return crash::read_contents(store.memory()).keys; }

}  // namespace

TEST_CASE("window W1: what was before is put back, newest first") {
    TestStore store;
    const std::string large(200'000, 'L');
    store.set("kept", "as it was");
    store.set("expires", "soon", 1000);
    store.set("large", large);
    store.set("gone", "not yet");
    become_primary(store);
    const auto before = keys_of(store);
    const uint64_t mark = store->stream_number();
    store.set("kept", "as it is!");
    store.set("kept", "longer than it ever was before, and then some");
    store.append("kept", " and more");
    store.set_expiry("expires", md::kNoExpiry);
    store.append("large", "tail");
    store.set("large", "small");
    store.erase("gone");
    store.set("gone", "back");
    store.set("fresh", "new");
    store.erase("fresh");
    store.set("fresh", "newer", 5000);
    CHECK(store.faults() == "");
    CHECK(store->shown() < store->memory().root().number);
    undo(store, mark);
    CHECK(store.faults() == "");
    CHECK(keys_of(store) == before);
    CHECK(store.get("large") == large);
    CHECK(store->window().facts({}).any == false);
    CHECK(store->memory().root().pair.changes == 0);
    CHECK(store->memory().root().pair.bytes == 0);
    store.collect();
    CHECK(store.faults() == "");
}

TEST_CASE("window: nothing changes where it lies") {
    TestStore store;
    store.set("small", "abc");
    store.set("large", std::string(100'000, 'x'));
    become_primary(store);
    const uint64_t small = store.reference_of("small"), large = store.reference_of("large");
    store.set("small", "abd");
    CHECK(store.reference_of("small") != small);
    md::Value value = store.find("large").value();
    value.patch = "y";
    value.patch_at = 5;
    store.set("large", value);
    CHECK(store.reference_of("large") != large);
    CHECK(store.get("large")[5] == 'y');
    CHECK(store.faults() == "");
}

TEST_CASE("window: cleared and swapped databases come back") {
    TestStore store;
    for (int i = 0; i < 2000; ++i) store.set("key" + std::to_string(i), "value" + std::to_string(i), i % 3 == 0 ? 5000 : md::kNoExpiry);
    store.set("other", "database", md::kNoExpiry, 1);
    become_primary(store);
    const auto before = keys_of(store);
    const uint64_t mark = store->stream_number();
    store.set("key1", "changed");
    store.clear();
    for (int i = 0; i < 700; ++i) store.set("anew" + std::to_string(i), "x");
    store.operation([&] { return store->swap_databases(0, 1), true; });
    store.set("key5", "in the other one");
    store.clear(1);
    CHECK(store.faults() == "");
    undo(store, mark);
    CHECK(store.faults() == "");
    CHECK(keys_of(store) == before);
    CHECK(store->memory().root().oplog_gap == store->memory().root().number);  // the log says nothing of what has come back
    store.collect();
    CHECK(store.faults() == "");
}

TEST_CASE("window: confirming lets go of what was before, and of nothing else") {
    TestStore store;
    store.set("key", "one");
    become_primary(store);
    store.set("key", "two");
    const uint64_t first = store->stream_number();
    store.set("key", "three");
    const uint64_t second = store->stream_number();
    store.clear(0);
    confirm(store, first);
    CHECK(store.faults() == "");
    CHECK(store->memory().root().pair.changes == 2);
    undo(store, first);
    CHECK(store.get("key") == "two");
    store.set("key", "four");
    confirm(store, store->stream_number());
    CHECK(store->shown() == st::kAllShown);
    CHECK(store->memory().root().pair.oldest == 0);
    CHECK(second > first);
    store.collect();
    CHECK(store.faults() == "");
}

TEST_CASE("window W3, W4: what is shown, and which answers are errors") {
    TestStore store;
    become_primary(store);
    CHECK(store->shown() == st::kAllShown);
    store.set("a", "1");
    const uint64_t first = store->memory().root().number;
    CHECK(store->shown() == first - 1);
    store.set("b", "2");
    CHECK(store->shown() == first - 1);
    confirm(store, first);
    CHECK(store->shown() == first);
    const uint64_t last = store->memory().root().number;
    store.set("c", "3");
    const uint64_t third = store->memory().root().number;
    md::PairStep made = undo_step(store, first);
    made.file = true;
    REQUIRE(store->make_pair_step(made));
    const st::PairWords& words = store->memory().root().pair;
    CHECK(words.voided_count == 1);
    CHECK(words.voided[0].from >= first);
    CHECK(words.voided[0].from < third);
    CHECK(words.voided[0].to == third);
    CHECK(store->shown() == first);  // W5: the file first
    store->note_pair_file(words.file_wanted - 1);
    CHECK(store->shown() == first);
    store->note_pair_file(words.file_wanted);
    CHECK(store->shown() == st::kAllShown);
    CHECK(store.get("b") == "<none>");
    CHECK(last > first);
}

TEST_CASE("window: a key is open while a change of it is, and its whole database is when it was cleared") {
    TestStore store;
    store.set("known", "1");
    become_primary(store);
    const auto is_open = [&](std::string_view key, unsigned database = 0) { return store->window().has_open(database, key, store->place_of(key).hash); };
    CHECK_FALSE(is_open("known"));
    store.set("known", "2");
    store.set("fresh", "1");
    CHECK(is_open("known"));
    CHECK(is_open("fresh"));
    CHECK_FALSE(is_open("fresh", 1));
    CHECK_FALSE(is_open("another"));
    store.erase("known");
    CHECK(is_open("known"));
    confirm(store, store->stream_number());
    CHECK_FALSE(is_open("known"));
    store.clear();
    CHECK(is_open("another"));
    CHECK_FALSE(is_open("another", 1));
}

TEST_CASE("window R4, R6: only entries of the epoch above the number are undone") {
    TestStore store;
    become_primary(store);
    store.set("a", "1");
    const uint64_t first = store->stream_number();
    store.set("b", "2");
    md::VoidRecord record{kEpoch, first};
    CHECK(store->window().facts(record).newest == store->stream_number());
    record.epoch.raises = 1;
    CHECK(store->window().facts(record).newest == 0);
    record = {kEpoch, store->stream_number()};
    CHECK(store->window().facts(record).newest == 0);
    CHECK(store->window().facts({}).own);
}

TEST_CASE("window: at random, undone and confirmed, as a model says; the oplog gives the same") {
    Random random;
    INFO("SEED=", random.seed);
    TestStore store;
    for (int i = 0; i < 300; ++i) store.set("key" + std::to_string(i), random.bytes(random.below(300)));
    become_primary(store);
    for (int round = 0; round < 40; ++round) {
        while (store->release_oplog(store.root().oplog_tail)) {}
        crash::ReplayedKeys replayed = crash::read_values(store.memory());
        const uint64_t tail = store.root().oplog_tail, mark = store->stream_number();
        const auto before = keys_of(store);
        const bool clears = random.below(8) == 0;
        for (uint64_t i = 0, count = random.below(150); i < count && store.root().oplog_tail - tail < store.root().oplog_bytes / 3; ++i) {
            const unsigned database = static_cast<unsigned>(random.below(2));
            const std::string key = "key" + std::to_string(random.below(400));
            const bool there = store.find(key, database).has_value();
            switch (random.below(8)) {
                case 0: if (there) store.erase(key, database); break;
                case 1: if (there) store.append(key, random.bytes(random.below(100)), database); break;
                case 2: if (there) store.set_expiry(key, random.below(2) == 0 ? md::kNoExpiry : 5000, database); break;
                case 3: if (random.below(10) == 0) store.operation([&] { return store->swap_databases(0, 1), true; }); break;
                case 4: if (clears && random.below(10) == 0) store.clear(database); break;
                case 5: if (random.below(20) == 0) store.set(key, std::string(80'000, 'v'), md::kNoExpiry, database); break;
                default: store.set(key, random.bytes(random.below(300)), random.below(4) == 0 ? 5000 : md::kNoExpiry, database);
            }
        }
        REQUIRE(store.faults() == "");
        if (random.below(2) == 0) {
            undo(store, mark);
            REQUIRE(keys_of(store) == before);
        } else {
            confirm(store, store->stream_number());
        }
        REQUIRE(store.faults() == "");
        if (!clears) {
            REQUIRE(crash::replay(store.memory(), tail, replayed) == "");
            REQUIRE(crash::without_bytes(replayed) == keys_of(store));
        }
        store.collect();
    }
    CHECK(store.faults() == "");
}

TEST_CASE("window: without memory for an entry nothing happens") {
    TestStore store;
    store.set("key", "value");
    become_primary(store);
    store.space.calls_left = 0;
    int stored = 0;
    while (store.set("key" + std::to_string(stored), std::string(1000, 'x'))) ++stored;
    CHECK(stored > 0);
    CHECK(store.faults() == "");
    const uint64_t mark = store->pair().mark;
    store.space.calls_left = TestMemory::kUnlimited;
    undo(store, mark);
    CHECK(store.faults() == "");
    CHECK(store.get("key0") == "<none>");
}
