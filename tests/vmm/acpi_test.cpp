#include "vmm/acpi.hpp"

#include "fake_guest_memory.hpp"
#include "matchers.hpp"
#include "vmm/aml.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>

namespace slat::vmm {
namespace {

using TableBytes = aml::Bytes;

AcpiPlatform platform_of(unsigned cpus, std::size_t devices) {
  AcpiPlatform out{.cpus = cpus};
  for (std::size_t i = 0; i < devices; ++i)
    out.virtio.push_back({0xd0000000 + i * 0x1000, 0x200, 5 + static_cast<unsigned>(i % 19)});
  return out;
}

unsigned sum_of(const TableBytes& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), 0U) % 256;
}

bool has(const TableBytes& bytes, const TableBytes& part) {
  return std::ranges::search(bytes, part).begin() != bytes.end();
}

std::uint64_t number(const TableBytes& bytes, std::size_t at, std::size_t size) {
  std::uint64_t out = 0;
  for (std::size_t i = size; i-- > 0;) out = out << 8 | bytes.at(at + i);
  return out;
}

/// The tables of one guest, found as the guest finds them; each is checked for what all tables have.
class Acpi : public ::testing::Test {
 protected:
  void write(const AcpiPlatform& platform) {
    const auto root = write_acpi_tables(memory_, platform);
    ASSERT_TRUE(root) << root.error().message;
    EXPECT_EQ(memory_.writes().size(), 1U);
    rsdp_ = bytes(*root, 36);
    xsdt_ = table(number(rsdp_, 24, 8), "XSDT");
    ASSERT_EQ(xsdt_.size(), 36U + 2 * 8U);
    fadt_ = table(number(xsdt_, 36, 8), "FACP");
    madt_ = table(number(xsdt_, 44, 8), "APIC");
    ASSERT_EQ(fadt_.size(), 276U);
    dsdt_ = table(number(fadt_, 140, 8), "DSDT");
  }

  TableBytes bytes(Gpa address, std::uint64_t size) {
    EXPECT_EQ(address % 16, 0U);
    EXPECT_GE(address, 0xe0000U);
    EXPECT_LE(address + size, 0x100000U);
    EXPECT_TRUE(std::ranges::none_of(
        seen_,
        [&](const GpaRange& r) { return address < r.start + r.size && r.start < address + size; }))
        << "two tables at " << address;
    seen_.push_back({address, size});
    TableBytes out(size);
    EXPECT_TRUE(memory_.read(address, std::as_writable_bytes(std::span(out))));
    return out;
  }

  TableBytes table(Gpa address, const std::string& signature) {
    SCOPED_TRACE(signature);
    const auto size = memory_.get<std::uint32_t>(address + 4);
    EXPECT_GE(size, 36U);
    EXPECT_LE(size, 0x20000U);
    auto out = bytes(address, std::min(size, 0x20000U));
    EXPECT_EQ(std::string(out.begin(), out.begin() + 4), signature);
    EXPECT_EQ(sum_of(out), 0U) << "checksum";
    return out;
  }

  FakeGuestMemory memory_{min_ram_size};
  std::vector<GpaRange> seen_;
  TableBytes rsdp_, xsdt_, fadt_, madt_, dsdt_;
};

TEST_F(Acpi, RootIsFoundByAScanToo) {
  write(platform_of(1, 0));
  EXPECT_EQ(seen_.front().start, 0xe0000U);
  EXPECT_EQ(std::string(rsdp_.begin(), rsdp_.begin() + 8), "RSD PTR ");
  EXPECT_EQ(rsdp_[15], 2U) << "revision";
  EXPECT_EQ(number(rsdp_, 16, 4), 0U) << "no RSDT";
  EXPECT_EQ(number(rsdp_, 20, 4), 36U) << "length";
  EXPECT_EQ(sum_of(TableBytes(rsdp_.begin(), rsdp_.begin() + 20)), 0U);
  EXPECT_EQ(sum_of(rsdp_), 0U);
}

TEST_F(Acpi, FadtIsOfAHardwareReducedPlatform) {
  write(platform_of(1, 1));
  EXPECT_EQ(fadt_[8], 6U) << "revision";
  EXPECT_EQ(number(fadt_, 40, 4), number(fadt_, 140, 8)) << "the DSDT's address, twice";
  EXPECT_EQ(number(fadt_, 109, 2), 0x24U)
      << "no VGA, no CMOS clock, MSI allowed, nothing legacy, no 8042";
  EXPECT_EQ(number(fadt_, 112, 4), 1U << 0 | 1U << 4 | 1U << 5 | 1U << 20);
  const auto port = [&](std::size_t at) {
    EXPECT_EQ(number(fadt_, at, 4), 0x01000801U) << "one byte in I/O space";
    return number(fadt_, at + 4, 8);
  };
  EXPECT_EQ(port(244), 0x600U);
  EXPECT_EQ(port(256), 0x601U);
  const auto zero = [](std::uint8_t byte) { return byte == 0; };
  EXPECT_TRUE(std::all_of(fadt_.begin() + 44, fadt_.begin() + 109, zero)) << "fixed hardware";
  EXPECT_TRUE(std::all_of(fadt_.begin() + 116, fadt_.begin() + 129, zero)) << "no reset register";
  EXPECT_TRUE(std::all_of(fadt_.begin() + 148, fadt_.begin() + 244, zero)) << "fixed hardware";
}

