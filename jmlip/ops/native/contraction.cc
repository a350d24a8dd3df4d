// Derivatives of the indexed multilinear form
//
//   F(g, x, Y, w) = sum_e sum_p sum_ijk C^p_ijk g[r_e, k, c] x[s_e, i, c] Y[e, j] w[e, p, c]
//
// over the pair slots of atoms: dF/dg is the convolution, the others its transposes, and their
// derivative along (g', x', Y', w') is all that a second gradient needs. Gather, contraction and
// sum over neighbors happen in one pass, and no message is ever written.
//
// Per edge, Y is contracted first with the coefficients of every path into a small matrix
// M[k, i] = sum_j C_ijk Y[j]; the rest are products of M with channel vectors. With a = w g,
// t = M x and, along the tangents, a' = w g' + w' g, t' = M x' + M' x:
//
//   dF/dg = w t            along:  w t' + w' t
//   dF/dw = g t                    g t' + g' t
//   dF/dx = M^T a                  M^T a' + M'^T a
//   dF/dY = C : (a x)              C : (a' x + a x')
//
// Both directions of a pair may share one row of w: `pairs` then gives the row of each slot.

#include <vector>

#include "buffers.h"
#include "couplings.h"
#include "threads.h"
#include "vectors.h"

namespace jmlip {
namespace {

// The four operands, or what is wanted of them; a null pointer where there is none.
template <typename T>
struct Operands {
  T *g, *x, *y, *w;
};

template <typename T>
bool IsZero(const T* from, int64_t count) {
  return std::all_of(from, from + count, [](T value) { return value == T(0); });
}

template <typename T, typename W>
struct Form {
  Table<T> table;
  Operands<T> primal, tangent, out;
  int64_t ng, nx, ny, np, n_atoms, channels, n_slots;
  const int32_t *senders, *reverse, *pairs;  // pairs is null where every slot has its row of w

  using V = Vector<T>;

  struct Workspace {
    std::vector<V> matrix, tangent_matrix;
    std::vector<W> sums;     // of the atom
    std::vector<V> rows, y;  // of the edge, before lanes are added up
    std::vector<T> totals;   // of the rows
  };

  // What one edge sees; tangents are null where there are none.
  struct Edge {
    const T *g, *x, *w, *tg, *tx, *tw;
    const T *m, *tm;
  };

  void FillMatrices(const T* y, V* matrix) const {
    for (const Path& path : table.paths) {
      const V* coefficient = table.coefficients.data() + path.coefficients;
      for (int64_t row = 0; row < path.rows; ++row) {
        V sum = coefficient[row] * y[path.y];
        for (int64_t j = 1; j < path.d2; ++j)
          sum += coefficient[j * path.rows + row] * y[path.y + j];
        matrix[path.matrix + row] = sum;
      }
    }
  }

  // Registers are for dimensions known when compiling; above l = 4 a loop does.
  template <typename Body>
  static void WithDimension(int64_t d1, const Body& body) {
    switch (d1) {
      case 1: return body(std::integral_constant<int, 1>{});
      case 3: return body(std::integral_constant<int, 3>{});
      case 5: return body(std::integral_constant<int, 5>{});
      case 7: return body(std::integral_constant<int, 7>{});
      case 9: return body(std::integral_constant<int, 9>{});
      default: return body(std::integral_constant<int, -41>{});
    }
  }

  // Calls body(full, c, b) for each block of channels; only the last may be less than full.
  template <typename Body>
  [[gnu::always_inline]] void ForBlocks(const Body& body) const {
    if constexpr (W::kOneBlock) {
      body(std::false_type{}, 0, 0);
    } else {
      int64_t c = 0, b = 0;
      for (; c + W::kLanes <= channels; c += W::kLanes, ++b) body(std::true_type{}, c, b);
      if (c < channels) body(std::false_type{}, c, b);
    }
  }

  [[gnu::always_inline]] static W LoadIf(const T* base, int64_t offset, int64_t left) {
    return base ? W::Load(base + offset, left) : W{};
  }

