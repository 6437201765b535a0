// The control API: which request does what, and the JSON that goes with it. In the manner of Firecracker's API, with its names
// where it has them; `machine-config` and `balloon` have more of slat's, `memory` and `storm` are slat's own.
//
//   GET   /                     {"app_name", "id", "state": "Running" or "Paused", "vmm_version"}
//   PATCH /vm                   {"state": "Paused" or "Resumed"}
//   GET   /machine-config       {"vcpu_count", "mem_size_mib", "accelerator", "vma_lock"}
//   GET   /memory               the statistics of `--stats json`
//   GET   /balloon              {"amount_mib", "actual_mib", "deflate_on_oom", "free_page_reporting"}
//   PATCH /balloon              {"amount_mib": N}
//   GET   /balloon/statistics   {"target_mib", "actual_mib", "target_pages", "actual_pages", and what the guest told}
//   GET   /storm                {"running", "kinds", "rate", "pages", "ranges", and "error" if one ended it}
//   PUT   /storm                {"kinds": "zap,reclaim"} and, if wanted, "rate" and "pages"
//   DELETE /storm
//   PUT   /actions              {"action_type": "Shutdown"}
//
// What changes something answers 204. Errors are {"fault_message": "..."} with 400, 404 or 405; members that are not known
// are errors.
#pragma once

#include "vmm/balloon_control.hpp"
#include "vmm/error.hpp"
#include "vmm/http_response.hpp"

#include <cstdint>
#include <string>

namespace slat::vmm {

/// What the API acts on. Called on the thread that serves the socket; may sleep.
class Controlled {
 public:
  virtual ~Controlled() = default;

  struct Instance {
    std::string id;
    std::string version;
    unsigned vcpus = 0;
    std::uint64_t memory = 0; // bytes
    std::string accelerator;
    std::string vma_lock;
  };

  struct StormState {
    bool running = false;
    std::string kinds =
        {}; // "zap,reclaim"; this and the next two: of the last one that was started
    std::uint64_t rate = 0;  // ranges a second
    std::uint64_t pages = 0; // of the largest range
    std::uint64_t ranges = 0;
    std::string error = {}; // that ended it
  };

  struct StormOrder {
    std::string kinds;
    std::uint64_t rate = 1000;
    std::uint64_t pages = 512;
  };

  static constexpr std::uint64_t max_storm_rate = 1'000'000;
  static constexpr std::uint64_t max_storm_pages = 1 << 24;

  [[nodiscard]] virtual Instance instance() = 0;
  [[nodiscard]] virtual bool is_paused() = 0;
  virtual void pause() = 0;
  virtual void resume() = 0;
  /// The statistics: a JSON object.
  [[nodiscard]] virtual std::string memory_json() = 0;
  /// nullptr: there is none.
  [[nodiscard]] virtual BalloonControl* balloon() = 0;
  [[nodiscard]] virtual StormState storm() = 0;
  /// Errors: invalid_argument: kinds that there are none such, or one runs already.
  virtual Result<void> start_storm(const StormOrder& order) = 0;
  /// Returns once it has ended. Errors: invalid_argument: none runs.
  virtual Result<void> end_storm() = 0;
  /// Begins to end the machine; does not wait.
  virtual void shut_down() = 0;
};

class ControlApi {
 public:
  /// `controlled` outlives it.
  explicit ControlApi(Controlled& controlled) : controlled_(&controlled) {}

  /// Does what the request asks for. Sleeps as Controlled does.
  [[nodiscard]] HttpResponse answer(const HttpRequest& request);

 private:
  HttpResponse describe();
  HttpResponse change_state(const HttpRequest& request);
  HttpResponse machine_config();
  HttpResponse memory();
  HttpResponse balloon();
  HttpResponse change_balloon(const HttpRequest& request);
  HttpResponse balloon_statistics();
  HttpResponse storm();
  HttpResponse start_storm(const HttpRequest& request);
  HttpResponse end_storm();
  HttpResponse act(const HttpRequest& request);

  Controlled* controlled_;
};

} // namespace slat::vmm
