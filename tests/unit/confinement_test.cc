// The filters of io_conn and md, put on in child processes: what they let through, what they refuse and say, and what ends the process.
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <cstring>
#include <functional>
#include <memory>

#include "common/client_rows.h"
#include "common/counter_reader.h"
#include "common/counters.h"
#include "common/paths.h"
#include "common/resident_memory.h"
#include "common/wakeup.h"
#include "io_conn/confinement.h"
#include "md/confinement.h"
#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

using namespace millrace;
using unit::contains;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr uint64_t kInstance = 7;
/// How a child process says what came of its call; others are signals.
enum Outcome { allowed = 0, refused = 1, other_error = 2, ended_by_kernel = -SIGSYS, ended_by_abort = -SIGABRT };

/// An instance's folder with what an io_conn finds there.
struct Group {
    unit::Folder folder;
    std::string dir = folder.path();
    sockaddr_un supervisor{};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), elsewhere = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un other{};
    std::string log;  ///< of the last child

    Group() {
        std::filesystem::create_directories(dir + "/run/shm");
        mkfifo(paths::io_conn_fifo(dir, 1).c_str(), 0600);
        Counters<MdCounter>(paths::counters(dir, "md", 0), "md", 0, kInstance, 1).add(MdCounter::requests, 5);
        ClientRows(paths::clients(dir, 1), kInstance, 1, 10);
        folder.write("run/shm/store", std::string(8192, 's'));
        listen_at(listener, supervisor, "/run/supervisor.sock");
        listen_at(elsewhere, other, "/run/other.sock");
    }
    ~Group() {
        close(listener);
        close(elsewhere);
    }
    void listen_at(int fd, sockaddr_un& address, const std::string& name) const {
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, (dir + name).c_str(), sizeof address.sun_path - 1);
        bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
        listen(fd, 5);
    }

    using Call = std::function<long()>;
    /// What comes of `call`, whose errors are -1 with errno, behind the filter; `before` is done without it.
    int behind(const std::function<void(ProtectedNames&)>& put_on, const Call& call) {
        int pipe_ends[2];
        REQUIRE(pipe(pipe_ends) == 0);
        const pid_t child = fork();
        if (child == 0) {
            for (const int signal : {SIGABRT, SIGSEGV, SIGBUS}) ::signal(signal, SIG_DFL);
            dup2(pipe_ends[1], STDERR_FILENO);
            close(pipe_ends[1]);
            ProtectedNames names = io_conn::names_of_group(dir, std::span(&supervisor, 1));
            put_on(names);
            errno = 0;
            const long result = call();
            _exit(result >= 0 ? allowed : errno == EPERM ? refused : other_error);
        }
        close(pipe_ends[1]);
        log.clear();
        char piece[1000];
        for (ssize_t count; (count = read(pipe_ends[0], piece, sizeof piece)) > 0;) log.append(piece, static_cast<size_t>(count));
        close(pipe_ends[0]);
        int status = 0;
        waitpid(child, &status, 0);
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    }
    int in_io_conn(const Call& call) {
        return behind([](ProtectedNames& names) { names.seal(), io_conn::load_call_filter(names); }, call);
    }
    int in_md(const Call& call) {
        return behind([](ProtectedNames&) { md::load_call_filter(); }, call);
    }
};

long number(const void* pointer) { return pointer == MAP_FAILED ? -1 : 0; }

int hold(const char* path, int flags) { return open(path, flags | O_CLOEXEC); }

}  // namespace

TEST_SUITE_BEGIN("confinement" * doctest::skip(kSanitized));

