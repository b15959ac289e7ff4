// The commands of an AOF that change strings, done to an image of the data as Redis does them when it loads: keys do not expire meanwhile, because the
// AOF says when they went. Used by millrace-convert.
//
// Keys with other types of values are not kept. A command that gives a key such a value removes it here; one that renames or copies a key
// that is not there does so because it has another type.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/disk/data_image.h"
#include "tools/convert/tally.h"

namespace millrace::convert {

using Words = std::vector<std::string>;

class Replay {
  public:
    /// `now_ms`: what times are relative to.
    Replay(disk::DataImage& image, Tally& tally, int64_t now_ms) : image_(image), tally_(tally), now_ms_(now_ms) {}

    /// A new file of the AOF begins, in database 0.
    void begin_file() { database_ = 0; }
    /// Does a command; may change the words. REQUIRES: there is one.
    void execute(Words& words);
    /// Whether a command selects, or changes keys in, a database that there is not; what execute() then does is of no use.
    bool beyond_databases() const { return beyond_databases_; }

  private:
    using Database = disk::DataImage::Database;
    using Entry = disk::DataImage::Entry;
    struct Row {
        size_t words_min;
        bool (Replay::*handler)(Words& words);
    };
    struct Skipped;

    static const Row* row_of(const std::string& name);
    void skip(const std::string& name, const Words& words);

    bool set(Words& words);
    bool setex(Words& words) { return set_with_expiry(words, 1000); }
    bool psetex(Words& words) { return set_with_expiry(words, 1); }
    bool setnx(Words& words);
    bool mset(Words& words);
    bool msetnx(Words& words);
    bool getset(Words& words);
    bool del(Words& words);
    bool getex(Words& words);
    bool expire(Words& words) { return expire(words, 1000, true); }
    bool pexpire(Words& words) { return expire(words, 1, true); }
    bool expireat(Words& words) { return expire(words, 1000, false); }
    bool pexpireat(Words& words) { return expire(words, 1, false); }
    bool persist(Words& words);
    bool append(Words& words);
    bool incr(Words& words) { return add(words[1], 1); }
    bool decr(Words& words) { return add(words[1], -1); }
    bool incrby(Words& words);
    bool decrby(Words& words);
    bool incrbyfloat(Words& words);
    bool setrange(Words& words);
    bool setbit(Words& words);
    bool rename(Words& words);
    bool renamenx(Words& words);
    bool copy(Words& words);
    bool move(Words& words);
    bool flushdb(Words& words);
    bool flushall(Words& words);
    bool swapdb(Words& words);
    bool select(Words& words);

    bool set_with_expiry(Words& words, int64_t unit_ms);
    bool expire(Words& words, int64_t unit_ms, bool relative);
    bool time_of(const std::string& text, int64_t unit_ms, bool relative, int64_t& at_ms) const;
    bool expiry_option(const Words& words, size_t& i, int64_t& at_ms) const;
    bool add(const std::string& key, int64_t amount);
    bool database_of(const std::string& word, size_t& number);
    bool overwrite(const std::string& key, uint64_t offset, std::string_view bytes);
    void put(const std::string& key, std::string value, int64_t expire_at_ms) { keys()[key] = {std::move(value), expire_at_ms, 0}; }
    Entry* find(const std::string& key);
    Database& keys() { return image_.databases()[database_]; }

    disk::DataImage& image_;
    Tally& tally_;
    const int64_t now_ms_;
    size_t database_ = 0;
    bool beyond_databases_ = false;
};

}  // namespace millrace::convert
