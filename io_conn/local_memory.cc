// MEMORY, but for MEMORY USAGE, which md answers. Runs in io_conn; see local.h.
#include <fmt/format.h>
#include <malloc.h>

#include <string>

#include "io_conn/server_facts.h"

namespace millrace::io_conn {

namespace {

double ratio(uint64_t part, uint64_t whole) { return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole); }
double percent(uint64_t part, uint64_t whole) { return 100 * ratio(part, whole); }
int64_t difference(uint64_t more, uint64_t less) { return static_cast<int64_t>(more) - static_cast<int64_t>(less); }

/// Bytes below which an instance counts as empty, as for Redis.
constexpr uint64_t kWorthALook = 5 * 1024 * 1024;
constexpr double kPeakMuch = 1.5, kActiveMuch = 1.4, kNearLimit = 0.95;
constexpr uint64_t kBuffersMuch = 200 * 1024;  ///< bytes a client, as for Redis

}  // namespace

void local_memory_stats(const LocalCall& call) {
    const ServerFacts facts(call);
    const MemoryFacts memory(facts);
    RespWriter& out = call.out;
    const auto number = [&out](std::string_view name, uint64_t value) { out.bulk(name), out.integer(static_cast<int64_t>(value)); };
    const auto real = [&out](std::string_view name, double value) { out.bulk(name), out.real(value); };
    out.map(23);
    number("peak.allocated", memory.peak);
    number("total.allocated", memory.used);
    number("startup.allocated", 0);  // what is there without data is not counted
    number("replication.backlog", 0);
    number("clients.slaves", 0);
    number("clients.normal", memory.buffers);
    number("aof.buffer", 0);
    number("overhead.total", memory.overhead);
    number("keys.count", memory.keys);
    number("keys.bytes-per-key", memory.keys == 0 ? 0 : memory.used / memory.keys);
    number("dataset.bytes", memory.dataset);
    real("dataset.percentage", percent(memory.dataset, memory.used));
    real("peak.percentage", percent(memory.used, memory.peak));
    number("allocator.allocated", memory.store);
    number("allocator.active", memory.active);
    number("allocator.resident", memory.taken);
    real("allocator-fragmentation.ratio", ratio(memory.active, memory.store));
    out.bulk("allocator-fragmentation.bytes"), out.integer(difference(memory.active, memory.store));
    real("allocator-rss.ratio", ratio(memory.taken, memory.active));
    out.bulk("allocator-rss.bytes"), out.integer(difference(memory.taken, memory.active));
    real("rss-overhead.ratio", ratio(memory.resident, memory.taken));
    real("fragmentation", ratio(memory.resident, memory.used));
    out.bulk("fragmentation.bytes"), out.integer(difference(memory.resident, memory.used));
}

void local_memory_doctor(const LocalCall& call) {
    const ServerFacts facts(call);
    const MemoryFacts memory(facts);
    if (memory.used < kWorthALook)
        return call.out.verbatim(
            fmt::format("Less than {} are in use: too little for anything to be odd about it.\n", human_bytes(kWorthALook)));
    std::string issues;
    if (static_cast<double>(memory.peak) > kPeakMuch * static_cast<double>(memory.used))
        issues += fmt::format(" * Peak memory: this instance has used {} and uses {} now. Freed memory goes back to the system by itself.\n\n", human_bytes(memory.peak),
                              human_bytes(memory.used));
    if (static_cast<double>(memory.active) > kActiveMuch * static_cast<double>(memory.store))
        issues += fmt::format(" * Fragmentation: pages of {} are in use for {} of data, because values of one size came where others had been. New data fills them.\n\n",
                              human_bytes(memory.active), human_bytes(memory.store));
    const uint64_t limit = static_cast<uint64_t>(call.server.live_number(OptionId::maxmemory));
    if (limit != 0 && static_cast<double>(memory.store) > kNearLimit * static_cast<double>(limit))
        issues += fmt::format(" * Limit: {} of maxmemory's {} are used; the policy is {}.\n\n", human_bytes(memory.store), human_bytes(limit),
                              call.server.option_text(OptionId::maxmemory_policy));
    const uint64_t clients = call.server.connections_of_group();
    if (clients != 0 && memory.buffers / clients > kBuffersMuch)
        issues += fmt::format(" * Big client buffers: {} for {} clients; some of them do not read what they are sent, or send large values slowly.\n\n",
                              human_bytes(memory.buffers), clients);
    if (issues.empty()) return call.out.verbatim("Nothing is odd about the memory in use.\n");
    call.out.verbatim("What is odd about the memory in use:\n\n" + issues);
}

/// md gives memory back by itself; what is left to do is this process's own.
void local_memory_purge(const LocalCall& call) {
    malloc_trim(0);
    call.out.ok();
}

void local_memory_malloc_stats(const LocalCall& call) {
    const ServerFacts facts(call);
    const MemoryFacts memory(facts);
    const struct mallinfo2 heap = mallinfo2();
    call.out.verbatim(fmt::format("Store: pages of {} KiB in shared memory, each of one of {} size classes or a part of a large value\n"
                                  "  taken from the system  {}\n  in pages in use        {}\n  allocated              {}\n  index                  {}\n"
                                  "This io_conn: the system's malloc\n  arena      {}\n  mapped     {}\n  in use     {}\n  free       {}\n",
                                  store::kPageBytes / 1024, store::kClasses, memory.taken, memory.active, memory.store,
                                  facts.root_word(offsetof(store::Root, index_pages)) * store::kPageBytes, heap.arena, heap.hblkhd, heap.uordblks, heap.fordblks));
}

}  // namespace millrace::io_conn
