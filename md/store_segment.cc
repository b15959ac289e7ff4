// See store_segment.h. Runs in md.
#include "md/store_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>

#include "common/check.h"
#include "common/log.h"
#include "common/random.h"
#include "md/poison.h"
#include "md/store.h"

namespace millrace::md {

namespace {

/// A store of which only a part has been loaded.
struct NotLoaded : Error {
    using Error::Error;
};

/// What md cannot begin with, as the rest of a sentence; empty if there is nothing. Only words that it would follow at once.
std::string fault_of(const StoreMemory& memory, uint64_t oplog_bytes_min, uint64_t oplog_bytes_max) {
    const st::Root& root = memory.root();
    const auto& list = *memory.as<st::JournalHeader>(st::kJournalAt);
    const uint64_t committed = root.committed.load(std::memory_order_acquire);
    if (!std::has_single_bit(root.oplog_bytes) || root.oplog_bytes < oplog_bytes_min || root.oplog_bytes > oplog_bytes_max)
        return "the size of its oplog is not what it can be";
    if (root.oplog_released > root.oplog_tail || root.oplog_tail - root.oplog_released > root.oplog_bytes) return "its oplog's positions are out of range";
    if (root.frontier < Store::fixed_pages(root.oplog_bytes) || root.frontier > memory.pages()) return "its frontier is out of range";
    const uint64_t entries_max = memory.pages() * st::kOverflowEntries;
    if (committed != 0 && (list.number != committed || list.buckets > entries_max || list.words > entries_max))
        return "the commit that was under way has no list";
    return {};
}

}  // namespace

void StoreSegment::attach_or_make(const SegmentSpec& spec, bool predecessor_hung, Segment watched) {
    if (access(spec.path.c_str(), F_OK) == 0) {
        try {
            segment_ = watched.mapped() && watched.is_current() ? std::move(watched) : Segment::attach(spec, Access::read_write);
            if (const std::string fault = fault_of(memory(), kOplogBytesMin, kOplogBytesWithLog); !fault.empty())
                throw Error("the segment " + spec.path + " is damaged: " + fault);
            if (memory().root().loading != 0) throw NotLoaded("md has ended while it loaded data from disk; it is loaded anew");
            Poison poison(memory().root());
            poison.take_over(predecessor_hung);
            if (poison.store_is_poison())
                throw Error("the segment " + spec.path + " is damaged: md has failed on it " + std::to_string(Poison::kFaultsBetweenMax) +
                            " times while it executed no request");
            found_ = true;
            return;
        } catch (const NotLoaded& error) {
            log::warning("{}", error.what());
            options_ = std::make_unique<LiveOptions>();
            options_->take_from(memory().root());
            if (unlink(spec.path.c_str()) != 0) throw Error("cannot remove " + spec.path + ": " + errno_text(errno));
        } catch (const Error& error) {
            const std::string aside = spec.path + ".refused";
            log::warning("the data in shared memory cannot be used: {}; it is put aside as {}, and the store is empty now",
                         error.what(), aside);
            if (rename(spec.path.c_str(), aside.c_str()) != 0)
                throw Error("cannot put " + spec.path + " aside: " + errno_text(errno));
        }
    }
    segment_ = make(spec);
}

/// As much of addresses as there are: a limit on them (ulimit -v), or a tool that md runs under, may leave few.
Segment StoreSegment::make(SegmentSpec spec) {
    for (;; spec.size /= 4) {
        try {
            Segment segment = Segment::create(spec);
            if (spec.size < st::kReserveBytesDefault)
                log::warning("the store can grow to {} GiB only: there are no more addresses (ulimit -v)", spec.size >> 30);
            return segment;
        } catch (const Error&) {
            if (spec.size / 4 < kReserveBytesMin) throw;
        }
    }
}

StoreSegment::StoreSegment(const std::string& path, uint64_t instance, uint64_t generation, uint64_t oplog_bytes, bool predecessor_hung, Segment watched) {
    attach_or_make({path, st::kStoreLayout, instance, generation, st::kReserveBytesDefault,
                    Store::fixed_pages(oplog_bytes) << st::kPageShift}, predecessor_hung, std::move(watched));
    if (!found_) {
        Store::format(memory(), random_number<uint64_t>(), oplog_bytes);
        if (options_) options_->give_to(memory().root());
        segment_.publish();
    }
    Poison(memory().root()).install_handlers();
    fd_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd_ < 0) throw Error("cannot open " + path + ": " + errno_text(errno));
    // A core dump would hold the data back from the next md for as long as it takes to write.
    madvise(memory().at(0), segment_.size(), MADV_DONTDUMP);
}

std::unique_ptr<StoreSegment> StoreSegment::watch(const std::string& path, uint64_t instance) {
    std::unique_ptr<StoreSegment> store(new StoreSegment);
    store->segment_ = Segment::attach({path, st::kStoreLayout, instance}, Access::read_write);
    madvise(store->memory().at(0), store->segment_.size(), MADV_DONTDUMP);
    return store;
}

StoreSegment::~StoreSegment() {
    end_backing_ahead();
    if (fd_ >= 0) close(fd_);
}

StoreMemory StoreSegment::memory() const {
    const int fd = fd_;
    return {segment_.payload<std::byte>() - kSegmentPayload, segment_.size(),
            [fd, backing = backing_, base = segment_.payload<std::byte>() - kSegmentPayload](uint64_t offset, uint64_t length) {
                if (backing->ahead && backing->ahead->has(offset, length)) return true;
                return take_and_map(fd, base, offset, length, backing->spare);
            },
            [fd](uint64_t offset, uint64_t length) { give_back_file_memory(fd, offset, length); }};
}

bool StoreSegment::leaves_spare(int fd, uint64_t length, uint64_t spare) {
    struct statvfs system;
    if (spare == 0 || fstatvfs(fd, &system) != 0 || system.f_blocks == 0) return true;  // a tmpfs without a limit has no blocks
    const uint64_t wanted = std::min<uint64_t>(spare, system.f_blocks * system.f_frsize / kSpareShareMax);
    return system.f_bavail * system.f_frsize >= length + wanted;
}

/// One call to map in place of a fault for each 4 KiB.
bool StoreSegment::take_and_map(int fd, std::byte* base, uint64_t offset, uint64_t length, uint64_t spare) {
    if (!take(fd, offset, length, spare)) return false;
    madvise(base + offset, length, MADV_POPULATE_WRITE);
    return true;
}

void StoreSegment::back_ahead(std::unique_ptr<BackAhead> helper, uint64_t offset) {
    if (!helper) return;
    std::byte* const base = segment_.payload<std::byte>() - kSegmentPayload;
    helper->begin([fd = fd_, base, &spare = backing_->spare](uint64_t at, uint64_t length) { return take_and_map(fd, base, at, length, spare); }, offset, segment_.size());
    backing_->ahead = std::move(helper);
}

void StoreSegment::end_backing_ahead() {
    if (!backing_->ahead) return;
    backing_->ahead->stop();
    const uint64_t asked = backing_->ahead->asked_to(), taken = backing_->ahead->taken_to();
    if (taken > asked) give_back_file_memory(fd_, asked, taken - asked);
    backing_->ahead.reset();
}

bool StoreSegment::take(int fd, uint64_t offset, uint64_t length, uint64_t spare) {
    return leaves_spare(fd, length, spare) && take_file_memory(fd, offset, length) == 0;
}

}  // namespace millrace::md
