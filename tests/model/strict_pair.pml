/* The strict pair: two servers of which one is the primary, and what they send each other, so that Spin can look at every order of
 * deaths, lost connections, timeouts, promotions and answers within the bounds below. README.md has the protocol as numbered rules; the
 * names R1.. here are those. run.py builds this with -DMISTAKE_... as well, each a rule left out, and requires that Spin objects.
 *
 * What stands for what: a write is a bit in a mask, `has` is a server's data, `open` what of it is not known to be confirmed (its
 * before-images are kept), `owed` what clients wait for an answer to. A file of role, epoch and void record is written in the same step
 * as memory, which is the same as writing it before anything leaves the server (R3). A server that is up and does nothing stands for one
 * that is down; a queue that nobody reads for a connection cut in one direction.
 */

#ifndef WRITES
#define WRITES 2
#endif
#ifndef CRASHES
#define CRASHES 2       /* with memory kept, or with it lost */
#endif
#ifndef PROMOTIONS
#define PROMOTIONS 2
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 2      /* that void a window */
#endif
#ifndef ORDERS
#define ORDERS 2        /* to become a secondary, by an operator or sentinel */
#endif
#ifdef ALONE
#define ALONES 1        /* orders to acknowledge without a backup */
#else
#define ALONES 0
#endif

#define QUEUE 4
#define NO_CUT 255

/* roles */
#define SECONDARY 0
#define PRIMARY 1
#define FENCED 2

/* states; the first two are incomplete: acknowledged writes may be missing */
#define COLD 0
#define BOOTSTRAPPING 1
#define WARM 2
#define IN_SYNC 3

/* messages: (type, connection, epoch, number, mask, mask2, void_epoch, cut) */
#define HELLO 1         /* secondary: epoch, number, complete, void record */
#define PARTIAL 2       /* primary: what the secondary lacks, where to cut what it has too much */
#define FULL 3          /* primary: a copy follows, what you have goes */
#define COPY 4          /* the whole data: to a secondary, or to a cold primary */
#define SYNCED 5        /* secondary: epoch, number, checksum */
#define WINDOW 6        /* primary: a write */
#define CONFIRM 7       /* secondary: it has the writes up to this number */
#define MARK 8          /* primary: writes up to this number are confirmed, and we are in sync */
#define FETCH 9         /* cold primary: send me what you have, without what this void record says */
#define HANDOVER 10     /* primary: be it */
#define HANDED 11       /* the new primary: I am */

/* An epoch: promotions * 16 + raises within it * 2 + who raised it. */
#define RAISED(e, i) (((e) & 240) + ((((e) >> 1) & 7) + 1) * 2 + (i))
#define PROMOTED(e, i) (((((e) >> 4) + 1) << 4) + (i))
#define LARGER(a, b) ((a) > (b) -> (a) : (b))

typedef Server {
    byte role;
    byte state;
    byte epoch;
    byte number;
    byte has;
    byte open;
    byte owed;              /* no outcome yet */
    byte owed_ok;           /* the outcome is there, the answer not yet sent */
    byte owed_error;
    byte before_epoch;      /* the epoch before this one, and the last number of it that this one builds on */
    byte before_number;
    byte void_epoch;        /* void record: entries of this epoch above the cut were answered with an error */
    byte void_cut;
    byte link;              /* which connection: 0 none, 1 or 2 */
    bool alone;
    bool handing_over;      /* the other one may be primary already */
};

Server server[2];
chan to[2] = [QUEUE] of { byte, byte, byte, byte, byte, byte, byte, byte };

/* What a write's entry says, wherever it is. */
byte number_of[WRITES];
byte epoch_of[WRITES];
byte written;               /* how many writes there were */
byte writers;               /* bit: which server took it */

/* What the world has seen. */
byte acknowledged, failed, excused;
byte shown[2];
bool debt[2];               /* acknowledged alone and not in sync since */
byte crashes, promotions, timeouts, orders, alones;

/* Scratch for the steps, always 0 between them. */
hidden byte t_, c_, e_, n_, m_, o_, ve_, vn_, x_, l_;

