// cuBLASLt (libcublasLt.so.13), which CuPy loads with cuBLAS and this project never calls.
extern "C" __attribute__((visibility("default"))) int cublasLtGetVersion() { return 130100; }