  // Faces g and w of one edge, for one path and one block of channels.
  template <int D, bool kFull, bool kG, bool kW, bool kAlong>
  void Receive(const Path& path, int64_t p, int64_t c, const Edge& e, W* g_sums,
               T* w_out) const {
    constexpr int kSize = D > 0 ? D : -D;
    const int64_t d1 = D > 0 ? D : path.d1, left = kFull ? W::kLanes : channels - c;
    const W w = LoadIf(e.w, p * channels + c, left);
    const W tw = kAlong ? LoadIf(e.tw, p * channels + c, left) : W{};
    W x[kSize], tx[kAlong ? kSize : 1];
#pragma GCC unroll 9
    for (int64_t i = 0; i < d1; ++i) {
      x[i] = LoadIf(e.x, (path.x + i) * channels + c, left);
      if constexpr (kAlong) tx[i] = LoadIf(e.tx, (path.x + i) * channels + c, left);
    }
    constexpr int64_t kLanes = Simd<T>::kLanes;
    const T *m = e.m + path.matrix * kLanes, *tm = e.tm + path.matrix * kLanes;
    W w_sum = kW ? W::Load(w_out + p * channels + c, left) : W{};
    for (int64_t k = 0; k < path.d3; ++k, m += d1, tm += d1) {
      W t = x[0] * m[0], tt{};
#pragma GCC unroll 9
      for (int64_t i = 1; i < d1; ++i) t.Add(x[i], m[i]);
      if constexpr (kAlong) {
#pragma GCC unroll 9
        for (int64_t i = 0; i < d1; ++i) tt.Add(tx[i], m[i]);
#pragma GCC unroll 9
        for (int64_t i = 0; i < d1; ++i) tt.Add(x[i], tm[i]);
      }
      const int64_t row = path.g + k * path.stride;
      if constexpr (kG) {
        g_sums[row].Add(w, kAlong ? tt : t);
        if constexpr (kAlong) g_sums[row].Add(tw, t);
      }
      if constexpr (kW) {
        w_sum.Add(LoadIf(e.g, row * channels + c, left), kAlong ? tt : t);
        if constexpr (kAlong) w_sum.Add(LoadIf(e.tg, row * channels + c, left), t);
      }
    }
    if constexpr (kW) w_sum.Store(w_out + p * channels + c, left);
  }

  // Sums over channels of (w g_k) x_i, for one edge and one path: face Y before its coefficients.
  template <int D, bool kFull, bool kAlong>
  void Correlate(const Path& path, int64_t p, const Edge& e, V* rows) const {
    constexpr int kSize = D > 0 ? D : -D;
    const int64_t d1 = D > 0 ? D : path.d1;
    rows += path.entries;
    for (int64_t k = 0; k < path.d3; ++k, rows += d1) {
      const int64_t row = (path.g + k * path.stride) * channels;
      W sums[kSize];
      for (int64_t c = 0; c < channels; c += W::kLanes) {
        const int64_t left = kFull ? W::kLanes : channels - c, weight = p * channels + c;
        const W w = LoadIf(e.w, weight, left), g = LoadIf(e.g, row + c, left), a = w * g;
        W ta;
        if constexpr (kAlong) {
          ta = w * LoadIf(e.tg, row + c, left);
          ta.Add(LoadIf(e.tw, weight, left), g);
        }
#pragma GCC unroll 9
        for (int64_t i = 0; i < d1; ++i) {
          const int64_t x = (path.x + i) * channels + c;
          sums[i].Add(kAlong ? ta : a, LoadIf(e.x, x, left));
          if constexpr (kAlong) sums[i].Add(a, LoadIf(e.tx, x, left));
        }
      }
#pragma GCC unroll 9
      for (int64_t i = 0; i < d1; ++i) rows[i] = sums[i].Folded();
    }
  }

