// See back_ahead.h. Runs in md, in a thread of its own.
#include "md/back_ahead.h"

#include <unistd.h>

#include <algorithm>
#include <system_error>

namespace millrace::md {

std::unique_ptr<BackAhead> BackAhead::start() {
    std::unique_ptr<BackAhead> ahead(new BackAhead);
    try {
        ahead->thread_ = std::thread([&helper = *ahead] { helper.work(); });
    } catch (const std::system_error&) {
        return nullptr;
    }
    // What a thread begins with are system calls that md gives up.
    while (!ahead->running_) usleep(kPauseUs);
    return ahead;
}

BackAhead::~BackAhead() { stop(); }

void BackAhead::stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
}

void BackAhead::begin(Take take, uint64_t from, uint64_t end) {
    take_ = std::move(take);
    from_ = from;
    end_ = end;
    taken_to_ = asked_to_ = from;
    begun_.store(true, std::memory_order_release);
}

bool BackAhead::has(uint64_t offset, uint64_t length) {
    asked_to_.store(std::max(offset + length, asked_to()), std::memory_order_relaxed);
    return offset >= from_ && offset + length <= taken_to();
}

void BackAhead::work() {
    running_ = true;
    while (!stopping_) {
        const uint64_t at = taken_to_.load(std::memory_order_relaxed), step = std::min(kStepBytes, end_ - at);
        if (!begun_.load(std::memory_order_acquire) || at + kStepBytes > asked_to() + kLeadBytes) usleep(kPauseUs);
        else if (step == 0 || !take_(at, step)) return;
        else taken_to_.store(at + step, std::memory_order_release);
    }
}

}  // namespace millrace::md
