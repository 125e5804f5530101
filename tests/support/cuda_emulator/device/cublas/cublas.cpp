// cuBLAS (libcublas.so.13): products of matrices, summed in double precision, on the handle's stream.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "../device.h"

EXPORT int emulator_enqueue(void* stream, const char* what, void (*run)(void*), void* argument, size_t size);
EXPORT int emulator_on_device(const void* address);
EXPORT void emulator_count(const char* what);

namespace {

enum Status { ok = 0, not_initialized = 1, invalid_value = 7, execution_failed = 13, not_supported = 15 };

const char* name_of(int status) {
  switch (status) {
    case ok: return "CUBLAS_STATUS_SUCCESS";
    case not_initialized: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case invalid_value: return "CUBLAS_STATUS_INVALID_VALUE";
    case execution_failed: return "CUBLAS_STATUS_EXECUTION_FAILED";
    default: return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
}

// Of library_types.h and cublas_api.h
enum Type { single = 0, real_double = 1, half = 2, bfloat = 14 };
enum Compute { in_half = 64, in_float = 68, in_float_pedantic = 69, in_double = 70, in_double_pedantic = 71, in_tf32 = 77 };

struct Bfloat16 {
  uint16_t bits;
  Bfloat16(double value) {
    auto rounded = float(value);
    uint32_t word;
    std::memcpy(&word, &rounded, sizeof word);
    bool nan = rounded != rounded;
    bits = nan ? 0x7fff : uint16_t((word + 0x7fff + ((word >> 16) & 1)) >> 16);
  }
  operator double() const {
    uint32_t word = uint32_t(bits) << 16;
    float value;
    std::memcpy(&value, &word, sizeof value);
    return value;
  }
};

struct Handle {
  void *stream = nullptr, *workspace = nullptr;
  int pointer_mode = 0, math_mode = 0;
};

int answer_to_products = ok;

// C = alpha op(A) op(B) + beta C, stored by columns; op transposes where `ta`, or `tb`, is set.
struct Gemm {
  bool ta, tb;
  int m, n, k;
  double alpha, beta;
  const void *a, *b;
  void* c;
  int lda, ldb, ldc;
};

// `count` products; from one to the next, addresses move by so many elements.
struct Batch {
  Gemm first;
  int count;
  long long stride_a, stride_b, stride_c;
};

template <class T, class C>
void multiply_one(const Gemm& g) {
  size_t m = size_t(g.m), n = size_t(g.n), k = size_t(g.k), lda = size_t(g.lda), ldb = size_t(g.ldb);
  auto *a = static_cast<const T*>(g.a), *b = static_cast<const T*>(g.b);
  std::vector<double> columns(m * k), total(m);
  for (size_t l = 0; l < k; l++)
    for (size_t i = 0; i < m; i++) columns[l * m + i] = double(g.ta ? a[i * lda + l] : a[l * lda + i]);
  for (size_t j = 0; j < n; j++) {
    std::fill(total.begin(), total.end(), 0.0);
    for (size_t l = 0; l < k; l++) {
      auto factor = double(g.tb ? b[l * ldb + j] : b[j * ldb + l]);
      const double* column = &columns[l * m];
      for (size_t i = 0; i < m; i++) total[i] += column[i] * factor;
    }
    C* c = static_cast<C*>(g.c) + j * size_t(g.ldc);
    for (size_t i = 0; i < m; i++) c[i] = C(g.beta != 0 ? g.alpha * total[i] + g.beta * double(c[i]) : g.alpha * total[i]);
  }
}

template <class T, class C>
void multiply(void* argument) {
  auto& batch = *static_cast<Batch*>(argument);
  for (long long k = 0; k < batch.count; k++) {
    Gemm gemm = batch.first;
    gemm.a = static_cast<const T*>(gemm.a) + k * batch.stride_a;
    gemm.b = static_cast<const T*>(gemm.b) + k * batch.stride_b;
    gemm.c = static_cast<C*>(gemm.c) + k * batch.stride_c;
    multiply_one<T, C>(gemm);
  }
}

// `count` products of matrices whose addresses lie on the device.
struct Addresses {
  Gemm gemm;
  int count;
  const void *const *a, *const *b;
  void* const* c;
};

template <class T>
void multiply_at(void* argument) {
  auto& given = *static_cast<Addresses*>(argument);
  for (int k = 0; k < given.count; k++) {
    Gemm gemm = given.gemm;
    gemm.a = given.a[k];
    gemm.b = given.b[k];
    gemm.c = given.c[k];
    multiply_one<T, T>(gemm);
  }
}

int launch_at(Handle* handle, const char* what, Addresses given, void (*run)(void*)) {
  for (const void* list : {static_cast<const void*>(given.a), static_cast<const void*>(given.b), static_cast<const void*>(given.c)})
    if (!emulator_on_device(list)) return execution_failed;
  return emulator_enqueue(handle->stream, what, run, &given, sizeof given) ? execution_failed : ok;
}

int launch(Handle* handle, const char* what, Batch batch, void (*run)(void*)) {
  if (!handle) return not_initialized;
  if (answer_to_products) return answer_to_products;
  Gemm& gemm = batch.first;
  bool sizes = gemm.m >= 0 && gemm.n >= 0 && gemm.k >= 0 && gemm.lda >= std::max(1, gemm.ta ? gemm.k : gemm.m) &&
               gemm.ldb >= std::max(1, gemm.tb ? gemm.n : gemm.k) && gemm.ldc >= std::max(1, gemm.m);
  if (!sizes || handle->pointer_mode) return invalid_value;
  for (const void* matrix : {gemm.a, gemm.b, static_cast<const void*>(gemm.c)})
    if (!emulator_on_device(matrix)) return execution_failed;
  return emulator_enqueue(handle->stream, what, run, &batch, sizeof batch) ? execution_failed : ok;
}

// The combinations of cuBLAS's table for cublasGemmEx that are real.
void (*kernel(int a, int b, int c, int compute))(void*) {
  if (a != b) return nullptr;
  bool floats = compute == in_float || compute == in_float_pedantic;
  if (a == single && c == single && (floats || compute == in_tf32)) return multiply<float, float>;
  if (a == real_double && c == real_double && (compute == in_double || compute == in_double_pedantic))
    return multiply<double, double>;
  if (a == half && c == half && (floats || compute == in_half)) return multiply<_Float16, _Float16>;
  if (a == half && c == single && floats) return multiply<_Float16, float>;
  if (a == bfloat && c == bfloat && floats) return multiply<Bfloat16, Bfloat16>;
  if (a == bfloat && c == single && floats) return multiply<Bfloat16, float>;
  return nullptr;
}

}  // namespace

EXPORT int cublasCreate_v2(Handle** made) {
  *made = new Handle;
  return ok;
}

EXPORT int cublasDestroy_v2(Handle* handle) {
  delete handle;
  return ok;
}

EXPORT int cublasGetVersion_v2(Handle*, int* version) {
  *version = 130100;
  return ok;
}

EXPORT int cublasSetStream_v2(Handle* handle, void* stream) {
  handle->stream = stream;
  handle->workspace = nullptr;  // as the manual says
  emulator_count("cublasSetStream");
  return ok;
}

EXPORT int cublasGetStream_v2(Handle* handle, void** stream) {
  *stream = handle->stream;
  return ok;
}

EXPORT int cublasSetWorkspace_v2(Handle* handle, void* workspace, size_t) {
  if (uintptr_t(workspace) % 256 || !emulator_on_device(workspace)) return invalid_value;
  handle->workspace = workspace;
  emulator_count("cublasSetWorkspace");
  return ok;
}

EXPORT int cublasSetMathMode(Handle* handle, int mode) {
  handle->math_mode = mode;
  return ok;
}

EXPORT int cublasGetMathMode(Handle* handle, int* mode) {
  *mode = handle->math_mode;
  return ok;
}

EXPORT int cublasSetPointerMode_v2(Handle* handle, int mode) {
  handle->pointer_mode = mode;
  return ok;
}

EXPORT int cublasGetPointerMode_v2(Handle* handle, int* mode) {
  *mode = handle->pointer_mode;
  return ok;
}

// A function without a stand-in; build.py writes one of these for each.
EXPORT int emulator_refuse_cublas(const char* name) {
  std::fprintf(stderr, "CUDA emulator: %s is not emulated\n", name);
  return not_supported;
}

EXPORT const char* cublasGetStatusName(int status) { return name_of(status); }
EXPORT const char* cublasGetStatusString(int status) { return name_of(status); }

EXPORT int cublasGemmStridedBatchedEx(Handle* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
                                      int a_type, int lda, long long stride_a, const void* b, int b_type, int ldb,
                                      long long stride_b, const void* beta, void* c, int c_type, int ldc,
                                      long long stride_c, int count, int compute, int algorithm) {
  auto run = kernel(a_type, b_type, c_type, compute);
  if (!run) return not_supported;
  bool known = (algorithm >= -1 && algorithm <= 23) || (algorithm >= 99 && algorithm <= 115);
  if (!known) return invalid_value;
  auto number = [=](const void* at) {
    if (compute == in_double || compute == in_double_pedantic) return *static_cast<const double*>(at);
    if (compute == in_half) return double(*static_cast<const _Float16*>(at));
    return double(*static_cast<const float*>(at));
  };
  Gemm gemm{ta != 0, tb != 0, m, n, k, number(alpha), number(beta), a, b, c, lda, ldb, ldc};
  const char* what = compute == in_tf32 ? "cublasGemmEx in TF32" : "cublasGemmEx";
  if (handle && !handle->workspace) emulator_count("products without a workspace of the caller's");
  return launch(handle, what, {gemm, count, stride_a, stride_b, stride_c}, run);
}

EXPORT int cublasGemmEx(Handle* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int a_type,
                        int lda, const void* b, int b_type, int ldb, const void* beta, void* c, int c_type, int ldc,
                        int compute, int algorithm) {
  return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c, c_type,
                                    ldc, 0, 1, compute, algorithm);
}

