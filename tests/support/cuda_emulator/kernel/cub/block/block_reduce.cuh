// As much of CUB as CuPy's reductions use: a block's reduction, and a load of several elements for each thread.
#pragma once

namespace cub {

template <class T, int threads>
struct BlockReduce {
  struct TempStorage {
    alignas(T) char bytes[sizeof(T) * threads];
  };
  TempStorage& storage;

  BlockReduce(TempStorage& storage) : storage(storage) {}

  template <int items, class Operation>
  T Reduce(T (&own)[items], Operation operation) {
    T value = own[0];
    for (int i = 1; i < items; i++) value = operation(value, own[i]);
    T* all = reinterpret_cast<T*>(storage.bytes);
    all[threadIdx.x] = value;
    __syncthreads();
    if (threadIdx.x == 0)
      for (int t = 1; t < threads; t++) value = operation(value, all[t]);
    __syncthreads();
    return value;
  }
};

enum BlockLoadAlgorithm { BLOCK_LOAD_DIRECT };

template <class T, int threads, int items, int algorithm>
struct BlockLoad {
  struct TempStorage {};
  BlockLoad(TempStorage&) {}

  template <class From, class Default>
  void Load(From from, T (&own)[items], int valid, Default otherwise) {
    for (int j = 0; j < items; j++) {
      int i = int(threadIdx.x) * items + j;
      own[j] = i < valid ? T(from[i]) : T(otherwise);
    }
  }
};

}  // namespace cub
