// Requests of a pipeline that are answered by reading the store (direct_reader.h). Part of Server (server.h).
//
// Reads that follow each other are collected and read together, so that the cache misses of all of them are under way at the same
// time. Nothing waits for that: what the socket has given is all there is.
#include <algorithm>
#include <utility>

#include "io_conn/direct_commands.h"
#include "io_conn/seeded_bugs.h"
#include "io_conn/server.h"

namespace millrace::io_conn {

namespace {

/// Keys of a request with so many arguments (without the command's name).
size_t keys_of(const CommandRow& row, size_t arguments) {
    if (row.last_key == 1) return 1;
    return (arguments + static_cast<size_t>(row.key_step) - 1) / static_cast<size_t>(row.key_step);
}

bool may_read_directly(const Connection& connection) {
    return !connection.stranger && connection.muted == Muted::no && connection.transaction == nullptr && (kSeededReaderBug == SeededReaderBug::reader_overtakes_writes || !connection.replies_owed());
}

}  // namespace

/// False: the request is not for direct reading, or not now (N5). `begin`: where it begins in the input.
bool Server::queue_direct(Connection& connection, const CommandRow& row, Arguments words, size_t begin) {
    if (paused_all_ || loading_ || stale_) return false;
    const DirectHandler handler = direct_command(row.id).handler;
    if (handler == nullptr || !row.accepts(words.size())) return false;
    // While reads are only collected nothing changes that may_read_directly() looks at.
    if (pending_reads_.empty() && !may_read_directly(connection)) return false;
    const Arguments arguments = words.subspan(1);
    const size_t keys = keys_of(row, arguments.size());
    if (keys > kDirectKeysMax) return false;
    pending_reads_.push_back({&row, handler, begin, static_cast<uint32_t>(pending_arguments_.size()), static_cast<uint32_t>(arguments.size()),
                              static_cast<uint32_t>(pending_keys_.size()), static_cast<uint32_t>(keys)});
    for (const std::string_view argument : arguments) pending_arguments_.push_back(argument);
    for (size_t key = 0; key < keys; ++key) pending_keys_.emplace_back(arguments[key * static_cast<size_t>(row.key_step)], connection.database);
    return true;
}

/// Answers what is pending, which ends at `end` of the input. Returns up to where the input is done with: less than `end` if
/// the rest has to wait.
size_t Server::run_direct(Connection& connection, size_t end) {
    const uint64_t began = ticks();
    direct_.begin();
    direct_.find(pending_keys_);
    size_t done = end;
    bool all_direct = true;  // then only the output has grown since consume() and queue_direct() have asked
    for (PendingRead& read : pending_reads_) {
        if ((!all_direct || connection.output.size() > kOutputLimit / 2) && !may_execute(connection)) {
            done = read.begin;
            break;
        }
        // Once one has gone to md the others follow it: no read may overtake an earlier one.
        read.answered = (all_direct || may_read_directly(connection)) && answer_direct(connection, read);
        if (read.answered) continue;
        all_direct = false;
        const Executed executed = execute_in_md(connection, *read.row, std::span(pending_arguments_).subspan(read.first_argument, read.arguments));
        if (executed == Executed::yes) continue;
        if (executed == Executed::not_now) done = read.begin;
        break;
    }
    direct_.end();
    if (direct_answers_ != 0) {
        account_direct(connection, ticks() - began);
        make_dirty(connection);
        counters_.add(IoCounter::keyspace_hits, std::exchange(direct_hits_, 0));
        counters_.add(IoCounter::keyspace_misses, std::exchange(direct_misses_, 0));
        counters_.add(IoCounter::commands, direct_answers_);
        counters_.add(IoCounter::direct_reads, std::exchange(direct_answers_, 0));
    }
    pending_reads_.clear();
    pending_arguments_.clear();
    pending_keys_.clear();
    return done;
}

/// They were answered together, so each counts as an equal share of the time.
void Server::account_direct(const Connection& connection, uint64_t elapsed) {
    const uint64_t share = elapsed / direct_answers_;
    const CommandRow* row = nullptr;
    uint64_t calls = 0;
    for (const PendingRead& read : pending_reads_) {
        if (!read.answered) continue;
        if (meter_.is_long(share)) {
            std::vector<std::string_view> words(1, read.row->name);
            const auto arguments = std::span(pending_arguments_).subspan(read.first_argument, read.arguments);
            words.insert(words.end(), arguments.begin(), arguments.end());
            if (meter_.end_after(diagnostics_, read.row->id, share, false)) note_command(connection, *read.row, words);
            continue;
        }
        if (read.row != row && calls != 0) {
            meter_.end_many(diagnostics_, row->id, share * calls, calls);
            calls = 0;
        }
        row = read.row;
        ++calls;
    }
    if (calls != 0) meter_.end_many(diagnostics_, row->id, share * calls, calls);
}

/// False: md has to answer. run_direct() has looked the keys up for the first attempt.
bool Server::answer_direct(Connection& connection, const PendingRead& read) {
    const std::span keys = std::span(pending_keys_).subspan(read.first_key, read.keys);
    const size_t before = connection.output.size();
    for (unsigned attempt = 0; attempt < DirectReader::kAttempts; ++attempt) {
        if (attempt != 0) {
            counters_.add(IoCounter::direct_retries);
            direct_.refresh();
            direct_.find(keys);
        }
        RespWriter out(connection.output, connection.resp3);
        const DirectCall call{std::span(pending_arguments_).subspan(read.first_argument, read.arguments), keys, direct_, out};
        const bool stable = std::ranges::all_of(keys, &DirectLookup::stable);
        if (!stable && std::ranges::any_of(keys, &DirectLookup::not_durable)) {
            counters_.add(IoCounter::direct_not_durable);
            return false;  // md's answer waits for the disk
        }
        const DirectOutcome outcome = stable ? read.handler(call) : DirectOutcome::changed;
        if (outcome == DirectOutcome::answered && direct_.validate(keys)) {
            uint64_t hits = 0;
            for (const DirectLookup& key : keys) hits += key.item != 0;
            if (direct_command(read.row->id).uses_its_keys && (connection.flags & client_flag::no_touch) == 0) direct_.use(keys);
            direct_hits_ += hits;
            direct_misses_ += keys.size() - hits;
            ++direct_answers_;
            connection.last_command = static_cast<uint16_t>(read.row->id);
            return true;
        }
        connection.output.truncate(before);
        if (outcome != DirectOutcome::not_here) continue;
        counters_.add(IoCounter::direct_too_large);
        return false;
    }
    counters_.add(IoCounter::direct_fallbacks);
    return false;
}

}  // namespace millrace::io_conn
