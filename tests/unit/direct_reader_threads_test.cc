// Direct readers beside a writer that does not stop for them, as threads over one store, so that ThreadSanitizer can look on
// (make SAN=thread). What is written says of itself whether it is whole: of which key it is, which number of the writer, and how long.
#include <sys/mman.h>

#include <atomic>
#include <random>
#include <thread>

#include "io_conn/direct_reader.h"
#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using io_conn::Buffer;
using io_conn::BufferPool;
using io_conn::DirectLookup;
using io_conn::DirectReader;

namespace {

constexpr unsigned kKeys = 40, kGroup = 3, kReaders = 2;
constexpr unsigned kOperations = 60'000;

std::string key_of(unsigned key) { return "key " + std::to_string(key); }

/// "key number length " and then letters that follow from the number.
std::string value_of(unsigned key, uint64_t number, uint64_t length) {
    std::string value = std::to_string(key) + " " + std::to_string(number) + " " + std::to_string(length) + " ";
    while (value.size() < length) value += static_cast<char>('a' + (number + value.size()) % 26);
    return value;
}

/// The number of a value that is whole; 0: it is not.
uint64_t number_of(unsigned key, std::string_view value) {
    unsigned long long name = 0, number = 0, length = 0;
    if (std::sscanf(std::string(value.substr(0, 60)).c_str(), "%llu %llu %llu ", &name, &number, &length) != 3) return 0;
    return value == value_of(key, number, length) ? number : 0;
}

/// What the writer is known to have begun and finished: readers see at least the one and at most the other.
struct Progress {
    std::atomic<uint64_t> begun{0}, finished{0};
};

struct Reading {
    uint64_t number = 0;  ///< 0: absent
    bool whole = true;
};

class Reader {
  public:
    Reader(TestStore& store, RosterLine& line) : reader_(store.memory().at(0), line.reading), buffer_(pool_) {}

    /// The keys together; empty when it does not count.
    std::vector<Reading> read(std::span<const unsigned> keys) {
        names_.clear();
        lookups_.assign(keys.size(), {});
        for (const unsigned key : keys) names_.push_back(key_of(key));
        for (size_t i = 0; i < keys.size(); ++i) lookups_[i].key = names_[i];
        std::vector<Reading> readings;
        reader_.begin();
        reader_.find(lookups_);
        for (size_t i = 0; i < keys.size(); ++i) {
            Reading& reading = readings.emplace_back();
            if (!lookups_[i].stable || lookups_[i].item == 0) continue;
            buffer_.truncate(0);
            if (!reader_.append_value(lookups_[i], 0, lookups_[i].value_length, buffer_)) lookups_[i].stable = false;
            reading.number = number_of(keys[i], buffer_.bytes());
            reading.whole = reading.number != 0;
        }
        const bool valid = reader_.validate(lookups_);
        reader_.end();
        return valid ? readings : std::vector<Reading>();
    }

  private:
    DirectReader reader_;
    BufferPool pool_;
    Buffer buffer_;
    std::vector<std::string> names_;
    std::vector<DirectLookup> lookups_;
};

/// The first kGroup keys are always written together and with one number; the others one by one.
void write(TestStore& store, Progress& progress, unsigned seed) {
    std::minstd_rand random(seed);
    for (uint64_t number = 1; number <= kOperations; ++number) {
        progress.begun.store(number, std::memory_order_release);
        const unsigned kind = random() % 100;
        const uint64_t length = kind < 5 ? 30'000 + random() % 150'000 : random() % 300;
        if (kind < 30) {
            std::vector<std::string> names, values;
            std::vector<st::KeyPlace> places;
            for (unsigned key = 0; key < kGroup; ++key) {
                names.push_back(key_of(key));
                values.push_back(value_of(key, number, length));
                places.push_back(store->place_of(names.back()));
            }
            REQUIRE(store->make_room(0, places));
            REQUIRE(store.operation([&] {
                for (unsigned key = 0; key < kGroup; ++key)
                    if (store->put(0, names[key], places[key], md::Value::of(values[key], md::kNoExpiry)) != md::Store::Put::done) return false;
                return true;
            }));
        } else if (kind < 80) {
            const unsigned key = kGroup + random() % (kKeys - kGroup);
            REQUIRE(store.set(key_of(key), value_of(key, number, length), random() % 2 != 0 ? 1ll << 60 : md::kNoExpiry));
        } else if (kind < 90) {
            store.erase(key_of(kGroup + random() % (kKeys - kGroup)));
        } else if (kind < 99) {
            REQUIRE(store.set("other " + std::to_string(random() % 3000), std::string(length, 'o')));  // grows the index
        } else {
            store.clear();
        }
        if (random() % 4 == 0) {
            store->free_some(64);
            store->give_back_some(8);
        }
        progress.finished.store(number, std::memory_order_release);
    }
}

/// What is wrong with what readers see, a sentence; empty when nothing is.
std::string watch(TestStore& store, RosterLine& line, Progress& progress, unsigned seed, uint64_t& counted) {
    Reader reader(store, line);
    std::minstd_rand random(seed);
    const std::vector<unsigned> group{0, 1, 2};
    std::vector<uint64_t> newest(kKeys, 0);
    uint64_t newest_group = 0;
    while (progress.finished.load(std::memory_order_acquire) < kOperations) {
        const bool together = random() % 3 == 0;
        const std::vector<unsigned> keys = together ? group : std::vector<unsigned>{static_cast<unsigned>(kGroup + random() % (kKeys - kGroup))};
        const std::vector<Reading> readings = reader.read(keys);
        const uint64_t begun = progress.begun.load(std::memory_order_acquire);
        if (readings.empty()) continue;
        ++counted;
        for (size_t i = 0; i < keys.size(); ++i) {
            const Reading& reading = readings[i];
            if (!reading.whole) return "a value of key " + std::to_string(keys[i]) + " is not whole";
            if (reading.number > begun) return "a value comes from the future";
            if (reading.number != 0 && reading.number < newest[keys[i]]) return "a value goes back";
            newest[keys[i]] = std::max(newest[keys[i]], reading.number);
            if (together && reading.number != readings[0].number) return "keys set together are seen apart";
        }
        if (together) newest_group = std::max(newest_group, readings[0].number);
    }
    return {};
}

}  // namespace

TEST_CASE("direct reader: readers beside a busy writer see whole values, groups together, and nothing that goes back") {
    const unsigned seed = std::random_device{}();
    CAPTURE(seed);
    TestStore store;
    const auto roster = std::make_unique<Roster>();
    for (unsigned i = 0; i < kReaders; ++i) roster->lines[i].pid = static_cast<uint32_t>(getpid());
    store->set_readers(md::Readers(*roster));
    store->set_free_pages_kept(2);  // so that memory is given back and taken again all the time
    Progress progress;
    std::vector<std::string> wrong(kReaders);
    std::vector<uint64_t> counted(kReaders);
    std::vector<std::thread> readers;
    for (unsigned i = 0; i < kReaders; ++i)
        readers.emplace_back([&, i] { wrong[i] = watch(store, roster->lines[i], progress, seed + i, counted[i]); });
    write(store, progress, seed);
    for (std::thread& reader : readers) reader.join();
    for (unsigned i = 0; i < kReaders; ++i) {
        CHECK(wrong[i] == "");
        CHECK(counted[i] > 100);
    }
    CHECK(store.space.given_back > 0);
    CHECK(store.faults() == "");
}
