// Captures: calls become nodes with edges, and what CUDA refuses meanwhile is refused with its error.
#include <algorithm>

#include "device.h"

namespace emulator {

namespace {

std::set<Capture*> captures;

cudaError_t invalidate(Capture* capture, cudaError_t error, const std::string& why) {
  capture->invalid = true;
  return fail(error, why);
}

void finish(Capture* capture) {
  for (Stream* stream : capture->joined) {
    stream->capture = nullptr;
    stream->last.clear();
  }
  captures.erase(capture);  // not deleted: events may still point to it
}

// Whether the origin's last nodes come after everything that the other streams have recorded.
bool joined(const Capture& capture) {
  std::vector<bool> before(capture.graph->nodes.size());
  std::vector<size_t> open = capture.origin->last;
  while (!open.empty()) {
    size_t node = open.back();
    open.pop_back();
    if (before[node]) continue;
    before[node] = true;
    for (size_t earlier : capture.graph->nodes[node].after) open.push_back(earlier);
  }
  return std::all_of(before.begin(), before.end(), [](bool reached) { return reached; });
}

}  // namespace

bool capturing(int device) {
  return std::any_of(captures.begin(), captures.end(), [=](Capture* c) { return c->origin->device == device; });
}

cudaError_t record_node(Stream* stream, const std::string& what, Action run) {
  Capture* capture = stream->capture;
  if (capture->invalid) return fail(cudaErrorStreamCaptureInvalidated, what + ": the capture is invalid");
  capture->graph->nodes.push_back({what, std::move(run), stream->last});
  stream->last = {capture->graph->nodes.size() - 1};
  return cudaSuccess;
}

cudaError_t refuse_if_unsafe(const char* call) {
  for (Capture* capture : captures) {
    bool forbids = capture->mode == cudaStreamCaptureModeGlobal ||
                   (capture->mode == cudaStreamCaptureModeThreadLocal && capture->thread == std::this_thread::get_id());
    if (forbids)
      return invalidate(capture, cudaErrorStreamCaptureUnsupported, std::string(call) + " while a stream is captured");
  }
  return cudaSuccess;
}

cudaError_t refuse_if_capturing(Stream* stream, const char* call) {
  if (!stream->capture) return cudaSuccess;
  return invalidate(stream->capture, cudaErrorStreamCaptureUnsupported, std::string(call) + " of a captured stream");
}

cudaError_t refuse_if_legacy_captured(const char* call) {
  for (Capture* capture : captures)
    for (Stream* stream : capture->joined)
      if (stream->blocking)
        return invalidate(capture, cudaErrorStreamCaptureImplicit, std::string(call) + " waits for a captured stream");
  return cudaSuccess;
}

std::vector<size_t> order_of(const Graph& graph) {
  size_t count = graph.nodes.size();
  std::vector<size_t> order, waits(count), ready;
  std::vector<std::vector<size_t>> later(count);
  for (size_t k = 0; k < count; k++) {
    waits[k] = graph.nodes[k].after.size();
    for (size_t earlier : graph.nodes[k].after) later[earlier].push_back(k);
    if (!waits[k]) ready.push_back(k);
  }
  while (!ready.empty()) {
    size_t at = random_order() ? size_t(draw() * double(ready.size())) : 0;
    size_t node = ready[at];
    ready.erase(ready.begin() + long(at));
    order.push_back(node);
    for (size_t next : later[node])
      if (!--waits[next]) ready.push_back(next);
  }
  return order;
}

}  // namespace emulator

using namespace emulator;

