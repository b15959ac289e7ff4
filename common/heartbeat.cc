// See heartbeat.h. Runs in every daemon.
#include "common/heartbeat.h"

#include <sys/stat.h>

#include <boost/interprocess/file_mapping.hpp>

#include "common/check.h"
#include "common/paths.h"

namespace millrace {

Heartbeat::Heartbeat(const std::string& dir, unsigned place) {
    CHECK(place < kHeartbeatPlaces);
    const std::string path = paths::heartbeats(dir);
    struct stat found {};
    if (stat(path.c_str(), &found) != 0 || found.st_size < static_cast<off_t>(kHeartbeatBytes))
        throw Error(path + " is missing or too short: start the group with 'millrace start'");
    namespace ipc = boost::interprocess;
    region_ = ipc::mapped_region(ipc::file_mapping(path.c_str(), ipc::read_write), ipc::read_write, 0, kHeartbeatBytes);
    word_ = reinterpret_cast<std::atomic<uint64_t>*>(static_cast<std::byte*>(region_.get_address()) + place * kCacheLineDistance);
}

}  // namespace millrace
