// As much of CUDA's __nv_bfloat16 as CuPy's bfloat16.cuh uses.
#pragma once

struct __nv_bfloat16 {
  unsigned short bits = 0;
  __nv_bfloat16() = default;
  __nv_bfloat16(float x) {
    auto word = emulator_bits<unsigned>(x);
    bits = x != x ? 0x7fff : (unsigned short)((word + 0x7fff + ((word >> 16) & 1)) >> 16);
  }
  operator float() const { return emulator_bits<float>(unsigned(bits) << 16); }
};

static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  __nv_bfloat16 x;
  x.bits = bits;
  return x;
}
static inline bool __hisnan(__nv_bfloat16 x) { return std::isnan(float(x)); }
static inline bool __hisinf(__nv_bfloat16 x) { return std::isinf(float(x)); }
