// Request bytes and values of the load generator: templates are built once, a request is a copy of its
// template with the key's digits written over; see workload.h.
#include "tools/bench/workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace millrace::bench {

namespace {

constexpr uint32_t kWeightMax = 1'000'000;
constexpr uint64_t kWordBytes = 8;
constexpr uint64_t kPrintableMask = 0x3f3f3f3f3f3f3f3fULL;  // six bits a byte …
constexpr uint64_t kPrintableBase = 0x3030303030303030ULL;  // … from '0' on
constexpr size_t kBufferMin = 64 << 10;                     // bytes

void write_digits(char* to, uint64_t number) {
    for (size_t i = kKeyDigits; i-- > 0; number /= 10) to[i] = static_cast<char>('0' + number % 10);
}

std::string upper(std::string_view text) {
    std::string result(text);
    for (char& c : result) c = static_cast<char>(c - 'a' + 'A');
    return result;
}

bool parse_mix_item(std::string_view item, Mix& mix) {
    const size_t equals = item.find('=');
    const std::string_view name = item.substr(0, equals);
    uint32_t weight = 1;
    if (equals != std::string_view::npos) {
        const std::string_view number = item.substr(equals + 1);
        const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), weight);
        if (code != std::errc{} || end != number.data() + number.size() || weight > kWeightMax) return false;
    }
    for (size_t i = 0; i < kCommandCount; ++i) {
        if (kCommands[i].name != name) continue;
        mix.weight[i] = weight;
        return true;
    }
    return false;
}

}  // namespace

uint32_t Mix::total() const {
    uint32_t sum = 0;
    for (uint32_t one : weight) sum += one;
    return sum;
}

std::string Mix::text() const {
    std::string result;
    for (size_t i = 0; i < kCommandCount; ++i) {
        if (weight[i])
            result += fmt::format("{}{}={}", result.empty() ? "" : ",", kCommands[i].name, weight[i]);
    }
    return result;
}

bool parse_mix(std::string_view text, Mix& mix, std::string& error) {
    mix = Mix{};
    for (size_t begin = 0; begin <= text.size();) {
        const size_t comma = std::min(text.find(',', begin), text.size());
        const std::string_view item = text.substr(begin, comma - begin);
        if (!parse_mix_item(item, mix)) {
            std::string names;
            for (const Command& command : kCommands) names += fmt::format(" {}", command.name);
            error = fmt::format(
                "'{}' is no part of a mix: write COMMAND=WEIGHT,… with weights up to {} and the commands{}",
                item, kWeightMax, names);
            return false;
        }
        begin = comma + 1;
    }
    if (mix.total() == 0) error = "all weights of the mix are 0: at least one command must have a share";
    return mix.total() > 0;
}

uint64_t ValueModel::word(uint64_t key_state, uint64_t index) const {
    return (mix64(key_state + index) & kPrintableMask) + kPrintableBase;
}

uint32_t ValueModel::size_of(uint64_t key) const {
    if (size_min == size_max) return size_min;
    return size_min + static_cast<uint32_t>(mix64(~key_state(key)) % (size_max - size_min + 1));
}

void ValueModel::fill(uint64_t key, char* to, uint32_t size) const {
    const uint64_t state = key_state(key);
    uint64_t index = 0;
    for (; (index + 1) * kWordBytes <= size; ++index) {
        const uint64_t bytes = word(state, index);
        std::memcpy(to + index * kWordBytes, &bytes, kWordBytes);
    }
    const uint64_t tail = word(state, index);
    std::memcpy(to + index * kWordBytes, &tail, size % kWordBytes);
}

bool ValueModel::matches(uint64_t key, int64_t length, int64_t offset, std::string_view chunk) const {
    if (length != size_of(key)) return false;
    const uint64_t state = key_state(key);
    auto at = static_cast<uint64_t>(offset);
    while (!chunk.empty()) {
        const uint64_t bytes = word(state, at / kWordBytes);
        const size_t skip = at % kWordBytes;
        const size_t size = std::min<size_t>(kWordBytes - skip, chunk.size());
        if (std::memcmp(reinterpret_cast<const char*>(&bytes) + skip, chunk.data(), size) != 0) return false;
        at += size;
        chunk.remove_prefix(size);
    }
    return true;
}

