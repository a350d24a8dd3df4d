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

  static W LoadIf(const T* base, int64_t offset, int64_t left) {
    return base ? W::Load(base + offset, left) : W{};
  }

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
  static W ProductWithout(const W* factor, int i, int j) {
    W product;
    bool first = true;
    for (int n = 0; n < N; ++n) {
      if (n == i || n == j) continue;
      product = first ? factor[n] : product * factor[n];
      first = false;
    }
    return product;
  }

  template <int N, bool kAlong>
  void Monomial(int64_t t, const T* w, const T* tw, T* out_w, int64_t left,
                Workspace& work) const {
    const int64_t* index = monomials.begin() + t * kMaxOrder;
    W factor[N], tangent[kAlong ? N : 1], slope[N], tangent_slope[kAlong ? N : 1];
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      factor[i] = work.a[index[i]];
      if constexpr (kAlong) tangent[i] = work.ta[index[i]];
    }
    const W one = W::Constant(T(1));
    const W value = ProductWithout<N>(factor, -1, -1);
    W along{}, k{}, tk{};
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      slope[i] = N == 1 ? one : ProductWithout<N>(factor, i, -1);
      if constexpr (kAlong) {
        along.Add(tangent[i], slope[i]);
        tangent_slope[i] = W{};
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j)
          if (j != i)
            tangent_slope[i].Add(tangent[j], N == 2 ? one : ProductWithout<N>(factor, i, j));
      }
    }
    for (int64_t q = starts[t]; q < starts[t + 1]; ++q) {
      const int64_t row = rows[q];
      const W weight = LoadIf(w, q * channels, left);
      const W tangent_weight = kAlong ? LoadIf(tw, q * channels, left) : W{};
      if (out.g) {
        work.out_g[row].Add(weight, kAlong ? along : value);
        if constexpr (kAlong) work.out_g[row].Add(tangent_weight, value);
      }
      if (out.a) {
        k.Add(weight, work.g[row]);
        if constexpr (kAlong) tk.Add(weight, work.tg[row]), tk.Add(tangent_weight, work.g[row]);
      }
      if (out_w) {
        W total = W::Load(out_w + q * channels, left);
        total.Add(work.g[row], kAlong ? along : value);
        if constexpr (kAlong) total.Add(work.tg[row], value);
        total.Store(out_w + q * channels, left);
      }
    }
    if (!out.a) return;
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      W& to = work.out_a[index[i]];
      if constexpr (kAlong)
        to.Add(tk, slope[i]), to.Add(k, tangent_slope[i]);
      else
        to.Add(k, slope[i]);
    }
  }

  template <bool kAlong>
  void Atom(int64_t atom, int64_t c, Workspace& work) const {
    const int64_t left = channels - c, z = species[atom] * n_w * channels + c;
    const T* w = primal.w ? primal.w + z : nullptr;
    const T* tw = tangent.w ? tangent.w + z : nullptr;
    T* out_w = out.w ? out.w + z : nullptr;
    LoadRows(primal.a, atom, n_a, c, work.a);
    LoadRows(tangent.a, atom, n_a, c, work.ta);
    LoadRows(primal.g, atom, n_g, c, work.g);
    LoadRows(tangent.g, atom, n_g, c, work.tg);
    std::fill(work.out_g.begin(), work.out_g.end(), W{});
    std::fill(work.out_a.begin(), work.out_a.end(), W{});
    const int64_t count = starts.size() - 1;
    for (int64_t t = 0; t < count; ++t) {
      const int64_t* index = monomials.begin() + t * kMaxOrder;
      if (index[1] < 0)
        Monomial<1, kAlong>(t, w, tw, out_w, left, work);
      else if (index[2] < 0)
        Monomial<2, kAlong>(t, w, tw, out_w, left, work);
      else if (index[3] < 0)
        Monomial<3, kAlong>(t, w, tw, out_w, left, work);
      else
        Monomial<4, kAlong>(t, w, tw, out_w, left, work);
    }
    if (out.g) StoreRows(work.out_g, atom, n_g, c, out.g);
    if (out.a) StoreRows(work.out_a, atom, n_a, c, out.a);
  }

  Workspace MakeWorkspace() const {
    const std::vector<W> a(n_a), g(n_g);
    return {a, a, g, g, g, a};
  }

  // Sums over atoms go to the weights of one block of channels: blocks share nothing, atoms do.
  template <bool kAlong>
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
          Atom<kAlong>(atom, c, work);
      }
    });
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
  if (form.tangent.g || form.tangent.a || form.tangent.w)
    form.template Run<true>(pool, sizes[5]);
  else
    form.template Run<false>(pool, sizes[5]);
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
