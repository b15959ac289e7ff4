// The version that programs print and segments carry.
#pragma once

namespace millrace {

inline constexpr char kVersion[] = "0.1.0";
/// What INFO reports as redis_version, because clients choose their features by it.
inline constexpr char kRedisVersion[] = "7.0.15";

}  // namespace millrace
