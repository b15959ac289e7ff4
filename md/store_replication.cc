// What the store keeps of replication: whose data this is, and how far it has come. Part of Store (store.h); common/repl_words.h. Runs in md.
#include <fmt/ranges.h>

#include <array>
#include <cstring>

#include "common/check.h"
#include "common/random.h"
#include "common/repl_words.h"
#include "common/segment.h"
#include "md/store.h"

namespace millrace::md {

void Store::set_stream_number(uint64_t number, uint64_t database) {
    CHECK(number > root().stream_number);
    committer_.set_least(number);
    stream_number_ = number;
    set_.write(&root().stream_number, number);
    set_.write(&root().stream_database, database);
}

std::string random_history() {
    return fmt::format("{:02x}", fmt::join(random_number<std::array<unsigned char, kHistoryBytes / 2>>(), ""));
}

std::string Store::history() const { return read_history(root().history); }
std::string Store::second_history() const { return read_history(root().second_history); }

std::string Store::read_history(const std::array<uint64_t, 5>& place) const {
    return history_text([&](size_t i) { return set_.read(&place[i]); });
}

void Store::write_history(const std::array<uint64_t, 5>& place, std::string_view history) {
    CHECK(history.empty() || history.size() == kHistoryBytes);
    for (size_t i = 0; i < place.size(); ++i) {
        uint64_t word = 0;
        if (!history.empty()) std::memcpy(&word, history.data() + 8 * i, sizeof word);
        set_.write(&place[i], word);
    }
}

void Store::begin_history(std::string_view history) {
    const std::string before = this->history();
    write_history(root().second_history, before);
    set_.write(&root().second_history_end, before.empty() ? 0 : stream_number());
    write_history(root().history, history);
}

void Store::adopt_history(std::string_view history, std::string_view second, uint64_t second_end, uint64_t stream_number, uint64_t stream_database) {
    write_history(root().history, history);
    write_history(root().second_history, second);
    set_.write(&root().second_history_end, second_end);
    set_.write(&root().stream_number, stream_number);
    set_.write(&root().stream_database, stream_database);
}

}  // namespace millrace::md
