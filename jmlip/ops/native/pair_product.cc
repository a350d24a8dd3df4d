// Derivatives of the multilinear form
//
//   F(t, V, G, w) = sum_n sum_s sum_p w[p, c] sum_ijk C^p_ijk t[n, s, k, c] V[n, s, i, c] G[n, j, c]
//
// over atoms n and their pair slots s: dF/dt is the tensor product of pairs with the environments of
// their centers, the others its transposes. An environment serves all slots of its atom, so it is
// contracted first; with primes for what is along tangents,
//
//   B_ki = sum_j C_ijk G_j,   M = w B,   D_ki = sum_s t_k V_i,       for each path
//
//   dF/dt = M V                along:  M V' + M' V         with  M' = w B' + w' B
//   dF/dV = M^T t                      M^T t' + M'^T t
//   dF/dw = B : D                      B : D' + B' : D     with  D' = sum_s t' V + t V'
//   dF/dG = C : w D                    C : (w D' + w' D)
//
// dF/dw is written for each atom.

#include <vector>

#include "buffers.h"
#include "threads.h"
#include "vectors.h"

namespace jmlip {
namespace {

// What slots see: a d3 x d1 matrix between rows of V and rows of t. Paths between the same rows,
// which are summed, share one.
struct Block {
  int64_t v, t, d1, d3;
  int64_t stride;  // between the rows in t
  int64_t matrix;  // first entry among the matrices of all blocks
};

// One coupling (l1, l2 -> l3).
struct Path {
  size_t block;
  int64_t matrix;     // first entry of B among those of all paths
  size_t begin, end;  // its coefficients
};

struct Entry {
  int64_t matrix, j;  // entry of B, row of G
  double value;
};

struct Table {
  std::vector<Block> blocks;
  std::vector<Path> paths;
  std::vector<Entry> entries;
  int64_t path_size = 0, block_size = 0;

  Table(ffi::Span<const int64_t> layout, ffi::Span<const double> values) {
    const double* value = values.begin();
    for (size_t p = 0; p + 6 < layout.size(); p += 7) {
      const int64_t* n = layout.begin() + p;
      const int64_t size = n[3] * n[5];
      const size_t begin = entries.size();
      for (int64_t j = 0; j < n[4]; ++j)
        for (int64_t m = 0; m < size; ++m, ++value)
          if (*value != 0.0) entries.push_back({path_size + m, n[1] + j, *value});
      paths.push_back({Find(n), path_size, begin, entries.size()});
      path_size += size;
    }
  }

  size_t Find(const int64_t* n) {
    for (size_t b = 0; b < blocks.size(); ++b)
      if (blocks[b].v == n[0] && blocks[b].t == n[2]) return b;
    blocks.push_back({n[0], n[2], n[3], n[5], n[6], block_size});
    block_size += n[3] * n[5];
    return blocks.size() - 1;
  }
};

template <typename T>
struct Operands {
  T *t, *v, *g, *w;
};

template <typename T>
struct PairProduct {
  Table table;
  Operands<T> primal, tangent, out;
  int64_t n_t, n_v, n_g, n_atoms, n_slots, channels, n_groups;

  using W = Wide<T>;

  struct Workspace {
    std::vector<W> b, tb, m, tm, d, td, g, tg, t, tt, v, tv, out_t, out_v, out_g;
  };

  void LoadRows(const T* base, int64_t first, int64_t n, int64_t c, std::vector<W>& to) const {
    if (!base) return;
    for (int64_t i = 0; i < n; ++i)
      to[i] = W::Load(base + (first + i) * channels + c, channels - c);
  }

  void StoreRows(const std::vector<W>& from, int64_t first, int64_t n, int64_t c, T* base) const {
    for (int64_t i = 0; i < n; ++i)
      from[i].Store(base + (first + i) * channels + c, channels - c);
  }

  W Weight(const T* base, int64_t atom, size_t path, int64_t c) const {
    if (!base) return W{};
    const int64_t group = atom / (n_atoms / n_groups);
    return W::Load(base + (group * table.paths.size() + path) * channels + c, channels - c);
  }

