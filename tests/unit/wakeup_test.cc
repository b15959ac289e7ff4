// Sleeping and waking over FIFOs: the single steps of W1 to W5 of common/wakeup.h. The races are in tests/stress/.
#include "common/wakeup.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

struct Sleeper {
    Sleeper() {
        REQUIRE(mkfifo(folder.file("fifo").c_str(), 0600) == 0);
        fifo = Fifo(folder.file("fifo"));
    }
    Fifo another_end() const { return Fifo(folder.file("fifo")); }
    /// Bytes in the FIFO; takes them out.
    long bytes() const {
        char buffer[4096];
        const ssize_t count = read(fifo.descriptor(), buffer, sizeof buffer);
        return count < 0 ? 0 : count;
    }

    Folder folder;
    Fifo fifo;
    std::atomic<uint32_t> word{0};
    Parker parker{word};
};

}  // namespace

TEST_CASE("fifo: a missing one is an error that says who makes it") {
    const std::string sentence = error_of([] { Fifo("/nonexistent/fifo"); });
    CHECK(contains(sentence, "/nonexistent/fifo"));
    CHECK(contains(sentence, "millrace start"));
}

TEST_CASE("fifo: an ordinary file in its place is refused") {
    Folder folder;
    CHECK(contains(error_of([&] { Fifo(folder.write("file", "")); }), "is not a FIFO"));
}

TEST_CASE("fifo: waiting ends with a byte, which it takes, or with the time") {
    Sleeper sleeper;
    CHECK_FALSE(sleeper.fifo.wait(1));
    sleeper.fifo.wake();
    CHECK(sleeper.fifo.wait(1000));
    CHECK(sleeper.bytes() == 0);
    CHECK_FALSE(sleeper.fifo.wait(0));
}

TEST_CASE("fifo W3: waking on a full FIFO does not block and keeps errno") {
    Sleeper sleeper;
    errno = ENOENT;
    for (int i = 0; i < 70'000; ++i) sleeper.fifo.wake();
    CHECK(errno == ENOENT);
    CHECK(sleeper.fifo.wait(0));
}

TEST_CASE("fifo: moved from, it is closed; moved to, it is open") {
    Sleeper sleeper;
    Fifo other = std::move(sleeper.fifo);
    CHECK(other.open());
    CHECK_FALSE(sleeper.fifo.open());
    sleeper.fifo = std::move(other);
    CHECK(sleeper.fifo.open());
}

TEST_CASE("bell: nobody is woken who is not parked") {
    Sleeper sleeper;
    Bell bell(sleeper.word, sleeper.another_end());
    CHECK_FALSE(bell.ring());
    sleeper.parker.begin_park();
    sleeper.parker.end_park();
    CHECK_FALSE(bell.ring());
    CHECK(sleeper.bytes() == 0);
}

TEST_CASE("bell W2: one byte for each producer and park, however often it rings") {
    Sleeper sleeper;
    Bell first(sleeper.word, sleeper.another_end()), second(sleeper.word, sleeper.another_end());
    for (int round = 0; round < 3; ++round) {
        sleeper.parker.begin_park();
        CHECK(first.ring());
        CHECK_FALSE(first.ring());
        CHECK(second.ring());
        CHECK_FALSE(second.ring());
        CHECK(sleeper.bytes() == 2);
        sleeper.parker.end_park();
        CHECK_FALSE(first.ring());
    }
}

TEST_CASE("bell W4: it can ring whatever the word says") {
    Sleeper sleeper;
    Bell bell(sleeper.word, sleeper.another_end());
    bell.ring_always();
    CHECK(sleeper.bytes() == 1);
}

TEST_CASE("parker: a successor takes the word over, higher and not parked") {
    for (const uint32_t left : {0u, 1u, 2u, 7u, 8u, 0xfffffffdu}) {
        CAPTURE(left);
        std::atomic<uint32_t> word{left};
        Parker parker(word);
        CHECK(word.load() > left);
        CHECK(word.load() % 2 == 0);
        parker.begin_park();
        CHECK(word.load() % 2 == 1);
    }
}

TEST_CASE("parker: a bell that rang for the predecessor's park rings for the successor's") {
    Sleeper sleeper;
    Bell bell(sleeper.word, sleeper.another_end());
    sleeper.parker.begin_park();
    CHECK(bell.ring());
    Parker successor(sleeper.word);
    CHECK_FALSE(bell.ring());
    successor.begin_park();
    CHECK(bell.ring());
}

TEST_CASE("parker: the word may run over 32 bits") {
    Sleeper sleeper;
    sleeper.word = 0xfffffffc;
    Parker parker(sleeper.word);
    Bell bell(sleeper.word, sleeper.another_end());
    for (int round = 0; round < 4; ++round) {
        parker.begin_park();
        CHECK(bell.ring());
        parker.end_park();
        CHECK_FALSE(bell.ring());
    }
}