EXPORT cudaError_t emulated_cudaStreamBeginCapture(void* handle, cudaStreamCaptureMode mode) {
  Lock lock(mutex);
  Stream* stream = stream_of(handle);
  if (stream->null) return fail(cudaErrorStreamCaptureUnsupported, "the null stream cannot be captured");
  if (stream->capture) return fail(cudaErrorIllegalState, "the stream is captured already");
  auto* capture = new Capture{stream, mode, std::this_thread::get_id(), new Graph, false, {stream}};
  stream->capture = capture;
  captures.insert(capture);
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaStreamEndCapture(void* handle, Graph** graph) {
  Lock lock(mutex);
  Stream* stream = stream_of(handle);
  Capture* capture = stream->capture;
  *graph = nullptr;
  if (!capture) return fail(cudaErrorIllegalState, "the end of a capture that has not begun");
  if (capture->origin != stream) return invalidate(capture, cudaErrorStreamCaptureUnmatched, "another stream began");
  bool thread = capture->mode == cudaStreamCaptureModeRelaxed || capture->thread == std::this_thread::get_id();
  bool whole = joined(*capture);
  finish(capture);
  if (!thread) return fail(cudaErrorStreamCaptureWrongThread, "another thread began the capture");
  if (capture->invalid) return fail(cudaErrorStreamCaptureInvalidated, "the capture is invalid");
  if (!whole) return fail(cudaErrorStreamCaptureUnjoined, "a forked stream has not been joined");
  *graph = capture->graph;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaStreamIsCapturing(void* handle, cudaStreamCaptureStatus* status) {
  Lock lock(mutex);
  Stream* stream = stream_of(handle);
  *status = cudaStreamCaptureStatusNone;
  if (stream->null)
    if (cudaError_t error = refuse_if_legacy_captured("cudaStreamIsCapturing")) return error;
  if (stream->capture)
    *status = stream->capture->invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaEventRecord(Event* event, void* handle) {
  Lock lock(mutex);
  Stream* stream = stream_of(handle);
  if (event->device != stream->device) return fail(cudaErrorInvalidResourceHandle, "an event of another device");
  event->capture = stream->capture;
  if (stream->capture) {
    event->nodes = stream->last;
    return cudaSuccess;
  }
  uint64_t mark = ++event->records;
  auto reached = event->reached;
  push(stream, {[] { return true; }, [=] { *reached = std::max(*reached, mark); }});
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaStreamWaitEvent(void* handle, Event* event, unsigned) {
  Lock lock(mutex);
  Stream* stream = stream_of(handle);
  if (event->capture && event->capture->origin->capture != event->capture)
    return fail(cudaErrorCapturedEvent, "an event of a capture that is over");
  if (stream->capture && !event->capture) {
    if (!event->records) return cudaSuccess;
    return invalidate(stream->capture, cudaErrorStreamCaptureIsolation, "a wait for work outside the capture");
  }
  if (stream->capture && stream->capture != event->capture)
    return invalidate(stream->capture, cudaErrorStreamCaptureMerge, "a wait for another capture");
  if (event->capture) {
    if (stream->null) return invalidate(event->capture, cudaErrorStreamCaptureImplicit, "the null stream in a capture");
    stream->capture = event->capture;
    event->capture->joined.insert(stream);
    for (size_t node : event->nodes)
      if (std::find(stream->last.begin(), stream->last.end(), node) == stream->last.end()) stream->last.push_back(node);
    return cudaSuccess;
  }
  auto reached = event->reached;
  push(stream, {[reached, mark = event->records] { return *reached >= mark; }, [] {}});
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaGraphInstantiate(Graph** executable, Graph* graph, unsigned long long) {
  *executable = new Graph(*graph);
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaGraphDestroy(Graph* graph) {
  delete graph;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaGraphExecDestroy(Graph* graph) {
  Lock lock(mutex);
  for (int device = 0; device < device_count(); device++) drain_device(device);
  delete graph;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaGraphUpload(Graph*, void*) { return cudaSuccess; }

EXPORT cudaError_t emulated_cudaGraphLaunch(Graph* graph, void* handle) {
  Lock lock(mutex);
  return enqueue(stream_of(handle), "graph", [graph] {
    for (size_t node : order_of(*graph)) graph->nodes[node].run();
  });
}
