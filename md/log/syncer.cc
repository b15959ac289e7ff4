// See syncer.h. Runs in md_log.
#include "md/log/syncer.h"

#include <unistd.h>

#include <cerrno>

namespace millrace::md_log {

Syncer::Syncer() : thread_([this] { run(); }) {}

Syncer::~Syncer() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Syncer::start(const Job& job) {
    {
        const std::lock_guard lock(mutex_);
        job_ = job;
    }
    changed_.notify_all();
}

bool Syncer::busy() const {
    const std::lock_guard lock(mutex_);
    return job_.has_value();
}

std::optional<Syncer::Job> Syncer::take_result() {
    const std::lock_guard lock(mutex_);
    std::optional<Job> result;
    result.swap(result_);
    return result;
}

void Syncer::wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !job_; });
}

void Syncer::run() {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return job_ || ending_; });
        if (!job_) return;
        Job job = *job_;
        lock.unlock();
        job.error = fdatasync(job.descriptor) == 0 ? 0 : errno;
        lock.lock();
        result_ = job;
        job_.reset();
        changed_.notify_all();
    }
}

}  // namespace millrace::md_log
