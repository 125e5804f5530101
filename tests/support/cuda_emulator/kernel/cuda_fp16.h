// As much of CUDA's half as CuPy's float16.cuh uses.
#pragma once

struct __half_raw {
  unsigned short x;
};

struct half {
  _Float16 value = 0;
  half() = default;
  half(float x) : value(_Float16(x)) {}
  explicit half(double x) : value(_Float16(x)) {}
  explicit half(int x) : value(_Float16(x)) {}
  explicit half(unsigned x) : value(_Float16(x)) {}
  explicit half(long long x) : value(_Float16(x)) {}
  explicit half(unsigned long long x) : value(_Float16(x)) {}
  half(__half_raw bits) : value(emulator_bits<_Float16>(bits.x)) {}
  operator float() const { return float(value); }
  explicit operator __half_raw() const { return {emulator_bits<unsigned short>(value)}; }
};

static inline unsigned short __half_as_ushort(half x) { return emulator_bits<unsigned short>(x.value); }
static inline half __ushort_as_half(unsigned short bits) { return half(__half_raw{bits}); }
