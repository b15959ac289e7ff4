// Measures our ring (common/ring.h) against boost::lockfree::spsc_queue in shared memory and against a pipe: messages a
// second between two processes, each pinned to a processor of its own.
//
//     ring_bench [--json] [--rounds N] [--milliseconds N] [--bytes N] [--batch N]
//
// Alike for all three: the room for messages has kFootprint bytes, the producer fills every byte of every message with the
// same function, the consumer adds up every byte with the same function and the sum is checked, both work in batches of
// the same number of messages, and whoever finds no room or no message spins with a pause and never sleeps.
// Each keeps what is its own: our ring is filled as io_conn fills it (staged, see R8 and R9 of common/ring.h)
// and read in place, and publishes once a batch; Boost's elements are of a fixed size known to the compiler, copied in and out by its bulk push and pop; the pipe copies through the kernel.
// Our ring carries 8 bytes of length, kind and id with each message. The column `boost` is a queue of the bare messages;
// `labelled` is one whose elements carry the same 8 bytes, which is what would have to stand in our ring's place.
// The measurements of one combination take turns; each rate is the median of its rounds, and each ratio the median of the
// ratios within one round, because the machine's speed may change from one round to the next. Before each, the same two
// processes send twice the footprint through the transport, so that no page is touched for the first time in what counts.
#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/lockfree/spsc_queue.hpp>
#include <cerrno>
#include <cinttypes>
#include <memory>
#include <span>
#include <vector>

#include "common/channel.h"
#include "common/clock.h"
#include "tests/stress/stage.h"

using namespace millrace;
using namespace millrace::stress;

namespace {

constexpr uint64_t kFootprint = 1024 * 1024;  ///< bytes of each transport's buffer
constexpr std::array<uint32_t, 4> kSizes{16, 64, 256, 4096};
constexpr std::array<uint32_t, 3> kBatches{1, 8, 64};
constexpr uint64_t kFirstGuess = 20'000;  ///< messages of the run that sizes the others

// --- the work on a message, the same code for every transport ---------------------------------------------------------

/// Fills a message; `length` is a multiple of 8.
[[gnu::noinline]] void fill(std::byte* message, uint32_t length, uint64_t number) {
    for (uint32_t at = 0; at < length; at += 8) {
        const uint64_t word = number + at;
        std::memcpy(message + at, &word, 8);
    }
}

/// The sum of all bytes, eight at a time in four pairs of lanes.
[[gnu::noinline]] uint64_t sum(const std::byte* message, uint32_t length) {
    constexpr uint64_t kEven = 0x00ff00ff00ff00ffull;
    uint64_t total = 0;
    for (uint32_t at = 0; at < length;) {
        uint64_t lanes = 0;
        for (const uint32_t end = std::min(length, at + 8 * 64); at < end; at += 8) {
            uint64_t word;
            std::memcpy(&word, message + at, 8);
            lanes += (word & kEven) + (word >> 8 & kEven);
        }
        total += (lanes & 0xffff) + (lanes >> 16 & 0xffff) + (lanes >> 32 & 0xffff) + (lanes >> 48);
    }
    return total;
}

/// One measurement: how much of what.
struct Job {
    uint32_t size;   ///< bytes of a message
    uint32_t batch;  ///< messages
    uint64_t count;  ///< messages in all; a multiple of the batch
};

// --- the transports: produce() runs in one process, consume() in another; consume() gives the sum of all bytes --------

class OurRing {
  public:
    OurRing() {
        const Folder folder;
        channel_ = Channel::create(folder.file("rings"), 1, 1, kFootprint);
    }
    void produce(const Job& job) {
        RingProducer ring(channel_.requests(), RingWriting::staged);
        for (uint64_t number = 0; number < job.count;) {
            for (uint32_t i = 0; i < job.batch; ++i, ++number) {
                const auto write = [&](std::byte* room) { fill(room, job.size, number); };
                while (!ring.try_put(job.size, 1, static_cast<uint32_t>(number), write)) {
                    ring.publish();
                    relax();
                }
            }
            ring.publish();
        }
    }
    uint64_t consume(const Job& job) {
        RingConsumer ring(channel_.requests());
        uint64_t total = 0;
        for (uint64_t taken = 0; taken < job.count;) {
            Frame frame;
            uint32_t in_batch = 0;
            for (; in_batch < job.batch && ring.next(frame) == RingRead::frame; ++in_batch)
                total += sum(frame.body.data(), static_cast<uint32_t>(frame.body.size()));
            if (in_batch == 0) relax();
            else ring.publish();
            taken += in_batch;
        }
        return total;
    }

