// The CUDA runtime's functions for devices, streams and events, in the place of those that CuPy's modules contain.
#include <vector_types.h>

#include <cstdlib>
#include <cstring>
#include <map>

#include "device.h"

#undef cudaGetDeviceProperties

EXPORT void emulator_add_stream(emulator::Stream* stream);
EXPORT void emulator_destroy_stream(emulator::Stream* stream);

namespace emulator {

namespace {

constexpr int devices = 2;
constexpr int version = 13000;
thread_local int current = 0;

Stream* null_stream(int device) {
  static std::map<int, Stream*> made;
  if (!made.count(device)) {
    made[device] = new Stream;
    made[device]->device = device;
    made[device]->null = true;
    emulator_add_stream(made[device]);
  }
  return made[device];
}

const std::map<int, int> attributes = {
    // the numbers of an H200, by cudaDeviceAttr
    {cudaDevAttrMaxThreadsPerBlock, 1024},
    {cudaDevAttrMaxSharedMemoryPerBlock, 49152},
    {cudaDevAttrWarpSize, 32},
    {cudaDevAttrClockRate, 1980000},
    {cudaDevAttrMultiProcessorCount, 132},
    {cudaDevAttrMemoryClockRate, 2619000},
    {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
    {cudaDevAttrComputeCapabilityMajor, 9},
    {cudaDevAttrComputeCapabilityMinor, 0},
    {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 233472},
    {cudaDevAttrMaxSharedMemoryPerBlockOptin, 232448},
};

}  // namespace

int current_device() { return current; }

// Those of CUDA_VISIBLE_DEVICES, of two.
int device_count() {
  static const int count = [] {
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    if (!visible) return devices;
    int found = 0;
    for (const char* at = visible; *at; at++)
      if (*at >= '0' && *at < '0' + devices) found++;
    return found;
  }();
  return count;
}

Stream* stream_of(void* handle) {
  bool legacy_or_per_thread = uintptr_t(handle) <= 2;
  return legacy_or_per_thread ? null_stream(current) : static_cast<Stream*>(handle);
}

}  // namespace emulator

using namespace emulator;

// ---- Devices

EXPORT cudaError_t emulated_cudaGetDeviceCount(int* count) {
  *count = device_count();
  return *count ? cudaSuccess : fail(cudaErrorNoDevice, "no device");
}

EXPORT cudaError_t emulated_cudaGetDevice(int* device) {
  *device = current;
  return device_count() ? cudaSuccess : fail(cudaErrorNoDevice, "no device");
}

EXPORT cudaError_t emulated_cudaSetDevice(int device) {
  if (device < 0 || device >= device_count()) return fail(cudaErrorInvalidDevice, "no such device");
  current = device;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaDriverGetVersion(int* number) {
  *number = version;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaRuntimeGetVersion(int* number) {
  *number = version;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  auto found = attributes.find(attribute);
  *value = found == attributes.end() ? 1 : found->second;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  std::memset(properties, 0, sizeof *properties);
  std::strcpy(properties->name, "emulated CUDA device");
  properties->major = 9;
  properties->multiProcessorCount = 132;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->sharedMemPerBlock = 49152;
  properties->pciBusID = device;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaDeviceSynchronize() {
  Lock lock(mutex);
  for (Stream* stream : streams(current))
    if (cudaError_t error = refuse_if_capturing(stream, "cudaDeviceSynchronize")) return error;
  count("cudaDeviceSynchronize");
  drain_device(current);
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = 0;
  return cudaSuccess;
}

// ---- Streams and events

EXPORT cudaError_t emulated_cudaStreamCreateWithFlags(Stream** made, unsigned flags) {
  Lock lock(mutex);
  auto* stream = new Stream;
  stream->device = current;
  stream->blocking = flags != cudaStreamNonBlocking;
  emulator_add_stream(stream);
  *made = stream;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaStreamCreate(Stream** made) {
  return emulated_cudaStreamCreateWithFlags(made, cudaStreamDefault);
}

EXPORT cudaError_t emulated_cudaStreamCreateWithPriority(Stream** made, unsigned flags, int) {
  return emulated_cudaStreamCreateWithFlags(made, flags);
}

EXPORT cudaError_t emulated_cudaStreamDestroy(Stream* stream) {
  Lock lock(mutex);
  emulator_destroy_stream(stream);
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaStreamSynchronize(void* handle) {
  Lock lock(mutex);
  Stream* stream = stream_of(handle);
  if (cudaError_t error = refuse_if_capturing(stream, "cudaStreamSynchronize")) return error;
  if (stream->null) {
    if (cudaError_t error = refuse_if_legacy_captured("cudaStreamSynchronize")) return error;
    for (Stream* other : std::set<Stream*>(streams(stream->device)))
      if (other->blocking) drain(other);
  }
  count("cudaStreamSynchronize");
  drain(stream);
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaStreamQuery(void* handle) {
  Lock lock(mutex);
  Stream* stream = stream_of(handle);
  if (cudaError_t error = refuse_if_capturing(stream, "cudaStreamQuery")) return error;
  return stream->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}

EXPORT cudaError_t emulated_cudaStreamGetFlags(void* handle, unsigned* flags) {
  *flags = stream_of(handle)->blocking ? cudaStreamDefault : cudaStreamNonBlocking;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaLaunchHostFunc(void* handle, void (*function)(void*), void* argument) {
  Lock lock(mutex);
  return enqueue(stream_of(handle), "host function", [=] { function(argument); });
}

EXPORT cudaError_t emulated_cudaEventCreateWithFlags(Event** made, unsigned) {
  *made = new Event;
  (*made)->device = current;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaEventCreate(Event** made) { return emulated_cudaEventCreateWithFlags(made, 0); }

EXPORT cudaError_t emulated_cudaEventDestroy(Event* event) {
  Lock lock(mutex);
  delete event;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaEventQuery(Event* event) {
  Lock lock(mutex);
  if (event->capture) return fail(cudaErrorCapturedEvent, "a query of a captured event");
  return *event->reached >= event->records ? cudaSuccess : cudaErrorNotReady;
}

EXPORT cudaError_t emulated_cudaEventSynchronize(Event* event) {
  Lock lock(mutex);
  if (event->capture) return fail(cudaErrorCapturedEvent, "a wait for a captured event");
  run_until([event, mark = event->records] { return *event->reached >= mark; });
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaEventElapsedTime(float* milliseconds, Event*, Event*) {
  *milliseconds = 1;  // there is no time on an emulated device
  return cudaSuccess;
}

// ---- Kernels that CuPy's modules bring compiled for GPUs alone

EXPORT cudaError_t emulated_cudaLaunchKernel(const void*, dim3, dim3, void**, size_t, void*) {
  return fail(cudaErrorInvalidDeviceFunction, "a kernel that was compiled for GPUs alone cannot be emulated");
}

EXPORT cudaError_t emulated_cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  std::memset(attributes, 0, sizeof *attributes);
  return cudaSuccess;
}