/* Situations that have to come about, or the model would show nothing: with -DREACH_..., Spin has to find the assertion violated. */
#define NOTHING(condition)
#define NEVER(condition) assert(condition);
#ifdef REACH_PROMOTED_UNDOES
#define GOAL_PROMOTED_UNDOES NEVER
#else
#define GOAL_PROMOTED_UNDOES NOTHING
#endif
#ifdef REACH_COPY_IS_CUT
#define GOAL_COPY_IS_CUT NEVER
#else
#define GOAL_COPY_IS_CUT NOTHING
#endif
#ifdef REACH_ONE_FAILED_ONE_WRITTEN
#define GOAL_ONE_FAILED_ONE_WRITTEN NEVER
#else
#define GOAL_ONE_FAILED_ONE_WRITTEN NOTHING
#endif
#ifdef REACH_HANDED_OVER
#define GOAL_HANDED_OVER NEVER
#else
#define GOAL_HANDED_OVER NOTHING
#endif
#ifdef REACH_BOTH_ACKNOWLEDGED
#define GOAL_BOTH_ACKNOWLEDGED NEVER
#else
#define GOAL_BOTH_ACKNOWLEDGED NOTHING
#endif

#define COMPLETE(i) (server[i].state >= WARM)
#define ROOM(i) (len(to[i]) < QUEUE)
#define IS_IN(w, mask) (((mask) >> (w)) & 1)
#define CONFIRMED_VALUES(i) (server[i].has & ~server[i].open)

#ifdef MISTAKE_UNCONFIRMED_SHOWN_AT_PRIMARY
#define VISIBLE(i) (server[i].role == PRIMARY -> server[i].has : CONFIRMED_VALUES(i))
#else
#ifdef MISTAKE_UNCONFIRMED_SHOWN_AT_BACKUP
#define VISIBLE(i) (server[i].role == SECONDARY -> server[i].has : CONFIRMED_VALUES(i))
#else
#define VISIBLE(i) CONFIRMED_VALUES(i)
#endif
#endif

/* R12: outside of IN_SYNC a read of a key in the open window waits or is refused; it never shows the value before. */
#ifdef MISTAKE_OLD_VALUE_SHOWN_FOR_UNRESOLVED
#define NOT_CONTRADICTED(i) VISIBLE(i)
#else
#define NOT_CONTRADICTED(i) (server[i].state == IN_SYNC -> VISIBLE(i) : server[i].has)
#endif

/* out = the entries of mask above a number; of one epoch, or (0) of any */
inline entries_above(mask, above, of_epoch, out) {
    out = 0;
    x_ = 0;
    do
    :: x_ < WRITES ->
        if
        :: IS_IN(x_, mask) && number_of[x_] > above && (of_epoch == 0 || epoch_of[x_] == of_epoch) -> out = out | (1 << x_)
        :: else
        fi;
        x_++
    :: else -> break
    od;
    x_ = 0
}

/* Everybody reads all the time: the worst that clients can do. */
inline judge(i) {
    if
    :: COMPLETE(i) ->
        assert((shown[i] & ~NOT_CONTRADICTED(i)) == 0);                 /* P3: no value that was read is taken back */
        shown[i] = shown[i] | VISIBLE(i);
        assert((VISIBLE(i) & failed & ~excused) == 0);                  /* P2, P3: no failed write is shown */
        if
        :: debt[1 - (i)] -> skip
        :: else ->
            assert((acknowledged & ~server[i].has) == 0);               /* P1, wherever data counts as complete */
            assert(((shown[0] | shown[1]) & ~server[i].has) == 0)       /* P3 */
        fi
    :: else
    fi
}
/* R2: what is of a connection that this end does not have is never read. Dropped at once, which changes nothing but the number of states. */
inline forget_unreadable(i) {
    do
    :: len(to[i]) > 0 ->
        to[i]?<t_, c_, _, _, _, _, _, _>;
        if
        :: t_ != HELLO && (c_ != server[i].link || c_ == 0) -> to[i]?_, _, _, _, _, _, _, _
        :: else -> break
        fi
    :: else -> break
    od
}

#define TELL(i) printf("      %d: role %d state %d epoch %d number %d has %d open %d owed %d void %d above %d\n", i, server[i].role, server[i].state, server[i].epoch, server[i].number, server[i].has, server[i].open, server[i].owed, server[i].void_epoch, server[i].void_cut)
inline settle() {
    TELL(0);
    TELL(1);
    judge(0);
    judge(1);
    forget_unreadable(0);
    forget_unreadable(1);
    t_ = 0; c_ = 0; e_ = 0; n_ = 0; m_ = 0; o_ = 0; ve_ = 0; vn_ = 0
}