  private:
    Channel channel_;
};

/// What our ring carries with each message: a queue that is to deliver the same has it in its elements.
struct Label {
    FrameHeader header;
};
struct NoLabel {};

template <uint32_t size, class Carried>
class BoostQueue {
    struct Element {
        [[no_unique_address]] Carried label;
        std::byte bytes[size];
    };
    static void write_label(Label& label, uint64_t number) { label.header = FrameHeader::of(size, 1, static_cast<uint32_t>(number)); }
    static void write_label(NoLabel&, uint64_t) {}
    static uint64_t read_label(const Label& label, uint64_t number) { return label.header.id != static_cast<uint32_t>(number); }
    static uint64_t read_label(const NoLabel&, uint64_t) { return 0; }
    using Queue = boost::lockfree::spsc_queue<Element, boost::lockfree::capacity<kFootprint / sizeof(Element)>>;

  public:
    BoostQueue() {
        void* memory = mmap(nullptr, sizeof(Queue), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw Error("no memory for the queue: " + errno_text(errno));
        queue_ = new (memory) Queue;
    }
    ~BoostQueue() { munmap(static_cast<void*>(queue_), sizeof(Queue)); }
    BoostQueue(const BoostQueue&) = delete;

    void produce(const Job& job) {
        std::vector<Element> batch(job.batch);
        for (uint64_t number = 0; number < job.count;) {
            for (Element& element : batch) {
                write_label(element.label, number);
                fill(element.bytes, size, number++);
            }
            for (size_t done = queue_->push(batch.data(), batch.size()); done < batch.size();) {
                relax();
                done += queue_->push(batch.data() + done, batch.size() - done);
            }
        }
    }
    uint64_t consume(const Job& job) {
        std::vector<Element> batch(job.batch);
        uint64_t total = 0;
        for (uint64_t taken = 0; taken < job.count;) {
            const size_t count = queue_->pop(batch.data(), batch.size());
            for (size_t i = 0; i < count; ++i)
                total += sum(batch[i].bytes, size) + read_label(batch[i].label, taken + i);
            if (count == 0) relax();
            taken += count;
        }
        return total;
    }

  private:
    Queue* queue_;
};

class Pipe {
  public:
    Pipe() {
        if (pipe2(ends_, O_NONBLOCK | O_CLOEXEC) != 0) throw Error("cannot make a pipe: " + errno_text(errno));
        if (fcntl(ends_[1], F_SETPIPE_SZ, static_cast<int>(kFootprint)) < 0)
            throw Error("cannot give a pipe " + std::to_string(kFootprint) + " bytes: " + errno_text(errno));
    }
    ~Pipe() {
        close(ends_[0]);
        close(ends_[1]);
    }
    Pipe(const Pipe&) = delete;