  // M = w B, and M' = w B' + w' B
  template <bool kAlong>
  void Matrices(int64_t atom, int64_t c, Workspace& work) const {
    if (!primal.g) return;
    std::fill(work.b.begin(), work.b.end(), W{});
    if (kAlong) std::fill(work.tb.begin(), work.tb.end(), W{});
    for (const Entry& entry : table.entries) {
      work.b[entry.matrix].Add(work.g[entry.j], T(entry.value));
      if (kAlong && tangent.g) work.tb[entry.matrix].Add(work.tg[entry.j], T(entry.value));
    }
    if (!primal.w || !(out.t || out.v)) return;
    std::fill(work.m.begin(), work.m.end(), W{});
    if (kAlong) std::fill(work.tm.begin(), work.tm.end(), W{});
    for (size_t p = 0; p < table.paths.size(); ++p) {
      const Path& path = table.paths[p];
      const Block& block = table.blocks[path.block];
      const W w = Weight(primal.w, atom, p, c), tw = Weight(tangent.w, atom, p, c);
      for (int64_t n = 0; n < block.d1 * block.d3; ++n) {
        work.m[block.matrix + n].Add(w, work.b[path.matrix + n]);
        if (kAlong) {
          work.tm[block.matrix + n].Add(w, work.tb[path.matrix + n]);
          work.tm[block.matrix + n].Add(tw, work.b[path.matrix + n]);
        }
      }
    }
  }

  // t += M V
  template <int kD1>
  static void Apply(const Block& block, const W* __restrict m, const W* __restrict v,
                    W* __restrict t) {
    const int64_t d1 = kD1 > 0 ? kD1 : block.d1;
    for (int64_t k = 0; k < block.d3; ++k) {
      W& to = t[k * block.stride];
      Vector<T> a = to.a, b = to.b;
#pragma GCC unroll 7
      for (int64_t i = 0; i < d1; ++i) {
        a += m[k * d1 + i].a * v[i].a;
        b += m[k * d1 + i].b * v[i].b;
      }
      to.a = a, to.b = b;
    }
  }

  // V += M^T t
  template <int kD1>
  static void ApplyTransposed(const Block& block, const W* __restrict m, const W* __restrict t,
                              W* __restrict v) {
    const int64_t d1 = kD1 > 0 ? kD1 : block.d1;
    for (int64_t i = 0; i < d1; ++i) {
      Vector<T> a = v[i].a, b = v[i].b;
      for (int64_t k = 0; k < block.d3; ++k) {
        a += m[k * d1 + i].a * t[k * block.stride].a;
        b += m[k * d1 + i].b * t[k * block.stride].b;
      }
      v[i].a = a, v[i].b = b;
    }
  }

  // D += t (x) V
  template <int kD1>
  static void Outer(const Block& block, const W* __restrict t, const W* __restrict v,
                    W* __restrict d) {
    const int64_t d1 = kD1 > 0 ? kD1 : block.d1;
    for (int64_t k = 0; k < block.d3; ++k) {
      const Vector<T> a = t[k * block.stride].a, b = t[k * block.stride].b;
#pragma GCC unroll 7
      for (int64_t i = 0; i < d1; ++i) {
        d[k * d1 + i].a += a * v[i].a;
        d[k * d1 + i].b += b * v[i].b;
      }
    }
  }

  // What one slot gives and gets through one block of known width.
  template <int kD1, bool kAlong>
  void Slot(const Block& block, Workspace& work) const {
    const W *m = work.m.data() + block.matrix, *tm = work.tm.data() + block.matrix;
    const W *t = work.t.data() + block.t, *tt = work.tt.data() + block.t;
    const W *v = work.v.data() + block.v, *tv = work.tv.data() + block.v;
    W *d = work.d.data() + block.matrix, *td = work.td.data() + block.matrix;
    if (out.t) {
      W* to = work.out_t.data() + block.t;
      Apply<kD1>(block, m, kAlong ? tv : v, to);
      if (kAlong) Apply<kD1>(block, tm, v, to);
    }
    if (out.v) {
      W* to = work.out_v.data() + block.v;
      ApplyTransposed<kD1>(block, m, kAlong ? tt : t, to);
      if (kAlong) ApplyTransposed<kD1>(block, tm, t, to);
    }
    if (out.g || out.w) {
      Outer<kD1>(block, t, v, d);
      if (kAlong) Outer<kD1>(block, tt, v, td), Outer<kD1>(block, t, tv, td);
    }
  }

  template <bool kAlong>
  void Slots(int64_t atom, int64_t c, Workspace& work) const {
    if (out.g || out.w) {
      std::fill(work.d.begin(), work.d.end(), W{});
      std::fill(work.td.begin(), work.td.end(), W{});
    }
    for (int64_t slot = atom * n_slots; slot < (atom + 1) * n_slots; ++slot) {
      LoadRows(primal.t, slot * n_t, n_t, c, work.t);
      LoadRows(primal.v, slot * n_v, n_v, c, work.v);
      LoadRows(tangent.t, slot * n_t, n_t, c, work.tt);
      LoadRows(tangent.v, slot * n_v, n_v, c, work.tv);
      if (out.t) std::fill(work.out_t.begin(), work.out_t.end(), W{});
      if (out.v) std::fill(work.out_v.begin(), work.out_v.end(), W{});
      for (const Block& block : table.blocks) switch (block.d1) {
          case 1: Slot<1, kAlong>(block, work); break;
          case 3: Slot<3, kAlong>(block, work); break;
          case 5: Slot<5, kAlong>(block, work); break;
          case 7: Slot<7, kAlong>(block, work); break;
          default: Slot<0, kAlong>(block, work);
        }
      if (out.t) StoreRows(work.out_t, slot * n_t, n_t, c, out.t);
      if (out.v) StoreRows(work.out_v, slot * n_v, n_v, c, out.v);
    }
  }

