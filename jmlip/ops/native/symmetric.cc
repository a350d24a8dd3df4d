// Derivatives of the polynomial form of symmetric products
//
//   F(g, A, w) = sum_n sum_t sum_o w[z_n, (t, o), c] g[n, o, c] A[n, a_t, c] A[n, b_t, c] ...
//
// over atoms n, monomials t of the rows of A, and the output rows o that each monomial reaches.
// dF/dg is the product itself. One pass over the monomials serves every derivative: with P the
// monomial, D_i its derivative to factor i, k = sum_o w g, and primes for what is along tangents,
//
//   dF/dg_o = w P        along:  w P' + w' P
//   dF/dw   = g P                g P' + g' P
//   dF/dA_i = k D_i              k D_i' + k' D_i

#include <vector>

#include "buffers.h"
#include "threads.h"
#include "vectors.h"

namespace jmlip {
namespace {

constexpr int kMaxOrder = 4;

// What a pass has to do: the product alone, the slopes to A alone, or whatever is wanted.
enum class Faces { kProduct, kSlopes, kAny };

// Which tangents there are: those of gradients of forces are of A alone.
enum class Along { kNothing, kA, kAny };

template <typename T>
struct Operands {
  T *g, *a, *w;
};

template <typename T, typename W>
struct Polynomial {
  Operands<T> primal, tangent, out;
  int64_t n_g, n_a, n_w, n_atoms, channels;
  const int32_t* species;
  ffi::Span<const int64_t> monomials;  // [monomial][kMaxOrder], -1 where there is no factor
  ffi::Span<const int64_t> starts;     // first entry of each monomial, and one past the last
  ffi::Span<const int64_t> rows;       // output row of each entry

  struct Workspace {
    std::vector<W> a, ta, g, tg, out_g, out_a;
  };

  // One atom and block of channels; a copy of its own, so that no store can change a pointer.
  struct View {
    const T *w, *tw;
    T* out_w;
    int64_t channels, left;
    const W *a, *ta, *g, *tg;
    W *out_g, *out_a;
    const int64_t* rows;
  };

  void LoadRows(const T* base, int64_t atom, int64_t n, int64_t c, std::vector<W>& to) const {
    if (!base) return;
    for (int64_t i = 0; i < n; ++i)
      to[i] = W::Load(base + (atom * n + i) * channels + c, channels - c);
  }

  void StoreRows(const std::vector<W>& from, int64_t atom, int64_t n, int64_t c, T* base) const {
    for (int64_t i = 0; i < n; ++i)
      from[i].Store(base + (atom * n + i) * channels + c, channels - c);
  }

  // Product of all factors but i and j; -1 for none left out.
  template <int N>
  [[gnu::always_inline]] static W ProductWithout(const W* factor, int i, int j) {
    W product = W::Constant(T(1));
    bool first = true;
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      if (n == i || n == j) continue;
      product = first ? factor[n] : product * factor[n];
      first = false;
    }
    return product;
  }

