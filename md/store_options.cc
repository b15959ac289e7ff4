// The live options in the store; part of Store (store.h), common/live_options.h has what they are for. Runs in md.
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "common/check.h"
#include "md/store.h"

namespace millrace::md {

void Store::set_live(OptionId id, int64_t value) {
    set_.write(st::live_word_at(*live_index(id)), static_cast<uint64_t>(value));
    set_.touch_bucket(st::kLiveVersionAt);
}

std::string Store::live_text(OptionId id) const {
    const st::LiveText& place = root().live_texts[*live_text_index(id)];
    std::string text(std::min(set_.read(&place.length), st::kLiveTextBytesMax), '\0');
    for (size_t i = 0; i < text.size(); i += 8) {
        const uint64_t bytes = set_.read(&place.words[i / 8]);
        std::memcpy(text.data() + i, &bytes, std::min<size_t>(8, text.size() - i));
    }
    return text;
}

void Store::set_live(OptionId id, std::string_view text) {
    CHECK(text.size() <= st::kLiveTextBytesMax);
    const st::LiveText& place = root().live_texts[*live_text_index(id)];
    set_.write(&place.length, text.size());
    for (size_t i = 0; i < text.size(); i += 8) {
        uint64_t bytes = 0;
        std::memcpy(&bytes, text.data() + i, std::min<size_t>(8, text.size() - i));
        set_.write(&place.words[i / 8], bytes);
    }
    set_.touch_bucket(st::kLiveVersionAt);
}

bool Store::adopt_options(const Options& options) {
    for (unsigned i = 0; i < kLiveOptions.size(); ++i) {
        const st::LiveWord& word = root().live[i];
        const auto configured = static_cast<uint64_t>(options.number(kLiveOptions[i]));
        if (set_.read(&word.configured) == configured + 1) continue;
        set_.write(&word.configured, configured + 1);
        set_live(kLiveOptions[i], options.number(kLiveOptions[i]));
    }
    for (unsigned i = 0; i < kLiveTextOptions.size(); ++i) {
        const st::LiveText& place = root().live_texts[i];
        const std::string& text = options.text(kLiveTextOptions[i]);
        const uint64_t configured = std::max<uint64_t>(XXH3_64bits_withSeed(text.data(), text.size(), root().hash_seed), 1);
        if (set_.read(&place.configured) == configured) continue;
        set_.write(&place.configured, configured);
        if (kLiveTextOptions[i] == OptionId::replicaof && text.empty() && is_following()) begin_history(random_history());
        set_live(kLiveTextOptions[i], text);
    }
    if (!commit()) return false;
    marks_.look(memory_);
    return true;
}

}  // namespace millrace::md
