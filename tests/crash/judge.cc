// See judge.h. Used by tests/crash.
#include "tests/crash/judge.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cstdio>

#include "md/store_check.h"

namespace millrace::crash {

using md::Store;
using md::StoreMemory;
namespace st = md::st;

Judge::Judge(const Scenario& scenario, const Arena& arena, std::vector<Contents> states, Tally& tally)
    : scenario_(scenario), arena_(arena), states_(std::move(states)), tally_(tally), oplog_tail_(arena.live().root().oplog_tail), values_(read_values(arena.live())) {
    for (const auto& group : scenario.watched) {
        readers_.emplace_back(group, kHashSeed, states_);
        direct_readers_.emplace_back(group, arena.live(), states_, direct_readers_.size() + 1);
    }
}

void Judge::fail(const Change& change, const std::string& what) {
    ++failures_;
    ++tally_.failures;
    std::printf("%s: operation %u, store %llu, to %llu, by %s:\n    %s\n", scenario_.name.c_str(), change.operation,
                static_cast<unsigned long long>(change.store), static_cast<unsigned long long>(change.offset),
                place_in_code(change.rip).c_str(), what.c_str());
}

/// A long copy into memory that nobody can reach yet needs no look at every word of it.
bool Judge::worth_checking(const Change& change, uint64_t committed) {
    const bool goes_on = change.offset >= last_offset_ && change.offset <= last_offset_ + kCopyStep;
    last_offset_ = change.offset;
    run_ = goes_on ? run_ + 1 : 0;
    if (++until_next_ < scenario_.image_every) return false;
    const bool copy = change.offset >= st::kOplogAt && committed == 0 && change.rip != 0 && run_ > kRunChecked;
    if (copy && run_ % kRunEvery != 0) return false;
    until_next_ = 0;
    return true;
}

/// T2 where it is easily seen: the root and the descriptors change only while a list is committed.
std::string Judge::look_at_words(const Change& change, uint64_t committed) {
    const bool fixed = change.rip != 0 && change.offset >= st::kDescriptorsAt && change.offset < st::kRootAt + sizeof(st::Root);
    const uint64_t committed_at = st::kRootAt + offsetof(st::Root, committed);
    if (fixed && committed == 0 && committed_ == 0 && change.offset != committed_at) return "a word of the root or of a descriptor changed outside a commit";
    return "";
}

/// T3: an even version comes with the same words for ever.
std::string Judge::look_at_versions(const StoreMemory& memory) {
    for (const uint64_t segment : reachable_segments(memory))
        for (unsigned number = 0; number < st::kBuckets; ++number) {
            const uint64_t at = segment + number * st::kBucketBytes, version = memory.load(at);
            if (version % 2 != 0) continue;
            const uint64_t words = XXH3_64bits(memory.at(at + 8), st::kBucketBytes - 8);
            const auto [known, fresh] = buckets_.try_emplace({at, version}, words);
            if (!fresh && known->second != words) return fmt::format("bucket {} has version {} again, with other words", at, version);
        }
    return "";
}

bool Judge::look(const Change& change) {
    const StoreMemory live = arena_.live();
    const uint64_t committed = live.root().committed.load();
    ++tally_.images;
    std::string wrong;
    const std::string wrong_word = look_at_words(change, committed);
    const bool started = committed != 0 && committed_ == 0;
    const bool ended = committed == 0 && committed_ != 0;
    committed_ = committed;
    if (worth_checking(change, committed) || started || ended || !wrong_word.empty()) {
        ++tally_.checked;
        wrong = look_at_versions(live);
        if (wrong.empty()) wrong = recover(change);
        if (ended && wrong.empty() && recovered_number_ == live.root().number && bytes_hash(live) != recovered_hash_)
            wrong = "recovery and the operation itself left different bytes";
        for (Readers& readers : readers_)
            if (wrong.empty()) wrong = readers.look(live, state_);
        for (DirectReaders& readers : direct_readers_)
            if (wrong.empty()) wrong = readers.look(state_);
        if (wrong.empty() && committed != 0 && nested_ < scenario_.nested_max) wrong = step_recovery();
    }
    if (wrong.empty()) wrong = wrong_word;
    if (!wrong.empty()) fail(change, wrong);
    return failures_ < kFailuresShown;
}

void Judge::end(const std::string& trouble) {
    for (const Readers& readers : readers_) tally_.answers += readers.answers();
    for (const DirectReaders& readers : direct_readers_) tally_.direct_answers += readers.answers();
    const Change last{0, 0, 0, static_cast<unsigned>(scenario_.operations.size())};
    if (failures_ != 0) return;
    if (!trouble.empty()) fail(last, trouble);
    else if (read_contents(arena_.live()) != states_.back()) fail(last, "the operations did not get to their end");
}

std::string Judge::recover(const Change& change) {
    const StoreMemory memory = arena_.image();
    std::string wrong;
    bool changed;
    {
        Store store(memory);
        changed = store.recovered();
        tally_.redone += changed;
        wrong = look_at_store(store, change);
        if (wrong.empty() && changed) wrong = recover_again(memory);
        if (wrong.empty() && (changed || tally_.checked % kFinishEvery == 0)) {
            changed = true;
            wrong = finish(store);
        }
    }
    if (changed) arena_.forget();
    return wrong;
}

std::string Judge::look_at_store(Store& store, const Change& change) {
    const StoreMemory& memory = store.memory();
    const md::StoreReport report = md::check_store(memory);
    if (!report.good()) return "recovered: " + report.faults.front();
    const Contents contents = read_contents(memory);
    const unsigned after = std::min<unsigned>(change.operation + 1, static_cast<unsigned>(states_.size()) - 1);
    unsigned state = std::max(state_, change.operation);
    while (state <= after && contents != states_[state]) ++state;
    if (state > after) {
        if (state_ > change.operation) return "taken back: " + difference(states_[state_], contents);
        return fmt::format("neither the state before ({}) nor the one after ({})", difference(states_[change.operation], contents),
                           difference(states_[after], contents));
    }
    state_ = state;
    ReplayedKeys replayed = values_;
    if (const std::string wrong = replay(memory, oplog_tail_, replayed); !wrong.empty()) return "oplog: " + wrong;
    if (const auto keys = without_bytes(replayed); keys != contents.keys) return "the oplog tells another story: " + difference(contents, {keys, contents.channels});
    if (const std::string wrong = find_each(store, contents); !wrong.empty()) return wrong;
    if (const std::string wrong = look_at_versions(memory); !wrong.empty()) return "recovered: " + wrong;
    if (!store.recovered()) return "";
    for (Readers readers : readers_)  // copies: what they see of this store never happens in the one that goes on
        if (const std::string wrong = readers.look(memory, state_); !wrong.empty()) return "recovered: " + wrong;
    return "";
}

/// The next md finds what is there.
std::string Judge::find_each(const Store& store, const Contents& contents) const {
    constexpr size_t kFew = 100;
    if (contents.keys.size() > kFew) return "";
    for (const auto& [key, expected] : contents.keys) {
        const auto value = store.find(key.first, key.second, store.place_of(key.second));
        if (!value || value->length() != expected.length || value->expire_at_ms != expected.expire_at_ms ||
            (value->large == 0 && hash_of({value->small, value->stored_length}) != expected.hash))
            return "the next md does not find " + key.second;
    }
    return "";
}

uint64_t Judge::bytes_hash(const StoreMemory& memory) const {
    return XXH3_64bits(memory.at(0), std::min(memory.root().frontier << st::kPageShift, memory.bytes()));
}

/// A list may be applied any number of times (T1): every image of a commit recovers to the same bytes.
std::string Judge::recover_again(const StoreMemory& memory) {
    const uint64_t number = memory.root().number, once = bytes_hash(memory);
    if (recovered_number_ == number && recovered_hash_ != once) return "two images of one commit recover to different bytes";
    recovered_number_ = number;
    recovered_hash_ = once;
    memory.root().committed = number;
    const Store again(memory);
    return again.recovered() && bytes_hash(memory) == once ? "" : "recovering a second time changes something";
}

/// The next md does the rest of the work, a request that was not consumed included.
std::string Judge::finish(Store& store) {
    ++tally_.finished;
    for (size_t i = state_; i < scenario_.operations.size(); ++i) scenario_.operations[i](store);
    const md::StoreReport report = md::check_store(store.memory());
    if (!report.good()) return "finished by the next md: " + report.faults.front();
    const Contents contents = read_contents(store.memory());
    return contents == states_.back() ? "" : "finished by the next md: " + difference(states_.back(), contents);
}

/// A crash inside recovery: its images recover to the same bytes.
std::string Judge::step_recovery() {
    ++nested_;
    const Arena second(arena_.bytes() >> st::kPageShift);
    second.copy_from(arena_);
    std::string wrong;
    Stepper stepper(second);
    const auto look = [&](const Change&) {
        ++tally_.nested;
        Store store(second.image());
        if (bytes_hash(second.image()) != recovered_hash_) wrong = "a crash inside recovery leaves other bytes";
        second.forget();
        return wrong.empty();
    };
    const std::string trouble = stepper.run(
        [&] {
            toggle_stepping();
            const Store store(second.live());
            toggle_stepping();
        },
        look);
    tally_.stores += stepper.stores();
    return wrong.empty() ? trouble : wrong;
}

}  // namespace millrace::crash
