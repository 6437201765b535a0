#!/usr/bin/env python3
"""slat report in a browser: report_in_browser.py SLAT DIRECTORY

Records a run, makes pages of it and of results of benchmarks, and has Chromium draw them: light and dark, wide and as narrow
as a phone. What is on each page, and how large, a page says itself (report.js, #check). Screenshots and pages stay in
DIRECTORY, for people. Exit codes: 0, 1 with what is wrong, 77 where Chromium is not installed.
"""
import collections
import html.parser
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
RUN = ["{0}", "{0}-memory", "{0}-memory-map", "{0}-memory-stack", "{0}-series", "{0}-faults", "{0}-invalidations",
       "{0}-latency", "{0}-fault-latency", "{0}-invalidate-latency", "{0}-latency-map"]


def bench(name, factor, with_designs):
    figures, ratios = [], []
    for workload, ratio in [("lookup", 1.7), ("fault", 0.6), ("map-unmap", 3.1)]:
        for design in ["mmap-lock", "spf", "vma-rwsem", "vma-refcount"]:
            labels = {"workload": workload, "threads": 2}
            if with_designs:
                labels["design"] = design
            value = 1e6 * ratio
            figures.append({"name": f"{workload}/{design}", "unit": "operations/s", "median": value,
                            "min": value * 0.9, "max": value * 1.1, "labels": labels})
            if design != "mmap-lock":
                ratio *= factor
                ratios.append({"name": f"{workload}/{design}:mmap-lock", "median": ratio, "min": ratio * 0.9,
                               "max": ratio * 1.2, "better": "higher", "goal": 0.95, "labels": labels})
    return {"schema": "slat-bench/1", "bench": name, "version": "0", "host": {"cpus": 2}, "options": {"rounds": 3},
            "rounds": 3, "figures": figures, "ratios": ratios}


class RootAttributes(html.parser.HTMLParser):
    """The attributes of <html>."""

    def __init__(self):
        super().__init__()
        self.root = {}

    def handle_starttag(self, tag, attributes):
        if tag == "html":
            self.root = dict(attributes)