    void produce(const Job& job) {
        std::vector<std::byte> batch(size_t{job.size} * job.batch);
        for (uint64_t number = 0; number < job.count;) {
            for (uint32_t i = 0; i < job.batch; ++i) fill(batch.data() + size_t{i} * job.size, job.size, number++);
            for (size_t done = 0; done < batch.size();) {
                const ssize_t written = write(ends_[1], batch.data() + done, batch.size() - done);
                if (written > 0) done += static_cast<size_t>(written);
                else relax();
            }
        }
    }
    uint64_t consume(const Job& job) {
        std::vector<std::byte> batch(size_t{job.size} * job.batch);
        uint64_t total = 0;
        for (uint64_t left = job.count * job.size, held = 0; left > 0;) {
            const ssize_t count = read(ends_[0], batch.data() + held, batch.size() - held);
            if (count <= 0) {
                relax();
                continue;
            }
            left -= static_cast<uint64_t>(count);
            held += static_cast<uint64_t>(count);
            size_t at = 0;
            for (; at + job.size <= held; at += job.size) total += sum(batch.data() + at, job.size);
            held -= at;
            std::memmove(batch.data(), batch.data() + at, held);  // a message that came in two pieces
        }
        return total;
    }

  private:
    int ends_[2];
};

// --- measuring --------------------------------------------------------------------------------------------------------

/// Words of the two processes of a measurement, so that both start together.
struct Start {
    std::atomic<uint32_t> producer_ready;
    alignas(kCacheLineDistance) std::atomic<uint32_t> go;
};

uint64_t expected_sum(const Job& job) {
    std::vector<std::byte> message(job.size);
    uint64_t total = 0;
    for (uint64_t number = 0; number < job.count; ++number) {
        fill(message.data(), job.size, number);
        total += sum(message.data(), job.size);
    }
    return total;
}

/// Microseconds that the job took, from the common start until the last message was added up.
template <class Transport>
uint64_t measure(const Job& job, uint64_t expected) {
    Transport transport;
    const Job warm_up{job.size, job.batch, 2 * kFootprint / job.size / job.batch * job.batch};
    void* memory = mmap(nullptr, sizeof(Start), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw Error("no memory: " + errno_text(errno));
    auto* start = new (memory) Start{};
    const pid_t child = fork_child([&] {
        pin_to(1);
        transport.produce(warm_up);
        start->producer_ready.store(1, std::memory_order_release);
        while (start->go.load(std::memory_order_acquire) == 0) relax();
        transport.produce(job);
    });
    pin_to(0);
    transport.consume(warm_up);
    while (start->producer_ready.load(std::memory_order_acquire) == 0) relax();
    const uint64_t began_us = monotonic_us();
    start->go.store(1, std::memory_order_release);
    const uint64_t total = transport.consume(job);
    const uint64_t took_us = monotonic_us() - began_us;
    waitpid(child, nullptr, 0);
    munmap(memory, sizeof(Start));
    if (total != expected) throw Error("the sum of all bytes is wrong: messages were lost or damaged");
    return std::max<uint64_t>(took_us, 1);
}

/// A transport with its numbers for one combination of size and batch.
class Contestant {
  public:
    Contestant(const char* its_name, uint64_t (*how)(const Job&, uint64_t)) : name(its_name), measure(how) {}

    const char* name;
    uint64_t (*measure)(const Job&, uint64_t expected);
    Job job{};
    uint64_t expected = 0;
    std::vector<double> per_second{};

    double median() const { return median_of(per_second); }
    /// The median of the ratios to the other's rounds.
    double ratio_to(const Contestant& other) const {
        std::vector<double> ratios;
        for (size_t i = 0; i < per_second.size(); ++i) ratios.push_back(per_second[i] / other.per_second[i]);
        return median_of(std::move(ratios));
    }

  private:
    static double median_of(std::vector<double> values) {
        std::sort(values.begin(), values.end());
        return values[values.size() / 2];
    }
};

template <uint32_t size>
std::vector<Contestant> contestants() {
    return {{"ring", &measure<OurRing>}, {"boost", &measure<BoostQueue<size, NoLabel>>},
            {"labelled", &measure<BoostQueue<size, Label>>}, {"pipe", &measure<Pipe>}};
}

/// Chooses how many messages a round has, so that it takes about the time wanted.
void size_rounds(Contestant& contestant, uint32_t size, uint32_t batch, uint64_t milliseconds) {
    Job job{size, batch, kFirstGuess / batch * batch};
    const uint64_t took_us = contestant.measure(job, expected_sum(job));
    job.count = std::max<uint64_t>(job.count * milliseconds * 1000 / took_us / batch, 1) * batch;
    contestant.job = job;
    contestant.expected = expected_sum(job);
}

struct Settings {
    unsigned rounds;
    uint64_t milliseconds;
    uint64_t only_bytes, only_batch;  ///< 0: all
    bool json;
    bool first_row = true;
};

void print_row(const std::vector<Contestant>& all, uint32_t size, uint32_t batch, Settings& settings) {
    const double ring = all[0].median(), boost = all[1].median(), labelled = all[2].median(), pipe = all[3].median();
    const double to_boost = all[0].ratio_to(all[1]), to_labelled = all[0].ratio_to(all[2]), to_pipe = all[0].ratio_to(all[3]);
    if (settings.json)
        std::printf("%s\n    {\"bytes\": %u, \"batch\": %u, \"ring_per_second\": %.0f, \"boost_per_second\": %.0f, "
                    "\"boost_labelled_per_second\": %.0f, \"pipe_per_second\": %.0f, \"ring_to_boost\": %.3f, "
                    "\"ring_to_boost_labelled\": %.3f}",
                    settings.first_row ? "" : ",", size, batch, ring, boost, labelled, pipe, to_boost, to_labelled);
    else
        std::printf("%7u %6u %10.2f %10.2f %10.2f %10.2f %11.2f %14.2f %10.2f\n", size, batch, ring / 1e6, boost / 1e6,
                    labelled / 1e6, pipe / 1e6, to_boost, to_labelled, to_pipe);
    std::fflush(stdout);
    settings.first_row = false;
}

template <uint32_t size>
void compare(uint32_t batch, Settings& settings) {
    if (settings.only_bytes != 0 && settings.only_bytes != size) return;
    std::vector<Contestant> all = contestants<size>();
    for (Contestant& contestant : all) size_rounds(contestant, size, batch, settings.milliseconds);
    for (unsigned round = 0; round < settings.rounds; ++round)
        for (Contestant& contestant : all) {
            const uint64_t took_us = contestant.measure(contestant.job, contestant.expected);
            contestant.per_second.push_back(static_cast<double>(contestant.job.count) * 1e6 / static_cast<double>(took_us));
        }
    print_row(all, size, batch, settings);
}

void compare_all(Settings settings) {
    if (settings.json)
        std::printf("{\"footprint_bytes\": %" PRIu64 ", \"rounds\": %u, \"results\": [", kFootprint, settings.rounds);
    else
        std::printf("million messages a second, %" PRIu64 " KiB of room each, median of %u rounds in turn\n"
                    "%7s %6s %10s %10s %10s %10s %11s %14s %10s\n",
                    kFootprint / 1024, settings.rounds, "bytes", "batch", "ring", "boost", "labelled", "pipe", "ring/boost", "ring/labelled",
                    "ring/pipe");
    for (const uint32_t batch : kBatches) {
        if (settings.only_batch != 0 && settings.only_batch != batch) continue;
        compare<kSizes[0]>(batch, settings);
        compare<kSizes[1]>(batch, settings);
        compare<kSizes[2]>(batch, settings);
        compare<kSizes[3]>(batch, settings);
    }
    if (settings.json) std::printf("\n]}\n");
}

}  // namespace

int main(int argc, char** argv) {
    bool json = false;
    for (int i = 1; i < argc; ++i) json |= std::string_view(argv[i]) == "--json";
    try {
        if (processors().size() < 2) throw Error("it takes two processors to measure this");
        compare_all({static_cast<unsigned>(std::max<uint64_t>(1, number_option(argc, argv, "--rounds", 15))),
                     number_option(argc, argv, "--milliseconds", 100), number_option(argc, argv, "--bytes", 0),
                     number_option(argc, argv, "--batch", 0), json});
    } catch (const Error& error) {
        std::fprintf(stderr, "ring_bench: %s\n", error.what());
        return 1;
    }
    return 0;
}
