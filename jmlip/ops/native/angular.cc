// Angular symmetry functions of ANI and their derivatives, over the pairs of neighbors within reach:
//
//   F(g, v, e) = sum_i sum_{j < k} 2 e_j e_k sum_mn g[i, st, m, n] R_m A_n
//   R_m = exp(-eta ((r_j + r_k) / 2 - R_m)^2),    A_n = [(1 + c cos Z_n + sqrt(1 - c^2) sin Z_n) / 2]^zeta
//
// with r = |v|, c = 0.95 u_j . u_k, u = v / r, and s, t the elements of the two neighbors. Neighbors
// whose e is 0 are not there. A register holds as many pairs of one kind st as fit.

#include <cmath>
#include <vector>

#include "buffers.h"
#include "threads.h"
#include "vectors.h"

namespace jmlip {
namespace {

template <typename T>
constexpr bool kIsFloat = sizeof(T) == 4;

// exp(x) for x <= 0: 2^n exp(y) with |y| < 1/2 ln 2, by Taylor's series to rounding.
template <typename T>
[[gnu::always_inline]] inline Vector<T> Exp(Vector<T> x) {
  using Int = std::conditional_t<kIsFloat<T>, int32_t, int64_t>;
  typedef Int Ints __attribute__((vector_size(kBytes)));
  constexpr T kLeast = kIsFloat<T> ? -87 : -708;  // below, 2^n would leave the range
  constexpr Int kBias = kIsFloat<T> ? 127 : 1023, kMantissa = kIsFloat<T> ? 23 : 52;
  constexpr int kTerms = kIsFloat<T> ? 7 : 13;
  constexpr T kHigh = 0.693359375, kLow = -2.12194440054690583e-4;  // of ln 2, the first exact
  x = x < kLeast ? Vector<T>{} + kLeast : x;
  const Ints n = __builtin_convertvector(x * T(1.4426950408889634) - T(0.5), Ints);
  const Vector<T> turns = __builtin_convertvector(n, Vector<T>);
  const Vector<T> y = (x - turns * kHigh) - turns * kLow;
  Vector<T> sum = Vector<T>{} + T(1);
  for (int k = kTerms; k > 0; --k) sum = T(1) + sum * y * (T(1) / T(k));
  return sum * (Vector<T>)((n + kBias) << kMantissa);
}

template <typename T>
inline Vector<T> Sqrt(Vector<T> x) {
  T lanes[Simd<T>::kLanes];
  std::memcpy(lanes, &x, sizeof(x));
  for (T& lane : lanes) lane = std::sqrt(lane);
  return Load(lanes);
}

template <typename T>
Vector<T> Power(Vector<T> x, int64_t n) {
  Vector<T> found = Vector<T>{} + T(1);
  for (; n > 0; n >>= 1, x *= x)
    if (n & 1) found *= x;
  return found;
}

// The neighbors of one atom within reach, by element; with d for derivatives, or what is along.
template <typename T>
struct Neighbors {
  enum Row { X, Y, Z, R, E, kRows };
  std::vector<T> value[kRows], d[kRows];
  std::vector<int64_t> slot, begin;  // begin: first of each element

  Neighbors(int64_t slots, int64_t species) : slot(slots), begin(species + 1) {
    for (int row = 0; row < kRows; ++row) value[row].resize(slots), d[row].resize(slots);
  }
};

template <typename T>
struct Angular {
  using V = Vector<T>;
  using N = Neighbors<T>;
  static constexpr int64_t kLanes = Simd<T>::kLanes;
  static constexpr T kScale = 0.95;

  const T *g, *v, *e, *along_v, *along_e;
  T *out_g, *out_v, *out_e;
  const int32_t* element;
  int64_t atoms, slots, species, shifts, angles, zeta;
  T eta;
  std::vector<T> shift, cosine, sine;

  int64_t kinds() const { return species * (species + 1) / 2; }
  int64_t functions() const { return shifts * angles; }

  // Pairs in a register, and what all functions need of them.
  struct Pairs {
    int64_t j[kLanes], k[kLanes], count;
    V u[2][3], c, s, mean, e[2];
  };

  struct Workspace {
    N near;
    Pairs pairs;
    std::vector<V> radial, angular, slope, along_slope, sums;

    explicit Workspace(const Angular& of)
        : near(of.slots, of.species), pairs(), radial(of.shifts), angular(of.angles),
          slope(of.angles), along_slope(of.angles), sums(RoundUp(of.functions(), kLanes)) {}
  };

  void Atom(int64_t i, Workspace& work) const {
    Find(i, work.near);
    const bool along = along_v || along_e;
    if (out_g) {
      std::fill_n(out_g + i * kinds() * functions(), kinds() * functions(), T(0));
      if (along) FindAlong(work.near);
    }
    if (out_g && along) Visit<&Angular::AddAlong>(i, work);
    if (out_g && !along) Visit<&Angular::AddValue>(i, work);
    if (!out_v && !out_e) return;
    for (auto& row : work.near.d) std::fill(row.begin(), row.end(), T(0));
    Visit<&Angular::AddGradient>(i, work);
    StoreGradient(i, work.near);
  }