TEST_CASE("confinement: io_conn opens the names of its group for reading, and nothing else") {
    Group group;
    const std::string counters = paths::counters(group.dir, "md", 0), store = paths::store(group.dir), fifo = paths::io_conn_fifo(group.dir, 1);
    CHECK(group.in_io_conn([&] { return open(name_to_open(counters), O_RDONLY | O_CLOEXEC); }) == allowed);
    CHECK(group.log == "");
    CHECK(group.in_io_conn([&] { return open(name_to_open(fifo), O_RDWR | O_NONBLOCK | O_CLOEXEC); }) == allowed);
    for (const int flags : {O_WRONLY, O_RDWR, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC, O_RDONLY | O_DIRECTORY, O_RDONLY | O_PATH})
        CHECK_MESSAGE(group.in_io_conn([&] { return open(name_to_open(store), flags, 0600); }) == refused, flags);
    CHECK(group.in_io_conn([&] { return open(counters.c_str(), O_RDONLY); }) == refused);  // the same name elsewhere
    CHECK(contains(group.log, "the filter on system calls has refused openat (257); said once\n"));
    CHECK(group.in_io_conn([&] { return open(name_to_open(counters) + 1, O_RDONLY); }) == refused);
    CHECK(group.in_io_conn([&] { return open("/etc/passwd", O_RDONLY); }) == refused);
    CHECK(group.in_io_conn([&] { return openat(3, name_to_open(counters), O_RDONLY); }) == refused);
    CHECK(group.in_io_conn([&] { return open(name_to_open(fifo), O_WRONLY); }) == refused);
    CHECK(group.in_io_conn([] { return open(reinterpret_cast<const char*>(kProtectedEnd - 64), O_RDONLY); }) == refused);
    for (const auto call : {SYS_open, SYS_creat, SYS_openat2, SYS_open_by_handle_at, SYS_memfd_secret})
        CHECK_MESSAGE(group.in_io_conn([&] { return syscall(call, name_to_open(counters), 0, 0, 0); }) == refused, call);
}

TEST_CASE("confinement: io_conn changes no name") {
    Group group;
    const std::string store = paths::store(group.dir);
    CHECK(group.in_io_conn([&] { return unlink(name_to_open(store)); }) == refused);
    CHECK(group.in_io_conn([&] { return rename(name_to_open(store), "x"); }) == refused);
    CHECK(group.in_io_conn([&] { return mkdir("x", 0700); }) == refused);
    CHECK(group.in_io_conn([&] { return symlink("x", "y"); }) == refused);
    CHECK(group.in_io_conn([&] { return chmod(name_to_open(store), 0777); }) == refused);
    CHECK(group.in_io_conn([&] { return truncate(name_to_open(store), 0); }) == refused);
    CHECK(group.in_io_conn([] { return chdir("/"); }) == refused);
    struct stat info;
    CHECK(group.in_io_conn([&] { return stat(name_to_open(store), &info); }) == allowed);
    CHECK(group.in_io_conn([&] { return stat("/etc/passwd", &info); }) == refused);
}

TEST_CASE("confinement: what io_conn reads of its group is there") {
    Group group;
    CHECK(group.in_io_conn([&] {
        std::vector<std::string> problems;
        const auto processes = read_counters(group.dir, problems, [](int, uint64_t) { return ProcessState::up; });
        unsigned clients = 0;
        for_each_client(paths::clients(group.dir, 1), kInstance, [&](const ClientInfo&, const ClientRow&) { ++clients; });
        Fifo(paths::io_conn_fifo(group.dir, 1)).wake();
        return processes.size() == 1 && processes[0].value("requests") == 5 && problems.empty() && clients == 0 ? 0 : -1;
    }) == allowed);
    CHECK(group.log == "");
    CHECK(group.in_io_conn([&] {  // what was there without a name is an error as ever
        try {
            for_each_client(paths::clients(group.dir, 2), kInstance, [](const ClientInfo&, const ClientRow&) {});
        } catch (const Error&) {
            return 0;
        }
        return -1;
    }) == allowed);
    CHECK(group.log == "");
}

