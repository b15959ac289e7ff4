// See read_ahead.h. Runs in md, and in the process that it starts.
#include "md/read_ahead.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "md/process_lives.h"

namespace millrace::md {

std::unique_ptr<ReadAhead> ReadAhead::start(const std::string& path) {
    void* const memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    std::unique_ptr<ReadAhead> ahead(new ReadAhead(path));
    ahead->shared_ = static_cast<Shared*>(memory);  // zeros are where it begins
    std::signal(SIGCHLD, SIG_IGN);  // nobody waits for it: it leaves nothing behind
    const pid_t md = getpid();
    ahead->pid_ = fork();
    if (ahead->pid_ < 0) return nullptr;
    if (ahead->pid_ > 0) return ahead;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != md) _exit(1);
    for (const int signal : {SIGTERM, SIGINT}) std::signal(signal, SIG_DFL);
    ahead->read_all();
}

ReadAhead::~ReadAhead() {
    if (pid_ > 0 && shared_->state.load() == State::reading) kill(pid_, SIGKILL);
    if (shared_ != nullptr) munmap(shared_, sizeof(Shared));
}

void ReadAhead::read_all() {
    disk::SnapshotReader reader(path_);
    const bool opened = reader.open();
    for (uint64_t number = 0; opened; ++number) {
        while (number - shared_->taken.load(std::memory_order_acquire) == kSlots) usleep(kPauseUs);
        Slot& slot = shared_->slots[number % kSlots];
        slot.bytes = reader.read_block(slot.raw);
        slot.offset = reader.bytes_read();
        if (slot.bytes == 0) break;
        shared_->filled.store(number + 1, std::memory_order_release);
    }
    std::snprintf(shared_->sentence, sizeof shared_->sentence, "%s", reader.sentence().c_str());
    shared_->state.store(reader.sentence().empty() ? State::done : State::damage, std::memory_order_release);  // A2
    _exit(0);
}

/// False when nothing comes any more.
bool ReadAhead::wait_for_more() {
    for (unsigned pauses = 1;; ++pauses) {
        const State state = shared_->state.load(std::memory_order_acquire);
        if (shared_->filled.load(std::memory_order_acquire) != next_) return true;
        if (state != State::reading) return false;
        if (pauses % kPausesBetweenLooks == 0 && !process_lives(static_cast<uint32_t>(pid_)) && shared_->state.load() == State::reading &&
            shared_->filled.load() == next_)
            return false;  // A3
        usleep(kPauseUs);
    }
}

ReadAhead::Outcome ReadAhead::next(std::string_view& raw, uint64_t& offset) {
    shared_->taken.store(next_, std::memory_order_release);
    if (!wait_for_more()) {
        const State state = shared_->state.load(std::memory_order_acquire);
        if (state == State::done) return Outcome::end;
        sentence_ = state == State::damage ? std::string(shared_->sentence) : fmt::format("the process that read {} has died; start again", path_);
        return Outcome::damage;
    }
    const Slot& slot = shared_->slots[next_++ % kSlots];
    raw = {slot.raw, slot.bytes};
    offset = slot.offset;
    return Outcome::block;
}

}  // namespace millrace::md
