// Channel vectors: as many numbers as fit a register, with partial loads and stores at the end of a
// row, and sums of many vectors at once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

namespace jmlip {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

template <typename T>
struct Simd {
  static constexpr int kLanes = kBytes / sizeof(T);
  typedef T Vector __attribute__((vector_size(kBytes)));
};

template <typename T>
using Vector = typename Simd<T>::Vector;

template <typename T>
inline Vector<T> Load(const T* from) {
  Vector<T> v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

template <typename T>
inline void Store(T* to, Vector<T> v, int64_t count) {
  std::memcpy(to, &v, std::min<int64_t>(count, Simd<T>::kLanes) * sizeof(T));
}

namespace internal {

template <typename T, typename Half, int... kLane>
inline Vector<T> Widened(Half half, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(half, Half{}, kLane...);
}

}  // namespace internal

// Half a register, then zeros; not by way of memory, where the load would wait for the stores.
template <typename T>
inline Vector<T> LoadHalf(const T* from) {
  typedef T Half __attribute__((vector_size(kBytes / 2)));
  Half half;
  std::memcpy(&half, from, sizeof(half));
  return internal::Widened<T>(half, std::make_integer_sequence<int, Simd<T>::kLanes>{});
}

// One register of channels: what narrow features fill.
template <typename T>
struct Narrow {
  Vector<T> a{};

  static constexpr int kLanes = Simd<T>::kLanes;
  static constexpr bool kOneBlock = true;

  [[gnu::always_inline]] static Narrow Load(const T* from, int64_t count) {
    if (count >= kLanes) return {jmlip::Load(from)};
    if (count == kLanes / 2) return {LoadHalf(from)};
    T padded[kLanes] = {};
    std::memcpy(padded, from, count * sizeof(T));
    return {jmlip::Load(padded)};
  }

  [[gnu::always_inline]] void Store(T* to, int64_t count) const {
    if (count >= kLanes)
      std::memcpy(to, this, sizeof(*this));
    else if (count == kLanes / 2)
      std::memcpy(to, this, kLanes / 2 * sizeof(T));
    else
      std::memcpy(to, this, count * sizeof(T));
  }

  static Narrow Constant(T value) { return {Vector<T>{} + value}; }

  // A register with the same sum over its lanes.
  Vector<T> Folded() const { return a; }

  void Add(Narrow x, T factor) { a += x.a * factor; }
  void Add(Narrow x, Narrow y) { a += x.a * y.a; }
  friend Narrow operator*(Narrow x, Narrow y) { return {x.a * y.a}; }
  friend Narrow operator*(Narrow x, T factor) { return {x.a * factor}; }
};

// Two registers of channels: every broadcast number serves twice.
template <typename T>
struct Wide {
  Vector<T> a{}, b{};

  static constexpr int kLanes = 2 * Simd<T>::kLanes;
  static constexpr bool kOneBlock = false;

  [[gnu::always_inline]] static Wide Load(const T* from, int64_t count) {
    if (count >= kLanes) return {jmlip::Load(from), jmlip::Load(from + Simd<T>::kLanes)};
    if (count == kLanes / 2) return {jmlip::Load(from), Vector<T>{}};
    T padded[kLanes] = {};
    std::memcpy(padded, from, count * sizeof(T));
    return {jmlip::Load(padded), jmlip::Load(padded + Simd<T>::kLanes)};
  }

  [[gnu::always_inline]] void Store(T* to, int64_t count) const {
    if (count >= kLanes)
      std::memcpy(to, this, sizeof(*this));
    else if (count == kLanes / 2)
      std::memcpy(to, &a, sizeof(a));
    else
      std::memcpy(to, this, count * sizeof(T));
  }

  static Wide Constant(T value) { return {Vector<T>{} + value, Vector<T>{} + value}; }

  // A register with the same sum over its lanes.
  Vector<T> Folded() const { return a + b; }

  void Add(Wide x, T factor) { a += x.a * factor, b += x.b * factor; }
  void Add(Wide x, Wide y) { a += x.a * y.a, b += x.b * y.b; }
  friend Wide operator*(Wide x, Wide y) { return {x.a * y.a, x.b * y.b}; }
  friend Wide operator*(Wide x, T factor) { return {x.a * factor, x.b * factor}; }
};

// Calls body with a value of the type of registers for so many channels.
template <typename T, typename Body>
void WithRegisters(int64_t channels, const Body& body) {
  if (channels <= Narrow<T>::kLanes)
    body(Narrow<T>{});
  else
    body(Wide<T>{});
}

inline int64_t RoundUp(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

namespace internal {

// Lanes of the concatenation (a, b): for each group of 2 H lanes, the first (or second) H of a,
// then of b. Adding both selections halves the number of partial sums each row still has.
template <int H, int kLanes>
constexpr int Pick(int lane, int second) {
  return (lane / H) % 2 * kLanes + lane / H / 2 * 2 * H + lane % H + second * H;
}

template <int H, typename T, int... kLane>
inline Vector<T> Fold(Vector<T> a, Vector<T> b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, Pick<H, sizeof...(kLane)>(kLane, 0)...) +
         __builtin_shufflevector(a, b, Pick<H, sizeof...(kLane)>(kLane, 1)...);
}

template <int H, typename T>
[[gnu::always_inline]] inline void FoldRows(Vector<T>* rows) {
  using Lanes = std::make_integer_sequence<int, Simd<T>::kLanes>;
  for (int r = 0; r < H; ++r) rows[r] = Fold<H, T>(rows[r], rows[r + H], Lanes{});
  if constexpr (H > 1) FoldRows<H / 2, T>(rows);
}

}  // namespace internal

// Lane i of the result is the sum over the lanes of rows[i]; destroys the rows.
template <typename T>
inline Vector<T> SumRows(Vector<T>* rows) {
  internal::FoldRows<Simd<T>::kLanes / 2, T>(rows);
  return rows[0];
}

}  // namespace jmlip
