// See loop.h. Runs in md.
#include "md/loop.h"

#include <fmt/format.h>
#include <unistd.h>

#include <bit>
#include <cstdio>
#include <ctime>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/disk/data_folder.h"
#include "common/disk/history_file.h"
#include "common/disk/data_owner.h"
#include "common/paths.h"
#include "md/loader.h"

namespace millrace::md {

namespace {

/// The segment, as a predecessor left it or fresh.
template <class T>
Segment open_or_make(const std::string& path, uint64_t layout, const DaemonArguments& arguments) {
    SegmentSpec spec{path, layout, arguments.instance, arguments.generation, kSegmentPayload + sizeof(T)};
    if (access(path.c_str(), F_OK) == 0) return Segment::attach(spec, Access::read_write);
    Segment segment = Segment::create(spec);
    segment.publish();
    return segment;
}

/// Whether the watchdog has killed the md that served last.
bool was_hung(const Control& control) {
    const uint64_t epoch = control.md_epoch.load(std::memory_order_relaxed);
    return epoch != 0 && control.killed_by_watchdog.load(std::memory_order_relaxed) == epoch;
}

/// Of a store that is made.
uint64_t oplog_bytes(const Options& options) {
    const auto configured = static_cast<uint64_t>(options.number(OptionId::oplog_size));
    if (configured != 0) return std::bit_ceil(std::max(configured, StoreSegment::kOplogBytesMin));
    return options.number(OptionId::appendonly) != 0 ? StoreSegment::kOplogBytesWithLog : StoreSegment::kOplogBytes;
}

uint64_t thread_cpu_us() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

}  // namespace

Loop::Loop(Daemon& daemon, Lease& lease, LoadHelpers helpers)
    : daemon_(daemon),
      load_helpers_(std::move(helpers)),
      store_segment_(paths::store(daemon.dir()), daemon.arguments().instance, daemon.arguments().generation,
                     oplog_bytes(daemon.options()), was_hung(*lease.control_segment().payload<Control>()), lease.take_store()),
      marks_segment_(paths::marks(daemon.dir()), daemon.arguments().instance, daemon.arguments().generation, store_segment_.bytes()),
      engine_(store_segment_.memory(), marks_segment_.marks(daemon.arguments().generation)),
      live_(daemon.options()) {
    const DaemonArguments& arguments = daemon.arguments();
    inherit_counters();
    engine_.counters = Counters<MdCounter>(paths::counters(daemon.dir(), "md", arguments.index), "md", arguments.index,
                                           arguments.instance, arguments.generation);
    engine_.store.set_reserve(kReservePages);
    if (!engine_.store.adopt_options(daemon.options())) throw Error("there is no shared memory left for the options");
    engine_.plan.set_databases(static_cast<unsigned>(daemon.options().number(OptionId::databases)));
    engine_.plan.set_progress(lease.control_segment().payload<Control>()->md_turns);
    use_options();
    control_ = lease.control_segment().payload<Control>();
    open_roster();
    engine_.log = LogLink(daemon.dir(), arguments.instance, arguments.generation, store_segment_.generation(),
                          daemon.options().number(OptionId::appendonly) != 0 && daemon.options().number(OptionId::appendfsync) == 0);
    engine_.repl = ReplLink(daemon.dir(), arguments.instance, arguments.generation);
    engine_.pair.open(daemon.dir(), engine_.repl.words());
    engine_.dir = daemon.dir();
    engine_.instance = arguments.instance;
    engine_.diagnostics = Diagnostics(paths::diagnostics(daemon.dir(), "md", arguments.index), arguments.instance, arguments.generation, *roster_);
    engine_.follow_resets();
    engine_.store.set_readers(Readers(*roster_, &engine_.log.words()));
    fifo_ = Fifo(paths::md_fifo(daemon.dir()));
    fifo_.prepare_to_wait(paths::md_fifo(daemon.dir()));
    daemon.wake_on_signal(fifo_.descriptor());
    engine_.counters.set(MdCounter::start_time, static_cast<uint64_t>(std::time(nullptr)));
    engine_.counters.set(MdCounter::restarts, arguments.restarts);
}

void Loop::open_roster() {
    roster_segment_ = open_or_make<Roster>(paths::roster(daemon_.dir()), kRosterLayout, daemon_.arguments());
    roster_ = roster_segment_.payload<Roster>();
    parker_ = Parker(control_->md_park);
    control_->md_pid.store(static_cast<uint32_t>(getpid()), std::memory_order_relaxed);
}

/// The counters of the md before, whose place was another, become this one's: the totals that clients see go on, and no memory
/// is needed for them when there is none.
void Loop::inherit_counters() {
    const unsigned own = daemon_.arguments().index;
    for (unsigned index = 0; index < kMdPlaces; ++index)
        if (index != own)
            for (const auto path : {paths::counters, paths::diagnostics})
                std::rename(path(daemon_.dir(), "md", index).c_str(), path(daemon_.dir(), "md", own).c_str());
}

/// Everything that clients may have missed is theirs before anybody hears of the new md.
void Loop::take_over() {
    const uint64_t epoch = control_->md_epoch.load(std::memory_order_relaxed) + 1;
    look_at_roster();
    control_->md_epoch.store(epoch, std::memory_order_release);
    engine_.counters.set(MdCounter::epoch, epoch);
    publish_keyspace(engine_, ~0u);
    for (auto& channel : channels_)  // whoever waited for a predecessor has to hear of this one
        if (channel) channel->wake_always();
    if (store_segment_.found())
        log::verbose("the store was taken over with commit {}{}", engine_.store.memory().root().number,
                    engine_.store.recovered() ? ", which was finished" : "");
    if (store_segment_.found() && !daemon_.was_standby()) daemon_.report_kept(what_was_found());
}

/// For people.
std::string Loop::what_was_found() const {
    uint64_t keys = 0;
    for (unsigned database = 0; database < kDatabases; ++database) keys += engine_.store.keys(database);
    return fmt::format("{} key{} in {:.1f} MB of shared memory", keys, keys == 1 ? "" : "s", static_cast<double>(engine_.store.taken_bytes()) / (1 << 20));
}

/// A store that was made anew gets what the disk has. io_conn and md_log start meanwhile, and answer that the data is loaded.
void Loop::load() {
    if (store_segment_.found()) return look_at_data_owner();
    uint64_t told_us = 0;
    const std::string folder = disk::data_folder(daemon_.dir());
    if (disk::sync_is_complete(folder) && !disk::adopt_sync(folder))
        throw Error("the data that came from the master cannot be moved from " + disk::sync_folder_path(folder) + ": " + errno_text(errno));
    LogWords& words = engine_.log.words();
    Loader loader(engine_.store, folder, daemon_.arguments().repair, std::move(load_helpers_.reader), [&](uint64_t bytes, uint64_t all) {
        words.load_bytes.store(all, std::memory_order_relaxed);
        words.load_bytes_done.store(bytes, std::memory_order_relaxed);
        if (monotonic_us() - told_us < kTellEveryUs) return;
        told_us = monotonic_us();
        daemon_.beat();
        daemon_.report_loading(fmt::format("{} % of {:.1f} GB", all == 0 ? 0 : bytes * 100 / all, static_cast<double>(all) / 1e9));
        if (daemon_.stopping()) throw Error("stopped while the data was loaded");
    });
    if (!loader.has_data()) return;
    words.load_began_s.store(static_cast<uint64_t>(std::time(nullptr)));
    words.loading.store(1, std::memory_order_release);
    daemon_.report_loading("beginning");
    store_segment_.back_ahead(std::move(load_helpers_.backer), engine_.store.frontier_bytes());
    loader.run();
    store_segment_.end_backing_ahead();
    words.loading.store(0, std::memory_order_release);
    log::notice("{}", loader.report());
    daemon_.report_kept(loader.report());
}

/// What this store's data is called, if nobody has said it yet.
void Loop::name_history() {
    if (!engine_.store.history().empty()) return;
    const std::string folder = disk::data_folder(daemon_.dir());
    const disk::History named{random_history(), {}, 0, engine_.store.is_following()};
    engine_.store.begin_history(named.history);
    if (!engine_.store.commit()) throw Error("there is no shared memory left");
    if (!disk::write_history(folder, named)) log::warning("the file history cannot be written in {}: {}; who follows gets all data anew after a start from disk", folder, errno_text(errno));
}

/// Only the first md of a group looks: from its word on md_log writes to the folder.
void Loop::look_at_data_owner() const {
    if (control_->md_epoch.load(std::memory_order_relaxed) != 0) return;
    const st::Root& root = engine_.store.memory().root();
    const std::string why = disk::why_not_its_data(disk::data_folder(daemon_.dir()), daemon_.arguments().instance, root.number, root.log_loaded);
    if (!why.empty()) throw Error(why);
}

void Loop::run(uint64_t limit_us) {
    load();
    name_history();
    engine_.pair.begin(engine_.store, disk::data_folder(daemon_.dir()));
    take_over();
    // In amnesia mode the supervisor keeps to what it was told first: roles that change 50 times a second are no news.
    if (limit_us == 0 || !daemon_.was_standby()) daemon_.report_ready();
    if (limit_us == 0) log::notice("serving");
    const uint64_t began_us = monotonic_us();
    served_well_at_us_ = began_us + kServedWellUs;
    // A large request that has arrived in part starts over with the next md: it must get through at some time.
    const auto over = [&](uint64_t us) {
        return us >= limit_us && (engine_.assembly_budget.used == 0 || us >= kLargeRequestPatienceUs);
    };
    while (!daemon_.stopping() && (limit_us == 0 || !over(monotonic_us() - began_us))) turn();
}

void Loop::turn() {
    begin_turn();
    daemon_.beat();
    daemon_.answer_roll_call();
    look_at_roster();
    const bool releases = engine_.log.follow(engine_.store, engine_.repl.needs_log());
    bool served = serve_channels();
    served |= engine_.pair.turn(engine_.store, turn_began_us_);
    if (engine_.store.window().is_of_pair()) publish_pair();
    if (engine_.pair.shows_more(engine_.store))
        for (auto& channel : channels_)
            if (channel) channel->wake();
    engine_.log.publish(engine_.store, engine_.repl.needs_log());
    engine_.log.words().changes.store(engine_.counters.get(MdCounter::changes), std::memory_order_relaxed);
    const bool busy = keep_house() | engine_.checksums.tend(engine_.store, engine_.repl, engine_.log, turn_began_us_);
    end_turn();
    if (engine_.reload_wanted) reload();
    if (!served && !busy && !releases) park();
}

void Loop::publish_pair() {
    const st::PairWords& words = engine_.store.memory().root().pair;
    const auto standing = st::PairStanding::from(words.standing);
    engine_.counters.set(MdCounter::pair_role, static_cast<uint64_t>(standing.role));
    engine_.counters.set(MdCounter::pair_state, static_cast<uint64_t>(standing.state));
    engine_.counters.set(MdCounter::pair_open_changes, words.changes);
    engine_.counters.set(MdCounter::pair_windows_undone, words.windows_undone);
}

/// The next md finds a store that is to be thrown away. Throws Error.
void Loop::reload() {
    engine_.store.begin_loading();
    throw Error("the master's data is loaded; this md makes room for the one that does");
}

void Loop::begin_turn() {
    engine_.counters.add(MdCounter::turns);
    control_->md_turns.fetch_add(1, std::memory_order_relaxed);
    turn_began_us_ = monotonic_us();
    engine_.store.marks().look(engine_.store.memory());
    engine_.follow_options();
    use_options();
    if (turn_began_us_ - cpu_read_at_us_ < kCpuClockEveryUs) return;
    cpu_read_at_us_ = turn_began_us_;
    cpu_us_ = thread_cpu_us();
}

/// Acts on what CONFIG SET has changed. What is not mentioned here is looked up when it is needed.
void Loop::use_options() {
    const StoreMemory& memory = engine_.store.memory();
    if (!live_.look([&memory](uint64_t at) { return memory.load(at); })) return;
    log::set_level(option_text(option_row(OptionId::loglevel), live_.number(OptionId::loglevel)));
    engine_.assembly_budget.limit = static_cast<uint64_t>(live_.number(OptionId::assembly_memory));
}

void Loop::end_turn() {
    if (monotonic_us() - turn_began_us_ < kLongTurnUs) return;
    longest_turn_cpu_us_ = std::max(longest_turn_cpu_us_, thread_cpu_us() - cpu_us_);
    engine_.counters.set(MdCounter::longest_turn_cpu_us, longest_turn_cpu_us_);
    cpu_read_at_us_ = 0;
}

void Loop::look_at_roster() {
    const uint64_t changes = roster_->changes.load(std::memory_order_acquire);
    if (changes == seen_changes_) return;
    seen_changes_ = changes;
    uint64_t attached = 0, present = 0;
    for (unsigned i = 0; i < kMaxIoConns; ++i) {
        const RosterLine& line = roster_->lines[i];
        const uint64_t generation = line.generation.load(std::memory_order_acquire);
        const bool absent = line.state.load(std::memory_order_relaxed) == static_cast<uint32_t>(IoConnState::absent);
        if (channels_[i] && (absent || channels_[i]->generation() != generation)) channels_[i].reset();
        if (absent) detach(i);
        if (!absent && !channels_[i] && generation != 0 && generation != refused_generation_[i]) attach(i, generation);
        if (channels_[i]) highest_ = std::max(highest_, i + 1);
        attached += channels_[i] != nullptr;
        present += !absent;
    }
    store_segment_.set_spare(present * (2 * static_cast<uint64_t>(daemon_.options().number(OptionId::ring_size)) + kIoConnBytes));
    engine_.counters.set(MdCounter::channels, attached);
}

void Loop::attach(unsigned index, uint64_t generation) {
    try {
        Channel channel = Channel::attach(paths::rings(daemon_.dir(), index), daemon_.arguments().instance, generation);
        Bell bell(roster_->lines[index].park, Fifo(paths::io_conn_fifo(daemon_.dir(), index)));
        if (engine_.store.channel(index).generation != generation) {
            engine_.store.reset_channel(index, generation);
            if (!engine_.store.commit()) throw Error("there is no shared memory left");
        }
        channels_[index] = std::make_unique<ChannelServer>(engine_, index, std::move(channel), generation, std::move(bell));
        engine_.counters.add(MdCounter::channels_opened);
        log::verbose("channel of io_conn {} attached, generation {}", index, generation);
    } catch (const Error& error) {
        refused_generation_[index] = generation;
        engine_.counters.add(MdCounter::channels_refused);
        log::warning("io_conn {} is not served: {}", index, error.what());
    }
}

/// An io_conn has gone for good: what its connections were owed goes with it.
void Loop::detach(unsigned index) {
    if (engine_.store.channel(index).generation == 0) return;
    engine_.store.reset_channel(index, 0);
    if (!engine_.store.commit()) log::warning("no shared memory to let go of io_conn {}: tried again at the next change", index);
}

bool Loop::serve_channels() {
    bool worked = false;
    stalled_ = false;
    if (++next_ >= highest_) next_ = 0;
    for (unsigned turn = 0, i = next_; turn < highest_; ++turn, i = i + 1 == highest_ ? 0 : i + 1) {
        ChannelServer* channel = channels_[i].get();
        if (channel == nullptr) continue;
        if (!roster_->lines[i].owner_lives(channel->generation())) {
            refused_generation_[i] = channel->generation();  // nothing more of it is executed
            channels_[i].reset();
            continue;
        }
        const ChannelServer::Turn result = channel->serve(turn_began_us_ + kTurnBudgetUs);
        worked |= result == ChannelServer::Turn::worked;
        stalled_ |= result == ChannelServer::Turn::stalled;
        if (result != ChannelServer::Turn::faulty) continue;
        log::warning("the channel of io_conn {} is closed: {}; it is served again when that process has restarted", i,
                     channel->fault());
        engine_.counters.add(MdCounter::channels_refused);
        refused_generation_[i] = channel->generation();
        channels_[i].reset();
    }
    return worked;
}

/// True when there is more to do at once.
bool Loop::keep_house() {
    Store& store = engine_.store;
    store.marks().look(store.memory());  // a request may have changed the policy
    const bool more = store.free_some(kFreeSliceEntries) || store.give_back_some(kGiveBackSlicePages);
    const uint64_t now_us = monotonic_us();
    // Once nothing is left to free, the gauges say so before md parks.
    const bool freed_all = freeing_ && !more;
    freeing_ = more;
    const bool due = now_us >= next_housekeeping_us_;
    if (due) engine_.meter.adjust();
    if (due || freed_all) {
        while (store.fill_reserve_some()) {}
        if (due && engine_.log.has_room(store) && !store.is_following()) store.drop_empty_index();
        publish_keyspace(engine_, ~0u);
        engine_.counters.set(MdCounter::store_bytes, store.taken_bytes());
        engine_.counters.set(MdCounter::commits, store.memory().root().number);
        if (now_us >= served_well_at_us_) engine_.poison.served_well();
    }
    if (due) {
        const ResidentMemory::Bytes resident = memory_.read();
        engine_.counters.set(MdCounter::resident_bytes, resident.all);
        engine_.counters.set(MdCounter::resident_shared_bytes, resident.shared);
        expiry_left_us_ = store.any_expiry() ? kExpiryUs : 0;
        next_housekeeping_us_ = now_us + kHousekeepingMs * 1000;
    }
    const bool tends = tend_marks(due);
    if (st::PauseWord::from(store.memory().root().pause).until_ms > wall_ms()) return more || tends;  // nothing changes in a CLIENT PAUSE
    const bool evicts = evict();
    return expire() || more || evicts || tends;
}

/// True when there is more to evict at once.
bool Loop::evict() {
    if (engine_.store.is_passive() || engine_.store.window().is_full() || !engine_.log.has_room(engine_.store) || !engine_.evictor.over_limit() || engine_.store.policy() == EvictionPolicy::noeviction) return false;
    const uint64_t began_us = monotonic_us();
    const Evictor::Outcome outcome = engine_.evictor.make_room(kEvictUs);
    engine_.meter.note_cycle(engine_.diagnostics, LatencyEvent::eviction_cycle, monotonic_us() - began_us);
    publish_evictions(engine_);
    return outcome == Evictor::Outcome::time_over;
}

/// What waits, for readers or for memory, is tried again when housekeeping is due.
bool Loop::tend_marks(bool due) {
    if (!due && !tending_) return false;
    tending_ = engine_.store.tend_marks(kTendMarksPages);
    return tending_;
}

/// A slice of expiry; true when another is to follow at once.
bool Loop::expire() {
    if (expiry_left_us_ == 0 || engine_.store.is_passive() || engine_.store.window().is_full() || !engine_.store.expiry_is_on() || !engine_.log.has_room(engine_.store)) return false;
    const uint64_t began_us = monotonic_us();
    const unsigned expired = engine_.store.expire_some(wall_ms(), kExpirySliceWork);
    engine_.meter.note_cycle(engine_.diagnostics, LatencyEvent::expire_cycle, monotonic_us() - began_us);
    if (expired != 0) {
        engine_.counters.add(MdCounter::expired_keys, expired);
        publish_keyspace(engine_, ~0u);
    }
    if (expired >= kManyExpired) return true;
    const uint64_t took_us = std::max<uint64_t>(monotonic_us() - began_us, 1);
    expiry_left_us_ = engine_.store.expiry_pass_ended() || took_us >= expiry_left_us_ ? 0 : expiry_left_us_ - took_us;
    return expiry_left_us_ != 0;
}

bool Loop::anything_to_do() {
    if (roster_->changes.load(std::memory_order_acquire) != seen_changes_ || daemon_.stopping()) return true;
    for (unsigned i = 0; i < highest_; ++i)
        if (channels_[i] && channels_[i]->has_work()) return true;
    return false;
}

void Loop::park() {
    engine_.log.want_room(!engine_.log.has_room(engine_.store));
    parker_.begin_park();
    if (!anything_to_do()) {
        engine_.counters.add(MdCounter::parks);
        // With requests that wait for others it turns now and then, or it would look as if it hung (md/lease.h).
        fifo_.wait(stalled_ || engine_.pair.waits(engine_.store) || engine_.log.wants_room() || engine_.store.any_expiry() || engine_.store.waits_for_readers() || engine_.store.marks_wait() ? kHousekeepingMs : -1);
    }
    parker_.end_park();
}

}  // namespace millrace::md
