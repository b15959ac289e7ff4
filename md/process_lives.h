// Whether another process still does anything. Runs in md.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace millrace::md {

/// False of one that was killed and has no successor of its number, reaped or not: /proc tells (proc(5)).
inline bool process_lives(uint32_t pid) {
    std::FILE* const file = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "re");
    if (file == nullptr) return false;
    char state = 'Z';
    const int found = std::fscanf(file, "%*d (%*[^)]) %c", &state);
    std::fclose(file);
    return found == 1 && state != 'Z' && state != 'X';
}

}  // namespace millrace::md
