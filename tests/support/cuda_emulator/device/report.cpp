// What happened: the last error, notes of what was refused, counts of calls, and the nodes of graphs.
#include <cstdio>
#include <cstring>
#include <map>

#include "device.h"

namespace emulator {

namespace {

thread_local cudaError_t last_error = cudaSuccess;
std::vector<std::string> notes;
std::map<std::string, long> counts;

}  // namespace

cudaError_t fail(cudaError_t error, const std::string& why) {
  last_error = error;
  Lock lock(mutex);
  note("error " + std::to_string(error) + ": " + why);
  return error;
}

void note(const std::string& text) { notes.push_back(text); }

void count(const std::string& what) { counts[what]++; }

}  // namespace emulator

using namespace emulator;

EXPORT cudaError_t emulated_cudaGetLastError() {
  cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

EXPORT cudaError_t emulated_cudaPeekAtLastError() { return last_error; }

EXPORT const char* emulated_cudaGetErrorName(cudaError_t error) {
  static const std::map<int, const char*> names = {
      {cudaErrorInvalidValue, "cudaErrorInvalidValue"},
      {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation"},
      {cudaErrorNoDevice, "cudaErrorNoDevice"},
      {cudaErrorInvalidDevice, "cudaErrorInvalidDevice"},
      {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction"},
      {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle"},
      {cudaErrorIllegalState, "cudaErrorIllegalState"},
      {cudaErrorNotReady, "cudaErrorNotReady"},
      {cudaErrorIllegalAddress, "cudaErrorIllegalAddress"},
      {cudaErrorNotSupported, "cudaErrorNotSupported"},
      {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported"},
      {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated"},
      {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge"},
      {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched"},
      {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined"},
      {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation"},
      {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit"},
      {cudaErrorCapturedEvent, "cudaErrorCapturedEvent"},
      {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread"},
  };
  auto found = names.find(error);
  return found == names.end() ? "cudaErrorUnknown" : found->second;
}

// Its last note says more than CUDA's text does.
EXPORT const char* emulated_cudaGetErrorString(cudaError_t) {
  static thread_local std::string text;
  Lock lock(mutex);
  text = notes.empty() ? "emulated CUDA device" : "emulated CUDA device: " + notes.back();
  return text.c_str();
}

// A function of the runtime that has no stand-in; installed in its place with its name.
EXPORT int emulator_refuse(const char* name) {
  return fail(cudaErrorNotSupported, std::string(name) + " is not emulated");
}

// Lines for Python: "notes", "counts" (what, a tab, how often), or "nodes" of a graph (what, a tab, the nodes before).
EXPORT const char* emulator_report(const char* which, const Graph* graph) {
  static thread_local std::string text;
  Lock lock(mutex);
  text.clear();
  if (!std::strcmp(which, "notes"))
    for (auto& line : notes) text += line + "\n";
  if (!std::strcmp(which, "counts"))
    for (auto& [what, often] : counts) text += what + "\t" + std::to_string(often) + "\n";
  if (!std::strcmp(which, "nodes"))
    for (auto& node : graph->nodes) {
      text += node.what + "\t";
      for (size_t earlier : node.after) text += std::to_string(earlier) + " ";
      text += "\n";
    }
  return text.c_str();
}

EXPORT void emulator_count(const char* what) {
  Lock lock(mutex);
  count(what);
}

EXPORT void emulator_forget() {
  Lock lock(mutex);
  notes.clear();
  counts.clear();
}
