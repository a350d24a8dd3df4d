// What a kernel is called with: arrays by number, of one type.
#pragma once

#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace jmlip {

namespace ffi = xla::ffi;

template <typename T>
T* DataOrNull(ffi::AnyBuffer buffer) {
  return buffer.element_count() > 0 ? buffer.typed_data<T>() : nullptr;
}

// The n-th argument, and the n-th result; null where it is empty, which is to say absent.
template <typename T>
struct Buffers {
  using Number = T;
  ffi::RemainingArgs arguments;
  ffi::RemainingRets results;

  T* in(size_t n) const { return DataOrNull<T>(*arguments.get<ffi::AnyBuffer>(n)); }
  T* out(size_t n) const { return DataOrNull<T>(**results.get<ffi::AnyBuffer>(n)); }
};

// Calls body with Buffers of the type of the first argument, and registers for these channels.
template <typename Body>
ffi::Error WithBuffers(ffi::RemainingArgs arguments, ffi::RemainingRets results, int64_t channels,
                       const Body& body) {
  const auto with = [&](auto buffers) {
    WithRegisters<typename decltype(buffers)::Number>(
        channels, [&](auto registers) { body(buffers, registers); });
  };
  switch (arguments.get<ffi::AnyBuffer>(0)->element_type()) {
    case ffi::F32: with(Buffers<float>{arguments, results}); break;
    case ffi::F64: with(Buffers<double>{arguments, results}); break;
    default: return ffi::Error::InvalidArgument("the kernels take float32 or float64");
  }
  return ffi::Error::Success();
}

}  // namespace jmlip
