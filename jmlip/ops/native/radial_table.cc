// Radial functions read from tables by cubic Hermite interpolation, and their slopes:
//
//   F(g, r, t) = sum_e sum_c g[e, c] w_c(r_e),
//
// dF/dg = w, dF/dr = sum_c g_c w_c'. A table has value and slope of every function at each knot, so
// what one distance needs stands in one piece of memory: t[k, 0], t[k, 1], t[k + 1, 0], t[k + 1, 1].

#include "buffers.h"
#include "threads.h"
#include "vectors.h"

namespace jmlip {
namespace {

template <typename T, typename W>
struct Reader {
  const T *g, *r, *t;
  T *out_g, *out_r;
  const int32_t* which;
  int64_t n, width, knots;
  T spacing;

  static constexpr int kTerms = 4;

  W Interpolated(const T* at, const T* factors, int64_t c) const {
    const int64_t left = width - c;
    W sum = W::Load(at + c, left) * factors[0];
    for (int term = 1; term < kTerms; ++term)
      sum.Add(W::Load(at + term * width + c, left), factors[term]);
    return sum;
  }

  void Row(int64_t row) const {
    const T place = r[row] / spacing;
    T* values = out_g ? out_g + row * width : nullptr;
    if (!(place < T(knots - 1))) {  // nor if it is not a number: that is seen in the distance
      const T nothing = place - place;
      if (values) std::fill_n(values, width, nothing);
      if (out_r) out_r[row] = nothing;
      return;
    }
    const int64_t k = static_cast<int64_t>(place);
    const T x = place - T(k), y = T(1) - x;
    const T* at = t + (which[row] * knots + k) * 2 * width;
    if (values) {
      const T factors[] = {(1 + 2 * x) * y * y, x * y * y * spacing, x * x * (3 - 2 * x),
                           -x * x * y * spacing};
      for (int64_t c = 0; c < width; c += W::kLanes)
        Interpolated(at, factors, c).Store(values + c, width - c);
    }
    if (out_r) {
      const T factors[] = {-6 * x * y / spacing, y * (1 - 3 * x), 6 * x * y / spacing,
                           x * (3 * x - 2)};
      W sum{};
      for (int64_t c = 0; c < width; c += W::kLanes)
        sum.Add(W::Load(g + row * width + c, width - c), Interpolated(at, factors, c));
      T lanes[Simd<T>::kLanes], total = 0;
      jmlip::Store(lanes, sum.Folded(), Simd<T>::kLanes);
      for (T lane : lanes) total += lane;
      out_r[row] = total;
    }
  }
};

// Arguments: g, r, t, their tangents (which no kernel takes), which; results: derivatives with
// respect to g, r, t. What is absent, or not wanted, is empty.
ffi::Error ReadTable(ffi::ThreadPool pool, ffi::RemainingArgs arguments,
                     ffi::RemainingRets results, ffi::Span<const int64_t> sizes,
                     ffi::Span<const double> spacing) {
  return WithBuffers(arguments, results, sizes[1], [&](auto at, auto registers) {
    using T = typename decltype(at)::Number;
    const int32_t* which =
        at.arguments.template get<ffi::AnyBuffer>(6)->template typed_data<int32_t>();
    const Reader<T, decltype(registers)> reader{
        at.in(0), at.in(1), at.in(2), at.out(0), at.out(1), which,
        sizes[0], sizes[1], sizes[2], static_cast<T>(spacing[0])};
    ParallelFor(pool, reader.n, 64, [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) reader.Row(row);
    });
  });
}

}  // namespace
}  // namespace jmlip

XLA_FFI_DEFINE_HANDLER_SYMBOL(jmlip_radial_table, jmlip::ReadTable,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<xla::ffi::Span<const int64_t>>("sizes")
                                  .Attr<xla::ffi::Span<const double>>("spacing"));
