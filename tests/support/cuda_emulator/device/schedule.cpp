// When the work of streams is done: at once, only when somebody waits for it, or in an order drawn by a seed.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "device.h"

namespace emulator {

std::recursive_mutex mutex;

namespace {

enum class Pace { eager, late, random };

Pace pace = Pace::eager;
std::mt19937_64 generator;
int eagerness = 0;  // where the order is drawn: work done at most after each call
std::vector<std::set<Stream*>> of_device(8);

bool step() {
  std::vector<Stream*> ready;
  double total = 0;
  for (auto& device : of_device)
    for (Stream* stream : device)
      if (!stream->queue.empty() && stream->queue.front().ready()) {
        ready.push_back(stream);
        total += stream->speed;
      }
  if (ready.empty()) return false;
  Stream* next = ready.front();
  if (pace == Pace::random) {
    double at = draw() * total;
    for (Stream* stream : ready) {
      next = stream;
      if ((at -= stream->speed) < 0) break;
    }
  }
  Work work = std::move(next->queue.front());
  next->queue.pop_front();
  work.run();
  next->done++;
  if (next->destroyed && next->queue.empty()) of_device[next->device].erase(next);
  return true;
}

bool idle() {
  for (auto& device : of_device)
    for (Stream* stream : device)
      if (!stream->queue.empty()) return false;
  return true;
}

void drift() {
  if (pace == Pace::eager) run_until(idle);
  if (pace == Pace::random)
    for (int left = int(draw() * (eagerness + 1)); left > 0 && step(); left--) {}
}

}  // namespace

double draw() { return std::uniform_real_distribution<double>(0, 1)(generator); }

bool random_order() { return pace == Pace::random; }

const std::set<Stream*>& streams(int device) { return of_device[device]; }

void push(Stream* stream, Work work) {
  // the null stream and the streams that block wait for each other
  std::vector<std::pair<Stream*, uint64_t>> before;
  if (stream->blocking)
    for (Stream* other : of_device[stream->device])
      if (other != stream && other->blocking && other->null != stream->null) before.emplace_back(other, other->asked);
  if (!before.empty())
    work.ready = [before, ready = std::move(work.ready)] {
      for (auto& [other, asked] : before)
        if (other->done < asked) return false;
      return ready();
    };
  stream->queue.push_back(std::move(work));
  stream->asked++;
  drift();
}

cudaError_t enqueue(Stream* stream, const std::string& what, Action run) {
  count(what);
  if (stream->capture) return record_node(stream, what, std::move(run));
  if (cudaError_t error = stream->null ? refuse_if_legacy_captured(what.c_str()) : cudaSuccess) return error;
  push(stream, {[] { return true; }, std::move(run)});
  return cudaSuccess;
}

void run_until(const std::function<bool()>& reached) {
  while (!reached())
    if (!step()) {
      std::fprintf(stderr, "CUDA emulator: the device waits for what nobody has asked it to do\n");
      std::abort();
    }
}

void drain(Stream* stream) {
  run_until([=, asked = stream->asked] { return stream->done >= asked; });
}

void drain_device(int device) {
  for (Stream* stream : std::set<Stream*>(of_device[device])) drain(stream);
}

}  // namespace emulator

using namespace emulator;

// The order of work from now on: 0 at once, 1 as late as possible, 2 drawn by `seed`.
EXPORT void emulator_set_pace(int kind, uint64_t seed) {
  Lock lock(mutex);
  run_until(idle);
  pace = Pace(kind);
  generator.seed(seed);
  const int choices[] = {0, 1, 5};
  eagerness = choices[int(draw() * 3)];
  for (auto& device : of_device)
    for (Stream* stream : device) stream->speed = std::pow(10, 4 * draw() - 2);
}

// Where the order is drawn: how far the device follows after each call, and how fast one stream is.
EXPORT void emulator_set_speed(int most_after_a_call, void* stream, double speed) {
  Lock lock(mutex);
  eagerness = most_after_a_call;
  stream_of(stream)->speed = speed;
}

EXPORT void emulator_add_stream(Stream* stream) {
  stream->speed = pace == Pace::random ? std::pow(10, 4 * draw() - 2) : 1;
  of_device[stream->device].insert(stream);
}

// What it has been asked for is still done. It is not deleted: captures and other work may name it.
EXPORT void emulator_destroy_stream(Stream* stream) {
  stream->destroyed = true;
  if (stream->queue.empty()) of_device[stream->device].erase(stream);
}
