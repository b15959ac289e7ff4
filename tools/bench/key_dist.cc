// The key distributions of the load generator and the word on the command line that names one; see
// key_dist.h.
#include "tools/bench/key_dist.h"

#include <charconv>
#include <cmath>
#include <numeric>

namespace millrace::bench {

namespace {

constexpr double kThetaMax = 10.0;
constexpr uint64_t kScatterStart = 0x9e3779b1;  // a prime near 2^32 / golden ratio

// log1p(x)/x and expm1(x)/x, continued through x = 0 (which is where theta = 1 leads).
double log1p_over(double x) {
    return std::abs(x) > 1e-8 ? std::log1p(x) / x : 1 - x * (0.5 - x / 3);
}
double expm1_over(double x) {
    return std::abs(x) > 1e-8 ? std::expm1(x) / x : 1 + x * (0.5 + x / 6);
}

}  // namespace

bool parse_dist(std::string_view text, DistSpec& spec, std::string& error) {
    constexpr std::string_view kZipfPrefix = "zipf:";
    if (text == "uniform") {
        spec = {DistKind::kUniform, 0};
        return true;
    }
    if (text == "sequential") {
        spec = {DistKind::kSequential, 0};
        return true;
    }
    if (text.starts_with(kZipfPrefix)) {
        const std::string_view number = text.substr(kZipfPrefix.size());
        double theta = 0;
        const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), theta);
        if (code == std::errc{} && end == number.data() + number.size() && theta > 0 && theta <= kThetaMax) {
            spec = {DistKind::kZipf, theta};
            return true;
        }
    }
    error = "'" + std::string(text) +
            "' is no key distribution: use uniform, sequential or zipf:THETA with 0 < THETA <= 10";
    return false;
}

ZipfRank::ZipfRank(uint64_t keys, double theta) : keys_(keys), theta_(theta) {
    area_first_ = area(1.5) - 1;
    area_last_ = area(static_cast<double>(keys) + 0.5);
    sure_accept_ = 2 - area_inverse(area(2.5) - weight(2));
}

double ZipfRank::weight(double x) const {
    return std::exp(-theta_ * std::log(x));
}

double ZipfRank::area(double x) const {
    const double log_x = std::log(x);
    return expm1_over((1 - theta_) * log_x) * log_x;
}

double ZipfRank::area_inverse(double area) const {
    const double t = std::max(area * (1 - theta_), -1.0);
    return std::exp(log1p_over(t) * area);
}

uint64_t ZipfRank::draw(Random& random) const {
    for (;;) {
        const double u = area_last_ + random.unit() * (area_first_ - area_last_);
        const double x = area_inverse(u);
        const double nearest = std::min(std::max(std::floor(x + 0.5), 1.0), static_cast<double>(keys_));
        if (nearest - x <= sure_accept_ || u >= area(nearest + 0.5) - weight(nearest)) {
            return static_cast<uint64_t>(nearest) - 1;
        }
    }
}

KeyChooser::KeyChooser(DistSpec spec, uint64_t keys, uint64_t worker, uint64_t workers)
    : spec_(spec),
      keys_(keys),
      scatter_factor_(kScatterStart),
      position_(worker % keys),
      stride_(workers),
      zipf_(keys, spec.kind == DistKind::kZipf ? spec.theta : 1.0) {
    while (std::gcd(scatter_factor_, keys_) != 1) ++scatter_factor_;
}

uint64_t KeyChooser::next_sequential() {
    const uint64_t key = position_;
    position_ = (position_ + stride_) % keys_;
    return key;
}

}  // namespace millrace::bench
