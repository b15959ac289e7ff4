// A ring in one process for unit tests, of any capacity that is a power of two and whole pages. Includes nothing of
// doctest, see unit.h.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <span>
#include <string>
#include <string_view>

#include "common/ring.h"
#include "common/segment.h"
#include "tests/unit/folder.h"

namespace millrace::unit {

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }
inline std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct TestRing {
    /// `position`: of both indices at the beginning.
    explicit TestRing(uint64_t capacity, uint64_t position = 0, RingWriting its_writing = RingWriting::in_place) : writing(its_writing) {
        std::filesystem::resize_file(folder.write("data", ""), capacity);
        data = MirrorMap(folder.file("data"), 0, capacity);
        view = {&control, data.data(), capacity};
        restart(position);
    }
    /// Both ends anew, at this position.
    void restart(uint64_t position) {
        control.tail.store(position);
        control.head.store(position);
        producer = RingProducer(view, writing);
        consumer = RingConsumer(view);
    }
    bool push(std::string_view body, uint32_t kind = 1, uint32_t id = 0) { return producer.try_push(kind, id, bytes_of(body)); }
    /// The next message's body, or "empty" or "corrupt" in angle brackets.
    std::string pop() {
        switch (consumer.next(frame)) {
            case RingRead::frame: return text_of(frame.body);
            case RingRead::empty: return "<empty>";
            case RingRead::corrupt: break;
        }
        return "<corrupt>";
    }

    RingWriting writing;
    Folder folder;
    MirrorMap data;
    RingControl control{};
    RingView view;
    RingProducer producer;
    RingConsumer consumer;
    Frame frame;
};

}  // namespace millrace::unit
