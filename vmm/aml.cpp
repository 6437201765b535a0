#include "vmm/aml.hpp"

#include "mmu/assert.hpp"

#include <algorithm>
#include <limits>

namespace slat::vmm::aml {
namespace {

constexpr std::uint8_t zero_op = 0x00;
constexpr std::uint8_t one_op = 0x01;
constexpr std::uint8_t name_op = 0x08;
constexpr std::uint8_t byte_prefix = 0x0a;
constexpr std::uint8_t word_prefix = 0x0b;
constexpr std::uint8_t dword_prefix = 0x0c;
constexpr std::uint8_t string_prefix = 0x0d;
constexpr std::uint8_t qword_prefix = 0x0e;
constexpr std::uint8_t scope_op = 0x10;
constexpr std::uint8_t buffer_op = 0x11;
constexpr std::uint8_t package_op = 0x12;
constexpr std::uint8_t dual_name_prefix = 0x2e;
constexpr std::uint8_t multi_name_prefix = 0x2f;
constexpr std::uint8_t extended_prefix = 0x5b;
constexpr std::uint8_t root_char = 0x5c;
constexpr std::uint8_t device_op = 0x82; // behind extended_prefix

constexpr std::size_t segment_size = 4;

std::uint8_t low_byte(std::uint64_t value) {
  return static_cast<std::uint8_t>(value & 0xff);
}

/// The low `size` bytes of a number, lowest first.
Bytes little_endian(std::uint64_t value, unsigned size) {
  Bytes out;
  for (unsigned i = 0; i < size; ++i) out.push_back(low_byte(value >> (8 * i)));
  return out;
}

void append(Bytes& to, const Bytes& tail) {
  to.insert(to.end(), tail.begin(), tail.end());
}

/// A term that says how long it is.
Bytes with_length(const Bytes& op, const Bytes& contents) {
  return concat({op, package_length(contents.size()), contents});
}

unsigned hex_digit(char c) {
  SLAT_ASSERT((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'), "not a hexadecimal digit");
  return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'A' + 10);
}

} // namespace

Bytes concat(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const auto& part : parts) append(out, part);
  return out;
}

Bytes package_length(std::size_t contents) {
  if (contents + 1 < 64) return {low_byte(contents + 1)};
  // The top two bits of the first byte count the bytes that follow; it keeps the lowest 4 bits of the length.
  unsigned following = 1;
  while (following < 3 && contents + 1 + following >= std::size_t{1} << (4 + 8 * following))
    ++following;
  const std::size_t length = contents + 1 + following;
  SLAT_ASSERT(length < std::size_t{1} << 28, "too long for AML");
  return concat(
      {{low_byte(following << 6 | (length & 0xf))}, little_endian(length >> 4, following)});
}

Bytes path(std::string_view text) {
  Bytes out;
  if (text.starts_with('\\')) {
    out.push_back(root_char);
    text.remove_prefix(1);
  }
  const auto segments = static_cast<std::size_t>(std::ranges::count(text, '.')) + 1;
  SLAT_ASSERT(segments <= 255, "too many segments in an AML path");
  if (segments == 2) out.push_back(dual_name_prefix);
  if (segments > 2) append(out, {multi_name_prefix, low_byte(segments)});
  for (std::size_t i = 0; i < segments; ++i) {
    const auto segment = text.substr(0, text.find('.'));
    SLAT_ASSERT(!segment.empty() && segment.size() <= segment_size,
                "an AML name has 1 to 4 characters");
    out.insert(out.end(), segment.begin(), segment.end());
    out.insert(out.end(), segment_size - segment.size(), '_');
    text.remove_prefix(std::min(segment.size() + 1, text.size()));
  }
  return out;
}

Bytes integer(std::uint64_t value) {
  if (value <= 1) return {value == 0 ? zero_op : one_op};
  if (value <= std::numeric_limits<std::uint8_t>::max()) return {byte_prefix, low_byte(value)};
  if (value <= std::numeric_limits<std::uint16_t>::max())
    return concat({{word_prefix}, little_endian(value, 2)});
  if (value <= std::numeric_limits<std::uint32_t>::max())
    return concat({{dword_prefix}, little_endian(value, 4)});
  return concat({{qword_prefix}, little_endian(value, 8)});
}

Bytes string(std::string_view text) {
  SLAT_ASSERT(text.find('\0') == std::string_view::npos, "a NUL ends an AML string");
  return concat({{string_prefix}, Bytes(text.begin(), text.end()), {0}});
}

Bytes eisa_id(std::string_view id) {
  SLAT_ASSERT(id.size() == 7, "an EISA id has 7 characters");
  std::uint32_t value = 0;
  for (const char c : id.substr(0, 3)) {
    SLAT_ASSERT(c >= 'A' && c <= 'Z', "an EISA id begins with capitals");
    value = value << 5 | static_cast<unsigned>(c - 'A' + 1);
  }
  for (const char c : id.substr(3)) value = value << 4 | hex_digit(c);
  return {dword_prefix, low_byte(value >> 24), low_byte(value >> 16), low_byte(value >> 8),
          low_byte(value)};
}

Bytes buffer(const Bytes& content) {
  return with_length({buffer_op}, concat({integer(content.size()), content}));
}

Bytes package(std::initializer_list<Bytes> elements) {
  SLAT_ASSERT(elements.size() <= 255, "too many elements for an AML package");
  return with_length({package_op}, concat({{low_byte(elements.size())}, concat(elements)}));
}

Bytes name(std::string_view text, const Bytes& object) {
  return concat({{name_op}, path(text), object});
}

Bytes scope(std::string_view text, const Bytes& terms) {
  return with_length({scope_op}, concat({path(text), terms}));
}

Bytes device(std::string_view text, const Bytes& terms) {
  return with_length({extended_prefix, device_op}, concat({path(text), terms}));
}

Bytes io_ports(std::uint16_t first, std::uint8_t count) {
  constexpr std::uint8_t tag = 0x47; // small item 8 with 7 bytes
  constexpr std::uint8_t decodes_16_bits = 1;
  constexpr std::uint8_t alignment = 1;
  const Bytes port = little_endian(first, 2); // as the lowest and as the highest that it may have
  return concat({{tag, decodes_16_bits}, port, port, {alignment, count}});
}

Bytes edge_interrupt(std::uint32_t gsi) {
  constexpr std::uint8_t tag = 0x89; // large item 9
  constexpr std::uint8_t consumer = 1U << 0;
  constexpr std::uint8_t edge = 1U << 1; // bit 2 would be active low, bit 3 shared
  return concat({{tag, 6, 0, consumer | edge, 1}, little_endian(gsi, 4)});
}

Bytes memory32_fixed(std::uint32_t base, std::uint32_t size) {
  constexpr std::uint8_t tag = 0x86; // large item 6
  constexpr std::uint8_t writable = 1;
  return concat({{tag, 9, 0, writable}, little_endian(base, 4), little_endian(size, 4)});
}

Bytes resource_template(std::initializer_list<Bytes> descriptors) {
  constexpr std::uint8_t end_tag = 0x79; // its checksum of 0 counts as right
  return buffer(concat({concat(descriptors), {end_tag, 0}}));
}

} // namespace slat::vmm::aml