  // Face x of one edge, for one path and one block of channels.
  template <int D, bool kFull, bool kAlong>
  void Send(const Path& path, int64_t p, int64_t c, const Edge& e, W* sums) const {
    constexpr int kSize = D > 0 ? D : -D;
    const int64_t d1 = D > 0 ? D : path.d1, left = kFull ? W::kLanes : channels - c;
    const W w = LoadIf(e.w, p * channels + c, left);
    const W tw = kAlong ? LoadIf(e.tw, p * channels + c, left) : W{};
    constexpr int64_t kLanes = Simd<T>::kLanes;
    const T *m = e.m + path.matrix * kLanes, *tm = e.tm + path.matrix * kLanes;
    W total[kSize];
#pragma GCC unroll 9
    for (int64_t i = 0; i < d1; ++i) total[i] = sums[path.x + i];
    for (int64_t k = 0; k < path.d3; ++k, m += d1, tm += d1) {
      const int64_t row = (path.g + k * path.stride) * channels + c;
      const W g = W::Load(e.g + row, left), a = w * g;
      if constexpr (kAlong) {
        W ta = w * LoadIf(e.tg, row, left);
        ta.Add(tw, g);
#pragma GCC unroll 9
        for (int64_t i = 0; i < d1; ++i) total[i].Add(ta, m[i]), total[i].Add(a, tm[i]);
      } else {
#pragma GCC unroll 9
        for (int64_t i = 0; i < d1; ++i) total[i].Add(a, m[i]);
      }
    }
#pragma GCC unroll 9
    for (int64_t i = 0; i < d1; ++i) sums[path.x + i] = total[i];
  }

  static const T* At(const T* base, int64_t offset) { return base ? base + offset : nullptr; }

  int64_t WeightRow(int64_t edge) const { return (pairs ? pairs[edge] : edge) * np * channels; }

  // False where the edge is padding: its harmonics are zero.
  template <bool kAlong>
  bool View(int64_t receiver, int64_t sender, int64_t edge, Workspace& work, Edge* e) const {
    const T *y = At(primal.y, edge * ny), *ty = At(tangent.y, edge * ny);
    if (y && IsZero(y, ny) && (!ty || IsZero(ty, ny))) return false;
    if (y) FillMatrices(y, work.matrix.data());
    if (ty) FillMatrices(ty, work.tangent_matrix.data());
    const int64_t g = receiver * ng * channels, x = sender * nx * channels,
                  w = WeightRow(edge);
    *e = {At(primal.g, g),  At(primal.x, x),  At(primal.w, w),
          At(tangent.g, g), At(tangent.x, x), At(tangent.w, w),
          reinterpret_cast<const T*>(work.matrix.data()),
          reinterpret_cast<const T*>(work.tangent_matrix.data())};
    return true;
  }

  template <bool kAlong>
  void ReceiveAtom(int64_t atom, Workspace& work) const {
    std::fill(work.sums.begin(), work.sums.end(), W{});
    for (int64_t edge = atom * n_slots; edge < (atom + 1) * n_slots; ++edge) {
      const int64_t opposite = reverse[edge];
      const bool owner = !pairs || edge < opposite;  // of the row of w
      T* w_out = out.w && owner ? out.w + WeightRow(edge) : nullptr;
      T* y_out = out.y ? out.y + edge * ny : nullptr;
      if (w_out) std::fill_n(w_out, np * channels, T(0));
      if (y_out) std::fill_n(y_out, ny, T(0));
      ReceiveEdge<kAlong>(atom, senders[edge], edge, work, out.g != nullptr, y_out, w_out);
      if (w_out && pairs)
        ReceiveEdge<kAlong>(senders[edge], atom, opposite, work, false, nullptr, w_out);
    }
    if (out.g) StoreSums(work.sums, ng, out.g + atom * ng * channels);
  }

