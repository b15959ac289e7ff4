// What a fuzz target is, and what the targets share. A target reads any bytes as input of the code under test and aborts
// when that code breaks a promise; `make fuzz` runs it under libFuzzer, tests/stress/*_replay_stress.cc with seeded random
// inputs and mutations of the valid ones.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace millrace::fuzz {

/// Inputs that exercise the target well, as a start for mutations.
std::vector<std::string> valid_inputs();

/// Takes choices off the front of an input; an input that is used up gives zeros.
class Choices {
  public:
    Choices(const uint8_t* data, size_t size) : left_(reinterpret_cast<const char*>(data), size) {}

    bool empty() const { return left_.empty(); }
    template <class Number>
    Number take() {
        Number number{};
        const std::string_view bytes = take_bytes(sizeof number);
        if (!bytes.empty()) std::memcpy(&number, bytes.data(), bytes.size());
        return number;
    }
    std::string_view take_bytes(size_t count) {
        const std::string_view bytes = left_.substr(0, std::min(count, left_.size()));
        left_.remove_prefix(bytes.size());
        return bytes;
    }
    std::string_view rest() const { return left_; }

  private:
    std::string_view left_;
};

/// Puts an input together in the way that Choices takes it apart.
class InputWriter {
  public:
    template <class Number>
    InputWriter& put(Number number) {
        bytes_.append(reinterpret_cast<const char*>(&number), sizeof number);
        return *this;
    }
    InputWriter& bytes(std::string_view bytes) {
        bytes_ += bytes;
        return *this;
    }
    std::string done() { return std::move(bytes_); }

  private:
    std::string bytes_;
};

}  // namespace millrace::fuzz
