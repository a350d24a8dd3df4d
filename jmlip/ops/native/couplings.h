// The table of couplings of a convolution, as registers read it.
#pragma once

#include <algorithm>
#include <vector>

#include "buffers.h"
#include "vectors.h"

namespace jmlip {

// One coupling (l1, l2 -> l3): where its blocks begin, their dimensions, its coefficients.
struct Path {
  int64_t x, y, g, d1, d2, d3;
  int64_t stride;        // between the rows of the path in g
  int64_t rows;          // registers that hold the d3 x d1 matrix M
  int64_t matrix;        // first register of M among the matrices of all paths
  int64_t coefficients;  // first register of C, [j][row]
  int64_t entries;       // first of the d3 x d1 entries of M among those of all paths
};

template <typename T>
struct Table {
  std::vector<Path> paths;
  std::vector<Vector<T>> coefficients;
  int64_t matrix_rows = 0, n_entries = 0;

  Table(ffi::Span<const int64_t> layout, ffi::Span<const double> values) {
    constexpr int64_t kLanes = Simd<T>::kLanes;
    const double* value = values.begin();
    for (size_t p = 0; p + 6 < layout.size(); p += 7) {
      const int64_t* n = layout.begin() + p;
      const int64_t size = n[3] * n[5], rows = RoundUp(size, kLanes) / kLanes;
      paths.push_back({n[0], n[1], n[2], n[3], n[4], n[5], n[6], rows, matrix_rows,
                       static_cast<int64_t>(coefficients.size()), n_entries});
      for (int64_t j = 0; j < n[4]; ++j) {
        std::vector<T> padded(rows * kLanes, T(0));
        for (int64_t i = 0; i < size; ++i) padded[i] = static_cast<T>(*value++);
        for (int64_t row = 0; row < rows; ++row)
          coefficients.push_back(Load(padded.data() + row * kLanes));
      }
      matrix_rows += rows;
      n_entries += size;
    }
  }
};

}  // namespace jmlip