  // dF/dw and dF/dG from what was summed over slots.
  template <bool kAlong>
  void Sums(int64_t atom, int64_t c, Workspace& work) const {
    std::fill(work.out_g.begin(), work.out_g.end(), W{});
    for (size_t p = 0; p < table.paths.size(); ++p) {
      const Path& path = table.paths[p];
      const Block& block = table.blocks[path.block];
      const W *b = work.b.data() + path.matrix, *tb = work.tb.data() + path.matrix;
      const W *d = work.d.data() + block.matrix, *td = work.td.data() + block.matrix;
      if (out.w) {
        W total{};
        for (int64_t n = 0; n < block.d1 * block.d3; ++n) {
          total.Add(b[n], kAlong ? td[n] : d[n]);
          if (kAlong) total.Add(tb[n], d[n]);
        }
        const int64_t at = (atom * table.paths.size() + p) * channels + c;
        total.Store(out.w + at, channels - c);
      }
      if (out.g) {
        const W w = Weight(primal.w, atom, p, c), tw = Weight(tangent.w, atom, p, c);
        for (size_t e = path.begin; e < path.end; ++e) {
          const Entry& entry = table.entries[e];
          const int64_t n = entry.matrix - path.matrix;
          W weighted = w * (kAlong ? td[n] : d[n]);
          if (kAlong) weighted.Add(tw, d[n]);
          work.out_g[entry.j].Add(weighted, T(entry.value));
        }
      }
    }
    if (out.g) StoreRows(work.out_g, atom * n_g, n_g, c, out.g);
  }

  Workspace MakeWorkspace() const {
    const std::vector<W> b(table.path_size), m(table.block_size), t(n_t), v(n_v), g(n_g);
    return {b, b, m, m, m, m, g, g, t, t, v, v, t, v, g};
  }

  template <bool kAlong>
  void Run(ffi::ThreadPool& pool) const {
    if (n_atoms == 0) return;
    ParallelFor(pool, n_atoms, 4, [&](int64_t first, int64_t last) {
      Workspace work = MakeWorkspace();
      for (int64_t atom = first; atom < last; ++atom)
        for (int64_t c = 0; c < channels; c += W::kLanes) {
          LoadRows(primal.g, atom * n_g, n_g, c, work.g);
          LoadRows(tangent.g, atom * n_g, n_g, c, work.tg);
          Matrices<kAlong>(atom, c, work);
          Slots<kAlong>(atom, c, work);
          if (out.g || out.w) Sums<kAlong>(atom, c, work);
        }
    });
  }
};

template <typename T>
void Apply(ffi::ThreadPool& pool, const Buffers<T>& at, ffi::Span<const int64_t> sizes,
           ffi::Span<const int64_t> layout, ffi::Span<const double> coefficients) {
  PairProduct<T> form{Table(layout, coefficients),
                      {at.in(0), at.in(1), at.in(2), at.in(3)},
                      {at.in(4), at.in(5), at.in(6), at.in(7)},
                      {at.out(0), at.out(1), at.out(2), at.out(3)}};
  form.n_t = sizes[0], form.n_v = sizes[1], form.n_g = sizes[2];
  form.n_atoms = sizes[3], form.n_slots = sizes[4], form.channels = sizes[5];
  form.n_groups = sizes[6];
  const auto& along = form.tangent;
  if (along.t || along.v || along.g || along.w)
    form.template Run<true>(pool);
  else
    form.template Run<false>(pool);
}

// Arguments: t, V, G, w, and their tangents; results: derivatives with respect to t, V, G, w. What
// is absent, or not wanted, is empty.
ffi::Error Product(ffi::ThreadPool pool, ffi::RemainingArgs arguments, ffi::RemainingRets results,
                   ffi::Span<const int64_t> sizes, ffi::Span<const int64_t> layout,
                   ffi::Span<const double> coefficients) {
  return WithBuffers(arguments, results, sizes[5], [&](auto at, auto) {
    Apply(pool, at, sizes, layout, coefficients);
  });
}

}  // namespace
}  // namespace jmlip

XLA_FFI_DEFINE_HANDLER_SYMBOL(jmlip_pair_product, jmlip::Product,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<xla::ffi::Span<const int64_t>>("sizes")
                                  .Attr<xla::ffi::Span<const int64_t>>("layout")
                                  .Attr<xla::ffi::Span<const double>>("coefficients"));