  void Find(int64_t i, N& near) const {
    int64_t n = 0;
    for (int64_t s = 0; s < species; ++s) {
      near.begin[s] = n;
      for (int64_t k = i * slots; k < (i + 1) * slots; ++k) {
        if (element[k] != s || e[k] == T(0)) continue;
        const T* x = v + 3 * k;
        const T r = std::sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
        for (int a = 0; a < 3; ++a) near.value[a][n] = r > 0 ? x[a] / r : r;
        near.value[N::R][n] = r, near.value[N::E][n] = e[k], near.slot[n++] = k;
      }
    }
    near.begin[species] = n;
  }

  void FindAlong(N& near) const {
    for (int64_t n = 0; n < near.begin[species]; ++n) {
      const int64_t k = near.slot[n];
      const T r = near.value[N::R][n];
      near.d[N::E][n] = along_e ? along_e[k] : T(0);
      T toward = 0;
      for (int a = 0; a < 3 && along_v; ++a) toward += near.value[a][n] * along_v[3 * k + a];
      near.d[N::R][n] = toward;
      for (int a = 0; a < 3; ++a) {
        const T across = along_v ? along_v[3 * k + a] - toward * near.value[a][n] : T(0);
        near.d[a][n] = r > 0 ? across / r : T(0);
      }
    }
  }

  void StoreGradient(int64_t i, const N& near) const {
    if (out_v) std::fill_n(out_v + 3 * i * slots, 3 * slots, T(0));
    if (out_e) std::fill_n(out_e + i * slots, slots, T(0));
    for (int64_t n = 0; n < near.begin[species]; ++n) {
      const int64_t k = near.slot[n];
      const T r = near.value[N::R][n];
      if (out_e) out_e[k] = near.d[N::E][n];
      if (!out_v) continue;
      T toward = 0;
      for (int a = 0; a < 3; ++a) toward += near.value[a][n] * near.d[a][n];
      for (int a = 0; a < 3; ++a) {
        const T u = near.value[a][n], across = near.d[a][n] - toward * u;
        out_v[3 * k + a] = u * near.d[N::R][n] + (r > 0 ? across / r : T(0));
      }
    }
  }

  // Calls kAdd for all pairs, kind by kind, so many at once as a register holds.
  template <void (Angular::*kAdd)(const T*, Workspace&) const>
  void Visit(int64_t i, Workspace& work) const {
    const auto& begin = work.near.begin;
    int64_t row = i * kinds() * functions();
    for (int64_t s = 0; s < species; ++s)
      for (int64_t t = s; t < species; ++t, row += functions()) {
        Pairs& pairs = work.pairs;
        std::fill(work.sums.begin(), work.sums.end(), V{});
        const auto flush = [&] {
          Gather(work);
          (this->*kAdd)(g ? g + row : nullptr, work);
          pairs.count = 0;
        };
        for (int64_t j = begin[s]; j < begin[s + 1]; ++j)
          for (int64_t k = s == t ? j + 1 : begin[t]; k < begin[t + 1]; ++k) {
            pairs.j[pairs.count] = j, pairs.k[pairs.count] = k;
            if (++pairs.count == kLanes) flush();
          }
        if (pairs.count) flush();
        if (out_g) StoreSums(work.sums, out_g + row);
      }
  }

  void StoreSums(std::vector<V>& sums, T* to) const {
    for (int64_t f = 0; f < functions(); f += kLanes)
      Store(to + f, SumRows<T>(&sums[f]), functions() - f);
  }

  static V At(const std::vector<T>& row, const int64_t* which) {
    T lanes[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] = row[which[l]];
    return Load(lanes);
  }

  // What the functions share; lanes that are not filled repeat a pair, with no weight.
  void Gather(Workspace& work) const {
    Pairs& p = work.pairs;
    const auto& value = work.near.value;
    for (int64_t l = p.count; l < kLanes; ++l) p.j[l] = p.j[0], p.k[l] = p.k[0];
    for (int side = 0; side < 2; ++side)
      for (int a = 0; a < 3; ++a) p.u[side][a] = At(value[a], side ? p.k : p.j);
    T filled[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) filled[l] = l < p.count;
    p.e[0] = At(value[N::E], p.j) * Load(filled), p.e[1] = At(value[N::E], p.k) * Load(filled);
    p.c = (p.u[0][0] * p.u[1][0] + p.u[0][1] * p.u[1][1] + p.u[0][2] * p.u[1][2]) * kScale;
    p.s = Sqrt<T>(T(1) - p.c * p.c);
    p.mean = (At(value[N::R], p.j) + At(value[N::R], p.k)) * T(0.5);
    const V tangent = p.c / p.s;
    for (int64_t m = 0; m < shifts; ++m) {
      const V x = p.mean - shift[m];
      work.radial[m] = Exp<T>(x * x * -eta);
    }
    for (int64_t n = 0; n < angles; ++n) {
      const V base = (T(1) + p.c * cosine[n] + p.s * sine[n]) * T(0.5);
      const V below = Power<T>(base, zeta - 1);
      work.angular[n] = base * below;
      work.slope[n] = below * (cosine[n] - tangent * sine[n]) * T(0.5 * zeta);
    }
  }

