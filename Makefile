# millrace: `make run` and `make test` are each enough alone on a fresh Debian 12 with git and make.
#
# Variables: SAN=address,undefined or SAN=thread (a sanitizer build in a folder of its own under build/),
# PREFIX and DESTDIR (install), MAINTAINER (deb), SECONDS (how long soak and fuzz run), KILLS (of md in soak), PATTERN (which tests).

SHELL := /bin/sh
CXX ?= g++
PREFIX ?= /usr/local
SAN ?=
PATTERN ?=

comma := ,
BUILD := build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
BIN := $(BUILD)/bin
TESTS := $(BUILD)/tests
OBJ := $(BUILD)/obj

CXXSTD := -std=c++20
WARNINGS := -Wall -Wextra -Werror
OPTIMISE := -O2 -g -fno-omit-frame-pointer
# Compiling these takes longer than what they do: unit tests, but for those of threads, where the order of instructions matters, and programs' command lines.
QUICK := -O0 -g1 -fno-omit-frame-pointer
# ThreadSanitizer does not model fences; the orders that it checks are those of the indices themselves.
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all) $(if $(findstring thread,$(SAN)),-Wno-tsan)
CPPFLAGS += -I. -DSPDLOG_COMPILED_LIB -DSPDLOG_FMT_EXTERNAL
CXXFLAGS += $(CXXSTD) $(OPTIMISE) $(WARNINGS) $(SANFLAGS)
LDLIBS := -lspdlog -lfmt -levent_core -lxxhash -llzf -lisal -llz4 -lzstd -lseccomp -lpthread

# Packages, each with its reason in README.md.
PACKAGES_RUN := g++ pkg-config libevent-dev libboost-dev libcli11-dev libspdlog-dev libfmt-dev libxxhash-dev liblzf-dev libisal-dev liblz4-dev libzstd-dev libseccomp-dev python3
PACKAGES_TEST := doctest-dev redis-tools python3-redis valgrind
PACKAGES_BENCH := redis-tools memcached util-linux
PACKAGES_DEB := dpkg-dev binutils
PACKAGES_FUZZ := clang libclang-rt-14-dev
PACKAGES_MODEL := g++ spin