TEST_F(Acpi, MadtHasEveryCpuAndOneIoApic) {
  for (const unsigned cpus : {1U, 2U, 64U, 255U}) {
    SCOPED_TRACE(cpus);
    memory_.reset();
    seen_.clear();
    write(platform_of(cpus, 1));
    ASSERT_EQ(madt_.size(), 44 + 8 * cpus + 12);
    EXPECT_EQ(number(madt_, 36, 4), 0xfee00000U);
    EXPECT_EQ(number(madt_, 40, 4), 0U) << "no 8259";
    for (unsigned i = 0; i < cpus; ++i) {
      const auto id = static_cast<std::uint8_t>(i);
      ASSERT_EQ(TableBytes(madt_.begin() + 44 + 8 * i, madt_.begin() + 52 + 8 * i),
                (TableBytes{0, 8, id, id, 1, 0, 0, 0}));
    }
    EXPECT_EQ(TableBytes(madt_.end() - 12, madt_.end()),
              (TableBytes{1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0}));
  }
}

TEST_F(Acpi, DsdtHasPowerOffAndTheSerialPort) {
  write(platform_of(1, 0));
  EXPECT_EQ(dsdt_[8], 2U) << "revision: integers of 64 bits";
  // All of it, as a disassembler reads it: compiled again it gives the same bytes.
  const TableBytes expected{
      0x08, '\\', '_',  'S',  '5',  '_',                          // Name (\_S5,
      0x12, 0x07, 4,    0x0a, 5,    0,    0,    0,                // Package {5, 0, 0, 0})
      0x10, 0x39, '\\', '_',  'S',  'B',  '_',                    // Scope (\_SB)
      0x5b, 0x82, 0x31, 'C',  'O',  'M',  '1',                    // Device (COM1)
      0x08, '_',  'H',  'I',  'D',  0x0c, 0x41, 0xd0, 0x05, 0x01, // EisaId ("PNP0501")
      0x08, '_',  'U',  'I',  'D',  1,                            // One
      0x08, '_',  'C',  'R',  'S',  0x11, 0x16, 0x0a, 0x13,       // Buffer of 19
      0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x01, 0x08,       // IO (Decode16, 0x3f8, 0x3f8, 1, 8)
      0x89, 0x06, 0x00, 0x03, 0x01, 0x04, 0x00, 0x00, 0x00, // Interrupt (Edge, ActiveHigh) {4}
      0x79, 0x00};                                          // end tag
  EXPECT_EQ(TableBytes(dsdt_.begin() + 36, dsdt_.end()), expected);
}

TEST_F(Acpi, DsdtHasEveryVirtioDevice) {
  const auto platform = platform_of(2, 300);
  write(platform);
  for (std::size_t i = 0; i < platform.virtio.size(); ++i) {
    SCOPED_TRACE(i);
    const auto& [base, size, gsi] = platform.virtio[i];
    const auto crs = aml::resource_template(
        {aml::memory32_fixed(static_cast<std::uint32_t>(base), size), aml::edge_interrupt(gsi)});
    ASSERT_TRUE(has(
        dsdt_, aml::concat({{'_', 'H', 'I', 'D', 0x0d, 'L', 'N', 'R', 'O', '0', '0', '0', '5', 0},
                            {0x08, '_', 'U', 'I', 'D'},
                            aml::integer(i),
                            {0x08, '_', 'C', 'C', 'A', 1},
                            {0x08, '_', 'C', 'R', 'S'},
                            crs})));
  }
  EXPECT_TRUE(has(dsdt_, {'V', '0', '0', '0'}));
  EXPECT_TRUE(has(dsdt_, {'V', '1', '2', 'B'}));
}

TEST_F(Acpi, RefusesWhatDoesNotFit) {
  write(platform_of(255, 1700));
  memory_.reset();
  for (const std::size_t devices : {2000U, 5000U})
    EXPECT_THAT(write_acpi_tables(memory_, platform_of(1, devices)),
                FailsWith(Errc::invalid_argument, "do not fit"));
  EXPECT_TRUE(memory_.writes().empty());
}