  void AddValue(const T*, Workspace& work) const {
    const V weight = work.pairs.e[0] * work.pairs.e[1] * T(2);
    for (int64_t m = 0, f = 0; m < shifts; ++m) {
      const V radial = weight * work.radial[m];
      for (int64_t n = 0; n < angles; ++n, ++f) work.sums[f] += radial * work.angular[n];
    }
  }

  void AddAlong(const T*, Workspace& work) const {
    const Pairs& p = work.pairs;
    const auto& d = work.near.d;
    const V weight = p.e[0] * p.e[1] * T(2);
    // an unfilled lane has no weight, and no change of it
    const V d_weight = (At(d[N::E], p.j) * p.e[1] + p.e[0] * At(d[N::E], p.k)) * T(2);
    const V d_mean = (At(d[N::R], p.j) + At(d[N::R], p.k)) * T(0.5);
    V d_c{};
    for (int a = 0; a < 3; ++a) d_c += At(d[a], p.j) * p.u[1][a] + p.u[0][a] * At(d[a], p.k);
    d_c *= kScale;
    for (int64_t n = 0; n < angles; ++n) work.along_slope[n] = work.slope[n] * d_c;
    for (int64_t m = 0, f = 0; m < shifts; ++m) {
      const V steepness = (p.mean - shift[m]) * (T(-2) * eta) * d_mean;
      const V radial = weight * work.radial[m];
      const V d_radial = d_weight * work.radial[m] + radial * steepness;
      for (int64_t n = 0; n < angles; ++n, ++f)
        work.sums[f] += d_radial * work.angular[n] + radial * work.along_slope[n];
    }
  }

  void AddGradient(const T* g, Workspace& work) const {
    const Pairs& p = work.pairs;
    V sum{}, by_mean{}, by_c{};
    for (int64_t m = 0; m < shifts; ++m) {
      V values{}, slopes{};
      for (int64_t n = 0; n < angles; ++n) {
        values += work.angular[n] * g[m * angles + n];
        slopes += work.slope[n] * g[m * angles + n];
      }
      const V radial = work.radial[m];
      sum += radial * values;
      by_c += radial * slopes;
      by_mean += radial * values * (p.mean - shift[m]) * (T(-2) * eta);
    }
    const V weight = p.e[0] * p.e[1] * T(2);
    by_c *= weight * kScale;
    by_mean *= weight * T(0.5);
    auto& d = work.near.d;
    for (int side = 0; side < 2; ++side) {
      const int64_t* to = side ? p.k : p.j;
      for (int a = 0; a < 3; ++a) Scatter(by_c * p.u[1 - side][a], to, p.count, d[a]);
      Scatter(by_mean, to, p.count, d[N::R]);
      Scatter(sum * p.e[1 - side] * T(2), to, p.count, d[N::E]);
    }
  }

  static void Scatter(V values, const int64_t* to, int64_t count, std::vector<T>& row) {
    T lanes[kLanes];
    Store(lanes, values, kLanes);
    for (int64_t l = 0; l < count; ++l) row[to[l]] += lanes[l];
  }
};

// Arguments: g, v, e, their tangents, the element of each slot; results: derivatives with respect
// to g, v, e. What is absent, or not wanted, is empty.
ffi::Error AngularFunctions(ffi::ThreadPool pool, ffi::RemainingArgs arguments,
                            ffi::RemainingRets results, ffi::Span<const int64_t> sizes,
                            ffi::Span<const double> numbers) {
  return WithBuffers(arguments, results, 1, [&](auto at, auto) {
    using T = typename decltype(at)::Number;
    const auto shifts = numbers.begin() + 1, cosines = shifts + sizes[3], sines = cosines + sizes[4];
    const Angular<T> angular{
        at.in(0), at.in(1), at.in(2), at.in(4), at.in(5), at.out(0), at.out(1), at.out(2),
        arguments.template get<ffi::AnyBuffer>(6)->template typed_data<int32_t>(),
        sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], static_cast<T>(numbers[0]),
        {shifts, cosines}, {cosines, sines}, {sines, numbers.end()}};
    ParallelFor(pool, angular.atoms, 4, [&](int64_t first, int64_t last) {
      typename Angular<T>::Workspace work(angular);
      for (int64_t i = first; i < last; ++i) angular.Atom(i, work);
    });
  });
}

}  // namespace
}  // namespace jmlip

XLA_FFI_DEFINE_HANDLER_SYMBOL(jmlip_angular, jmlip::AngularFunctions,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<xla::ffi::Span<const int64_t>>("sizes")
                                  .Attr<xla::ffi::Span<const double>>("numbers"));