/* Both ends drop what of an older connection is on the way to i; a HELLO is a new connection and stays. */
inline forget_inbound(i) {
    l_ = len(to[i]);
    do
    :: l_ > 0 ->
        to[i]?t_, c_, e_, n_, m_, o_, ve_, vn_;
        if
        :: t_ == HELLO -> to[i]!t_, c_, e_, n_, m_, o_, ve_, vn_
        :: else
        fi;
        l_--
    :: else -> break
    od
}
inline drop_link(i) {
    server[i].link = 0;
    if
    :: server[i].state == IN_SYNC -> server[i].state = WARM
    :: else
    fi;
    forget_inbound(i)
}

/* R6: undo what a void record names, from the before-images: only open entries have them, and only open ones may ever be named. */
inline undo_void(i, of_epoch, cut) {
    n_ = 0;
    if
    :: of_epoch != 0 ->
        entries_above(server[i].has, cut, of_epoch, n_);
        assert((n_ & ~server[i].open & ~excused) == 0);
#ifndef MISTAKE_ALONE_HEEDS_LATE_VOID_RECORD
        n_ = n_ & server[i].open;                                           /* R13: what was decided alone stays */
#endif
        if
        :: n_ != 0 ->
            server[i].has = server[i].has & ~n_;
            server[i].open = server[i].open & ~n_;
            server[i].number++;
            if
            :: server[i].before_epoch == of_epoch && server[i].before_number > cut -> server[i].before_number = cut
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

/* ---- what clients and clocks do ---- */

inline client_writes(i) {
    server[i].role == PRIMARY && server[i].state == IN_SYNC && server[i].link != 0 && written < WRITES && ROOM(1 - i) ->
        printf("%d: client writes\n", i);
        /* P4: nobody else ever took a write in this epoch, nor in a higher one */
        x_ = 0;
        do
        :: x_ < written ->
            assert(epoch_of[x_] != server[i].epoch || IS_IN(x_, writers) == i);
            assert(epoch_of[x_] <= server[i].epoch || debt[1 - i]);
            x_++
        :: else -> break
        od;
        x_ = 0;
        server[i].number++;
        number_of[written] = server[i].number;
        epoch_of[written] = server[i].epoch;
        writers = writers | (i << written);
        server[i].has = server[i].has | (1 << written);
        server[i].open = server[i].open | (1 << written);
        server[i].owed = server[i].owed | (1 << written);
        to[1 - i]!WINDOW, server[i].link, server[i].epoch, server[i].number, (1 << written), 0, 0, 0;
        written++;
        settle()
}

inline client_writes_alone(i) {
    server[i].role == PRIMARY && server[i].alone && server[i].state == WARM && server[i].link == 0 && written < WRITES ->
        printf("%d: client writes alone\n", i);
        server[i].number++;
        number_of[written] = server[i].number;
        epoch_of[written] = server[i].epoch;
        writers = writers | (i << written);
        server[i].has = server[i].has | (1 << written);
        server[i].owed_ok = server[i].owed_ok | (1 << written);
        written++;
        settle()
}

/* R5: what is owed gets its outcome once, when the entry is confirmed or undone, and keeps it whatever becomes of the server's role. */
inline confirmed_get_ok(i) {
    server[i].owed_ok = server[i].owed_ok | (server[i].owed & ~server[i].open);
    server[i].owed = server[i].owed & server[i].open
}
inline answer_ok(i) {
#ifdef MISTAKE_ANSWER_BEFORE_CONFIRM
    (server[i].owed | server[i].owed_ok) != 0 ->
        printf("%d: answer ok\n", i);
        acknowledged = acknowledged | server[i].owed;
        server[i].owed = 0;
#else
    server[i].owed_ok != 0 ->
        printf("%d: answer ok\n", i);
#endif
        acknowledged = acknowledged | server[i].owed_ok;
        server[i].owed_ok = 0;
        assert((failed & acknowledged) == 0);
        GOAL_BOTH_ACKNOWLEDGED(!IS_IN(0, acknowledged) || !IS_IN(1, acknowledged) || IS_IN(0, writers) == IS_IN(1, writers))
        settle()
}
inline answer_error(i) {
    server[i].owed_error != 0 ->
        printf("%d: answer error\n", i);
        failed = failed | server[i].owed_error;
        server[i].owed_error = 0;
        assert((failed & acknowledged) == 0);
        assert((failed & ~excused & (shown[0] | shown[1])) == 0);
        settle()
}

/* R4: the primary (or one fenced since) gives up its own open window: connection dropped, undone, epoch raised, void record. */
#ifdef MISTAKE_INHERITED_WINDOW_VOIDED
#define OWN_WINDOW(i) (server[i].open != 0)
#else
#define OWN_WINDOW(i) (own_open(i) != 0)
#define own_open(i) (server[i].open != 0 && epoch_of_open(i) == server[i].epoch)
#define epoch_of_open(i) (IS_IN(0, server[i].open) -> epoch_of[0] : (IS_IN(1, server[i].open) -> epoch_of[1] : epoch_of[WRITES - 1]))
#endif
inline void_window(i) {
    (server[i].role == PRIMARY || server[i].role == FENCED) && COMPLETE(i) && OWN_WINDOW(i) && timeouts < TIMEOUTS ->
        printf("%d: void window\n", i);
        timeouts++;
        drop_link(i);
        server[i].void_epoch = server[i].epoch;
        x_ = 0;
        do
        :: !IS_IN(x_, server[i].open) -> x_++
        :: else -> break
        od;
        server[i].void_cut = number_of[x_] - 1;
        x_ = 0;
        server[i].before_epoch = server[i].epoch;
        server[i].before_number = server[i].void_cut;
        server[i].owed_error = server[i].owed_error | server[i].owed;
        server[i].owed = 0;
#ifndef MISTAKE_NO_UNDO
        server[i].has = server[i].has & ~server[i].open;
#endif
        server[i].open = 0;
        server[i].number++;
#ifndef MISTAKE_EPOCH_NOT_RAISED_BY_TIMEOUT
        server[i].epoch = RAISED(server[i].epoch, i);
#endif
        settle()
}

/* The primary notices that its connection is gone: no writes, the window stays open until R4. */
inline primary_loses_link(i) {
    server[i].role == PRIMARY && server[i].link != 0 ->
        printf("%d: primary loses link\n", i);
        drop_link(i);
        settle()
}

/* ---- the secondary connects ---- */

inline secondary_connects(i) {
    server[i].role == SECONDARY && ROOM(1 - i) ->
        printf("%d: secondary connects\n", i);
        drop_link(i);
        /* what i has sent before may arrive as long as the other end has not noticed */
        do
        :: to[i]?[HELLO] -> to[i]?t_, c_, e_, n_, m_, o_, ve_, vn_
        :: else -> break
        od;
        l_ = len(to[1 - i]);
        do
        :: l_ > 0 ->
            to[1 - i]?t_, c_, e_, n_, m_, o_, ve_, vn_;
            if
            :: t_ != HELLO && c_ == server[1 - i].link && c_ != 0 ->
                to[1 - i]!t_, c_, e_, n_, m_, o_, ve_, vn_
            :: else
            fi;
            l_--
        :: else -> break
        od;
        server[i].link = (server[1 - i].link == 1 -> 2 : 1);
#ifdef MISTAKE_VOID_RECORD_NOT_SENT
        to[1 - i]!HELLO, server[i].link, server[i].epoch, server[i].number, COMPLETE(i), 0, 0, 0;
#else
        to[1 - i]!HELLO, server[i].link, server[i].epoch, server[i].number, COMPLETE(i), 0, server[i].void_epoch, server[i].void_cut;
#endif
        settle()
}

#ifdef MISTAKE_NUMBER_WITHOUT_EPOCH
#define SAME_HISTORY(i) (m_ && n_ <= server[i].number)
#else
#define SAME_HISTORY(i) (m_ && e_ == server[i].epoch)
#endif
#ifdef MISTAKE_LOWER_EPOCH_GOES_ON
#define FENCED_BY(i, e) false
#else
#define FENCED_BY(i, e) ((e) > server[i].epoch)
#endif

inline send_partial(i, connection, above, cut) {
    entries_above(server[i].has, above, 0, n_);
    to[1 - i]!PARTIAL, connection, server[i].epoch, server[i].number, n_, server[i].open, 0, cut
}

/* the registers hold the HELLO, which was the last of its queue that counts */
inline forget_inbound_but_registers(i) {
    do
    :: len(to[i]) > 0 -> to[i]?_, _, _, _, _, _, _, _
    :: else -> break
    od
}

/* e_, n_, m_, ve_, vn_, c_ come from the message */
inline receive_hello(i) {
    if
    :: server[i].role != PRIMARY -> skip                                    /* refused; it will ask again */
    :: server[i].role == PRIMARY && COMPLETE(i) && FENCED_BY(i, e_) ->      /* R9 */
        server[i].role = FENCED;
        server[i].alone = 0;
        server[i].handing_over = 0;
        drop_link(i)
    :: server[i].role == PRIMARY && COMPLETE(i) && !FENCED_BY(i, e_) ->     /* R7 */
        forget_inbound_but_registers(i);
        server[i].link = c_;
        server[i].state = WARM;
        server[i].handing_over = 0;
        o_ = n_;                                                            /* the secondary's number */
        undo_void(i, ve_, vn_);
        GOAL_PROMOTED_UNDOES(n_ == 0)
        n_ = o_;
        if
        :: SAME_HISTORY(i) -> send_partial(i, c_, o_, NO_CUT)
        :: !SAME_HISTORY(i) && m_ && e_ == server[i].before_epoch && n_ >= server[i].before_number ->
            send_partial(i, c_, server[i].before_number, server[i].before_number)
        :: else ->
            to[1 - i]!FULL, c_, 0, 0, 0, 0, 0, 0;
            to[1 - i]!COPY, c_, server[i].epoch, server[i].number, server[i].has, server[i].open, 0, 0
        fi
    :: server[i].role == PRIMARY && !COMPLETE(i) && m_ ->                   /* R8 */
        server[i].link = c_;
#ifdef MISTAKE_COPY_FETCHED_UNCUT
        to[1 - i]!FETCH, c_, 0, 0, 0, 0, 0, 0
#else
        to[1 - i]!FETCH, c_, 0, 0, 0, 0, server[i].void_epoch, server[i].void_cut
#endif
    :: else -> skip                                                         /* two incomplete ones: an order is needed */
    fi
}
inline receive_partial(i) {
    if
    :: server[i].role == SECONDARY && COMPLETE(i) ->
        c_ = vn_;
        t_ = n_;
#ifdef MISTAKE_BACKUP_DOES_NOT_CUT
        n_ = 0;
#else
        entries_above(server[i].has, c_, 0, n_);
#endif
        assert((n_ & ~server[i].open) == 0);                                /* only what was open is ever cut */
        server[i].has = (server[i].has & ~n_) | m_;
        server[i].open = ((server[i].open & ~n_) | m_) & o_;
        server[i].epoch = e_;
        server[i].number = t_;
        server[i].state = WARM;
        to[1 - i]!SYNCED, server[i].link, e_, t_, server[i].has, 0, 0, 0
    :: else
    fi
}

inline receive_full(i) {
    if
    :: server[i].role == SECONDARY ->
        server[i].state = BOOTSTRAPPING;
#ifdef MISTAKE_OUTCOME_FOLLOWS_THE_DATA
        server[i].owed_error = server[i].owed_error | server[i].owed_ok;
        server[i].owed_ok = 0;
#endif
        server[i].has = 0;
        server[i].open = 0
    :: else
    fi
}

inline receive_copy(i) {
    if
    :: server[i].role == SECONDARY && server[i].state == BOOTSTRAPPING ->
        server[i].has = m_;
        server[i].open = o_;
        server[i].epoch = e_;
        server[i].number = n_;
        server[i].state = WARM;
        to[1 - i]!SYNCED, server[i].link, e_, n_, m_, 0, 0, 0
    :: server[i].role == PRIMARY && !COMPLETE(i) ->                         /* R8 */
        server[i].has = m_;
        server[i].open = o_;
        server[i].before_epoch = e_;
        server[i].before_number = n_;
        server[i].number = n_ + 1;
#ifdef MISTAKE_EPOCH_NOT_RAISED_BY_COLD_START
        server[i].epoch = LARGER(server[i].epoch, e_);
#else
        server[i].epoch = RAISED(LARGER(server[i].epoch, e_), i);
#endif
        server[i].state = WARM;
        to[1 - i]!PARTIAL, c_, server[i].epoch, server[i].number, 0, server[i].open, 0, server[i].before_number
    :: else
    fi
}

inline receive_fetch(i) {
    if
    :: server[i].role == SECONDARY && COMPLETE(i) ->
        server[i].state = WARM;
        undo_void(i, ve_, vn_);
        GOAL_COPY_IS_CUT(n_ == 0)
        to[1 - i]!COPY, server[i].link, server[i].epoch, server[i].number, server[i].has, server[i].open, 0, 0
    :: else
    fi
}

inline receive_synced(i) {
    if
    :: server[i].role == PRIMARY && server[i].state == WARM && e_ == server[i].epoch && n_ == server[i].number ->
        assert(m_ == server[i].has);                                        /* P5: the checksums never differ */
        if
        :: server[1 - i].epoch == server[i].epoch -> debt[1 - i] = 0
        :: else
        fi;
        debt[i] = 0;
        if
        :: !debt[1 - i] ->                                                  /* else: promoted and alone meanwhile; this end cannot get a confirmation */
            assert((acknowledged & ~m_) == 0);                              /* P1 */
            assert((m_ & failed & ~excused) == 0);                          /* P2 */
            assert(((shown[0] | shown[1]) & ~m_) == 0)                      /* P3 */
        :: else
        fi;
        server[i].state = IN_SYNC;
        server[i].open = 0;
        confirmed_get_ok(i);
        server[i].void_epoch = 0;
        server[i].void_cut = 0;
        server[i].alone = 0;
        to[1 - i]!MARK, server[i].link, server[i].epoch, server[i].number, 0, 0, 0, 0
    :: else
    fi
}

#ifdef MISTAKE_PROMOTED_GOES_ON_CONFIRMING
#define TAKES_WINDOWS(i) (COMPLETE(i))
#else
#define TAKES_WINDOWS(i) (server[i].role == SECONDARY && server[i].state == IN_SYNC && e_ == server[i].epoch)
#endif
inline receive_window(i) {
    if
    :: TAKES_WINDOWS(i) ->
        server[i].has = server[i].has | m_;
        server[i].open = server[i].open | m_;
        server[i].number = n_;
        to[1 - i]!CONFIRM, server[i].link, e_, n_, 0, 0, 0, 0
    :: else
    fi
}

inline receive_confirm(i) {
    if
    :: server[i].role == PRIMARY && server[i].state == IN_SYNC && e_ == server[i].epoch ->
        entries_above(server[i].open, n_, 0, m_);
        server[i].open = m_;
        confirmed_get_ok(i);
        to[1 - i]!MARK, server[i].link, server[i].epoch, n_, 0, 0, 0, 0
    :: else
    fi
}

inline receive_mark(i) {
    if
    :: server[i].role == SECONDARY && COMPLETE(i) && e_ == server[i].epoch ->
        entries_above(server[i].open, n_, 0, m_);
        server[i].open = m_;
        server[i].void_epoch = 0;
        server[i].void_cut = 0;
        server[i].state = IN_SYNC;
        GOAL_ONE_FAILED_ONE_WRITTEN((acknowledged & ~excused) == 0 || (failed & ~excused) == 0)
    :: else
    fi
}

/* R10 */
inline promote(i) {
    server[i].before_epoch = server[i].epoch;
    server[i].before_number = server[i].number;
#ifndef MISTAKE_EPOCH_NOT_RAISED_BY_PROMOTION
    server[i].epoch = PROMOTED(server[i].epoch, i);
#endif
    server[i].number++;
    server[i].role = PRIMARY;
    server[i].state = WARM;
#ifndef MISTAKE_PROMOTED_GOES_ON_CONFIRMING
    server[i].link = 0;
#endif
#ifdef MISTAKE_VOID_RECORD_FORGOTTEN_BY_PROMOTION
    server[i].void_epoch = 0;
    server[i].void_cut = 0;
#endif
#ifdef MISTAKE_INHERITED_WINDOW_DROPPED_BY_PROMOTION
    server[i].has = server[i].has & ~server[i].open;
    server[i].open = 0
#endif
}
/* R11: the order to fail over, while nothing is open */
inline operator_hands_over(i) {
    server[i].role == PRIMARY && server[i].state == IN_SYNC && server[i].open == 0 && promotions < PROMOTIONS && ROOM(1 - i) ->
        printf("%d: operator hands over\n", i);
        promotions++;
        server[i].state = WARM;
        server[i].handing_over = 1;
        to[1 - i]!HANDOVER, server[i].link, server[i].epoch, server[i].number, 0, 0, 0, 0;
        settle()
}
inline receive_handover(i) {
    if
    :: server[i].role == SECONDARY && COMPLETE(i) && e_ == server[i].epoch && n_ == server[i].number ->
        c_ = server[i].link;
        promote(i);
        to[1 - i]!HANDED, c_, server[i].epoch, 0, 0, 0, 0, 0
    :: else
    fi
}
inline receive_handed(i) {
    if
    :: server[i].role == PRIMARY && server[i].state == WARM && e_ > server[i].epoch ->
        server[i].role = SECONDARY;
        server[i].handing_over = 0;
        GOAL_HANDED_OVER(false)
        server[i].link = 0
    :: else
    fi
}

#ifdef MISTAKE_INCOMPLETE_ONE_PROMOTED
#define MAY_BE_PROMOTED(i) true
#else
#define MAY_BE_PROMOTED(i) COMPLETE(i)
#endif
inline operator_promotes(i) {
    (server[i].role == SECONDARY || server[i].role == FENCED) && MAY_BE_PROMOTED(i) && server[i].owed == 0 &&
            !debt[1 - i] && !server[1 - i].alone && promotions < PROMOTIONS ->
        printf("%d: operator promotes\n", i);
        promotions++;
#ifndef MISTAKE_PROMOTED_GOES_ON_CONFIRMING
        drop_link(i);
#endif
        promote(i);
        settle()
}

/* R9: REPLICAOF; what is owed has had its answer, or is void, before */
#ifdef MISTAKE_ERROR_WITHOUT_VOID_RECORD
#define MAY_STEP_DOWN(i) true
#else
#define MAY_STEP_DOWN(i) (server[i].owed == 0)
#endif
inline operator_makes_secondary(i) {
    (server[i].role == FENCED || (server[i].role == PRIMARY && orders < ORDERS)) && MAY_STEP_DOWN(i) ->
        printf("%d: operator makes secondary\n", i);
        if
        :: server[i].role == PRIMARY -> orders++
        :: else
        fi;
#ifdef MISTAKE_ERROR_WITHOUT_VOID_RECORD
        server[i].owed_error = server[i].owed_error | server[i].owed;
        server[i].owed = 0;
#endif
        server[i].role = SECONDARY;
        server[i].alone = 0;
        server[i].handing_over = 0;
        drop_link(i);
        settle()
}

/* R9: two primaries hear of each other; the lower epoch gives way */
inline primaries_meet(i) {
    server[i].role == PRIMARY && server[1 - i].role == PRIMARY && server[i].epoch < server[1 - i].epoch ->
        printf("%d: primaries meet\n", i);
        server[i].role = FENCED;
        server[i].alone = 0;
        server[i].handing_over = 0;
        drop_link(i);
        settle()
}

/* R13: the order to acknowledge without a backup: what is open counts, whatever its clients were or will be told */
#ifdef MISTAKE_ALONE_WHILE_HANDING_OVER
#define HAND_OVER_DECIDED(i) true
#else
#define HAND_OVER_DECIDED(i) (!server[i].handing_over)
#endif
inline operator_allows_alone(i) {
    server[i].role == PRIMARY && server[i].state == WARM && server[i].link == 0 && HAND_OVER_DECIDED(i) && !server[1 - i].alone && !debt[1 - i] && alones < ALONES &&
            !(server[1 - i].role == PRIMARY && server[1 - i].epoch > server[i].epoch) ->
        printf("%d: operator allows alone\n", i);
        alones++;
        server[i].alone = 1;
        debt[i] = 1;
        excused = excused | (server[i].open & ~server[i].owed);
        server[i].open = 0;
        confirmed_get_ok(i);
        settle()
}

/* ---- deaths ---- */

inline dies_with_memory_kept(i) {
    crashes < CRASHES ->
        printf("%d: dies with memory kept\n", i);
        crashes++;
        drop_link(i);
        server[i].owed = 0;
        server[i].owed_ok = 0;
        server[i].owed_error = 0;
        if
        :: server[i].state == BOOTSTRAPPING -> server[i].state = COLD
        :: else
        fi;
        settle()
}
/* Never while it is the only one whose data is complete: two losses at once are more than a pair can bear. */
#define MAY_LOSE_MEMORY(i) (COMPLETE(1 - i) && !debt[i] && !server[i].alone && crashes < CRASHES)
inline forget(i) {
    crashes++;
    drop_link(i);
    server[i].handing_over = 0;
    server[i].owed = 0;
    server[i].owed_ok = 0;
    server[i].owed_error = 0;
    server[i].has = 0;
    server[i].open = 0;
    server[i].number = 0;
#ifdef MISTAKE_COLD_PRIMARY_SERVES
    server[i].state = (server[i].role == PRIMARY -> WARM : COLD);
#else
    server[i].state = COLD;
#endif
    /* not needed any more: a cold start takes them from the copy */
#ifdef MISTAKE_ERROR_BEFORE_EPOCH_IS_ON_DISK
    if
    :: server[i].void_epoch != 0 -> server[i].epoch = server[i].void_epoch; server[i].void_epoch = 0; server[i].void_cut = 0
    :: else
    fi;
#endif
    server[i].before_epoch = 0;
    server[i].before_number = 0
}
inline dies_and_starts_from_disk(i) {
    MAY_LOSE_MEMORY(i) ->
        printf("%d: dies and starts from disk\n", i);
        forget(i);
        settle()
}
inline dies_and_starts_with_nothing(i, as) {
    MAY_LOSE_MEMORY(i) ->
        printf("%d: dies and starts with nothing\n", i);
        forget(i);
        excused = excused | failed;
        server[i].epoch = 0;
        server[i].void_epoch = 0;
        server[i].void_cut = 0;
        server[i].role = as;
        settle()
}

/* R2: what is not of the connection that this end has is not read; an answer needs room. */
inline receive(i) {
    len(to[i]) > 0 && (len(to[1 - i]) + 2 <= QUEUE || (ROOM(1 - i) && !to[i]?[HELLO, _, _, _, _, _, _, _])) ->
        to[i]?t_, c_, e_, n_, m_, o_, ve_, vn_;
        printf("%d: receives message %d of connection %d: epoch %d, number %d, masks %d %d, void %d above %d\n", i, t_, c_, e_, n_, m_, o_, ve_, vn_);
        if
        :: t_ == HELLO -> receive_hello(i)
        :: t_ != HELLO && (c_ != server[i].link || c_ == 0) -> skip
        :: t_ == PARTIAL && c_ == server[i].link && c_ != 0 -> receive_partial(i)
        :: t_ == FULL && c_ == server[i].link && c_ != 0 -> receive_full(i)
        :: t_ == COPY && c_ == server[i].link && c_ != 0 -> receive_copy(i)
        :: t_ == SYNCED && c_ == server[i].link && c_ != 0 -> receive_synced(i)
        :: t_ == WINDOW && c_ == server[i].link && c_ != 0 -> receive_window(i)
        :: t_ == CONFIRM && c_ == server[i].link && c_ != 0 -> receive_confirm(i)
        :: t_ == MARK && c_ == server[i].link && c_ != 0 -> receive_mark(i)
        :: t_ == FETCH && c_ == server[i].link && c_ != 0 -> receive_fetch(i)
        :: t_ == HANDOVER && c_ == server[i].link && c_ != 0 -> receive_handover(i)
        :: t_ == HANDED && c_ == server[i].link && c_ != 0 -> receive_handed(i)
        fi;
        settle()
}

init {
    d_step {
        server[0].role = PRIMARY;
        server[0].state = WARM;
        server[0].epoch = PROMOTED(0, 0);
        server[1].role = SECONDARY;
        server[1].state = COLD
    }
end:
    do
    :: d_step { client_writes(0) }
    :: d_step { client_writes(1) }
    :: d_step { client_writes_alone(0) }
    :: d_step { client_writes_alone(1) }
    :: d_step { answer_ok(0) }
    :: d_step { answer_ok(1) }
    :: d_step { answer_error(0) }
    :: d_step { answer_error(1) }
    :: d_step { void_window(0) }
    :: d_step { void_window(1) }
    :: d_step { primary_loses_link(0) }
    :: d_step { primary_loses_link(1) }
    :: d_step { secondary_connects(0) }
    :: d_step { secondary_connects(1) }
    :: d_step { receive(0) }
    :: d_step { receive(1) }
    :: d_step { operator_hands_over(0) }
    :: d_step { operator_hands_over(1) }
    :: d_step { operator_promotes(0) }
    :: d_step { operator_promotes(1) }
    :: d_step { operator_makes_secondary(0) }
    :: d_step { operator_makes_secondary(1) }
    :: d_step { primaries_meet(0) }
    :: d_step { primaries_meet(1) }
    :: d_step { operator_allows_alone(0) }
    :: d_step { operator_allows_alone(1) }
    :: d_step { dies_with_memory_kept(0) }
    :: d_step { dies_with_memory_kept(1) }
    :: d_step { dies_and_starts_from_disk(0) }
    :: d_step { dies_and_starts_from_disk(1) }
    :: d_step { dies_and_starts_with_nothing(0, PRIMARY) }
    :: d_step { dies_and_starts_with_nothing(0, SECONDARY) }
    :: d_step { dies_and_starts_with_nothing(1, PRIMARY) }
    :: d_step { dies_and_starts_with_nothing(1, SECONDARY) }
    od
}