EXPORT int cublasSgemm_v2(Handle* handle, int ta, int tb, int m, int n, int k, const float* alpha, const float* a,
                          int lda, const float* b, int ldb, const float* beta, float* c, int ldc) {
  return cublasGemmEx(handle, ta, tb, m, n, k, alpha, a, single, lda, b, single, ldb, beta, c, single, ldc, in_float, -1);
}

EXPORT int cublasDgemm_v2(Handle* handle, int ta, int tb, int m, int n, int k, const double* alpha, const double* a,
                          int lda, const double* b, int ldb, const double* beta, double* c, int ldc) {
  return cublasGemmEx(handle, ta, tb, m, n, k, alpha, a, real_double, lda, b, real_double, ldb, beta, c, real_double, ldc,
                      in_double, -1);
}

EXPORT int cublasSgemmBatched(Handle* handle, int ta, int tb, int m, int n, int k, const float* alpha,
                              const void* const* a, int lda, const void* const* b, int ldb, const float* beta,
                              void* const* c, int ldc, int count) {
  Gemm gemm{ta != 0, tb != 0, m, n, k, *alpha, *beta, nullptr, nullptr, nullptr, lda, ldb, ldc};
  return launch_at(handle, "cublasSgemmBatched", {gemm, count, a, b, c}, multiply_at<float>);
}

EXPORT int cublasDgemmBatched(Handle* handle, int ta, int tb, int m, int n, int k, const double* alpha,
                              const void* const* a, int lda, const void* const* b, int ldb, const double* beta,
                              void* const* c, int ldc, int count) {
  Gemm gemm{ta != 0, tb != 0, m, n, k, *alpha, *beta, nullptr, nullptr, nullptr, lda, ldb, ldc};
  return launch_at(handle, "cublasDgemmBatched", {gemm, count, a, b, c}, multiply_at<double>);
}

// What every product is answered from now on, for tests; 0 is success.
EXPORT void cublas_emulator_answer(int status) { answer_to_products = status; }
