// See window.h. Runs in md.
#include "md/window.h"

#include "common/check.h"
#include "md/seeded_bugs.h"

namespace millrace::md {

namespace {

/// Walks along the list are bounded by the window: kChangesMax entries and one operation.
constexpr uint64_t kNothing = 0;

}  // namespace

void Window::look() {
    const auto standing = st::PairStanding::from(memory_.load(memory_.offset_of(&words().standing)));
    on_ = standing.role != PairRole::none && !standing.alone;
    incomplete_ = standing.role != PairRole::none && !st::is_complete(standing.state);
    alone_ = standing.role != PairRole::none && standing.alone;
    in_sync_ = standing.state == PairState::in_sync;
    const bool takes_writes = standing.role == PairRole::primary && (standing.alone ? standing.state == PairState::warm && words().link == 0 : in_sync_);
    passive_ = standing.role != PairRole::none && !takes_writes;
}

uint64_t Window::bytes_of(const st::WindowEntry& of) const {
    const uint64_t was = read(of.was);
    return sizeof of + (of.kind() == st::WindowKind::item && was != kNothing ? items_.memory_of(was) : 0);
}

void Window::add(st::WindowKind kind, unsigned database, unsigned other, uint64_t was, uint64_t became, uint64_t hash, uint64_t stream) {
    const uint64_t reference = allocator_.allocate(sizeof(st::WindowEntry), Allocator::Need::urgent);
    if (reference == 0) {
        failed_ = true;
        return;
    }
    st::WindowEntry& made = entry(reference);
    const uint64_t newest = read(words().newest), number = committer_.next_number();
    set_.write(&made.newer, kNothing);
    memory_.store(&made.older, newest);
    memory_.store(&made.number, number);
    memory_.store(&made.stream, stream == 0 ? number : stream);
    memory_.store(&made.epoch.counts, read(words().epoch.counts));
    memory_.store(&made.epoch.run, read(words().epoch.run));
    memory_.store(&made.what, st::WindowEntry::what_of(kind, database, other));
    memory_.store(&made.was, was);
    memory_.store(&made.became, became);
    memory_.store(&made.hash, hash);
    if (newest != kNothing) set_.write(&entry(newest).newer, reference);
    else set_.write(&words().oldest, reference);
    if (read(words().first_open) == kNothing) {
        set_.write(&words().first_open, reference);
        if (read(words().shown) >= number) set_.write(&words().shown, number - 1);
    }
    set_.write(&words().newest, reference);
    set_.add(&words().changes, 1);
    set_.add(&words().bytes, bytes_of(made));
}

void Window::keep_item(unsigned database, uint64_t hash, uint64_t was, uint64_t became, uint64_t stream) {
    add(st::WindowKind::item, database, 0, was, became, hash, stream);
}

void Window::keep_clear(unsigned database, uint64_t cleared, uint64_t keys, uint64_t expires, uint64_t stream) {
    add(st::WindowKind::clear, database, 0, cleared, keys, expires, stream);
}

void Window::keep_swap(unsigned one, unsigned other, uint64_t stream) { add(st::WindowKind::swap, one, other, 0, 0, 0, stream); }

bool Window::is_named(const st::WindowEntry& of, PairEpoch epoch, uint64_t above) const {
    return read(of.stream) > above && (epoch.is_none() || PairEpoch::from(read(of.epoch.counts), read(of.epoch.run)) == epoch);
}

WindowFacts Window::facts(const VoidRecord& record) const {
    WindowFacts found;
    const uint64_t newest = read(words().newest);
    if (read(words().first_open) == kNothing) return found;
    found.any = true;
    found.own = is_named(entry(newest), words().epoch.epoch(), 0);
    if (!record.is_none() && is_named(entry(newest), record.epoch, record.cut)) found.newest = read(entry(newest).stream);
    return found;
}

bool Window::has_open(unsigned database, std::string_view key, uint64_t hash) const {
    const uint64_t first = read(words().first_open);
    if (first == kNothing) return false;
    for (uint64_t at = read(words().newest);; at = read(entry(at).older)) {
        const st::WindowEntry& each = entry(at);
        switch (each.kind()) {
            case st::WindowKind::clear:
                if (each.database() == database) return true;
                break;
            case st::WindowKind::swap:
                if (each.database() == database || each.other() == database) return true;
                break;
            case st::WindowKind::item: {
                if (each.database() != database || read(each.hash) != hash) break;
                const uint64_t item = read(each.became) != kNothing ? read(each.became) : read(each.was);
                if (items_.key_equals(item, key)) return true;
                break;
            }
        }
        if (at == first) return false;
    }
}

void Window::confirm(uint64_t up_to) {
    uint64_t at = read(words().first_open);
    if (at == kNothing || read(entry(at).stream) > up_to) return;
    while (at != kNothing && read(entry(at).stream) <= up_to) at = read(entry(at).newer);
    set_.write(&words().first_open, at);
}

bool Window::release_some(unsigned limit) {
    const uint64_t first_open = read(words().first_open);
    uint64_t at = read(words().oldest);
    if (at == first_open) return false;
    for (; limit > 0 && at != first_open; --limit) {
        const st::WindowEntry& each = entry(at);
        const uint64_t was = read(each.was), next = read(each.newer);
        set_.add(&words().bytes, 0 - bytes_of(each));
        set_.add(&words().changes, 0 - uint64_t{1});
        if (each.kind() == st::WindowKind::clear) items_.push_garbage(was);
        else if (each.kind() == st::WindowKind::item && was != kNothing) items_.release(was);
        allocator_.free(at);
        at = next;
    }
    set_.write(&words().oldest, at);
    if (at == kNothing) set_.write(&words().newest, kNothing);
    else set_.write(&entry(at).older, kNothing);
    return at != first_open;
}

/// A slot gets back what it had.
bool Window::undo_item(const st::WindowEntry& of, std::optional<MissingSlot>& missing) {
    const unsigned database = of.database();
    const st::DatabaseWords& counts = memory_.root().databases[database];
    const st::KeyPlace place{read(of.hash)};
    const uint64_t was = read(of.was), became = read(of.became);
    const bool expires = was != kNothing && items_.expiry_of(was) != kNoExpiry;
    bool expired_before = false;
    if (became != kNothing) {
        const auto found = index_.find(database, place, [&](uint64_t item) { return item == became; });
        CHECK(found);  // what is newer was undone before
        expired_before = found->content.expires;
        if (was != kNothing) index_.replace(*found, was, expires);
        else index_.erase(*found);
        if (was == kNothing) oplog_.add_erase(database, items_.key_of(became));
        items_.release(became);
    } else if (!index_.insert(database, place, was, expires)) {
        missing = MissingSlot{database, place};
        return false;
    }
    set_.add(&counts.keys, uint64_t{was != kNothing} - uint64_t{became != kNothing});
    set_.add(&counts.expires, uint64_t{expires} - uint64_t{expired_before});
    if (was != kNothing) oplog_.add_set(database, items_.key_of(was), items_.value_of(was), was);
    return true;
}

/// The database gets its index back; the one that it has now, which has no keys, goes in its place.
void Window::undo_clear(const st::WindowEntry& of) {
    const st::DatabaseWords& counts = memory_.root().databases[of.database()];
    const uint64_t chunk = read(of.was);
    const st::ClearedDatabase& cleared = *memory_.as<st::ClearedDatabase>(chunk);
    const st::Route before = st::Route::from(read(cleared.route)), now = index_.route_of(of.database());
    set_.write(&counts.route, now.next(before.directory, before.depth).word());
    set_.write(&counts.keys, read(of.became));
    set_.write(&counts.expires, read(of.hash));
    set_.write(&memory_.root().routed_at, committer_.next_number());
    undid_clear_ = true;
    if (now.directory == 0) return allocator_.free(chunk);
    set_.write(&cleared.route, now.word());
    items_.push_garbage(chunk);
}

bool Window::undo(PairEpoch epoch, uint64_t above, std::optional<MissingSlot>& missing) {
    undone_ = {};
    undid_clear_ = false;
    const uint64_t first = read(words().first_open);
    uint64_t at = read(words().newest), count = 0, bytes = 0;
    bool all = false;
    while (first != kNothing && !all && is_named(entry(at), epoch, above)) {
        const st::WindowEntry& each = entry(at);
        bytes += bytes_of(each);
        ++count;
        if (undone_.to == 0) undone_.to = read(each.number);
        undone_.from = read(each.number) - 1;
        switch (each.kind()) {
            case st::WindowKind::item:
                if (!undo_item(each, missing)) return false;
                break;
            case st::WindowKind::clear: undo_clear(each); break;
            case st::WindowKind::swap:
                index_.swap_routes(each.database(), each.other(), committer_.next_number());
                oplog_.add_swap(each.database(), each.other());
                break;
        }
        all = at == first;
        const uint64_t older = read(each.older);
        allocator_.free(at);
        at = older;
    }
    if (count == 0) return true;
    set_.write(&words().newest, at);
    if (at == kNothing) set_.write(&words().oldest, kNothing);
    else set_.write(&entry(at).newer, kNothing);
    if (all) set_.write(&words().first_open, kNothing);
    set_.add(&words().changes, 0 - count);
    set_.add(&words().bytes, 0 - bytes);
    set_.add(&words().windows_undone, 1);
    set_.add(&words().changes_undone, count);
    return true;
}

}  // namespace millrace::md
