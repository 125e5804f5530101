// The precompiled header of every kernel: CUDA's words, and CuPy's headers in terms of them.
#pragma once
#include "prelude.h"

#include <cupy/carray.cuh>

#include <cupy/bfloat16.cuh>
#include <cupy/complex.cuh>
#include <cupy/float16.cuh>

#include <cupy/atomics.cuh>
