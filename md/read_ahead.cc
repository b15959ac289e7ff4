// See read_ahead.h. Runs in md, and in the process that it starts.
#include "md/read_ahead.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

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
    disk::SnapshotReader::Item item;
    auto outcome = reader.open() ? disk::SnapshotReader::Outcome::item : disk::SnapshotReader::Outcome::damage;
    while (outcome == disk::SnapshotReader::Outcome::item && (outcome = reader.next(item)) == disk::SnapshotReader::Outcome::item) {
        const ItemHead head{item.value.size(), item.stamp, item.expire_at_ms, static_cast<uint32_t>(item.key.size()), item.database};
        write(&head, sizeof head);
        write(item.key.data(), item.key.size());
        write(item.value.data(), item.value.size());
        shared_->bytes_read.store(reader.bytes_read(), std::memory_order_relaxed);
    }
    publish();
    const bool good = outcome == disk::SnapshotReader::Outcome::end;
    std::snprintf(shared_->sentence, sizeof shared_->sentence, "%s", reader.sentence().c_str());
    shared_->state.store(good ? State::done : State::damage, std::memory_order_release);  // A2
    _exit(0);
}

void ReadAhead::write(const void* bytes, uint64_t count) {
    for (const auto* from = static_cast<const char*>(bytes); count > 0;) {
        while (tail_ - known_ == kRingBytes) {
            publish();
            known_ = shared_->head.load(std::memory_order_acquire);
            if (tail_ - known_ == kRingBytes) usleep(kPauseUs);
        }
        const uint64_t within = tail_ % kRingBytes, piece = std::min({count, kRingBytes - within, kRingBytes - (tail_ - known_)});
        std::memcpy(shared_->data + within, from, piece);
        tail_ += piece;
        from += piece;
        count -= piece;
        if (tail_ - shared_->tail.load(std::memory_order_relaxed) >= kPublishBytes) publish();
    }
}

/// False when nothing comes any more.
bool ReadAhead::wait_for_more() {
    for (unsigned pauses = 1;; ++pauses) {
        const State state = shared_->state.load(std::memory_order_acquire);
        known_ = shared_->tail.load(std::memory_order_acquire);
        if (known_ != head_) return true;
        if (state != State::reading) return false;
        if (pauses % kPausesBetweenLooks == 0 && !process_lives(static_cast<uint32_t>(pid_)) && shared_->state.load() == State::reading && shared_->tail.load() == head_) return false;  // A3
        usleep(kPauseUs);
    }
}

bool ReadAhead::take(void* to, uint64_t count) {
    for (auto* out = static_cast<char*>(to); count > 0;) {
        if (known_ == head_ && !wait_for_more()) return false;
        const uint64_t within = head_ % kRingBytes, piece = std::min({count, kRingBytes - within, known_ - head_});
        std::memcpy(out, shared_->data + within, piece);
        head_ += piece;
        out += piece;
        count -= piece;
        if (head_ - shared_->head.load(std::memory_order_relaxed) >= kPublishBytes || known_ == head_) shared_->head.store(head_, std::memory_order_release);
    }
    return true;
}

uint64_t ReadAhead::bytes_read() const { return shared_->bytes_read.load(std::memory_order_relaxed); }

disk::SnapshotReader::Outcome ReadAhead::next(disk::SnapshotReader::Item& item) {
    ItemHead head;
    if (!take(&head, sizeof head)) {
        const State state = shared_->state.load(std::memory_order_acquire);
        if (state == State::done) return disk::SnapshotReader::Outcome::end;
        sentence_ = state == State::damage ? std::string(shared_->sentence) : fmt::format("the process that read {} has died; start again", path_);
        return disk::SnapshotReader::Outcome::damage;
    }
    key_.resize(head.key_length);
    value_.resize(head.value_length);
    if (!take(key_.data(), key_.size()) || !take(value_.data(), value_.size())) {
        sentence_ = fmt::format("the process that read {} has died; start again", path_);
        return disk::SnapshotReader::Outcome::damage;
    }
    item = {static_cast<uint8_t>(head.database), key_, value_, head.expire_at_ms, head.stamp};
    return disk::SnapshotReader::Outcome::item;
}

}  // namespace millrace::md
