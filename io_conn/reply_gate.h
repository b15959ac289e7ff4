// Which of md's replies may be read: under `appendfsync always` those whose effects the disk has (common/log_words.h, D3). Runs in io_conn.
//
//     md, once a batch                          io_conn, at each look
//     M1 commits; the oplog's tail is p         L1 durable = durable_position (md_log's)
//     M2 replies_oplog = p, relaxed             L2 t = the reply ring's tail, acquire
//     M3 the ring's tail, release               L3 p = replies_oplog, relaxed
//                                               L4 note(t, p), open_up_to(durable): only frames before that are read
//   G1  Nothing is shown early: L2 reads what some M3 has stored, so L3, which comes behind it, reads what the M2 before that M3 has stored or a later
//       one, and positions only rise: all replies before t are of commits before p. They are read once durable is p at least, which md_log
//       stores when the disk has it. Neither word leads to other memory, so L1 needs no order; an old value holds back for longer.
//   G2  Nobody waits for later commits than needed: each look at another tail is a pair of its own, so a batch goes out with the sync that covers it,
//       whatever has come since. When kBatchesMax pairs wait, later tails join the last of them; the first ones go out with their own
//       syncs, which makes room for others, so that none is put off again and again.
//   G3  Nobody sleeps for ever. Each p is a tail of the oplog that md has committed, and has told md_log about in the same turn; md_log makes it
//       durable, stores durable_position (wakeup.h, P1) and rings the bell of each io_conn (P2 to P4). The look before parking (C3) is L1 to L4:
//       by W1 it sees the new position, or the bell sees it parked. Replies that are still held are no work: it may sleep over them.
//       An md_log that dies between the two leaves that to the supervisor, which wakes everybody (W4).
//   G4  An md that takes over publishes what its predecessor had committed; it stores replies_oplog before, like any other.
// When `always` is switched on at run time this holds from the turn after the one in which the io_conn sees it, and from when md_log says how far the
// disk is: the answer of that CONFIG SET, and what has come with it, may still go out at once.
// Where the disk is not waited for, nothing of this is done: one load a batch (MdLink::look_at_disk()).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace millrace::io_conn {

class ReplyGate {
  public:
    static constexpr size_t kBatchesMax = 64;

    /// What lies before `tail` may be read.
    void begin(uint64_t tail) {
        open_up_to_ = tail;
        first_ = count_ = 0;
    }
    /// Replies before `tail` are of commits before the position `oplog` of the oplog.
    void note(uint64_t tail, uint64_t oplog) {
        if (tail == (count_ == 0 ? open_up_to_ : last().tail)) return;
        if (count_ != 0 && (count_ == kBatchesMax || last().oplog == oplog)) {
            last() = {tail, oplog};
            return;
        }
        ++count_;
        last() = {tail, oplog};
    }
    /// Up to where replies may be read, now that the disk has the oplog up to `durable`.
    uint64_t open_up_to(uint64_t durable) {
        for (; count_ != 0 && batches_[first_].oplog <= durable; --count_) {
            open_up_to_ = batches_[first_].tail;
            first_ = (first_ + 1) % kBatchesMax;
        }
        return open_up_to_;
    }
    /// Whether replies wait.
    bool holds() const { return count_ != 0; }

  private:
    struct Batch {
        uint64_t tail;   ///< of the reply ring
        uint64_t oplog;
    };
    Batch& last() { return batches_[(first_ + count_ - 1) % kBatchesMax]; }

    std::array<Batch, kBatchesMax> batches_;
    size_t first_ = 0, count_ = 0;
    uint64_t open_up_to_ = 0;
};

}  // namespace millrace::io_conn
