// The CUDA driver (libcuda.so.1): contexts, modules that g++ has compiled, and launches of their kernels.
#include <dlfcn.h>

#include <cstring>

#include "device.h"

using namespace emulator;

namespace {

// Of driver_types.h's cudaError_t, which has the numbers of the driver's CUresult
constexpr int success = cudaSuccess, invalid_value = cudaErrorInvalidValue, invalid_image = 200, not_found = 500;

constexpr char image_prefix[] = "EMULATED:";
constexpr size_t most_bytes_of_parameters = 32764;

using Runner = void (*)(void** parameters, const unsigned* dimensions);
using Sizes = int (*)(size_t* sizes);

struct Module {
  void* library;
};

struct Function {
  std::string name;
  Runner run;
  std::vector<size_t> sizes;
};

void* context = &context;

}  // namespace

EXPORT int cuInit(unsigned) { return success; }

// NVRTC asks for one of the tables that NVIDIA's libraries share; without it, it does as on a machine without a driver.
EXPORT int cuGetExportTable(const void** table, const void*) {
  *table = nullptr;
  return not_found;
}

EXPORT int cuDriverGetVersion(int* version) {
  *version = 13000;
  return success;
}

EXPORT int cuGetErrorName(int error, const char** name) {
  *name = error == invalid_image ? "CUDA_ERROR_INVALID_IMAGE" : error == not_found ? "CUDA_ERROR_NOT_FOUND" : "CUDA_ERROR";
  return success;
}

EXPORT const char* emulated_cudaGetErrorString(cudaError_t);

EXPORT int cuGetErrorString(int, const char** text) {
  *text = emulated_cudaGetErrorString(cudaSuccess);
  return success;
}

// ---- Contexts: one for each device, which is the current device's

EXPORT int cuCtxGetCurrent(void** current) {
  *current = context;
  return success;
}

EXPORT int cuCtxSetCurrent(void*) { return success; }

EXPORT int cuCtxGetDevice(int* device) {
  *device = current_device();
  return success;
}

EXPORT int cuStreamGetCtx(void*, void** of_stream) { return cuCtxGetCurrent(of_stream); }

EXPORT int cuDevicePrimaryCtxRelease(int) { return success; }

// ---- Modules: an image is the path of a shared library

EXPORT int cuModuleLoadData(Module** made, const char* image) {
  if (std::strncmp(image, image_prefix, sizeof image_prefix - 1)) return fail(cudaError_t(invalid_image), "an image for GPUs");
  void* library = dlopen(image + sizeof image_prefix - 1, RTLD_NOW | RTLD_LOCAL);
  if (!library) return fail(cudaError_t(invalid_image), dlerror());
  *made = new Module{library};
  return success;
}

EXPORT int cuModuleUnload(Module* module) {
  delete module;  // the library stays: graphs may still launch its kernels
  return success;
}

EXPORT int cuModuleGetFunction(Function** made, Module* module, const char* name) {
  auto run = Runner(dlsym(module->library, (std::string("emulated_run_") + name).c_str()));
  auto sizes = Sizes(dlsym(module->library, (std::string("emulated_sizes_") + name).c_str()));
  if (!run || !sizes) return fail(cudaError_t(not_found), std::string("no kernel ") + name);
  auto* function = new Function{name, run, std::vector<size_t>(4096)};
  function->sizes.resize(size_t(sizes(function->sizes.data())));
  *made = function;
  return success;
}

EXPORT int cuModuleGetGlobal_v2(void**, size_t*, void*, const char* name) {
  return fail(cudaError_t(not_found), std::string("globals are not emulated: ") + name);
}

EXPORT int cuFuncGetAttribute(int* value, int attribute, void*) {
  constexpr int max_threads_per_block = 0;
  *value = attribute == max_threads_per_block ? 1024 : 0;
  return success;
}

EXPORT int cuFuncSetAttribute(void*, int, int) { return success; }

EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void*, int, size_t) {
  *blocks = 2;
  return success;
}

EXPORT int cuOccupancyMaxPotentialBlockSize(int* grid, int* block, void*, void*, size_t, int) {
  *grid = 264;
  *block = 1024;
  return success;
}

// ---- Launches: parameters are copied when a kernel is launched, or captured

EXPORT int cuLaunchKernel(Function* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned, void* handle, void** parameters, void**) {
  Lock lock(mutex);
  unsigned threads = block_x * block_y * block_z;
  if (!grid_x || !grid_y || !grid_z || !threads || threads > 1024)
    return fail(cudaErrorInvalidConfiguration, "a grid or block that no device can launch: " + function->name);
  size_t bytes = 0;
  for (size_t size : function->sizes) bytes += size;
  if (bytes > most_bytes_of_parameters) return fail(cudaErrorInvalidValue, "too many parameters: " + function->name);
  Stream* stream = stream_of(handle);
  auto copies = std::make_shared<std::vector<std::vector<char>>>();
  for (size_t k = 0; k < function->sizes.size(); k++) {
    auto* start = static_cast<char*>(parameters[k]);
    copies->emplace_back(start, start + function->sizes[k]);
    void* address = nullptr;  // of an array: the first member
    if (function->sizes[k] >= sizeof address) std::memcpy(&address, start, sizeof address);
    int device = device_of(address);
    if (device >= 0 && device != stream->device)
      return fail(cudaErrorIllegalAddress, function->name + " reads memory of another device");
  }
  std::vector<unsigned> dimensions{grid_x, grid_y, grid_z, block_x, block_y, block_z};
  return enqueue(stream, function->name, [=] {
    std::vector<void*> addresses;
    for (auto& copy : *copies) addresses.push_back(copy.data());
    function->run(addresses.data(), dimensions.data());
  });
}

// ---- Graphs

EXPORT int cuGraphGetNodes(const Graph* graph, void**, size_t* count) {
  *count = graph->nodes.size();
  return success;
}

// ---- What cuBLAS asks of the device: `run` with a copy of its argument

EXPORT int emulator_enqueue(void* handle, const char* what, void (*run)(void*), void* argument, size_t size) {
  Lock lock(mutex);
  auto* start = static_cast<char*>(argument);
  auto copy = std::make_shared<std::vector<char>>(start, start + size);
  return enqueue(stream_of(handle), what, [=] { run(copy->data()); });
}
