// Reads the log of a data folder: the records behind a number, through all files in order, and what is wrong with them (log_format.h, L5).
// Runs in starts, in whoever follows the log while it is written, and in tools.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/disk/data_folder.h"
#include "common/disk/log_file_reader.h"
#include "common/disk/log_format.h"

namespace millrace::disk {

struct LogPosition {
    std::string path;  ///< empty: there is no file
    uint64_t offset = 0;
};

/// A file of the log as its header says. `fault`: why it has none that is any good (then `header` is empty), as a part of a sentence.
struct LogFileInfo {
    std::string path;
    LogHeader header{};
    uint64_t bytes = 0;
    std::string fault;
    bool newer = false;  ///< a newer millrace has made it
    uint64_t after = 0;  ///< as the file's name says
};

/// Every log file of a folder, in order. Throws Error for a folder that cannot be read.
std::vector<LogFileInfo> log_files(const std::string& folder);
/// Whether the log has every record behind this number, from one of its files on, without a hole. Throws as log_files().
bool log_reaches_back(const std::string& folder, uint64_t number);

class LogReader {
  public:
    enum class Outcome {
        record,   ///< number(), effects(), wall_ms(), position()
        end,      ///< the last file ends with a whole frame. next() again looks whether there is more now
        tail,     ///< what is at position() was never durable and is where a start cuts the file. next() again looks whether it is whole now
        damage,   ///< what is at position() was durable, or cannot be read. For good
        gap,      ///< a file does not go on where those before ended, or there is none as old as asked for. next() again goes on behind it
        refused,  ///< a newer millrace has made a file. For good
    };

    /// Gives the records with number > from. Throws Error for a folder that cannot be read.
    LogReader(std::string folder, uint64_t from);

    /// All but `record` leave a sentence(): what, where. Throws Error when the folder cannot be read any more.
    Outcome next();

    /// Number of the record given last, or passed over because it was asked for later ones; `from` if there was none as high.
    uint64_t number() const { return number_; }
    /// Number of the last record in the file at position(), or its header's `after`: what a writer that goes on there has to be told.
    uint64_t number_in_file() const { return number_in_file_; }
    std::string_view effects() const { return file_.body(); }  ///< until the next call
    int64_t wall_ms() const { return wall_ms_; }  ///< when the record was written, ms since the Unix epoch; 0: no mark was read yet
    LogPosition position() const { return {file_.path(), file_.offset()}; }
    const std::string& sentence() const { return sentence_; }
    uint64_t bytes_read() const { return bytes_before_ + file_.end_offset(); }

  private:
    void choose_first();
    bool find_successor();
    void go_on_in_successor();
    Outcome open_chosen();
    Outcome judge_gap(const LogHeader& header);
    Outcome read();
    Outcome take_record(bool& give);
    bool to_look_again(bool bad);
    Outcome judge_end();
    Outcome judge_bad();
    Outcome end_with(Outcome outcome, std::string sentence);

    std::string folder_;
    uint64_t from_, number_, number_in_file_ = 0;
    LogFileReader file_;
    NumberedFile chosen_;       ///< the file that is open, or to be opened next if `to_open_`
    NumberedFile successor_;    ///< the one behind it, if it was found
    bool to_open_ = false, opened_any_ = false;
    uint64_t settled_at_ = 0;   ///< where in the file its writer was done before this was looked at; 0: nowhere
    bool final_ = false;        ///< final_outcome_ is all that there will be
    Outcome final_outcome_ = Outcome::end;
    int64_t wall_ms_ = 0;
    uint64_t bytes_before_ = 0;
    std::string sentence_;
};

}  // namespace millrace::disk
