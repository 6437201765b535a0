// AML, the byte code of ACPI tables: as much of it as describes a few devices. After ACPI 6.4, sections 20.2
// (encoding), 6.4 (resource descriptors) and 6.1.5 (EISA ids). Every function returns the bytes of one whole term, to
// be joined by its caller; none sleeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace slat::vmm::aml {

using Bytes = std::vector<std::uint8_t>;

[[nodiscard]] Bytes concat(std::initializer_list<Bytes> parts);

/// A PkgLength for this many bytes behind it, fewer than 2^28 - 4. It counts itself too: 62 take one byte, 63 two.
[[nodiscard]] Bytes package_length(std::size_t contents);

/// A path: "_HID", "\\_S5", "\\_SB.COM1". Segments have 1 to 4 characters of A-Z, 0-9 and _, and are filled up with _.
[[nodiscard]] Bytes path(std::string_view text);

/// The shortest form of a number.
[[nodiscard]] Bytes integer(std::uint64_t value);

/// ASCII without a NUL.
[[nodiscard]] Bytes string(std::string_view text);

/// "PNP0501": three capitals and four hexadecimal digits, which become a number.
[[nodiscard]] Bytes eisa_id(std::string_view id);

[[nodiscard]] Bytes buffer(const Bytes& content);
[[nodiscard]] Bytes package(std::initializer_list<Bytes> elements); // at most 255

[[nodiscard]] Bytes name(std::string_view text, const Bytes& object);
[[nodiscard]] Bytes scope(std::string_view text, const Bytes& terms);
[[nodiscard]] Bytes device(std::string_view text, const Bytes& terms);

/// Descriptors for resource_template: `count` ports from `first`, fixed, with all 16 bits decoded;
[[nodiscard]] Bytes io_ports(std::uint16_t first, std::uint8_t count);
/// one interrupt that the device raises: edge, active high, not shared;
[[nodiscard]] Bytes edge_interrupt(std::uint32_t gsi);
/// `size` bytes of device memory, for reads and writes.
[[nodiscard]] Bytes memory32_fixed(std::uint32_t base, std::uint32_t size);
/// The buffer that _CRS returns, with its end tag.
[[nodiscard]] Bytes resource_template(std::initializer_list<Bytes> descriptors);

} // namespace slat::vmm::aml
