// A loop over blocks of atoms on the threads that XLA gives to the call.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "xla/ffi/api/ffi.h"

namespace jmlip {

// Calls body(first, last) for blocks of [0, n). The caller works too and never waits for a task
// that has not begun, so that a pool whose threads are all busy, or all calling us, cannot lock.
template <typename Body>
void ParallelFor(xla::ffi::ThreadPool& pool, int64_t n, int64_t block, const Body& body) {
  struct Shared {
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable idle;
    int running = 0;
    bool closed = false;
  };
  const int64_t helpers = std::min<int64_t>(pool.num_threads() - 1, (n - 1) / block);
  auto shared = std::make_shared<Shared>();
  const Body* shared_body = &body;
  auto work = [n, block](Shared& state, const Body& run) {
    for (;;) {
      const int64_t first = state.next.fetch_add(block);
      if (first >= n) return;
      run(first, std::min(n, first + block));
    }
  };
  for (int64_t i = 0; i < helpers; ++i) {
    pool.Schedule([shared, shared_body, work] {
      {
        std::lock_guard<std::mutex> lock(shared->mutex);
        if (shared->closed) return;
        ++shared->running;
      }
      work(*shared, *shared_body);
      std::lock_guard<std::mutex> lock(shared->mutex);
      if (--shared->running == 0) shared->idle.notify_all();
    });
  }
  work(*shared, body);
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->closed = true;
  shared->idle.wait(lock, [&] { return shared->running == 0; });
}

}  // namespace jmlip