  template <bool kAlong>
  void ReceiveEdge(int64_t receiver, int64_t sender, int64_t edge, Workspace& work, bool to_g,
                   T* y_out, T* w_out) const {
    Edge e;
    if ((!to_g && !y_out && !w_out) || !View<kAlong>(receiver, sender, edge, work, &e)) return;
    if (to_g && w_out)
      ReceiveFaces<true, true, kAlong>(e, work, w_out);
    else if (to_g)
      ReceiveFaces<true, false, kAlong>(e, work, w_out);
    else if (w_out)
      ReceiveFaces<false, true, kAlong>(e, work, w_out);
    if (y_out) ReceiveHarmonics<kAlong>(e, work, y_out);
  }

  template <bool kG, bool kW, bool kAlong>
  void ReceiveFaces(const Edge& e, Workspace& work, T* w_out) const {
    for (size_t p = 0; p < table.paths.size(); ++p) {
      const Path& path = table.paths[p];
      WithDimension(path.d1, [&](auto dimension) {
        ForBlocks([&](auto full, int64_t c, int64_t b) {
          Receive<decltype(dimension)::value, decltype(full)::value, kG, kW, kAlong>(
              path, p, c, e, work.sums.data() + b * ng, w_out);
        });
      });
    }
  }

  template <bool kAlong>
  void ReceiveHarmonics(const Edge& e, Workspace& work, T* y_out) const {
    std::fill(work.y.begin(), work.y.end(), V{});
    for (size_t p = 0; p < table.paths.size(); ++p) {
      const Path& path = table.paths[p];
      WithDimension(path.d1, [&](auto dimension) {
        if (!W::kOneBlock && channels % W::kLanes == 0)
          Correlate<decltype(dimension)::value, true, kAlong>(path, p, e, work.rows.data());
        else
          Correlate<decltype(dimension)::value, false, kAlong>(path, p, e, work.rows.data());
      });
    }
    for (int64_t row = 0; row < table.n_entries; row += Simd<T>::kLanes)
      Store(work.totals.data() + row, SumRows<T>(work.rows.data() + row), Simd<T>::kLanes);
    for (const Path& path : table.paths) AddToY(path, work);
    for (int64_t j = 0; j < ny; j += Simd<T>::kLanes)
      Store(y_out + j, SumRows<T>(work.y.data() + j), ny - j);
  }

  void AddToY(const Path& path, Workspace& work) const {
    const V* coefficient = table.coefficients.data() + path.coefficients;
    for (int64_t row = 0; row < path.rows; ++row) {
      // what stands behind the entries of the path meets coefficients that are zero
      const V sums = Load(work.totals.data() + path.entries + row * Simd<T>::kLanes);
      for (int64_t j = 0; j < path.d2; ++j)
        work.y[path.y + j] += coefficient[j * path.rows + row] * sums;
    }
  }

  // The pairs that an atom sends are those opposite to its own slots.
  template <bool kAlong>
  void SendAtom(int64_t atom, Workspace& work) const {
    std::fill(work.sums.begin(), work.sums.end(), W{});
    for (int64_t slot = atom * n_slots; slot < (atom + 1) * n_slots; ++slot) {
      Edge e;
      if (!View<kAlong>(senders[slot], atom, reverse[slot], work, &e)) continue;
      for (size_t p = 0; p < table.paths.size(); ++p) {
        const Path& path = table.paths[p];
        WithDimension(path.d1, [&](auto dimension) {
          ForBlocks([&](auto full, int64_t c, int64_t b) {
            Send<decltype(dimension)::value, decltype(full)::value, kAlong>(
                path, p, c, e, work.sums.data() + b * nx);
          });
        });
      }
    }
    StoreSums(work.sums, nx, out.x + atom * nx * channels);
  }

  Workspace MakeWorkspace() const {
    const int64_t blocks = RoundUp(channels, W::kLanes) / W::kLanes;
    return {std::vector<V>(table.matrix_rows), std::vector<V>(table.matrix_rows),
            std::vector<W>(std::max(ng, nx) * blocks),
            std::vector<V>(RoundUp(table.n_entries, Simd<T>::kLanes)),
            std::vector<V>(RoundUp(ny, Simd<T>::kLanes)),
            std::vector<T>(table.n_entries + 2 * Simd<T>::kLanes)};
  }

