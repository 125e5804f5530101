// Reductions that CuPy's module `cub` brings compiled for GPUs, by the names and numbers of cupy_cub.cu.
#include <cmath>
#include <limits>

#include "device.h"

using namespace emulator;

namespace {

// The operations of cupy_cub.h, and the dtypes of type_dispatcher.cuh
enum Operation { sum = 0, min = 1, max = 2, argmin = 3, argmax = 4, prod = 7 };
enum Type { int32 = 4, int64 = 6, float16 = 8, float32 = 9, float64 = 10 };

constexpr int one_block = 8192;  // elements; more take a second kernel and a workspace

template <class T>
struct Wide {
  using type = T;
};
template <>
struct Wide<_Float16> {
  using type = float;
};

template <class T>
void reduce(const void* input, void* output, size_t segments, size_t length, int operation) {
  auto* x = static_cast<const T*>(input);
  for (size_t s = 0; s < segments; s++, x += length) {
    typename Wide<T>::type value = operation == prod ? 1 : 0;
    if (operation == min || operation == max) value = x[0];
    for (size_t i = 0; i < length; i++) {
      typename Wide<T>::type a = x[i];
      bool nan = a != a;
      if (operation == sum) value += a;
      if (operation == prod) value *= a;
      if (operation == min && (a < value || nan)) value = a;
      if (operation == max && (a > value || nan)) value = a;
    }
    static_cast<T*>(output)[s] = T(value);
  }
}

// cub::KeyValuePair
template <class T>
struct Pair {
  int key;
  T value;
};

// The first of the least or largest; NaN is beyond any other number.
template <class T>
void argument_of(const void* input, void* output, size_t segments, size_t length, int operation) {
  auto* x = static_cast<const T*>(input);
  for (size_t s = 0; s < segments; s++, x += length) {
    size_t best = 0;
    for (size_t i = 1; i < length && x[best] == x[best]; i++) {
      bool nan = x[i] != x[i], beyond = operation == argmin ? x[i] < x[best] : x[i] > x[best];
      if (nan || beyond) best = i;
    }
    static_cast<Pair<T>*>(output)[s] = {int(best), x[best]};
  }
}

template <class T>
decltype(&reduce<T>) reduction(int operation) {
  return operation == argmin || operation == argmax ? argument_of<T> : reduce<T>;
}

void launch(const char* what, const void* x, void* y, size_t segments, size_t length, void* stream, int operation,
            int type) {
  bool known = operation <= argmax || operation == prod;
  auto run = type == int32     ? reduction<int>(operation)
             : type == int64   ? reduction<int64_t>(operation)
             : type == float16 ? reduction<_Float16>(operation)
             : type == float32 ? reduction<float>(operation)
             : type == float64 ? reduction<double>(operation)
                               : nullptr;
  if (!known || !run) {
    fail(cudaErrorNotSupported, std::string(what) + " of this kind is not emulated");
    return;
  }
  enqueue(stream_of(stream), what, [=] { run(x, y, segments, length, operation); });
}

}  // namespace

EXPORT size_t emulated_reduce_workspace(void*, void*, int length, void*, int, int) {
  return length > one_block ? 4096 : 1;
}

EXPORT void emulated_reduce(void* workspace, size_t& bytes, void* x, void* y, int length, void* stream, int operation,
                            int type) {
  Lock lock(mutex);
  if (!workspace) {
    bytes = emulated_reduce_workspace(x, y, length, stream, operation, type);
    return;
  }
  if (length > one_block) enqueue(stream_of(stream), "cub_device_reduce, first pass", [] {});
  launch("cub_device_reduce", x, y, 1, size_t(length), stream, operation, type);
}

EXPORT size_t emulated_segmented_reduce_workspace(void*, void*, int, int, void*, int, int) { return 1; }

EXPORT void emulated_segmented_reduce(void* workspace, size_t& bytes, void* x, void* y, int segments, int length,
                                      void* stream, int operation, int type) {
  Lock lock(mutex);
  if (!workspace) {
    bytes = 1;
    return;
  }
  launch("cub_device_segmented_reduce", x, y, size_t(segments), size_t(length), stream, operation, type);
}
