// Executes a kernel's grid on one thread of the host; CuPy's headers come before it.
//
// A loop over all elements (CUPY_FOR) that synchronises nothing is executed as a grid of one thread, which visits
// every element. Any other kernel gets its grid: blocks one after the other, and threads of a block as fibers that
// change at __syncthreads().
#pragma once

struct EmulatorDim {
  unsigned x, y, z;
};

static const int warpSize = 32;

#ifdef EMULATOR_ONE_THREAD

static constexpr EmulatorDim threadIdx{0, 0, 0}, blockIdx{0, 0, 0}, blockDim{1, 1, 1}, gridDim{1, 1, 1};

template <class Body>
static void emulator_launch(Body body, const unsigned*) {
  body();
}

#else

static EmulatorDim threadIdx, blockIdx, blockDim, gridDim;

// A fiber is made once and executes the kernel's body each time it is entered after it has ended.
struct EmulatorFiber {
  jmp_buf here;
  std::vector<char> stack;
  bool made = false, done = true;
};

static EmulatorFiber emulator_fibers[1024];
static EmulatorFiber* emulator_fiber;
static jmp_buf emulator_scheduler;
static void (*emulator_body)();

static void emulator_leave() {
  if (!_setjmp(emulator_fiber->here)) _longjmp(emulator_scheduler, 1);
}

static void emulator_fiber_main() {
  for (;;) {
    emulator_body();
    emulator_fiber->done = true;
    emulator_leave();
  }
}

static void emulator_enter(EmulatorFiber* fiber) {
  emulator_fiber = fiber;
  if (_setjmp(emulator_scheduler)) return;
  if (fiber->made) _longjmp(fiber->here, 1);
  static ucontext_t context;
  fiber->made = true;
  fiber->stack.resize(65536);
  getcontext(&context);
  context.uc_stack.ss_sp = fiber->stack.data();
  context.uc_stack.ss_size = fiber->stack.size();
  context.uc_link = nullptr;
  makecontext(&context, emulator_fiber_main, 0);
  setcontext(&context);
}

static void emulator_execute_block(unsigned threads) {
  for (unsigned t = 0; t < threads; t++) emulator_fibers[t].done = false;
  for (bool running = true; running;) {
    running = false;
    for (unsigned t = 0; t < threads; t++) {
      EmulatorFiber& fiber = emulator_fibers[t];
      if (fiber.done) continue;
      threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
      emulator_enter(&fiber);
      running |= !fiber.done;
    }
  }
}

static void __syncthreads() { emulator_leave(); }
static inline void __syncwarp(unsigned = 0) { __syncthreads(); }

template <class T>
static T __shfl_xor_sync(unsigned, T value, int lanes, int = 32) {
  static T of_thread[1024];
  of_thread[threadIdx.x] = value;
  __syncthreads();
  T other = of_thread[threadIdx.x ^ unsigned(lanes)];
  __syncthreads();
  return other;
}

template <class Body>
static void emulator_launch(Body body, const unsigned* dimensions) {
  static Body* current;
  current = &body;
  emulator_body = [] { (*current)(); };
  gridDim = {dimensions[0], dimensions[1], dimensions[2]};
  blockDim = {dimensions[3], dimensions[4], dimensions[5]};
  for (unsigned z = 0; z < gridDim.z; z++)
    for (unsigned y = 0; y < gridDim.y; y++)
      for (unsigned x = 0; x < gridDim.x; x++) {
        blockIdx = {x, y, z};
        emulator_execute_block(blockDim.x * blockDim.y * blockDim.z);
      }
}

#endif

// ---- How the emulated driver finds a kernel

template <class Kernel>
struct EmulatorCall;

template <class... A>
struct EmulatorCall<void (*)(A...)> {
  template <size_t... I>
  static void call(void (*kernel)(A...), void** parameters, const unsigned* dimensions, std::index_sequence<I...>) {
    emulator_launch([=] { kernel(*static_cast<std::decay_t<A>*>(parameters[I])...); }, dimensions);
  }
  static void run(void (*kernel)(A...), void** parameters, const unsigned* dimensions) {
    call(kernel, parameters, dimensions, std::index_sequence_for<A...>{});
  }
  static int sizes(size_t* out) {
    const size_t all[] = {sizeof(std::decay_t<A>)..., 0};
    std::memcpy(out, all, sizeof all);
    return sizeof...(A);
  }
};

// The kernel may be an instance of a template, whose name has commas.
#define EMULATOR_EXPORT(symbol, ...)                                                        \
  extern "C" void emulated_run_##symbol(void** parameters, const unsigned* dimensions) {    \
    EmulatorCall<decltype(&__VA_ARGS__)>::run(&__VA_ARGS__, parameters, dimensions);        \
  }                                                                                         \
  extern "C" int emulated_sizes_##symbol(size_t* out) { return EmulatorCall<decltype(&__VA_ARGS__)>::sizes(out); }