TEST_CASE("confinement: memory of io_conn") {
    Group group;
    const int file = hold(paths::store(group.dir).c_str(), O_RDWR);
    auto* const mapped = static_cast<char*>(mmap(nullptr, 8192, PROT_READ, MAP_SHARED, file, 0));
    REQUIRE(mapped != MAP_FAILED);
    const auto map = [&](void* at, int protection, int flags, int fd = -1) {
        return group.in_io_conn([=] { return number(mmap(at, 8192, protection, flags, fd, 0)); });
    };
    CHECK(map(nullptr, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS) == allowed);
    CHECK(map(nullptr, PROT_READ, MAP_SHARED, file) == allowed);
    CHECK(group.log == "");
    CHECK(map(nullptr, PROT_READ | PROT_WRITE, MAP_SHARED, file) == ended_by_abort);
    CHECK(contains(group.log, "mmap (9), which only an intruder asks for: this process ends"));
    CHECK(map(nullptr, PROT_WRITE, MAP_SHARED_VALIDATE, file) == ended_by_abort);
    CHECK(map(nullptr, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS) == ended_by_abort);
    CHECK(map(nullptr, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS) == ended_by_abort);
    CHECK(map(nullptr, PROT_READ | PROT_EXEC, MAP_SHARED, file) == ended_by_abort);
    CHECK(map(nullptr, PROT_READ | PROT_WRITE, MAP_PRIVATE, file) == ended_by_abort);
    CHECK(map(mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED) == ended_by_abort);
    auto* const low = reinterpret_cast<char*>(kProtectedBegin);
    CHECK(map(low, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS) == ended_by_abort);
    CHECK(map(low, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED) == ended_by_abort);

    CHECK(group.in_io_conn([&] { return mprotect(mapped, 4096, PROT_READ | PROT_WRITE); }) == ended_by_kernel);
    CHECK(group.in_io_conn([&] { return mprotect(low, 4096, PROT_READ | PROT_WRITE); }) == ended_by_kernel);
    CHECK(group.in_io_conn([&] { return syscall(SYS_pkey_mprotect, low, 4096, PROT_READ | PROT_WRITE, -1); }) == ended_by_kernel);
    CHECK(group.in_io_conn([&] { return munmap(low, 4096); }) == ended_by_abort);
    CHECK(group.in_io_conn([&] { return munmap(nullptr, 1ul << 40); }) == ended_by_abort);
    CHECK(group.in_io_conn([&] { return munmap(mapped, 4096); }) == allowed);
    CHECK(group.in_io_conn([&] { return number(mremap(mapped, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, low)); }) == ended_by_abort);
    CHECK(group.in_io_conn([&] { return number(mremap(low, 4096, 8192, MREMAP_MAYMOVE)); }) == ended_by_abort);
    CHECK(group.in_io_conn([&] { return number(mremap(mapped, 8192, 16384, MREMAP_MAYMOVE)); }) == allowed);
    CHECK(group.in_io_conn([&] { return madvise(low, 4096, MADV_DONTNEED); }) == refused);
    CHECK(group.in_io_conn([&] { return madvise(mapped, 4096, MADV_DONTNEED); }) == allowed);
    for (const int advice : {MADV_REMOVE, MADV_FREE, MADV_HWPOISON})
        CHECK_MESSAGE(group.in_io_conn([&] { return madvise(mapped, 4096, advice); }) == refused, advice);
    CHECK(group.in_io_conn([&] { return fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096); }) == refused);
    CHECK(group.in_io_conn([&] { return fallocate(file, 0, 0, 4096); }) == allowed);
    CHECK(group.in_io_conn([&] { return fallocate(file, 0, 0, 1l << 40); }) == refused);
    CHECK(group.in_io_conn([&] { return fallocate(file, 0, 1l << 40, 4096); }) == refused);
    CHECK(group.in_io_conn([&] { return ftruncate(file, 0); }) == refused);
    CHECK(group.in_io_conn([&] { return fcntl(file, F_SETOWN, getppid()); }) == refused);
    munmap(mapped, 8192);
    close(file);
}

TEST_CASE("confinement: io_conn starts no program, no process, and signals nobody") {
    Group group;
    char* const words[] = {const_cast<char*>("true"), nullptr};
    CHECK(group.in_io_conn([&] { return execve("/bin/true", words, words); }) == ended_by_kernel);
    CHECK(group.in_io_conn([] { return fork(); }) == ended_by_kernel);
    CHECK(group.in_io_conn([] { return syscall(SYS_vfork); }) == ended_by_kernel);
    CHECK(group.in_io_conn([] { return syscall(SYS_clone3, nullptr, 0); }) == ended_by_kernel);
    CHECK(group.in_io_conn([] { return kill(getppid(), 0); }) != allowed);
    CHECK(group.in_io_conn([parent = getpid()] { return kill(parent, SIGURG); }) == ended_by_kernel);
    CHECK(group.in_io_conn([] { return kill(getpid(), SIGURG); }) == ended_by_kernel);
    CHECK(group.in_io_conn([parent = getpid()] { return syscall(SYS_tkill, parent, SIGURG); }) == ended_by_kernel);
    CHECK(group.in_io_conn([parent = getpid()] { return syscall(SYS_tgkill, parent, parent, SIGURG); }) == ended_by_abort);
    CHECK(group.in_io_conn([parent = getpid()] { return syscall(SYS_rt_sigqueueinfo, parent, SIGURG, nullptr); }) == ended_by_kernel);
    CHECK(group.in_io_conn([parent = getpid()] { return syscall(SYS_pidfd_open, parent, 0); }) == ended_by_kernel);
    CHECK(group.in_io_conn([parent = getpid()] { return ptrace(PTRACE_ATTACH, parent, nullptr, nullptr); }) == ended_by_kernel);
    CHECK(group.in_io_conn([parent = getpid()] { return syscall(SYS_process_vm_writev, parent, nullptr, 0, nullptr, 0, 0); }) == ended_by_kernel);
    rlimit limit{1, 1};
    CHECK(group.in_io_conn([&] { return prlimit(getpid(), RLIMIT_CPU, &limit, nullptr); }) == ended_by_abort);
    CHECK(group.in_io_conn([&] { return prlimit(0, RLIMIT_NOFILE, nullptr, &limit); }) == allowed);
    CHECK(group.in_io_conn([] { return prctl(PR_SET_DUMPABLE, 0); }) == refused);
    CHECK(group.in_io_conn([] { return setuid(0); }) == refused);
    CHECK(group.in_io_conn([]() -> long { std::abort(); }) == ended_by_abort);
    CHECK_FALSE(contains(group.log, "refused"));
}

