// What viewstats prints: numbers and texts for a screen, JSON and Prometheus's format, also from a strange build's counters.
#include "tools/viewstats/columns.h"
#include "tools/viewstats/format.h"
#include "tools/viewstats/json.h"
#include "tools/viewstats/prometheus.h"
#include "tools/viewstats/table.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using namespace millrace::viewstats;

namespace {

CounterSample sample_of(const std::string& name, CounterKind kind, uint64_t value) {
    return {name, "things", "What it is.", kind, value, 0, 0, {}};
}

CounterSample histogram_of(const std::vector<uint64_t>& values) {
    CounterSample sample{"wait_us", "microseconds", "Waiting.", CounterKind::histogram, values.size(), 0, 0, {}};
    sample.buckets.resize(histogram::kBuckets);
    for (const uint64_t value : values) {
        sample.sum += value;
        sample.max = std::max(sample.max, value);
        ++sample.buckets[histogram::bucket_of(value)];
    }
    return sample;
}

Snapshot snapshot_of(std::vector<CounterSample> samples, uint64_t taken_us = 0) {
    Snapshot snapshot;
    snapshot.dir = "dir";
    snapshot.taken_us = taken_us;
    snapshot.processes.push_back({"md", 0, 42, ProcessState::up, std::move(samples)});
    return snapshot;
}

}  // namespace

TEST_CASE("viewstats: numbers take at most five characters") {
    CHECK(short_number(0) == "0");
    CHECK(short_number(0.5) == "0.50");
    CHECK(short_number(9999) == "9999");
    CHECK(short_number(12'345) == "12.3k");
    CHECK(short_number(999'600) == "1.00M");
    for (double value = 0.001; value < 2e19; value *= 1.1) REQUIRE(short_number(value).size() <= 5);
    CHECK(short_number(1e30) == "huge");
}

TEST_CASE("viewstats: durations") {
    CHECK(duration(59) == "59 s");
    CHECK(duration(192) == "3 min 12 s");
    CHECK(duration(18'420) == "5 h 07 min");
    CHECK(duration(1'047'600) == "12 d 3 h");
}

TEST_CASE("viewstats: a line is cut to the screen's columns, not inside a character, and can move no cursor") {
    CHECK(cut("abcdef", 6) == "abcdef");
    CHECK(cut("abcdef", 5) == "abcd~");
    CHECK(cut("\xc3\xa4\xc3\xb6\xc3\xbc", 2) == "\xc3\xa4~");
    CHECK(cut("a\x1b[2Jb", 80) == "a?[2Jb");
    CHECK(cut("abc", 0) == "");
}

TEST_CASE("viewstats: JSON strings hold any bytes") {
    CHECK(json_string("a\"b\\c\n\x01") == "\"a\\\"b\\\\c\\u000a\\u0001\"");
    CHECK(json_string("\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82") == "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82\"");
    for (const std::string wrong : {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
        CAPTURE(wrong.size());
        CHECK(json_string(wrong).starts_with("\"\\ufffd"));
    }
}

TEST_CASE("viewstats: Prometheus names, labels and sentences are escaped") {
    Snapshot snapshot = snapshot_of({sample_of("odd-name", CounterKind::counter, 5)});
    snapshot.processes[0].role = "a\"b\\c\nd";
    snapshot.processes[0].samples[0].help = "two\nlines";
    const std::string text = to_prometheus(snapshot);
    CHECK(contains(text, "\nmillrace_odd_name_total{role=\"a\\\"b\\\\c\\nd\",index=\"0\"} 5\n"));
    CHECK(contains(text, "# HELP millrace_odd_name_total two\\nlines Unit: things.\n"));
}

TEST_CASE("viewstats: a Prometheus histogram ends with all samples, and sum and count fit") {
    const std::string text = to_prometheus(snapshot_of({histogram_of({0, 1, 5, 1000})}));
    CHECK(contains(text, "# TYPE millrace_wait_us histogram\n"));
    CHECK(contains(text, "millrace_wait_us_bucket{role=\"md\",index=\"0\",le=\"1\"} 2\n"));
    CHECK(contains(text, "le=\"7\"} 3\n"));
    CHECK(contains(text, "le=\"1023\"} 4\n"));
    CHECK(contains(text, "le=\"+Inf\"} 4\n"));
    CHECK(contains(text, "millrace_wait_us_sum{role=\"md\",index=\"0\"} 1006\n"));
    CHECK(contains(text, "millrace_wait_us_count{role=\"md\",index=\"0\"} 4\n"));
}

TEST_CASE("viewstats: one name with two types or twice in a process is printed once") {
    Snapshot snapshot = snapshot_of({sample_of("x", CounterKind::gauge, 1), sample_of("x", CounterKind::gauge, 2)});
    snapshot.processes.push_back({"io_conn", 0, 43, ProcessState::dead, {histogram_of({1})}});
    snapshot.processes[1].samples[0].name = "x";
    const std::string text = to_prometheus(snapshot);
    CHECK(contains(text, "millrace_x{role=\"md\",index=\"0\"} 1\n"));
    CHECK_FALSE(contains(text, "} 2\n"));
    CHECK_FALSE(contains(text, "millrace_x_bucket"));
    CHECK(contains(text, "millrace_up{role=\"io_conn\",index=\"0\"} 0\n"));
}

TEST_CASE("viewstats: rates are per second, and none is made up when a counter began anew") {
    const Snapshot before = snapshot_of({sample_of("x", CounterKind::counter, 100)}, 1'000'000);
    const Snapshot now = snapshot_of({sample_of("x", CounterKind::counter, 300)}, 1'500'000);
    CHECK(rate_per_s(now, now.processes[0], now.processes[0].samples[0], &before) == doctest::Approx(400));
    CHECK(rate_per_s(before, before.processes[0], before.processes[0].samples[0], &now) < 0);
    CHECK(rate_per_s(now, now.processes[0], now.processes[0].samples[0], nullptr) < 0);
}

TEST_CASE("viewstats: percentiles on the screen are those since the last look") {
    const Snapshot before = snapshot_of({histogram_of({1000, 1000, 1000})});
    const Snapshot now = snapshot_of({histogram_of({1000, 1000, 1000, 4})});
    const CounterSample recent = since(now.processes[0], now.processes[0].samples[0], &before);
    CHECK(recent.value == 1);
    CHECK(recent.percentile(0.5) == 4);
}

TEST_CASE("viewstats: the table leaves zeros out and names problems") {
    Snapshot snapshot = snapshot_of({sample_of("used", CounterKind::counter, 5), sample_of("idle", CounterKind::gauge, 0)});
    snapshot.problems.push_back("a segment is damaged");
    const std::string text = to_table(snapshot);
    CHECK(contains(text, "md-0  up  pid 42\n"));
    CHECK(contains(text, "used"));
    CHECK_FALSE(contains(text, "idle"));
    CHECK(contains(text, "problem: a segment is damaged\n"));
}