sources = $(filter-out $(2),$(wildcard $(1)/*.cc))
objects = $(patsubst %.cc,$(OBJ)/%.o,$(1))

COMMON := $(call objects,$(wildcard common/*.cc common/disk/*.cc common/redis/*.cc))
MD := $(call objects,$(call sources,md,md/check_main.cc))
MD_LOG := $(call objects,$(wildcard md/log/*.cc))
MD_REPL := $(call objects,$(wildcard md/repl/*.cc))
IO_CONN := $(call objects,$(wildcard io_conn/*.cc))
VIEWSTATS := $(call objects,$(wildcard tools/viewstats/*.cc))
OPLOGDUMP := $(call objects,$(wildcard tools/oplogdump/*.cc))
VERIFY := $(call objects,$(wildcard tools/verify/*.cc))
CONVERT := $(call objects,$(wildcard tools/convert/*.cc))
EPOLL_FLOOR := $(call objects,$(wildcard tools/bench/epoll_floor*.cc))
BENCH := $(filter-out $(EPOLL_FLOOR),$(call objects,$(wildcard tools/bench/*.cc)))
# What unit tests link: everything but the files that hold a main().
UNIT_LIBRARY := $(COMMON) $(filter-out %/main.o,$(MD) $(MD_REPL) $(IO_CONN) $(VIEWSTATS) $(OPLOGDUMP) $(CONVERT) $(BENCH))
UNIT := $(call objects,$(wildcard tests/unit/*.cc) tests/linear/history.cc tests/crash/contents.cc)
STRESS := $(patsubst tests/stress/%.cc,$(TESTS)/%,$(wildcard tests/stress/*.cc))
RING_BENCH := $(TESTS)/ring_bench
SLICE_BENCH := $(TESTS)/slice_bench
STORM := $(TESTS)/storm_client
LINEAR := $(TESTS)/linear_client
HOT_KEYS := $(TESTS)/hot_keys
INJECT := $(TESTS)/inject_syscall
CRASH := $(TESTS)/store_steps_stress
CRASH_OBJECTS := $(call objects,$(wildcard tests/crash/*.cc)) $(OBJ)/common/check.o $(OBJ)/common/effects.o \
    $(addprefix $(OBJ)/md/,$(addsuffix .o,write_set commit allocator index items oplog marks store store_oplog store_checksum store_options store_pair store_replication store_check \
    strict_pair window))
# For LD_PRELOAD into programs that are not built with sanitizers.
DISK_SHIM := $(TESTS)/disk_shim.so
DISK_SHIM_OBJECTS := $(call objects,$(wildcard tests/disk/*.cc))
FUZZERS := $(patsubst tests/fuzz/%.cc,$(TESTS)/%,$(wildcard tests/fuzz/*.cc))
DAEMON_LIBRARY := $(COMMON) $(filter-out %/main.o,$(MD) $(MD_REPL) $(IO_CONN))

PROGRAMS := $(BIN)/md $(BIN)/md_log $(BIN)/md_repl $(BIN)/io_conn $(BIN)/store-check $(BIN)/verify-replicas $(BIN)/viewstats $(BIN)/oplogdump $(BIN)/millrace-convert $(BIN)/millrace-conf $(BIN)/millrace-bench $(BIN)/millrace-epoll-floor

.PHONY: all deps deps-test deps-bench deps-deb deps-fuzz deps-model run test tests bench bench-ring bench-slices soak model fuzz fuzzers install deb clean
.DEFAULT_GOAL := all

all: $(PROGRAMS)
# The crash test handles the signals itself that sanitizers need.
tests: all $(TESTS)/millrace_unit $(STRESS) $(STORM) $(LINEAR) $(HOT_KEYS) $(INJECT) $(if $(SAN),,$(CRASH) $(DISK_SHIM))

$(BIN)/md: $(MD) $(COMMON)
$(BIN)/md_log: $(MD_LOG) $(COMMON)
$(BIN)/md_repl: $(MD_REPL) $(COMMON)
$(BIN)/io_conn: $(IO_CONN) $(COMMON)
$(BIN)/store-check: $(OBJ)/md/check_main.o $(filter-out %/main.o,$(MD)) $(COMMON)
$(BIN)/verify-replicas: $(VERIFY) $(COMMON)
$(BIN)/viewstats: $(VIEWSTATS) $(COMMON)
$(BIN)/oplogdump: $(OPLOGDUMP) $(COMMON)
$(BIN)/millrace-convert: $(CONVERT) $(filter-out %/main.o,$(OPLOGDUMP)) $(COMMON)
$(BIN)/millrace-conf: $(OBJ)/tools/millrace_conf.o $(COMMON)
$(BIN)/millrace-bench: $(BENCH) $(COMMON)
$(BIN)/millrace-epoll-floor: $(EPOLL_FLOOR)
# The library first: of a function that both have, its own copy counts.
$(TESTS)/millrace_unit: $(UNIT_LIBRARY) $(UNIT)
$(STRESS): $(TESTS)/%: $(OBJ)/tests/stress/%.o $(COMMON)
$(filter %_replay_stress,$(STRESS)): $(TESTS)/%_replay_stress: $(OBJ)/tests/fuzz/%_fuzz.o $(DAEMON_LIBRARY)
$(FUZZERS): $(TESTS)/%: $(OBJ)/tests/fuzz/%.o $(DAEMON_LIBRARY)
$(FUZZERS): LDFLAGS += -fsanitize=fuzzer
$(RING_BENCH): $(OBJ)/tests/bench/ring_bench.o $(COMMON)
$(SLICE_BENCH): $(OBJ)/tests/bench/slice_bench.o $(COMMON) $(filter-out %/main.o,$(MD))
$(STORM): $(OBJ)/tests/storm/storm_client.o
$(HOT_KEYS): $(OBJ)/tests/storm/hot_keys.o
$(INJECT): $(OBJ)/tests/inject/inject_syscall.o
$(LINEAR): $(OBJ)/tests/linear/linear_client.o $(OBJ)/tests/linear/history.o
$(CRASH): $(CRASH_OBJECTS)

$(PROGRAMS) $(TESTS)/millrace_unit $(STRESS) $(RING_BENCH) $(SLICE_BENCH) $(STORM) $(LINEAR) $(HOT_KEYS) $(INJECT) $(CRASH) $(FUZZERS):
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(DISK_SHIM_OBJECTS): CXXFLAGS += -fPIC -fvisibility=hidden -fno-exceptions
$(DISK_SHIM): $(DISK_SHIM_OBJECTS)
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(LDFLAGS) -shared -Wl,--as-needed -o $@ $^

COMMAND_LINES := $(call objects,common/command_line.cc tools/millrace_conf.cc tools/viewstats/main.cc tools/bench/options.cc tools/bench/epoll_floor_arguments.cc)
$(COMMAND_LINES): OPTIMISE := $(QUICK)
$(OBJ)/tests/%.o: OPTIMISE := -O2 -g1 -fno-omit-frame-pointer
$(OBJ)/tests/unit/%.o $(OBJ)/quick/%: OPTIMISE := $(QUICK)
$(OBJ)/tests/unit/%_threads_test.o: OPTIMISE := -O2 -g1 -fno-omit-frame-pointer

# common/outside.h compiled beforehand, once for each set of flags.
PREPARED := $(if $(SAN)$(findstring clang,$(CXX)),,yes)
ifneq ($(PREPARED),)
WITH_QUICK := $(COMMAND_LINES) $(filter-out %_threads_test.o,$(filter $(OBJ)/tests/unit/%,$(UNIT)))
WITH_USUAL := $(filter-out $(COMMAND_LINES),$(COMMON) $(MD) $(OBJ)/md/check_main.o $(IO_CONN) $(MD_LOG) $(MD_REPL) $(VIEWSTATS) $(OPLOGDUMP) $(CONVERT) $(VERIFY) $(BENCH) $(EPOLL_FLOOR))
$(WITH_QUICK): $(OBJ)/quick/outside.h.gch
$(WITH_QUICK): private CPPFLAGS += -include $(OBJ)/quick/outside.h
$(WITH_USUAL): $(OBJ)/usual/outside.h.gch
$(WITH_USUAL): private CPPFLAGS += -include $(OBJ)/usual/outside.h
endif
$(OBJ)/%/outside.h.gch: common/outside.h
	@mkdir -p $(@D)
	@echo '#include "common/outside.h"' > $(basename $@)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -x c++-header -o $@ $(basename $@)

$(OBJ)/%.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)

# Installs what is missing and nothing else; says what to do when that needs root.
define install_packages
	@missing=""; for package in $(1); do \
	    dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	    if [ "$$(id -u)" != 0 ]; then echo "missing Debian packages; run as root: apt-get install$$missing" >&2; exit 1; fi; \
	    echo "installing:$$missing"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

deps:
	$(call install_packages,$(PACKAGES_RUN))
deps-test: deps
	$(call install_packages,$(PACKAGES_TEST))
deps-bench: deps
	$(call install_packages,$(PACKAGES_BENCH))
deps-deb:
	$(call install_packages,$(PACKAGES_DEB))
deps-fuzz: deps
	$(call install_packages,$(PACKAGES_FUZZ))

JOBS := -j$(shell nproc)

run: deps
	@$(MAKE) --no-print-directory $(JOBS) all
	@exec tools/millrace start --dir ./instance

# Freed memory that AddressSanitizer keeps back would look like memory that the servers hold.
ifneq ($(findstring address,$(SAN)),)
export ASAN_OPTIONS ?= quarantine_size_mb=4
endif
AMNESIA := --and "the same with an md that forgets everything 50 times a second:" env MILLRACE_AMNESIA_MS=20 \
    tests/run.py --build "$(BUILD)" process/b_commands process/b_transactions_test/Transactions process/c_random process/d_protocol process/e_clients_test/Contention process/b_clients_test/AsRedisAnswers process/b_diagnostics
MUTANTS := --beside "bugs put in on purpose, each of which has to be seen:" \
    env MILLRACE_TEST_PORTS=26000-32000 tests/crash/mutants.py --jobs $(shell nproc) --build "$(BUILD)/crash-mutants" --unit "$(UNIT_LIBRARY) $(UNIT)" --io-conn "$(IO_CONN) $(COMMON)" --md-log "$(MD_LOG) $(COMMON)" --programs "$(BIN)"
# Four at a time, each with ports of its own and about as long as the others: most tests wait for something most of the time.
TOGETHER := tests/run.py --build "$(BUILD)" 'process/[a-f]*' 'process/r*' \
    --beside env MILLRACE_TEST_PORTS=26000-32000 tests/run.py --build "$(BUILD)" style/ unit/ stress/ 'process/[g-q]*' 'process/[t-v]*' \
    --beside env MILLRACE_TEST_PORTS=14000-17000 tests/run.py --build "$(BUILD)" 'process/s*' \
    --beside env MILLRACE_TEST_PORTS=17000-20000 tests/run.py --build "$(BUILD)" 'process/[w-z]*'
test: deps-test
	@$(MAKE) --no-print-directory $(JOBS) tests
	@MILLRACE_BIN="$(CURDIR)/$(BIN)" tests/all.py $(if $(PATTERN),tests/run.py --build "$(BUILD)" $(PATTERN),$(TOGETHER) $(AMNESIA) $(if $(SAN),,$(MUTANTS)))

bench: deps-bench
	@$(MAKE) --no-print-directory $(JOBS) all
	@tools/bench/compare.py

# DESTDIR is put before every path, PREFIX is what the installed files refer to.
BINDIR := $(PREFIX)/bin
LIBEXECDIR := $(PREFIX)/libexec/millrace
LIBDIR := $(PREFIX)/lib/millrace
MANDIR := $(PREFIX)/share/man
EXAMPLEDIR := $(PREFIX)/share/doc/millrace/examples
UNITDIR ?= $(PREFIX)/lib/systemd/system

install: all
	install -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(LIBEXECDIR)" "$(DESTDIR)$(LIBDIR)/supervisor" "$(DESTDIR)$(UNITDIR)" \
	    "$(DESTDIR)$(MANDIR)/man1" "$(DESTDIR)$(MANDIR)/man5" "$(DESTDIR)$(MANDIR)/man8" "$(DESTDIR)$(EXAMPLEDIR)" \
	    "$(DESTDIR)$(PREFIX)/share/bash-completion/completions"
	install tools/millrace $(BIN)/viewstats $(BIN)/oplogdump $(BIN)/millrace-bench "$(DESTDIR)$(BINDIR)"
	install $(BIN)/md $(BIN)/md_log $(BIN)/md_repl $(BIN)/io_conn $(BIN)/store-check $(BIN)/verify-replicas $(BIN)/millrace-conf $(BIN)/millrace-convert "$(DESTDIR)$(LIBEXECDIR)"
	install -m 644 tools/supervisor/*.py "$(DESTDIR)$(LIBDIR)/supervisor"
	install -m 644 tools/man/*.1 "$(DESTDIR)$(MANDIR)/man1"
	install -m 644 tools/man/*.8 "$(DESTDIR)$(MANDIR)/man8"
	{ cat tools/man/millrace.conf.5.in; $(BIN)/millrace-conf --man; cat tools/man/millrace.conf.5.tail; } \
	    > "$(DESTDIR)$(MANDIR)/man5/millrace.conf.5"
	install -m 644 tools/completion/millrace.bash "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/millrace"
	install -m 644 tools/completion/oplogdump.bash "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/oplogdump"
	install -m 644 etc/millrace.conf "$(DESTDIR)$(EXAMPLEDIR)/millrace.conf"
	install -m 644 etc/millrace.logrotate "$(DESTDIR)$(EXAMPLEDIR)/millrace.logrotate"
	sed 's|@BINDIR@|$(BINDIR)|' etc/supervisord.conf > "$(DESTDIR)$(EXAMPLEDIR)/supervisord.conf"
	sed 's|@BINDIR@|$(BINDIR)|' etc/millrace.service > "$(DESTDIR)$(UNITDIR)/millrace.service"
	chmod 644 "$(DESTDIR)$(UNITDIR)/millrace.service" "$(DESTDIR)$(EXAMPLEDIR)/supervisord.conf" "$(DESTDIR)$(MANDIR)/man5/millrace.conf.5"

# A Debian package; MAINTAINER is who makes it. Nothing of the host is touched.
MAINTAINER ?= the millrace authors <maintainers@millrace.invalid>
DEB_STAGE := build/deb/debian/millrace
deb: deps deps-deb
	@$(MAKE) --no-print-directory $(JOBS) all
	@rm -rf build/deb
	@$(MAKE) --no-print-directory install DESTDIR="$(CURDIR)/$(DEB_STAGE)" PREFIX=/usr UNITDIR=/lib/systemd/system > /dev/null
	@tools/package/make_deb.py --source . --stage $(DEB_STAGE) --into build --maintainer '$(MAINTAINER)' \
	    --version "$$($(BIN)/md --version | sed 's/.* //')"

# Our ring against boost::lockfree::spsc_queue and a pipe.
bench-ring: deps
	@$(MAKE) --no-print-directory $(JOBS) $(RING_BENCH)
	@$(RING_BENCH)

# The longest steps of md's work on the store, without the machine's own pauses.
bench-slices: deps
	@$(MAKE) --no-print-directory $(JOBS) $(SLICE_BENCH)
	@$(SLICE_BENCH)

# The fuzz targets, one after the other; what they find and what they have learned stays in build/fuzz.
fuzz: SECONDS ?= 60
fuzz: deps-test deps-fuzz
	@$(MAKE) --no-print-directory $(JOBS) $(filter %_replay_stress,$(STRESS))
	@$(MAKE) --no-print-directory $(JOBS) CXX=clang++ BUILD=build/fuzz \
	    SANFLAGS="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all" fuzzers
	@for target in $(patsubst $(TESTS)/%_fuzz,%,$(FUZZERS)); do \
	    corpus=build/fuzz/corpus/$$target; \
	    $(TESTS)/$${target}_replay_stress --write $$corpus && \
	    build/fuzz/tests/$${target}_fuzz -max_total_time=$$(($(SECONDS) / $(words $(FUZZERS)))) -timeout=20 \
	        -rss_limit_mb=2048 -artifact_prefix=build/fuzz/$$target- -print_final_stats=1 $$corpus || exit 1; \
	done
	@echo "PASS: $(words $(FUZZERS)) fuzz targets, $(SECONDS) s"
fuzzers: $(FUZZERS)

# Long versions of what the stress programs show in seconds.
soak: SECONDS ?= 600
soak: KILLS ?= 2000
soak: deps-test deps-model
	@$(MAKE) --no-print-directory $(JOBS) tests
	$(TESTS)/wakeup_stress --parks 10000000
	$(TESTS)/ring_stress --seconds $(SECONDS)
	tests/bench/kill_storm.py --kills $(KILLS) --double 100
	MILLRACE_BIN="$(CURDIR)/$(BIN)" MILLRACE_LINEAR_SECONDS=$(SECONDS) /usr/bin/python3 tests/process/k_linear_test.py
	tests/bench/direct_reads.py
	MILLRACE_BIN="$(CURDIR)/$(BIN)" MILLRACE_LONG=1 /usr/bin/python3 tests/process/c_random_test.py
	MILLRACE_BIN="$(CURDIR)/$(BIN)" MILLRACE_LONG=1 MILLRACE_AMNESIA_MS=20 /usr/bin/python3 tests/process/c_random_test.py
	tests/bench/scan_growth.py
	tests/model/run.py --long
	MILLRACE_BIN="$(CURDIR)/$(BIN)" MILLRACE_LONG=1 /usr/bin/python3 tests/process/x_any_moment_test.py
	MILLRACE_BIN="$(CURDIR)/$(BIN)" MILLRACE_LONG=1 /usr/bin/python3 tests/process/z_replication_test.py Replication.test_whatever_happens_on_either_side
	MILLRACE_BIN="$(CURDIR)/$(BIN)" MILLRACE_LONG=1 /usr/bin/python3 tests/process/z_sync_mode_test.py
	MILLRACE_BIN="$(CURDIR)/$(BIN)" MILLRACE_LONG=1 /usr/bin/python3 tests/process/z_redis_master_test.py
	MILLRACE_BIN="$(CURDIR)/$(BIN)" MILLRACE_LONG=1 /usr/bin/python3 tests/process/y_disk_trouble_test.py EachCall
	tests/soak/group_soak.py --seconds $(SECONDS)

# Every behaviour of the strict pair within bounds; five minutes.
model: deps-model
	@tests/model/run.py

clean:
	rm -rf build
