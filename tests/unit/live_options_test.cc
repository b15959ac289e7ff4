// Live options: what one CONFIG SET has changed is seen as a whole or not at all, a text too, whenever the reader reads; and they outlive md.
#include "common/live_options.h"

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

const std::string kShort = "short", kLong(st::kLiveTextBytesMax, 'p');

/// Two options and a text that always change together.
void change(TestStore& store, bool to_long) {
    store->set_live(OptionId::timeout, int64_t{to_long ? 2 : 1});
    store->set_live(OptionId::requirepass, std::string_view(to_long ? kLong : kShort));
    store->set_live(OptionId::maxclients, int64_t{to_long ? 200 : 100});
    REQUIRE(store->commit());
}

bool is_whole(const LiveValues& values, bool is_long) {
    return values.number(OptionId::timeout) == (is_long ? 2 : 1) && values.number(OptionId::maxclients) == (is_long ? 200 : 100) &&
           values.text(OptionId::requirepass) == (is_long ? kLong : kShort);
}

auto loader(const TestStore& store) {
    return [&store](uint64_t at) { return store.memory().load(at); };
}

}  // namespace

TEST_CASE("live options: what the configuration says counts until there is a store, and then what the store says") {
    TestStore store;
    Options options;
    options.set("timeout", "7");
    options.set("requirepass", "first");
    LiveValues values(options);
    CHECK(values.number(OptionId::timeout) == 7);
    CHECK(values.text(OptionId::requirepass) == "first");
    CHECK(values.look(loader(store)));
    CHECK(values.number(OptionId::timeout) == 0);
    CHECK(values.text(OptionId::requirepass) == "");
    CHECK_FALSE(values.look(loader(store)));
    store.configure(OptionId::timeout, 9);
    CHECK(values.look(loader(store)));
    CHECK(values.number(OptionId::timeout) == 9);
    CHECK(store.faults() == "");
}

TEST_CASE("live options: a change between any two loads of a reader is seen as a whole or not at all") {
    TestStore store;
    bool is_long = false;
    change(store, is_long);
    for (unsigned at_load = 0, last = 1; at_load < last; ++at_load) {
        LiveValues values{Options()};
        REQUIRE(values.look(loader(store)));
        change(store, is_long = !is_long);
        unsigned loads = 0;
        const auto load = [&](uint64_t at) {
            if (loads++ == at_load) change(store, is_long = !is_long);
            return store.memory().load(at);
        };
        const bool before = !is_long;
        if (values.look(load)) CHECK(is_whole(values, is_long));
        else CHECK(is_whole(values, before));
        last = loads;
    }
}

TEST_CASE("live options: while they are being changed a reader keeps what it has") {
    TestStore store;
    change(store, false);
    LiveValues values{Options()};
    REQUIRE(values.look(loader(store)));
    change(store, true);
    const uint64_t even = store.root().live_version;
    store.root().live_version = even + 1;  // as md leaves it when it dies in the middle
    CHECK_FALSE(values.look(loader(store)));
    CHECK(is_whole(values, false));
    store.root().live_version = even;
    CHECK(values.look(loader(store)));
    CHECK(is_whole(values, true));
}

TEST_CASE("live options: a new md keeps what was set, unless the configuration says something else than it did") {
    TestStore store;
    change(store, true);
    store.open();
    Options options;
    store->adopt_options(options);
    LiveValues values(options);
    REQUIRE(values.look(loader(store)));
    CHECK(is_whole(values, true));
    options.set("requirepass", "other");
    store->adopt_options(options);
    REQUIRE(values.look(loader(store)));
    CHECK(values.text(OptionId::requirepass) == "other");
    CHECK(values.number(OptionId::timeout) == 2);
}

TEST_CASE("live options: a damaged length is bounded, and found") {
    TestStore store;
    change(store, true);
    store.root().live_texts[0].length = ~uint64_t{0};
    LiveValues values{Options()};
    CHECK(values.look(loader(store)));
    CHECK(values.text(OptionId::requirepass) == kLong);
    CHECK(contains(store.faults(), "a live option has"));
}
