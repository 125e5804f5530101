// Memory of the devices and pinned memory of the host, both the host's; copies between them.
#include <cstdlib>
#include <cstring>
#include <map>

#include "device.h"

namespace emulator {

namespace {

struct Block {
  size_t size;
  int device;
};

std::map<uintptr_t, Block> on_devices, in_host;
std::vector<size_t> used(8);
size_t total = size_t(8) << 30;

const Block* find(const std::map<uintptr_t, Block>& blocks, const void* address) {
  auto next = blocks.upper_bound(uintptr_t(address));
  if (next == blocks.begin()) return nullptr;
  auto& [start, block] = *std::prev(next);
  return uintptr_t(address) < start + block.size ? &block : nullptr;
}

// New memory is NaN as floats and -1 as integers; freed memory is overwritten too.
void* fresh(size_t size) {
  void* address = std::aligned_alloc(512, (size + 511) / 512 * 512 + 512);
  if (address) std::memset(address, 0xFF, size);
  return address;
}

const char* side(const void* address) { return on_device(address) ? "D" : "H"; }

cudaError_t copy(void* to, const void* from, size_t size, Stream* stream) {
  std::string what = std::string("memcpy ") + side(from) + "to" + side(to);
  bool pageable_from = !on_device(from) && !pinned(from), pageable_to = !on_device(to) && !pinned(to);
  if (stream->capture && (pageable_from || pageable_to))
    return refuse_if_capturing(stream, (what + " of pageable memory").c_str());
  if (!pageable_from) {
    cudaError_t error = enqueue(stream, what, [=] { std::memcpy(to, from, size); });
    if (!error && pageable_to) drain(stream);
    return error;
  }
  auto start = static_cast<const char*>(from);  // pageable memory is read before the call returns
  auto staged = std::make_shared<std::vector<char>>(start, start + size);
  cudaError_t error = enqueue(stream, what, [=] { std::memcpy(to, staged->data(), size); });
  if (!error && !on_device(to)) drain(stream);
  return error;
}

}  // namespace

bool on_device(const void* address) { return find(on_devices, address); }

int device_of(const void* address) {
  const Block* block = find(on_devices, address);
  return block ? block->device : -1;
}

bool pinned(const void* address) { return find(in_host, address); }

}  // namespace emulator

using namespace emulator;

EXPORT void emulator_set_memory(size_t bytes) { total = bytes; }
EXPORT size_t emulator_used(int device) { return used[device]; }
EXPORT int emulator_on_device(const void* address) {
  Lock lock(mutex);
  return on_device(address);
}

EXPORT cudaError_t emulated_cudaMalloc(void** address, size_t size) {
  Lock lock(mutex);
  if (cudaError_t error = refuse_if_unsafe("cudaMalloc")) return error;
  int device = current_device();
  if (used[device] + size > total || !(*address = fresh(size))) return fail(cudaErrorMemoryAllocation, "out of memory");
  on_devices[uintptr_t(*address)] = {size, device};
  used[device] += size;
  count("cudaMalloc");
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaFree(void* address) {
  Lock lock(mutex);
  if (!address) return cudaSuccess;
  if (cudaError_t error = refuse_if_unsafe("cudaFree")) return error;
  auto found = on_devices.find(uintptr_t(address));
  if (found == on_devices.end()) return fail(cudaErrorInvalidValue, "cudaFree of what was not allocated");
  drain_device(found->second.device);
  used[found->second.device] -= found->second.size;
  std::memset(address, 0xFE, found->second.size);
  on_devices.erase(found);
  std::free(address);
  count("cudaFree");
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaHostAlloc(void** address, size_t size, unsigned) {
  Lock lock(mutex);
  if (cudaError_t error = refuse_if_unsafe("cudaHostAlloc")) return error;
  if (!(*address = fresh(size))) return fail(cudaErrorMemoryAllocation, "out of memory");
  in_host[uintptr_t(*address)] = {size, -1};
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaMallocHost(void** address, size_t size) {
  return emulated_cudaHostAlloc(address, size, 0);
}

EXPORT cudaError_t emulated_cudaFreeHost(void* address) {
  Lock lock(mutex);
  if (!address) return cudaSuccess;
  for (int device = 0; device < device_count(); device++) drain_device(device);
  if (!in_host.erase(uintptr_t(address))) return fail(cudaErrorInvalidValue, "cudaFreeHost of what was not allocated");
  std::free(address);
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaMemGetInfo(size_t* free, size_t* all) {
  Lock lock(mutex);
  *free = total - used[current_device()];
  *all = total;
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  Lock lock(mutex);
  std::memset(attributes, 0, sizeof *attributes);
  attributes->type = on_device(address) ? cudaMemoryTypeDevice
                     : pinned(address)  ? cudaMemoryTypeHost
                                        : cudaMemoryTypeUnregistered;
  attributes->device = on_device(address) ? device_of(address) : current_device();
  attributes->devicePointer = attributes->hostPointer = const_cast<void*>(address);
  return cudaSuccess;
}

EXPORT cudaError_t emulated_cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, void* stream) {
  Lock lock(mutex);
  return copy(to, from, size, stream_of(stream));
}

EXPORT cudaError_t emulated_cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t size, void* stream) {
  Lock lock(mutex);
  return copy(to, from, size, stream_of(stream));
}

EXPORT cudaError_t emulated_cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) {
  Lock lock(mutex);
  if (cudaError_t error = refuse_if_unsafe("cudaMemcpy")) return error;
  Stream* null = stream_of(nullptr);
  cudaError_t error = copy(to, from, size, null);
  if (!error) drain(null);
  return error;
}

EXPORT cudaError_t emulated_cudaMemsetAsync(void* to, int value, size_t size, void* stream) {
  Lock lock(mutex);
  return enqueue(stream_of(stream), "memset", [=] { std::memset(to, value, size); });
}

EXPORT cudaError_t emulated_cudaMemset(void* to, int value, size_t size) {
  return emulated_cudaMemsetAsync(to, value, size, nullptr);
}
