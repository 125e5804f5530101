// Overwrites functions in memory with jumps to their stand-ins: CuPy's modules contain the CUDA runtime (x86-64).
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "device.h"

EXPORT int emulator_refuse(const char* name);

namespace {

using Code = std::vector<unsigned char>;

void append(Code& code, std::initializer_list<unsigned char> bytes, const void* operand) {
  code.insert(code.end(), bytes);
  auto* start = reinterpret_cast<const unsigned char*>(&operand);
  code.insert(code.end(), start, start + sizeof operand);
}

int overwrite(void* target, const Code& code) {
  auto page = uintptr_t(sysconf(_SC_PAGESIZE));
  auto* first = reinterpret_cast<void*>(uintptr_t(target) & ~(page - 1));
  if (mprotect(first, 2 * page, PROT_READ | PROT_WRITE | PROT_EXEC)) return 1;
  std::memcpy(target, code.data(), code.size());
  return mprotect(first, 2 * page, PROT_READ | PROT_EXEC);
}

Code jump(Code code, const void* to) {
  append(code, {0x48, 0xb8}, to);               // mov rax, to
  code.insert(code.end(), {0xff, 0xe0});        // jmp rax
  return code;
}

}  // namespace

EXPORT int emulator_patch(void* target, const void* stand_in) { return overwrite(target, jump({}, stand_in)); }

// For a function without a stand-in: `emulator_refuse` is called with its name.
EXPORT int emulator_patch_refusal(void* target, const char* name) {
  Code code;
  append(code, {0x48, 0xbf}, strdup(name));     // mov rdi, name
  return overwrite(target, jump(code, reinterpret_cast<const void*>(&emulator_refuse)));
}
