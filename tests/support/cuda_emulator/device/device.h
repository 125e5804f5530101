// The emulated CUDA devices: their memory, streams, events and graphs. All of it is guarded by one lock.
#pragma once
#include <driver_types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace emulator {

extern std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;

// ---- Streams: queues of work, done in order; schedule.cpp decides when

using Action = std::function<void()>;

struct Work {
  std::function<bool()> ready;
  Action run;
};

struct Capture;

struct Stream {
  int device = 0;
  bool blocking = true;  // waits for the null stream, and the null stream for it
  bool null = false;
  bool destroyed = false;
  double speed = 1;  // the chance to be next, where the order is drawn
  std::deque<Work> queue;
  uint64_t asked = 0, done = 0;
  Capture* capture = nullptr;
  std::vector<size_t> last;  // nodes of the capture that the next node comes after
};

struct Event {
  int device = 0;
  std::shared_ptr<uint64_t> reached = std::make_shared<uint64_t>(0);
  uint64_t records = 0;
  Capture* capture = nullptr;  // set while its last record is part of a capture
  std::vector<size_t> nodes;
};

Stream* stream_of(void* handle);  // the null stream of the current device for a handle that is none
const std::set<Stream*>& streams(int device);
int current_device();
int device_count();

// Put work into a stream, or a node into the graph that captures it.
cudaError_t enqueue(Stream* stream, const std::string& what, Action run);
void push(Stream* stream, Work work);  // work that no graph records: records of events and waits for them
void run_until(const std::function<bool()>& reached);
void drain(Stream* stream);
void drain_device(int device);

// ---- Graphs, and captures of them (capture.cpp)

struct Node {
  std::string what;
  Action run;
  std::vector<size_t> after;
};

struct Graph {
  std::vector<Node> nodes;
};

struct Capture {
  Stream* origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  Graph* graph;
  bool invalid;
  std::set<Stream*> joined;
};

cudaError_t record_node(Stream* stream, const std::string& what, Action run);
bool capturing(int device);
cudaError_t refuse_if_unsafe(const char* call);        // what a capture that is not relaxed forbids
cudaError_t refuse_if_capturing(Stream* stream, const char* call);
cudaError_t refuse_if_legacy_captured(const char* call);  // the null stream while a blocking stream is captured
std::vector<size_t> order_of(const Graph& graph);      // one that the graph's edges allow

// ---- Memory (memory.cpp)

bool on_device(const void* address);
int device_of(const void* address);  // -1 for what is on none
bool pinned(const void* address);

// ---- What happened, for tests to read (report.cpp)

cudaError_t fail(cudaError_t error, const std::string& why);  // remembered as the last error, and noted
void note(const std::string& text);
void count(const std::string& what);
double draw();  // uniform in [0, 1), by the seed of the pace
bool random_order();

}  // namespace emulator
