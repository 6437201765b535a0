// Memory to fault on, and threads that do.
#pragma once

#include "kvm/fd.hpp"
#include "kvm/mapping.hpp"
#include "kvm/userfaultfd.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>

namespace slat::kvm {

inline constexpr std::uint64_t page = 4096;

/// A memfd of whole pages, seen twice: the guarded view, and one that never faults.
struct TwoViews {
  explicit TwoViews(std::uint64_t pages);

  [[nodiscard]] std::uint64_t address(std::uint64_t index = 0) const {
    return reinterpret_cast<std::uint64_t>(guarded.data()) + index * page;
  }

  /// First byte of a page. Atomic: no sanitizer sees that a fault's wake orders accesses.
  [[nodiscard]] std::atomic_ref<std::uint8_t> guarded_byte(std::uint64_t index) const;
  [[nodiscard]] std::atomic_ref<std::uint8_t> host_byte(std::uint64_t index) const;

  std::uint64_t pages;
  Fd file;
  Mapping host;
  Mapping guarded;
};

/// Waits for the next fault, ten seconds at most.
[[nodiscard]] std::optional<FaultEvent> next_fault(Userfaultfd& uffd);

/// True when there is no fault within 20 ms.
[[nodiscard]] bool stays_quiet(Userfaultfd& uffd);

/// A thread that reads or writes the first byte of a guarded page.
class Toucher {
 public:
  static Toucher read(const TwoViews& memory, std::uint64_t index) {
    return Toucher([&memory, index] { return memory.guarded_byte(index).load(); });
  }

  static Toucher write(const TwoViews& memory, std::uint64_t index, std::uint8_t value) {
    return Toucher([&memory, index, value] {
      memory.guarded_byte(index).store(value);
      return value;
    });
  }

  /// Waits for the access, and returns the byte.
  std::uint8_t value() {
    thread_.join();
    return *value_;
  }

  [[nodiscard]] bool done() const { return *done_; }

 private:
  template <class F>
  explicit Toucher(F access)
      : value_(std::make_unique<std::atomic<std::uint8_t>>(0)),
        done_(std::make_unique<std::atomic<bool>>(false)),
        thread_([access, value = value_.get(), done = done_.get()] {
          *value = access();
          *done = true;
        }) {}

  std::unique_ptr<std::atomic<std::uint8_t>> value_;
  std::unique_ptr<std::atomic<bool>> done_;
  std::thread thread_;
};

} // namespace slat::kvm
