// cub::BlockLoad, which stands beside the reduction.
#include "block_reduce.cuh"