char* OutBuffer::grow(size_t bytes) {
    if (size_ + bytes > capacity_) {
        const size_t capacity = std::max({size_ + bytes, 2 * capacity_, kBufferMin});
        auto larger = std::make_unique_for_overwrite<char[]>(capacity);
        if (size_) std::memcpy(larger.get(), data_.get(), size_);
        data_ = std::move(larger);
        capacity_ = capacity;
    }
    char* const room = data_.get() + size_;
    size_ += bytes;
    return room;
}

void OutBuffer::append(std::string_view text) {
    std::memcpy(grow(text.size()), text.data(), text.size());
}

Workload::Workload(const WorkloadSpec& spec, uint64_t worker, uint64_t workers)
    : spec_(spec),
      random_(mix64(spec.values.seed) + worker),
      chooser_(spec.dist, spec.keys, worker, workers),
      mix_total_(spec.mix.total()) {
    for (size_t i = 0; i < kCommandCount; ++i) {
        const Command& command = kCommands[i];
        const bool is_many = command.shape == Shape::kKeys || command.shape == Shape::kKeyValues;
        Template& form = templates_[i];
        form.has_values = command.shape == Shape::kKeyValue || command.shape == Shape::kKeyValues;
        form.keys = command.shape == Shape::kNoKey ? 0 : is_many ? spec.keys_per_request : 1;
        const uint32_t words = 1 + form.keys * (form.has_values ? 2 : 1);
        form.head = fmt::format("*{}\r\n${}\r\n{}\r\n", words, command.name.size(), upper(command.name));
        form.key = fmt::format("${}\r\n{}{:0{}}\r\n", kKeyLength, command.family, 0, kKeyDigits);
    }
}

Workload::Request Workload::write_next(OutBuffer& out) {
    const Request request{chooser_.next(random_), choose_command()};
    if (spec_.protocol == Protocol::kRedis) {
        write_redis(templates_[request.command], request.key, out);
    } else {
        write_memcached(request.command, request.key, out);
    }
    return request;
}

uint8_t Workload::choose_command() {
    auto left = static_cast<uint32_t>(random_.below(mix_total_));
    uint8_t command = 0;
    while (left >= spec_.mix.weight[command]) left -= spec_.mix.weight[command++];
    return command;
}

void Workload::write_redis(const Template& form, uint64_t key, OutBuffer& out) const {
    out.append(form.head);
    for (uint32_t i = 0; i < form.keys; ++i) {
        const uint64_t this_key = key_of_element(key, i);
        char* const at = out.grow(form.key.size());
        std::memcpy(at, form.key.data(), form.key.size());
        write_digits(at + form.key.size() - 2 - kKeyDigits, this_key);
        if (!form.has_values) continue;
        const uint32_t size = spec_.values.size_of(this_key);
        char header[16];
        const auto end = fmt::format_to(header, "${}\r\n", size);
        out.append({header, static_cast<size_t>(end - header)});
        char* const value = out.grow(size + 2);
        spec_.values.fill(this_key, value, size);
        std::memcpy(value + size, "\r\n", 2);
    }
}

void Workload::write_memcached(uint8_t command, uint64_t key, OutBuffer& out) const {
    const bool is_set = kCommands[command].shape == Shape::kKeyValue;
    out.append(is_set ? "set key:" : "get key:");
    write_digits(out.grow(kKeyDigits), key);
    if (!is_set) return out.append("\r\n");
    const uint32_t size = spec_.values.size_of(key);
    char header[24];
    const auto end = fmt::format_to(header, " 0 0 {}\r\n", size);
    out.append({header, static_cast<size_t>(end - header)});
    char* const value = out.grow(size + 2);
    spec_.values.fill(key, value, size);
    std::memcpy(value + size, "\r\n", 2);
}

}  // namespace millrace::bench
