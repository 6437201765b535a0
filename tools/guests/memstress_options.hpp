// The command line of the memory-stress image. Pure and freestanding.
#pragma once

#include "guests/abi.hpp"
#include "guests/command_line.hpp"

#include <cstdint>

namespace slat::guest {

enum class Order : std::uint32_t { automatic, seq, stride, random, mix };

struct MemstressOptions {
  std::uint64_t mib = 0;          // to test; 0: all RAM above the image
  std::uint64_t seconds = 0;      // 0: no limit
  std::uint64_t passes = 0;       // 0: no limit
  Order order = Order::automatic; // mix, in touch mode seq
  std::uint64_t write_percent = 50;
  std::uint64_t stride = 512; // pages
  std::uint64_t seed = 1;
  std::uint64_t shared_pages = 16; // of the pages to test
  Kind corrupt = Kind::none;       // damage to do on purpose
  bool discard = false;            // give pages up, one at a time for each vCPU
  bool touch = false;
  bool overlap = false; // touch: each vCPU visits all pages, and not a share
  bool quiet = false;   // print failures only
};

namespace options_detail {

constexpr bool parse_order(Text text, Order& out) {
  if (text == "seq")
    out = Order::seq;
  else if (text == "stride")
    out = Order::stride;
  else if (text == "random")
    out = Order::random;
  else if (text == "mix")
    out = Order::mix;
  else
    return false;
  return true;
}

constexpr bool parse_corrupt(Text text, Kind& out) {
  if (text == "0") return out = Kind::none, true;
  if (text == "1") return out = Kind::corrupt, true;
  constexpr Kind kinds[] = {Kind::zeroed,  Kind::stale,   Kind::lost,
                            Kind::foreign, Kind::corrupt, Kind::counter};
  for (const Kind kind : kinds) {
    if (text == to_string(kind)) return out = kind, true;
  }
  return false;
}

struct Number {
  const char* name;
  std::uint64_t MemstressOptions::* field;
  std::uint64_t min, max;
  const char* reason;
};

inline constexpr Number numbers[] = {
    {"mib", &MemstressOptions::mib, 1, 1 << 24, "wants a number of MiB from 1 to 16777216"},
    {"seconds", &MemstressOptions::seconds, 1, 31'536'000, "wants a number from 1 to 31536000"},
    {"passes", &MemstressOptions::passes, 1, UINT64_MAX, "wants a number from 1 up"},
    {"write", &MemstressOptions::write_percent, 0, 100, "wants a percentage from 0 to 100"},
    {"stride", &MemstressOptions::stride, 1, 1 << 30,
     "wants a number of pages from 1 to 1073741824"},
    {"seed", &MemstressOptions::seed, 0, UINT64_MAX, "wants a number of at most 64 bits"},
    {"shared", &MemstressOptions::shared_pages, 0, 65536,
     "wants a number of pages from 0 to 65536"},
};

constexpr const char* apply(const Word& word, MemstressOptions& out) {
  for (const Number& n : numbers) {
    if (!(word.name == n.name)) continue;
    std::uint64_t value = 0;
    if (!word.has_value || !parse_number(word.value, n.max, value) || value < n.min)
      return n.reason;
    out.*n.field = value;
    return nullptr;
  }
  if (word.name == "order") {
    return parse_order(word.value, out.order) ? nullptr : "wants seq, stride, random or mix";
  }
  if (word.name == "corrupt") {
    return parse_corrupt(word.value, out.corrupt)
               ? nullptr
               : "wants 0, 1, zeroed, stale, lost, foreign, corrupt or counter";
  }
  if (word.name == "mode") {
    if (!(word.value == "touch") && !(word.value == "stress")) return "wants touch or stress";
    out.touch = word.value == "touch";
    return nullptr;
  }
  if (word.name == "quiet") {
    if (word.has_value) return "takes no value";
    out.quiet = true;
    return nullptr;
  }
  if (word.name == "overlap") {
    if (word.has_value) return "takes no value";
    out.overlap = true;
    return nullptr;
  }
  if (word.name == "discard") {
    if (word.has_value) return "takes no value";
    out.discard = true;
    return nullptr;
  }
  return "is not known; known are mib= seconds= passes= order= write= stride= seed= shared= "
         "corrupt= "
         "mode= overlap discard quiet";
}

} // namespace options_detail

/// Reads the whole command line; the last of several equal names wins.
constexpr OptionError parse_memstress_options(Text line, MemstressOptions& out) {
  Word word;
  while (next_word(line, word)) {
    if (const char* reason = options_detail::apply(word, out)) return {word.whole, reason};
  }
  if (out.touch && out.corrupt != Kind::none && out.corrupt != Kind::corrupt) {
    return {"corrupt=", "takes only 0 or 1 with mode=touch, which looks at one word of each page"};
  }
  if (out.touch && out.discard) {
    return {"discard", "does not go with mode=touch, which keeps one content for each page"};
  }
  if (out.overlap && (!out.touch || out.corrupt != Kind::none)) {
    return {"overlap", "goes with mode=touch alone, where all write the same to a page"};
  }
  if (out.corrupt == Kind::counter && out.shared_pages == 0) {
    return {"corrupt=counter", "does not go with shared=0, which leaves no counters"};
  }
  if (out.order == Order::automatic) out.order = out.touch ? Order::seq : Order::mix;
  return {};
}

} // namespace slat::guest