def pixels(path, most_lines):
    """A PNG of 8 bits a channel: its width, and its first lines of (red, green, blue)."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "no PNG"
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert depth == 8 and colour in (2, 6), "not RGB with 8 bits"
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    size = 3 if colour == 2 else 4
    raw, stride, before, lines = zlib.decompress(packed), width * size, bytearray(width * size), []
    for y in range(min(height, most_lines)):
        how, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for i in range(stride if how else 0):
            left = line[i - size] if i >= size else 0
            up, corner = before[i], before[i - size] if i >= size else 0
            if how == 1:
                guess = left
            elif how == 2:
                guess = up
            elif how == 3:
                guess = (left + up) // 2
            else:
                near = [(abs(up - corner), 0, left), (abs(left - corner), 1, up), (abs(left + up - 2 * corner), 2, corner)]
                guess = min(near)[2]
            line[i] = (line[i] + guess) & 255
        before = line
        lines.append([bytes(line[i:i + 3]) for i in range(0, stride, size)])
    return width, lines


# A window is no narrower than 500 pixels; a frame in it may be.
LEAST_WIDTH = 500
FRAME = """<!DOCTYPE html><html><head><meta name="color-scheme" content="light dark"><style>body {{ margin: 0; }}
iframe {{ border: 0; width: {width}px; height: {height}px; }}</style>
<script>addEventListener('message', (event) => {{
  document.documentElement.dataset.check = event.data;
  document.documentElement.dataset.ready = 'yes';
}});</script></head><body><iframe src="{page}"></iframe></body></html>"""


def load(browser, page, shot, width, height, dark):
    """The DOM after the script has run, and what the browser complained about."""
    with tempfile.TemporaryDirectory() as profile:
        url = page.as_uri() + "#check"
        if width < LEAST_WIDTH:
            frame = pathlib.Path(profile, "frame.html")
            frame.write_text(FRAME.format(width=width, height=height, page=url))
            url = frame.as_uri()
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                   "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
                   "--host-resolver-rules=MAP * ~NOTFOUND", "--force-device-scale-factor=1",
                   f"--user-data-dir={profile}", "--enable-logging=stderr", f"--window-size={max(width, LEAST_WIDTH)},{height}",
                   f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--screenshot={shot}", "--dump-dom",
                   url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    if done.returncode != 0:
        complaints.append(f"exit code {done.returncode}: {done.stderr[-500:]}")
    return done.stdout, complaints


def check(browser, page, shot, expected, width, height, dark):
    """What is wrong; empty if all is well."""
    dom, wrong = load(browser, page, shot, width, height, dark)
    parser = RootAttributes()
    parser.feed(dom)
    if parser.root.get("data-ready") != "yes":
        wrong.append("the script did not run to its end")
    if parser.root.get("data-errors"):
        wrong.append("script errors: " + parser.root["data-errors"])
    seen = json.loads(parser.root.get("data-check", "{}"))
    if not seen:
        return wrong + ["the page did not measure itself"]
    for name in expected:
        size = seen["sizes"].get(name)
        if size is None or size[0] < 100 or size[1] < 40:
            wrong.append(f"#{name}: {size} is not the size of something that is seen")
    if seen["width"] != width or seen["content"] > width:
        wrong.append(f"{seen['content']} pixels of content in a window of {seen['width']}, which should have {width}")
    if seen["dark"] != dark:
        wrong.append(f"dark is {seen['dark']}")
    if seen["errors"]:
        wrong.append("script errors: " + "; ".join(seen["errors"]))
    if seen["charts"] < len([name for name in expected if name.startswith("run-")]) / 2:
        wrong.append(f"{seen['charts']} charts")
    if not shot.exists():
        return wrong + ["no screenshot"]
    shown_width, lines = pixels(shot, 600)
    colours = collections.Counter(pixel for line in lines for pixel in line)
    most, times = colours.most_common(1)[0]
    if shown_width != max(width, LEAST_WIDTH) or len(colours) < 40 or times > 0.97 * width * len(lines):
        wrong.append(f"the screenshot is blank: {len(colours)} colours")
    if (sum(most) < 3 * 128) != dark:
        wrong.append(f"the background is {most.hex()}, dark is {dark}")
    return wrong


def main():
    slat, directory = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("skipped: chromium is not installed")
        return 77
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    subprocess.run([slat, "stress", "--accel", "soft", "--memory", "32M", "--seconds", "3", "--storm", "all",
                    "--record", directory / "run.json"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name, content in [("mmu", bench("mmu", 0.8, True)), ("mmu2", bench("mmu", 0.9, True)),
                          ("plain", bench("plain", 1.2, False))]:
        (directory / f"{name}.json").write_text(json.dumps(content))

    def page(name, files):
        path = directory / f"{name}.html"
        subprocess.run([slat, "report", "--output", path] + [directory / f"{file}.json" for file in files], check=True)
        return path

    one = [name.format("run-1") for name in RUN] + ["summary"]
    several = one + [name.format("run-2") for name in RUN] + ["bench-1", "bench-1-1-matrix", "bench-1-2-matrix",
                                                               "bench-1-ratios", "bench-2", "bench-2-ratios"]
    pages = [("one", page("one", ["run"]), one),
             ("several", page("several", ["run", "run", "mmu", "mmu2", "plain"]), several)]
    failed = 0
    for name, path, expected in pages:
        for width, height in [(1280, 2600), (400, 5600)]:
            for dark in [False, True]:
                what = f"{name}-{width}-{'dark' if dark else 'light'}"
                wrong = check(browser, path, directory / f"{what}.png", expected, width, height, dark)
                print(f"{what}: {'; '.join(wrong) or 'good'}", flush=True)
                failed += bool(wrong)

    # Each of these must be noticed.
    text = pages[0][1].read_text()
    for name, broken in [("error", text.replace("'use strict';", "'use strict';\nsetTimeout(() => undefined.x, 0);", 1)
                          .replace("root.dataset.ready", "undefined.y = root.dataset.ready")),
                         ("missing", text.replace('id="run-1-latency-map"', 'id="elsewhere"')),
                         ("hidden", text.replace("</style>", "#run-1-memory-map { display: none; }</style>")),
                         ("wide", text.replace("</style>", "h1 { min-width: 3000px; }</style>")),
                         ("blank", text.replace("</style>", "body { visibility: hidden; }</style>"))]:
        path = directory / f"broken-{name}.html"
        path.write_text(broken)
        wrong = check(browser, path, directory / f"broken-{name}.png", one, 1280, 1000, False)
        print(f"broken on purpose, {name}: {'; '.join(wrong) or 'NOT NOTICED'}", flush=True)
        failed += not wrong
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