TEST_CASE("confinement: io_conn reaches its clients and the supervisor") {
    Group group;
    const auto connected = [&](const sockaddr* address) {
        return group.in_io_conn([=] { return connect(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), address, sizeof(sockaddr_un)); });
    };
    // The copy's address is known behind the filter only.
    CHECK(group.in_io_conn([&] {
        return connect(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), name_to_connect(group.supervisor), sizeof(sockaddr_un));
    }) == allowed);
    CHECK(group.log == "");
    CHECK(connected(reinterpret_cast<const sockaddr*>(&group.supervisor)) == refused);
    CHECK(connected(reinterpret_cast<const sockaddr*>(&group.other)) == refused);
    CHECK(group.in_io_conn([] { return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }) == refused);
    CHECK(group.in_io_conn([] { return socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }) == refused);
    CHECK(group.in_io_conn([] { return socket(AF_NETLINK, SOCK_RAW, 0); }) == refused);
    CHECK(group.in_io_conn([&] { return bind(group.listener, nullptr, 0); }) == refused);
    CHECK(group.in_io_conn([&] { return accept4(group.listener, nullptr, nullptr, SOCK_NONBLOCK); }) == allowed);  // the one from above
    CHECK(group.in_io_conn([&] { return shutdown(group.listener, SHUT_RDWR); }) == ended_by_kernel);
    const int value = 1;
    CHECK(group.in_io_conn([&] { return setsockopt(group.listener, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value); }) == allowed);
    CHECK(group.in_io_conn([&] { return setsockopt(group.listener, SOL_SOCKET, SO_ATTACH_FILTER, &value, sizeof value); }) == refused);
}

TEST_CASE("confinement: md") {
    Group group;
    const int file = hold(paths::store(group.dir).c_str(), O_RDWR);
    CHECK(group.in_md([&] { return rename(group.folder.file("run/shm/store").c_str(), group.folder.file("run/shm/store.refused").c_str()); }) == allowed);
    CHECK(group.in_md([&] { return number(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)); }) == allowed);
    CHECK(group.in_md([] { return kill(getpid(), 0); }) == allowed);
    CHECK(group.log == "");
    CHECK(group.in_md([] { return kill(getpid(), SIGKILL); }) == -SIGKILL);
    CHECK(group.in_md([] { return kill(getpid(), SIGTERM); }) == ended_by_abort);
    CHECK(group.in_md([] { return fork(); }) == ended_by_abort);
    CHECK(contains(group.log, "which only an intruder asks for: this process ends"));
    char* const words[] = {const_cast<char*>("true"), nullptr};
    CHECK(group.in_md([&] { return execve("/bin/true", words, words); }) == ended_by_abort);
    CHECK(group.in_md([] { return socket(AF_UNIX, SOCK_STREAM, 0); }) == ended_by_abort);
    CHECK(group.in_md([&] { return number(mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0)); }) == ended_by_abort);
    CHECK(group.in_md([parent = getpid()] { return ptrace(PTRACE_ATTACH, parent, nullptr, nullptr); }) == ended_by_abort);
    CHECK(group.in_md([] { return prctl(PR_SET_DUMPABLE, 0); }) == refused);
    CHECK(group.in_md([]() -> long { std::abort(); }) == ended_by_abort);
    close(file);
}

TEST_CASE("confinement: resident memory is told without opening a file") {
    Group group;
    const ResidentMemory memory;
    CHECK(memory.read().all > memory.read().shared);
    CHECK(memory.read().shared > 0);
    CHECK(group.in_io_conn([&] { return memory.read().all > 0 ? 0 : -1; }) == allowed);
    CHECK(group.log == "");
}

TEST_SUITE_END();