  void StoreSums(const std::vector<W>& sums, int64_t n, T* to) const {
    for (int64_t c = 0, b = 0; c < channels; c += W::kLanes, ++b)
      for (int64_t i = 0; i < n; ++i) sums[b * n + i].Store(to + i * channels + c, channels - c);
  }

  template <bool kAlong>
  void Run(ffi::ThreadPool& pool, int64_t w_rows) const {
    if (out.w && pairs) {
      std::vector<bool> owned(w_rows);
      for (int64_t edge = 0; edge < n_atoms * n_slots; ++edge)
        if (edge < reverse[edge]) owned[pairs[edge]] = true;
      for (int64_t row = 0; row < w_rows; ++row)
        if (!owned[row]) std::fill_n(out.w + row * np * channels, np * channels, T(0));
    }
    // one after the other: each has its own working set, and together they overflow the cache
    if (out.g || out.y || out.w)
      ForAtoms(pool, [&](int64_t atom, Workspace& work) { ReceiveAtom<kAlong>(atom, work); });
    if (out.x) ForAtoms(pool, [&](int64_t atom, Workspace& work) { SendAtom<kAlong>(atom, work); });
  }

  template <typename Body>
  void ForAtoms(ffi::ThreadPool& pool, const Body& body) const {
    ParallelFor(pool, n_atoms, 4, [&](int64_t first, int64_t last) {
      Workspace work = MakeWorkspace();
      for (int64_t atom = first; atom < last; ++atom) body(atom, work);
    });
  }
};

template <typename T, typename W>
void Apply(W, ffi::ThreadPool& pool, const Buffers<T>& at, ffi::Span<const int64_t> sizes,
           ffi::Span<const int64_t> layout, ffi::Span<const double> coefficients) {
  Form<T, W> form{Table<T>(layout, coefficients),
                  {at.in(0), at.in(1), at.in(2), at.in(3)},
                  {at.in(4), at.in(5), at.in(6), at.in(7)},
                  {at.out(0), at.out(1), at.out(2), at.out(3)}};
  form.ng = sizes[0], form.nx = sizes[1], form.ny = sizes[2], form.np = sizes[3];
  form.n_atoms = sizes[4], form.channels = sizes[5];
  const ffi::AnyBuffer senders = *at.arguments.template get<ffi::AnyBuffer>(8);
  form.n_slots = senders.element_count() / std::max<int64_t>(form.n_atoms, 1);
  form.senders = senders.typed_data<int32_t>();
  form.reverse = at.arguments.template get<ffi::AnyBuffer>(9)->template typed_data<int32_t>();
  form.pairs = DataOrNull<int32_t>(*at.arguments.template get<ffi::AnyBuffer>(10));
  const auto& along = form.tangent;
  if (along.g || along.x || along.y || along.w)
    form.template Run<true>(pool, sizes[6]);
  else
    form.template Run<false>(pool, sizes[6]);
}

// Arguments: g, x, Y, w, their tangents, senders, reverse, pairs; results: derivatives with respect
// to g, x, Y, w. What is absent, or not wanted, is empty.
ffi::Error Contraction(ffi::ThreadPool pool, ffi::RemainingArgs arguments,
                       ffi::RemainingRets results, ffi::Span<const int64_t> sizes,
                       ffi::Span<const int64_t> layout, ffi::Span<const double> coefficients) {
  return WithBuffers(arguments, results, sizes[5], [&](auto at, auto registers) {
    Apply(registers, pool, at, sizes, layout, coefficients);
  });
}

}  // namespace
}  // namespace jmlip

XLA_FFI_DEFINE_HANDLER_SYMBOL(jmlip_contraction, jmlip::Contraction,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<xla::ffi::Span<const int64_t>>("sizes")
                                  .Attr<xla::ffi::Span<const int64_t>>("layout")
                                  .Attr<xla::ffi::Span<const double>>("coefficients"));
