// As much of an XML parser as it takes to say that a file is well-formed.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace slat::vmm {

/// "" if `xml` is a declaration and one element of elements, attributes and text, all of it ASCII, or
/// what is wrong. No comments, CDATA or instructions.
inline std::string xml_complaint(std::string_view xml) {
  const auto excerpt = [](std::string_view at) { return std::string(at.substr(0, 60)); };
  const auto bad_text = [](std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if ((c < ' ' && c != '\n') || c > '~' || c == '<') return true;
      if (c != '&') continue;
      const std::string_view entity = text.substr(i, text.find(';', i) - i + 1);
      if (entity != "&amp;" && entity != "&lt;" && entity != "&gt;" && entity != "&quot;")
        return true;
    }
    return false;
  };
  constexpr std::string_view declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
  if (!xml.starts_with(declaration)) return "no declaration";
  xml.remove_prefix(declaration.size());
  std::vector<std::string> open;
  bool root_seen = false;
  while (!xml.empty()) {
    const std::size_t tag = std::min(xml.find('<'), xml.size());
    const std::string_view text = xml.substr(0, tag);
    if (bad_text(text)) return "text: " + excerpt(text);
    if (open.empty() && text.find_first_not_of('\n') != text.npos)
      return "text outside of the root";
    xml.remove_prefix(tag);
    if (xml.empty()) break;
    const std::size_t end = xml.find('>'); // none in attributes: they would have &gt;
    if (end == xml.npos) return "a tag without end: " + excerpt(xml);
    std::string_view inside = xml.substr(1, end - 1);
    if (inside.starts_with('/')) {
      if (open.empty() || open.back() != inside.substr(1)) return "end of " + excerpt(inside);
      open.pop_back();
    } else {
      if (open.empty() && root_seen) return "a second root: " + excerpt(inside);
      root_seen = true;
      const bool empty = inside.ends_with('/');
      if (empty) inside.remove_suffix(1);
      const std::string name(inside.substr(0, inside.find(' ')));
      if (name.empty() || !std::ranges::all_of(name, [](char c) { return 'a' <= c && c <= 'z'; }))
        return "name: " + excerpt(inside);
      inside.remove_prefix(name.size());
      std::vector<std::string_view> names;
      while (!inside.empty()) { // ` name="value"`
        const std::size_t equals = inside.find("=\"");
        if (inside.front() != ' ' || equals == inside.npos) return "attribute: " + excerpt(inside);
        const std::size_t close = inside.find('"', equals + 2);
        if (close == inside.npos) return "attribute without end: " + excerpt(inside);
        const std::string_view attribute = inside.substr(1, equals - 1);
        if (attribute.empty() || attribute.find_first_of(" \"") != attribute.npos ||
            std::find(names.begin(), names.end(), attribute) != names.end())
          return "attribute: " + excerpt(inside);
        names.push_back(attribute);
        if (bad_text(inside.substr(equals + 2, close - equals - 2)))
          return "value: " + excerpt(inside);
        inside.remove_prefix(close + 1);
      }
      if (!empty) open.push_back(name);
    }
    xml.remove_prefix(end + 1);
  }
  if (!open.empty()) return open.back() + " is not closed";
  return root_seen ? "" : "no root";
}

} // namespace slat::vmm
