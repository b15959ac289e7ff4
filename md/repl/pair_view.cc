// See pair_view.h. Runs in md_repl.
#include "md/repl/pair_view.h"

#include <fmt/format.h>

#include <atomic>

#include "common/store_layout.h"

namespace millrace::md_repl {

std::optional<PairView> read_pair(const StoreReader& store) {
    constexpr int kTries = 4;
    const auto pair = [&store](size_t field) { return store.root(offsetof(store::Root, pair) + field); };
    const auto epoch = [&pair](size_t field) { return store::PairEpoch::from(pair(field), pair(field + sizeof(uint64_t))); };
    for (int attempt = 0; attempt < kTries; ++attempt) {
        const uint64_t number = store.root(offsetof(store::Root, number));
        std::atomic_thread_fence(std::memory_order_acquire);
        if (store.root(offsetof(store::Root, committed)) != 0) continue;
        std::atomic_thread_fence(std::memory_order_acquire);
        PairView view;
        view.standing = store::PairStanding::from(pair(offsetof(store::PairWords, standing)));
        view.epoch = epoch(offsetof(store::PairWords, epoch));
        view.void_epoch = epoch(offsetof(store::PairWords, void_epoch));
        view.void_cut = pair(offsetof(store::PairWords, void_cut));
        view.mark = pair(offsetof(store::PairWords, mark));
        view.link = pair(offsetof(store::PairWords, link));
        view.run = pair(offsetof(store::PairWords, run));
        view.heard = pair(offsetof(store::PairWords, heard));
        view.file_wanted = pair(offsetof(store::PairWords, file_wanted));
        view.open = pair(offsetof(store::PairWords, first_open)) != 0;
        view.number = store.root(offsetof(store::Root, stream_number));
        view.empty = store.keys() == 0;
        std::atomic_thread_fence(std::memory_order_acquire);
        if (store.root(offsetof(store::Root, committed)) == 0 && store.root(offsetof(store::Root, number)) == number) return view;
    }
    return std::nullopt;
}

std::string text_of(store::PairEpoch epoch) { return fmt::format("{} {}", epoch.counts(), epoch.run); }

}  // namespace millrace::md_repl
