// How commands state a time to expire at: "EX 10", "PXAT 33177117420000", an argument in seconds. Runs in md; part of the handlers.
#pragma once

#include <array>
#include <limits>
#include <string>
#include <string_view>

#include "common/text.h"
#include "md/handlers.h"

namespace millrace::md {

inline std::string invalid_expiry(std::string_view command) { return "ERR invalid expire time in '" + std::string(command) + "' command"; }

/// The moment, in milliseconds since 1970, that is `text` units after `base_ms`. False after an error reply.
inline bool expiry_time(Plan& plan, std::string_view text, int64_t unit_ms, int64_t base_ms, std::string_view command, int64_t& at_ms) {
    if (!parse_integer(text, at_ms)) return plan.reply().error(error_text::kNotAnInteger), false;
    bool valid = at_ms > 0 && !__builtin_mul_overflow(at_ms, unit_ms, &at_ms);
    valid = valid && !__builtin_add_overflow(at_ms, base_ms, &at_ms);
    if (!valid) plan.reply().error(invalid_expiry(command));
    return valid;
}

/// EX, PX, EXAT or PXAT with its argument.
class ExpiryOption {
  public:
    bool given() const { return kind_ != nullptr; }
    /// Takes the option at word `i` and leaves `i` at its argument. False: there is none, or it may not stand here: the same word may be
    /// repeated, and the last one counts, another one is an error. So it is in Redis.
    bool take(Arguments words, size_t& i) {
        for (const Kind& kind : kKinds) {
            if (!equals_ignoring_case(words[i], kind.word)) continue;
            if (i + 1 == words.size() || (kind_ != nullptr && kind_ != &kind)) return false;
            kind_ = &kind;
            argument_ = words[++i];
            return true;
        }
        return false;
    }
    /// REQUIRES: given(). False after an error reply.
    bool resolve(Plan& plan, std::string_view command, int64_t& at_ms) const {
        return expiry_time(plan, argument_, kind_->unit_ms, kind_->relative ? plan.clock_ms() : 0, command, at_ms);
    }

  private:
    struct Kind {
        std::string_view word;
        int64_t unit_ms;
        bool relative;
    };
    static constexpr std::array<Kind, 4> kKinds{{{"EX", 1000, true}, {"PX", 1, true}, {"EXAT", 1000, false}, {"PXAT", 1, false}}};

    const Kind* kind_ = nullptr;
    std::string_view argument_;
};

}  // namespace millrace::md
