// See frames.h. Runs in md_repl.
#include "md/repl/frames.h"

#include <cstddef>
#include <cstring>

#include "common/disk/crc.h"

namespace millrace::md_repl {

namespace {

uint32_t checksum(const FrameHead& head, std::string_view body, uint32_t nonce) {
    return disk::crc32c(body, disk::crc32c_of(head, sizeof head.crc, head.kind == FrameKind::registered ? 0 : nonce));
}

}  // namespace

void append_frame(std::string& out, uint32_t nonce, FrameKind kind, std::string_view body, uint64_t number, uint64_t before) {
    FrameHead head{0, kind, body.size(), number, before};
    head.crc = checksum(head, body, nonce);
    out.append(reinterpret_cast<const char*>(&head), sizeof head).append(body);
}

std::optional<bool> begins_a_line(std::string_view bytes) {
    FrameKind kind;
    constexpr size_t kAt = offsetof(FrameHead, kind);
    if (bytes.size() < kAt + sizeof kind) return bytes.find("\r\n") != std::string_view::npos ? std::optional(true) : std::nullopt;
    std::memcpy(&kind, bytes.data() + kAt, sizeof kind);
    return kind != FrameKind::registered;
}

FrameOutcome read_frame(std::string_view bytes, uint32_t nonce, Frame& frame, size_t& taken) {
    if (bytes.size() < sizeof frame.head) return FrameOutcome::incomplete;
    std::memcpy(&frame.head, bytes.data(), sizeof frame.head);
    if (frame.head.bytes > kFrameBodyMax || frame.head.kind < FrameKind::registered || frame.head.kind > FrameKind::synced) return FrameOutcome::bad;
    if (bytes.size() - sizeof frame.head < frame.head.bytes) return FrameOutcome::incomplete;
    frame.body = bytes.substr(sizeof frame.head, frame.head.bytes);
    taken = sizeof frame.head + frame.head.bytes;
    return frame.head.crc == checksum(frame.head, frame.body, nonce) ? FrameOutcome::frame : FrameOutcome::bad;
}

}  // namespace millrace::md_repl
