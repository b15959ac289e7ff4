// Reads one file of the log, frame by frame, and says what is not a frame. What that means for the whole log, log_reader.h says.
// Runs in starts, in whoever follows the log while it is written, and in tools. Never throws.
#pragma once

#include <string>
#include <vector>

#include "common/disk/log_format.h"
#include "common/segment.h"

namespace millrace::disk {

/// A mark, and where its frame begins.
struct PlacedMark {
    uint64_t offset = 0, number = 0;
    Mark mark{};
};

class LogFileReader {
  public:
    enum class Opened { yes, damage, refused };
    enum class Outcome {
        record,   ///< number(), previous(), body()
        mark,     ///< mark()
        end,      ///< a whole frame ends where the file does, or where nothing but zeros follows (L5); again: looks whether there is more now
        bad,      ///< there is no whole frame at offset(), see fault(); again: looks whether there is one now
        failed,   ///< the file cannot be read there, see fault()
        refused,  ///< a newer millrace has made the frame (L8)
    };

    /// Opens a file and reads its header. Else fault().
    Opened open(const std::string& path);
    bool is_open() const { return fd_.open(); }
    const std::string& path() const { return path_; }
    const LogHeader& header() const { return header_; }
    uint64_t file_bytes() const { return file_bytes_; }

    Outcome next();
    /// Goes on at a frame that begins at `offset`, with what is in the file now.
    void seek(uint64_t offset);

    uint64_t number() const { return record_.number; }
    uint64_t previous() const { return record_.previous; }
    std::string_view body() const { return body_; }  ///< until the next call
    const Mark& mark() const { return mark_; }
    bool packed() const { return packed_; }            ///< whether the record was inside of a packed frame
    uint64_t offset() const { return offset_; }        ///< where the frame begins, or where there is none
    uint64_t end_offset() const { return at_; }        ///< where the whole frames that were read end
    const std::string& fault() const { return fault_; }  ///< "the checksum is wrong"

    /// The first mark at `from` or behind that says that more than `synced_above` bytes were durable. False: there is none, or the file cannot be read.
    bool find_mark(uint64_t from, uint64_t synced_above, PlacedMark& found);

  private:
    enum class Rest { zeros, other, unreadable };

    Opened check_header();
    Outcome read_frame();
    Outcome take(const FrameHeader& frame, std::string_view body);
    bool unpack(const FrameHeader& frame, std::string_view body);
    bool inside_is_whole(const FrameHeader& outer) const;
    void give_inner();
    Outcome fail(Outcome outcome, std::string fault);
    bool has(uint64_t bytes);
    bool load(uint64_t offset, uint64_t bytes);
    std::string_view loaded(uint64_t offset, uint64_t bytes) const { return {window_.data() + (offset - window_at_), bytes}; }
    Rest look_at_rest();
    Outcome not_loaded();
    bool mark_at(uint64_t offset, PlacedMark& found) const;

    std::string path_, fault_;
    Descriptor fd_;
    LogHeader header_{};
    uint64_t file_bytes_ = 0, at_ = 0, offset_ = 0;
    std::vector<char> window_;  ///< bytes of the file from window_at_ on, window_bytes_ of them
    uint64_t window_at_ = 0, window_bytes_ = 0;
    FrameHeader record_{};
    std::string_view body_;
    Mark mark_{};
    std::string unpacked_;
    uint64_t inner_at_ = 0;  ///< in unpacked_
    bool packed_ = false;
};

}  // namespace millrace::disk
