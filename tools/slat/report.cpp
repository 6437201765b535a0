// slat report: recordings and results of benchmarks as one HTML page.
#include "slat/commands.hpp"
#include "slat/exit_codes.hpp"
#include "slat/machine_options.hpp"
#include "slat/output_file.hpp"
#include "slat/report/page.hpp"
#include "slat/run.hpp"
#include "vmm/image_file.hpp"
#include "vmm/printable.hpp"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace slat::tool {

namespace {

struct ReportOptions {
  std::vector<std::string> files;
  std::string output;
  std::string title;
};

vmm::Result<reporting::Document> read(const std::string& path) {
  std::error_code ignored; // reading says better what is wrong
  const auto size = std::filesystem::file_size(path, ignored);
  if (!ignored && size > reporting::max_document)
    return vmm::fail(vmm::Errc::bad_image, 0,
                     fmt::format("report {}: it has {} bytes, more than the {} that are read",
                                 vmm::printable(path), size, reporting::max_document));
  auto file = vmm::read_image_file(path, "file");
  if (!file) return vmm::forward(file);
  const auto bytes = file->bytes();
  auto document =
      reporting::read_document({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!document)
    return vmm::fail(vmm::Errc::bad_image, 0,
                     fmt::format("report {}: {}; give files of --record and of slat bench --json",
                                 vmm::printable(path), document.error()));
  return std::move(*document);
}

int make_report(const ReportOptions& options) {
  std::vector<reporting::Document> documents;
  for (const std::string& path : options.files) {
    auto document = read(path);
    if (!document) return report(document.error());
    documents.push_back(std::move(*document));
  }
  const std::string page =
      reporting::page(documents, {.title = options.title, .version = SLAT_VERSION});
  if (options.output.empty()) {
    write_stdout(page);
    return exit_success;
  }
  OutputFile output("--output", options.output);
  if (auto ok = output.open(); !ok) return report(ok.error());
  if (auto ok = output.write(page); !ok) return report(ok.error());
  return exit_success;
}

} // namespace

void add_report(CLI::App& program, Command& run) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* const command = program.add_subcommand(
      "report", "Make one HTML page, which needs nothing else, from recordings (slat stress "
                "--record, slat boot --record) and from what slat bench --json printed");
  command->add_option("FILE", options->files, "Recordings and results, as JSON")
      ->required()
      ->type_name("");
  command->add_option("--output", options->output, "The page; default: standard output")
      ->type_name("FILE.html");
  command->add_option("--title", options->title, "Its title; default: what was run")
      ->type_name("TEXT");
  command->footer(exit_code_help);
  command->callback([options, &run] { run = [options] { return make_report(*options); }; });
}

} // namespace slat::tool