  template <int N, Faces kFaces, Along kAlong, bool kFull>
  [[gnu::always_inline]] static void Monomial(const int64_t* index, int64_t q, int64_t end,
                                              const View v) {
    constexpr bool kOnlyA = kAlong == Along::kA, kOthers = kAlong == Along::kAny;
    constexpr bool kTangent = kOnlyA || kOthers;
    constexpr bool kProduct = kFaces != Faces::kSlopes, kSlopes = kFaces != Faces::kProduct;
    const int64_t left = kFull ? W::kLanes : v.left;
    W factor[N], tangent[N], slope[N], tangent_slope[N], along{};
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      factor[i] = v.a[index[i]];
      if constexpr (kTangent) tangent[i] = v.ta[index[i]];
    }
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      slope[i] = ProductWithout<N>(factor, i, -1);
      if constexpr (kTangent) along.Add(tangent[i], slope[i]);
      if constexpr (kTangent && kSlopes) {
        tangent_slope[i] = W{};
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j)
          if (j != i) tangent_slope[i].Add(tangent[j], ProductWithout<N>(factor, i, j));
      }
    }
    const W value = factor[0] * slope[0], moved = kTangent ? along : value;
    W k{}, tk{};
    for (; q < end; ++q) {
      const int64_t row = v.rows[q], at = q * v.channels;
      const W w = v.w ? W::Load(v.w + at, left) : W{};
      const W tw = kOthers && v.tw ? W::Load(v.tw + at, left) : W{};
      if constexpr (kProduct) {
        v.out_g[row].Add(w, moved);
        if constexpr (kOthers) v.out_g[row].Add(tw, value);
      }
      if constexpr (kSlopes) {
        const W g = v.g[row];
        k.Add(w, g);
        if constexpr (kOthers) tk.Add(w, v.tg[row]), tk.Add(tw, g);
        if (kFaces == Faces::kAny && v.out_w) {
          W total = W::Load(v.out_w + at, left);
          total.Add(g, moved);
          if constexpr (kOthers) total.Add(v.tg[row], value);
          total.Store(v.out_w + at, left);
        }
      }
    }
    if constexpr (kSlopes) {
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) {
        W total = v.out_a[index[i]];
        total.Add(k, kTangent ? tangent_slope[i] : slope[i]);
        if constexpr (kOthers) total.Add(tk, slope[i]);
        v.out_a[index[i]] = total;
      }
    }
  }

  // Monomials of N factors, which follow those of fewer; returns the first of more.
  template <int N, Faces kFaces, Along kAlong, bool kFull>
  int64_t Monomials(int64_t t, const View v) const {
    const int64_t count = starts.size() - 1;
    const int64_t *index = monomials.begin(), *first = starts.begin();
    for (; t < count && (N == kMaxOrder || index[t * kMaxOrder + N] < 0); ++t)
      Monomial<N, kFaces, kAlong, kFull>(index + t * kMaxOrder, first[t], first[t + 1], v);
    return t;
  }

  template <Faces kFaces, Along kAlong, bool kFull>
  void AllMonomials(const View v) const {
    int64_t t = Monomials<1, kFaces, kAlong, kFull>(0, v);
    t = Monomials<2, kFaces, kAlong, kFull>(t, v);
    t = Monomials<3, kFaces, kAlong, kFull>(t, v);
    Monomials<4, kFaces, kAlong, kFull>(t, v);
  }

  template <Faces kFaces, Along kAlong>
  void Atom(int64_t atom, int64_t c, Workspace& work) const {
    const int64_t z = species[atom] * n_w * channels + c;
    LoadRows(primal.a, atom, n_a, c, work.a);
    LoadRows(tangent.a, atom, n_a, c, work.ta);
    LoadRows(primal.g, atom, n_g, c, work.g);
    LoadRows(tangent.g, atom, n_g, c, work.tg);
    std::fill(work.out_g.begin(), work.out_g.end(), W{});
    std::fill(work.out_a.begin(), work.out_a.end(), W{});
    const View view{primal.w ? primal.w + z : nullptr,
                    tangent.w ? tangent.w + z : nullptr,
                    out.w ? out.w + z : nullptr,
                    channels,
                    channels - c,
                    work.a.data(),
                    work.ta.data(),
                    work.g.data(),
                    work.tg.data(),
                    work.out_g.data(),
                    work.out_a.data(),
                    rows.begin()};
    if (view.left >= W::kLanes)
      AllMonomials<kFaces, kAlong, true>(view);
    else
      AllMonomials<kFaces, kAlong, false>(view);
    if (out.g) StoreRows(work.out_g, atom, n_g, c, out.g);
    if (out.a) StoreRows(work.out_a, atom, n_a, c, out.a);
  }

  Workspace MakeWorkspace() const {
    const std::vector<W> a(n_a), g(n_g);
    return {a, a, g, g, g, a};
  }

  // Sums over atoms go to the weights of one block of channels: blocks share nothing, atoms do.
  template <Faces kFaces, Along kAlong>
  void Run(ffi::ThreadPool& pool, int64_t n_species) const {
    const int64_t blocks = RoundUp(channels, W::kLanes) / W::kLanes;
    if (out.w) std::fill_n(out.w, n_species * n_w * channels, T(0));
    const int64_t step = out.w ? n_atoms : 4;
    const int64_t groups = n_atoms > 0 ? (n_atoms + step - 1) / step : 0;
    ParallelFor(pool, groups * blocks, 1, [&](int64_t first, int64_t last) {
      Workspace work = MakeWorkspace();
      for (int64_t task = first; task < last; ++task) {
        const int64_t c = task / groups * W::kLanes, begin = task % groups * step;
        for (int64_t atom = begin; atom < std::min(n_atoms, begin + step); ++atom)
          Atom<kFaces, kAlong>(atom, c, work);
      }
    });
  }

  template <Faces kFaces>
  void RunAlong(ffi::ThreadPool& pool, int64_t n_species) const {
    if (tangent.g || tangent.w)
      Run<kFaces, Along::kAny>(pool, n_species);
    else if (tangent.a)
      Run<kFaces, Along::kA>(pool, n_species);
    else
      Run<kFaces, Along::kNothing>(pool, n_species);
  }

  void RunFaces(ffi::ThreadPool& pool, int64_t n_species) const {
    if (out.g && !out.a && !out.w)
      RunAlong<Faces::kProduct>(pool, n_species);
    else if (out.a && !out.g && !out.w)
      RunAlong<Faces::kSlopes>(pool, n_species);
    else
      RunAlong<Faces::kAny>(pool, n_species);
  }
};

template <typename T, typename W>
void Apply(W, ffi::ThreadPool& pool, const Buffers<T>& at, ffi::Span<const int64_t> sizes,
           ffi::Span<const int64_t> monomials, ffi::Span<const int64_t> starts,
           ffi::Span<const int64_t> rows) {
  Polynomial<T, W> form{{at.in(0), at.in(1), at.in(2)},
                        {at.in(3), at.in(4), at.in(5)},
                        {at.out(0), at.out(1), at.out(2)}};
  form.n_g = sizes[0], form.n_a = sizes[1], form.n_w = sizes[2];
  form.n_atoms = sizes[3], form.channels = sizes[4];
  form.species = at.arguments.template get<ffi::AnyBuffer>(6)->template typed_data<int32_t>();
  form.monomials = monomials, form.starts = starts, form.rows = rows;
  form.RunFaces(pool, sizes[5]);
}

// Arguments: g, A, w, their tangents, species; results: derivatives with respect to g, A, w. What is
// absent, or not wanted, is empty.
ffi::Error Symmetric(ffi::ThreadPool pool, ffi::RemainingArgs arguments,
                     ffi::RemainingRets results, ffi::Span<const int64_t> sizes,
                     ffi::Span<const int64_t> monomials, ffi::Span<const int64_t> starts,
                     ffi::Span<const int64_t> rows) {
  return WithBuffers(arguments, results, sizes[4], [&](auto at, auto registers) {
    Apply(registers, pool, at, sizes, monomials, starts, rows);
  });
}

}  // namespace
}  // namespace jmlip

XLA_FFI_DEFINE_HANDLER_SYMBOL(jmlip_symmetric, jmlip::Symmetric,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<xla::ffi::Span<const int64_t>>("sizes")
                                  .Attr<xla::ffi::Span<const int64_t>>("monomials")
                                  .Attr<xla::ffi::Span<const int64_t>>("starts")
                                  .Attr<xla::ffi::Span<const int64_t>>("rows"));
