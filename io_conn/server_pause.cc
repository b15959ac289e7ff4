// CLIENT PAUSE. Part of Server (server.h).
//
// md writes the pause into the store as one word, and each io_conn looks at the word once a turn and holds back by itself what has to wait.
//   U1  An io_conn says in its roster line which word it follows (`pause_followed`, release): it holds back what that word says, and md has
//       executed all that it handed over before it looked. What md takes is executed and committed before the ring's head says so.
//   U2  CLIENT PAUSE, or an EXEC with one, is answered when every io_conn that is there follows the word that the store has then. So nothing
//       that has to wait is executed after the answer.
//   U3  A stopped io_conn holds the answer up for kPeerPatienceUs at most. What it had begun to hand over may be executed after it.
#include "common/clock.h"
#include "common/log.h"
#include "io_conn/server.h"

namespace millrace::io_conn {

bool Server::waits_for_pause(const Connection& connection, const CommandRow& row) const {
    if (connection.linked) return false;
    if (paused_all_) return true;
    if (row.id == CommandId::exec) return connection.transaction != nullptr && connection.transaction->writes;
    return may_write(row);
}

/// Reads the word of CLIENT PAUSE, and the clock while there is a pause.
void Server::look_at_pause() {
    const uint64_t word = link_.store().load(store::kPauseAt);
    if (word == pause_word_ && !paused_ && !pause_unfollowed_) return;
    if (word != pause_word_) {
        pause_word_ = word;
        pause_seen_at_us_ = monotonic_us();
        handed_over_before_pause_ = link_.position();
        pause_unfollowed_ = true;
    }
    const store::PauseWord pause = store::PauseWord::from(word);
    paused_ = word != 0 && pause.until_ms > wall_ms();
    paused_all_ = paused_ && pause.all;
    if (pause_unfollowed_) follow_pause();
}

/// U1. What is large goes over in pieces, and is executed once md has the last one.
void Server::follow_pause() {
    bool hands_over = false;
    for (size_t slot = 0; slot < connections_.slots() && !hands_over; ++slot) hands_over = connections_.at(slot).open() && connections_.at(slot).outgoing != nullptr;
    if (hands_over) handed_over_before_pause_ = link_.position();
    if (hands_over || !link_.executed_up_to(handed_over_before_pause_)) return look_again_soon();
    link_.line().pause_followed.store(pause_word_, std::memory_order_release);
    pause_unfollowed_ = false;
}

/// Wakes those who do not, or they would go on sleeping.
bool Server::all_follow_pause() {
    bool all = true;
    for (unsigned i = 0; i < kMaxIoConns; ++i) {
        const RosterLine& line = link_.roster().lines[i];
        if (line.generation.load(std::memory_order_acquire) == 0 || line.state.load(std::memory_order_relaxed) == static_cast<uint32_t>(IoConnState::absent)) continue;
        if (line.pause_followed.load(std::memory_order_acquire) == pause_word_) continue;
        all = false;
        if (&line != &link_.line()) acceptor_->wake_peer(i);
    }
    return all;
}

/// The connection has handed md a CLIENT PAUSE: its answer waits until that is in force.
void Server::await_pause(Connection& connection) {
    connection.awaits_pause = true;
    connection.holds_output = true;
}

/// U2, U3. True once nothing has to wait any more for the connection's CLIENT PAUSE.
bool Server::pause_is_settled(Connection& connection) {
    if (connection.replies_owed()) return false;
    look_at_pause();
    if (paused_ && !all_follow_pause()) {
        if (monotonic_us() - pause_seen_at_us_ < kPeerPatienceUs) {
            wait_patiently(connection);
            return false;
        }
        log::warning("CLIENT PAUSE is answered although an io_conn does not turn: what it has begun to hand over may still be executed");
    }
    connection.awaits_pause = false;
    release_output(connection);
    return true;
}

}  // namespace millrace::io_conn
