#include "slat/device_options.hpp"

#include "vmm/layout.hpp"
#include "vmm/printable.hpp"
#include "vmm/virtio/block.hpp"

#include <CLI/CLI.hpp>
#include <charconv>
#include <fmt/format.h>
#include <functional>
#include <string_view>

namespace slat::tool {

namespace {

tl::unexpected<vmm::Error> wrong(std::string message) {
  return vmm::fail(vmm::Errc::invalid_argument, 0, std::move(message));
}

/// Calls `take(key, value)` for each of "key=value,key=value"; what has no "=" is `bare`'s value.
vmm::Result<void>
each_key(std::string_view option, std::string_view text, std::string_view bare,
         const std::function<vmm::Result<void>(std::string_view, std::string_view)>& take) {
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const std::size_t equals = item.find('=');
    auto ok = equals == std::string_view::npos
                  ? take(bare, item)
                  : take(item.substr(0, equals), item.substr(equals + 1));
    if (!ok)
      return wrong(fmt::format("{} {}: {}", option, vmm::printable(item), ok.error().message));
  }
  return {};
}

vmm::Result<void> take_switch(std::string_view value, bool& into) {
  if (value != "on" && value != "off") return wrong("give on or off");
  into = value == "on";
  return {};
}

vmm::Result<vmm::virtio::DiskConfig> parse_disk(const std::string& text) {
  vmm::virtio::DiskConfig disk;
  auto ok = each_key("--disk", text, "path",
                     [&](std::string_view key, std::string_view value) -> vmm::Result<void> {
                       if (key == "path") {
                         disk.path = value;
                         return {};
                       }
                       if (key == "readonly") return take_switch(value, disk.read_only);
                       if (key != "num_queues")
                         return wrong("unknown key (known: path, readonly, num_queues)");
                       const char* const end = value.data() + value.size();
                       const auto [at, error] = std::from_chars(value.data(), end, disk.queues);
                       if (error == std::errc{} && at == end && disk.queues >= 1 &&
                           disk.queues <= vmm::virtio::Block::max_queues)
                         return {};
                       return wrong(fmt::format("give 1 to {}", vmm::virtio::Block::max_queues));
                     });
  if (!ok) return vmm::forward(ok);
  if (disk.path.empty()) return wrong(fmt::format("--disk {}: no path=FILE", vmm::printable(text)));
  return disk;
}

vmm::Result<vmm::virtio::BalloonOptions> parse_balloon(const std::string& text,
                                                       std::uint64_t memory) {
  vmm::virtio::BalloonOptions balloon;
  auto ok =
      each_key("--balloon", text, "size",
               [&](std::string_view key, std::string_view value) -> vmm::Result<void> {
                 if (key == "deflate_on_oom") return take_switch(value, balloon.deflate_on_oom);
                 if (key == "free_page_reporting")
                   return take_switch(value, balloon.free_page_reporting);
                 if (key != "size")
                   return wrong("unknown key (known: size, deflate_on_oom, free_page_reporting)");
                 auto size = vmm::parse_size(value);
                 if (!size) return vmm::forward(size);
                 if (*size % vmm::guest_page_size != 0 || *size > memory)
                   return wrong(fmt::format("give a multiple of 4K, at most the guest's {}",
                                            vmm::format_size(memory)));
                 balloon.target = *size;
                 return {};
               });
  if (!ok) return vmm::forward(ok);
  return balloon;
}

} // namespace

void DeviceOptions::add_to(CLI::App& command) {
  command
      .add_option("--disk", disks,
                  "A disk (virtio-blk) with a raw image: path=FILE, readonly=on|off (off), "
                  "num_queues=N (1), each with a thread; may be repeated")
      ->type_name("path=FILE,...");
  command
      .add_option("--balloon", balloon,
                  "A balloon: size=SIZE that the guest gives up (0), deflate_on_oom=on|off (on), "
                  "free_page_reporting=on|off (on)")
      ->type_name("size=SIZE,...");
  command.add_flag("--rng", rng, "Random numbers of the host's (virtio-rng)");
  command
      .add_option("--console", console,
                  "What the terminal is for the guest besides: serial (ttyS0), or virtio (hvc0), "
                  "which then has the input")
      ->capture_default_str()
      ->check(CLI::IsMember({"serial", "virtio"}));
}

vmm::Result<vmm::virtio::DevicesConfig>
DeviceOptions::config(std::uint64_t memory, const vmm::virtio::VirtioConsole::Sink& print) const {
  vmm::virtio::DevicesConfig config;
  for (const std::string& text : disks) {
    auto disk = parse_disk(text);
    if (!disk) return vmm::forward(disk);
    config.disks.push_back(std::move(*disk));
  }
  if (!balloon.empty()) {
    auto parsed = parse_balloon(balloon, memory);
    if (!parsed) return vmm::forward(parsed);
    config.balloon = *parsed;
  }
  config.entropy = rng;
  if (console == "virtio") config.console = print;
  return config;
}

} // namespace slat::tool