TEST_F(Acpi, RefusesANumberOfCpus) {
  for (const unsigned cpus : {0U, 256U, 1U << 31})
    EXPECT_THAT(write_acpi_tables(memory_, platform_of(cpus, 1)),
                FailsWith(Errc::invalid_argument, std::to_string(cpus) + " CPUs"));
  EXPECT_TRUE(memory_.writes().empty());
}

TEST_F(Acpi, RefusesDevicesOutsideTheHole) {
  using Device = AcpiPlatform::VirtioDevice;
  for (const auto& device :
       {Device{3 * gib - 1, 0x200, 5}, Device{4 * gib, 0x200, 5}, Device{4 * gib - 0x100, 0x200, 5},
        Device{0xd0000000, 0, 5}, Device{UINT64_MAX, 0x200, 5}})
    EXPECT_THAT(write_acpi_tables(memory_, {.virtio = {device}}),
                FailsWith(Errc::invalid_argument, "device hole"));
  EXPECT_THAT(write_acpi_tables(memory_, {.virtio = {{0xd0000000, 0x200, 24}}}),
              FailsWith(Errc::invalid_argument, "GSI 24"));
  EXPECT_TRUE(memory_.writes().empty());
  EXPECT_TRUE(write_acpi_tables(memory_, {.virtio = {{4 * gib - 0x200, 0x200, 23}}}));
}

TEST_F(Acpi, PassesOnAFailedWrite) {
  memory_.fail_writes();
  EXPECT_THAT(write_acpi_tables(memory_, {}),
              FailsWith(Errc::host_failed, "the fake memory fails"));
}

TEST(Aml, PackageLengthCountsItself) {
  EXPECT_EQ(aml::package_length(0), TableBytes{1});
  EXPECT_EQ(aml::package_length(62), TableBytes{63});
  EXPECT_EQ(aml::package_length(63), (TableBytes{0x41, 0x04}));         // 65
  EXPECT_EQ(aml::package_length(4093), (TableBytes{0x4f, 0xff}));       // 4095
  EXPECT_EQ(aml::package_length(4094), (TableBytes{0x81, 0x00, 0x01})); // 4097
  EXPECT_EQ(aml::package_length((1 << 20) - 4), (TableBytes{0x8f, 0xff, 0xff}));
  EXPECT_EQ(aml::package_length((1 << 20) - 3), (TableBytes{0xc1, 0x00, 0x00, 0x01}));
}

TEST(Aml, TermsOfAllLengthsEndWhereTheySay) {
  for (const std::size_t size :
       {0U, 57U, 58U, 59U, 60U, 4088U, 4089U, 4090U, 4091U, 70000U, 1100000U}) {
    const auto term = aml::scope("\\X", TableBytes(size, 0xa3)); // 5 bytes of name
    const unsigned following = term[1] >> 6;
    const auto length =
        following == 0 ? term[1] : number(term, 2, following) << 4 | (term[1] & 0xf);
    EXPECT_EQ(term.size(), 1 + length) << size;
    EXPECT_EQ(term.size(), 2 + following + 5 + size);
    EXPECT_TRUE(following == 0 || (term[1] & 0x30) == 0) << "reserved bits";
  }
}

TEST(Aml, IntegersAreOfTheShortestForm) {
  EXPECT_EQ(aml::integer(0), TableBytes{0});
  EXPECT_EQ(aml::integer(1), TableBytes{1});
  EXPECT_EQ(aml::integer(2), (TableBytes{0x0a, 2}));
  EXPECT_EQ(aml::integer(0xff), (TableBytes{0x0a, 0xff}));
  EXPECT_EQ(aml::integer(0x100), (TableBytes{0x0b, 0x00, 0x01}));
  EXPECT_EQ(aml::integer(0xffff), (TableBytes{0x0b, 0xff, 0xff}));
  EXPECT_EQ(aml::integer(0x10000), (TableBytes{0x0c, 0x00, 0x00, 0x01, 0x00}));
  EXPECT_EQ(aml::integer(0xffffffff), (TableBytes{0x0c, 0xff, 0xff, 0xff, 0xff}));
  EXPECT_EQ(aml::integer(1ULL << 32), (TableBytes{0x0e, 0, 0, 0, 0, 1, 0, 0, 0}));
}

TEST(Aml, PathsHaveSegmentsOfFour) {
  EXPECT_EQ(aml::path("A"), (TableBytes{'A', '_', '_', '_'}));
  EXPECT_EQ(aml::path("\\_SB.COM1"),
            (TableBytes{'\\', 0x2e, '_', 'S', 'B', '_', 'C', 'O', 'M', '1'}));
  EXPECT_EQ(aml::path("A.B.CDEF"),
            (TableBytes{0x2f, 3, 'A', '_', '_', '_', 'B', '_', '_', '_', 'C', 'D', 'E', 'F'}));
}

} // namespace
} // namespace slat::vmm
