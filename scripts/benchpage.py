# SPDX-License-Identifier: GPL-2.0-only
"""The page of a benchmark run: what scripts/bench wrote as build/bench.json, as one HTML file with charts.

Documentation/dev-tools/benchmark.rst describes the record. The page asks the network for nothing and runs no
script; it is well-formed XML too.
"""

import json
import math
from html import escape

from hslenv import Failure, read

FORMAT = 1

# What is drawn, in this order: title, unit and meaning of x, unit of y, scales, what to know, and each series with its label.
CHARTS = (
    ("Bandwidth over size", "bytes", "size of a copy or a read", "GB/s", "log2", "log",
     "The same 32 MiB in pieces, 8 in flight; memcpy() does one after the other. The disks have no medium, and are read.",
     (("bandwidth_hsl_iommu", "HSL, through the IOMMU"), ("bandwidth_hsl_hmm", "HSL, through the mirror"),
      ("bandwidth_host_memcpy", "memcpy() on the host"), ("bandwidth_guest_memcpy", "memcpy() in the guest"),
      ("bandwidth_nvme", "NVMe"), ("bandwidth_virtio_blk", "virtio-blk"))),
    ("Latency of 4 KiB, one at a time", "percent", "percentile", "us", "nines", "log",
     "From submission to the moment when the program sees the completion. Disks are read without a medium.",
     (("latency_copy_iommu", "HSL, through the IOMMU"), ("latency_copy_hmm", "HSL, through the mirror"),
      ("latency_nvme", "NVMe"), ("latency_virtio_blk", "virtio-blk"))),
    ("Latency of a page fault", "percent", "percentile", "us", "nines", "log",
     "The first touch of a page that is not there, by a device, with the submission and its completion, or by the CPU.",
     (("latency_fault_iommu", "HSL, through the IOMMU"), ("latency_fault_hmm", "HSL, through the mirror"),
      ("latency_fault_cpu", "the CPU"))),
    ("Scaling over queues", "queues", "queues of one context", "1/s", "log2", "linear",
     "Copies of 4 KiB, 32 in flight in each queue; all of them copy the same 32 MiB together.",
     (("throughput_queues", "all queues together"),)),
    ("Fairness between queues", "queues", "queues of one context", "", "log2", "linear",
     "Jain's index of what equal queues got while all had work waiting: 1 is the same for each.",
     (("fairness_queues", "Jain's index"),)),
    ("Scaling over contexts", "contexts", "contexts of one process, each with a queue", "1/s", "log2", "linear",
     "The same copies, 32 in flight in each context.",
     (("throughput_contexts", "all contexts together"),)),
    ("Kernel memory of an idle context", "contexts", "contexts of one process, each with a queue", "KiB", "log2", "linear",
     "What the control group is charged for all of them, by their number.",
     (("memory_contexts", "of one context"),)),
    ("Scaling over devices", "devices", "devices at work, each to the memory of the next", "GB/s", "linear", "linear",
     "Copies of 1 MiB over the links of a mesh, all devices at once.",
     (("bandwidth_devices", "all devices together"),)),
)

# Figures side by side: title, what to know, each with its label. Of one unit.
BARS = (
    ("Page faults of a long copy", "32 MiB into fresh memory, by the page.",
     (("fault_throughput_iommu", "HSL, through the IOMMU"), ("fault_throughput_hmm", "HSL, through the mirror"),
      ("cpu_fault_throughput", "the CPU"))),
    ("Cost of the first touch", "From mmap() to the device's first write in the middle of it, by the length of the memory.",
     (("first_touch_1m_cost_iommu", "IOMMU, 1 MiB"), ("first_touch_1g_cost_iommu", "IOMMU, 1 GiB"),
      ("first_touch_1m_cost_hmm", "mirror, 1 MiB"), ("first_touch_1g_cost_hmm", "mirror, 1 GiB"))),
)

# Name, unit, title, what to know
MATRICES = (
    ("p2p_matrix", "GB/s", "All pairs of devices",
     "From the memory of the line's device to that of the column's, by the line's, one pair at a time; 1 MiB, 8 in flight."),
)

# The same thing has the same colour in each chart; what is not here is alone in its own.
COLOURS = {"HSL, through the IOMMU": 0, "HSL, through the mirror": 1, "memcpy() on the host": 2, "the CPU": 2, "memcpy() in the guest": 3,
           "NVMe": 4, "virtio-blk": 5, "mirror, 1 MiB": 1, "mirror, 1 GiB": 1}
LESS_IS_BETTER = ("us", "ns/page", "KiB")


# ---------------------------------------------------------------- the record

def check(record, path):
    """The record, if it is one: what is wrong is said in one line."""
    def need(condition, what):
        if not condition:
            raise Failure("%s is no record of a benchmark: %s; make bench writes one" % (path, what))

    def is_number(v):
        return isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)

    need(isinstance(record, dict), "it is a JSON %s, not an object" % type(record).__name__)
    need(record.get("format") == FORMAT, "its format is %r, not %d" % (record.get("format"), FORMAT))
    need(isinstance(record.get("machine"), dict), "it has no machine")
    for part in ("figures", "series", "matrices"):
        need(isinstance(record.get(part), list) and all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in record[part]),
             "%s is not a list of objects with names" % part)
        names = [e["name"] for e in record[part]]
        need(len(set(names)) == len(names), "a name is twice in %s" % part)
    names = {f["name"] for f in record["figures"]}
    for f in record["figures"]:
        need(is_number(f.get("value")), "figure %s has no value" % f["name"])
        need(isinstance(f.get("unit"), str), "figure %s has no unit" % f["name"])
        need(f.get("vs") is None or f["vs"] in names, "figure %s is held against %r, which is not there" % (f["name"], f.get("vs")))
        need(f.get("ratio") is None or is_number(f["ratio"]), "the ratio of figure %s is no number" % f["name"])
        need(f.get("met") in (True, False, None), "figure %s is neither met nor missed" % f["name"])
        need(all(f.get(k) is None or isinstance(f[k], str) for k in ("target", "what")), "the target of figure %s is no text" % f["name"])
        need(isinstance(f.get("samples"), list) and f["samples"] and all(map(is_number, f["samples"])),
             "figure %s has no samples" % f["name"])
    for s in record["series"]:
        need(isinstance(s.get("x"), str) and isinstance(s.get("y"), str), "series %s has no units" % s["name"])
        need(isinstance(s.get("points"), list) and s["points"] and
             all(isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in s["points"]),
             "series %s has no points, which are pairs of numbers" % s["name"])
    for m in record["matrices"]:
        rows, columns, values = (m.get(k) for k in ("rows", "columns", "values"))
        need(isinstance(rows, list) and isinstance(columns, list) and isinstance(values, list) and values and
             len(values) == len(rows) and
             all(isinstance(line, list) and len(line) == len(columns) and all(map(is_number, line)) for line in values),
             "matrix %s is not as large as its rows and columns" % m["name"])
        need(isinstance(m.get("unit"), str), "matrix %s has no unit" % m["name"])
    return record


def load(path):
    try:
        record = json.loads(read(path))
    except OSError as e:
        raise Failure("%s: %s" % (path, e.strerror))
    except ValueError as e:
        raise Failure("%s is not JSON: %s; make bench writes such a file" % (path, e))
    return check(record, path)


def compare(figure, base):
    """How a figure has changed since an earlier one: (of the earlier value, "better", "worse" or ""). It is a change only if
    the two runs' samples do not overlap."""
    if not base or base["unit"] != figure["unit"]:
        return None, ""
    change = figure["value"] / base["value"] - 1 if base["value"] else (0.0 if not figure["value"] else None)
    if max(figure["samples"]) < min(base["samples"]):
        more = False
    elif min(figure["samples"]) > max(base["samples"]):
        more = True
    else:
        return change, ""
    less_is_better = figure["target"].startswith("<=") if figure.get("target") else figure["unit"] in LESS_IS_BETTER
    return change, "better" if more != less_is_better else "worse"


def number(v):
    return "%.0f" % v if abs(v) >= 1000 else "%.4g" % v


def size(v):
    for factor, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if v >= factor:
            return "%g %s" % (v / factor, name)
    return "%g" % v


def tick(v, unit):
    if unit == "bytes":
        return size(v)
    for factor, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(v) >= factor:
            return "%g%s" % (v / factor, name)
    return "%g" % v


# ---------------------------------------------------------------- drawing

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 30, 14, 48


class Scale:
    """Of values to places, with the ticks. Of nines: percents up to, not including, 100, with as much room from 90 to 99
    as from 99 to 99.9."""

    def __init__(self, kind, values, start, end):
        low, high = min(values), max(values)
        self.kind = kind if low > 0 and (kind != "nines" or high < 100) else "linear"
        if self.kind == "nines":
            self.ticks = [t for t in (1, 50, 75, 90, 95, 99, 99.9) if low <= t <= high] or [low]
        elif self.kind == "log2":
            exponents = range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
            self.ticks = [2.0 ** e for e in exponents]
            while len(self.ticks) > 9:
                self.ticks = self.ticks[::2]
        elif self.kind == "log":
            self.ticks = [10.0 ** e * m for e in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)]
            lower = max(t for t in self.ticks if t <= low)
            upper = min((t for t in self.ticks if t >= high), default=self.ticks[-1])
            self.ticks = [t for t in self.ticks if lower <= t <= upper]
            if len(self.ticks) > 12:
                low, high = min(lower, low), max(upper, high)
                self.ticks = [t for t in self.ticks if round(math.log10(t), 9).is_integer()]
        else:
            low = min(low, 0)
            step = 10.0 ** math.floor(math.log10((high - low) or 1))
            for part in (0.2, 0.5, 1, 2):
                if (high - low) / (step * part) <= 8:
                    step *= part
                    break
            first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
            self.ticks = [n * step for n in range(first, max(last, first + 1) + 1)]
        self.low, self.high = min(low, self.ticks[0]), max(high, self.ticks[-1])
        self.start, self.end = start, end

    def __call__(self, v):
        low, high = self.low, self.high
        if self.kind == "nines":
            low, high, v = (-math.log(1 - a / 100) for a in (low, high, v))
        elif self.kind != "linear":
            low, high, v = math.log(low), math.log(high), math.log(v)
        part = (v - low) / (high - low) if high > low else 0.5
        return self.start + part * (self.end - self.start)


EMPTY = ("br", "circle", "line", "polyline", "rect")


def tag(name, content="", **attributes):
    words = "".join(' %s="%s"' % (k.rstrip("_").replace("_", "-"), escape(str(v))) for k, v in attributes.items() if v is not None)
    return "<%s%s/>" % (name, words) if name in EMPTY and not content else "<%s%s>%s</%s>" % (name, words, content, name)


def place(v):
    return "%.1f" % v


def text(content, x, y, **attributes):
    return tag("text", escape(content), x=place(x), y=place(y), **attributes)


def table(head, rows, left=1):
    """Of cells that are text; those before @left are no numbers."""
    def line(cells, name):
        return tag("tr", "".join(tag(name, escape(c), class_="n" if i >= left else None) for i, c in enumerate(cells)))
    return tag("div", tag("table", tag("thead", line(head, "th")) + tag("tbody", "".join(line(r, "td") for r in rows))), class_="wide")


def section(title, note, drawing, head, rows, legend=""):
    return tag("section", tag("h2", escape(title)) + tag("p", escape(note), class_="note") + legend + drawing +
               tag("details", tag("summary", "numbers") + table(head, rows)))


def with_unit(name, unit):
    return "%s, %s" % (name, unit) if unit else name


def lines(chart, series, base):
    """A line for each series that is there, dashed one for the earlier run; "" if there is none."""
    title, x_unit, meaning, y_unit, x_kind, y_kind, note, members = chart
    here = [(COLOURS.get(label, 0), label, series[name]["points"], base[name]["points"] if name in base else [])
            for name, label in members if name in series]
    if not here:
        return ""
    both = [p for _, _, now, before in here for p in now + before]
    x = Scale(x_kind, [p[0] for p in both], LEFT, WIDTH - RIGHT)
    y = Scale(y_kind, [p[1] for p in both], HEIGHT - BOTTOM, TOP)
    out = []
    for v in y.ticks:
        out.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=place(y(v)), y2=place(y(v)), class_="grid"))
        out.append(text(tick(v, y_unit), LEFT - 8, y(v) + 4, text_anchor="end"))
    for v in x.ticks:
        out.append(tag("line", x1=place(x(v)), x2=place(x(v)), y1=TOP, y2=HEIGHT - BOTTOM, class_="grid"))
        out.append(text(tick(v, x_unit), x(v), HEIGHT - BOTTOM + 18, text_anchor="middle"))
    out.append(text(meaning, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, text_anchor="middle", class_="label"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(text(y_unit or "index", 14, middle, text_anchor="middle", class_="label", transform="rotate(-90 14 %s)" % place(middle)))
    for n, label, now, before in here:
        for points, name in ((before, "before"), (now, "now")):
            if points:
                out.append(tag("polyline", points=" ".join("%s,%s" % (place(x(a)), place(y(b))) for a, b in sorted(points)),
                               class_="%s c%d" % (name, n)))
        for a, b in now:
            where = size(a) if x_unit == "bytes" else "%g %s" % (a, x_unit)
            said = ("%s, %s: %s %s" % (label, where, number(b), y_unit)).strip()
            out.append(tag("circle", tag("title", escape(said)), cx=place(x(a)), cy=place(y(b)), r=3.5, class_="c%d" % n))
    drawing = tag("svg", tag("title", escape(title)) + "".join(out), viewBox="0 0 %d %d" % (WIDTH, HEIGHT), role="img")
    keys = [tag("span", tag("i", "", class_="c%d" % n) + escape(label)) for n, label, _, _ in here]
    if any(before for *_, before in here):
        keys.append(tag("span", "dashed: the earlier run"))
    head = [x_unit] + [with_unit(label, y_unit) for _, label, _, _ in here]
    columns = [dict(map(tuple, now)) for _, _, now, _ in here]
    for _, label, _, before in here:
        if before:
            head.append(label + ", earlier")
            columns.append(dict(map(tuple, before)))
    rows = [[tick(v, x_unit)] + [number(c[v]) if v in c else "" for c in columns] for v in sorted({p[0] for p in both})]
    return section(title, note, drawing, head, rows, tag("p", "".join(keys), class_="legend"))


def bars(chart, figures, base):
    title, note, members = chart
    here = [(COLOURS.get(label, 0), label, figures[name], base.get(name)) for name, label in members if name in figures]
    if not here:
        return ""
    left, step = 190, 34
    height = step * len(here) + 44
    unit = here[0][2]["unit"]
    x = Scale("linear", [0] + [f["value"] for _, _, f, _ in here] + [b["value"] for *_, b in here if b], left, WIDTH - 70)
    out = []
    for v in x.ticks:
        out.append(tag("line", x1=place(x(v)), x2=place(x(v)), y1=4, y2=height - 40, class_="grid"))
        out.append(text(tick(v, unit), x(v), height - 24, text_anchor="middle"))
    out.append(text(unit, (left + WIDTH - 70) / 2, height - 6, text_anchor="middle", class_="label"))
    for row, (n, label, f, b) in enumerate(here):
        top = 6 + row * step
        out.append(text(label, left - 8, top + 17, text_anchor="end"))
        out.append(tag("rect", tag("title", escape("%s: %s %s" % (label, number(f["value"]), unit))), x=left, y=top,
                       width=place(max(x(f["value"]) - left, 1)), height=24, class_="bar c%d" % n))
        if b:
            for name in ("around", "mark"):
                out.append(tag("line", x1=place(x(b["value"])), x2=place(x(b["value"])), y1=top - 2, y2=top + 26, class_=name))
        out.append(text(number(f["value"]), x(max(f["value"], b["value"] if b else 0)) + 6, top + 17))
    drawing = tag("svg", tag("title", escape(title)) + "".join(out), viewBox="0 0 %d %d" % (WIDTH, height), role="img")
    earlier = any(b for *_, b in here)
    head = ["", unit] + (["earlier"] if earlier else [])
    rows = [[label, number(f["value"])] + ([number(b["value"]) if b else ""] if earlier else []) for _, label, f, b in here]
    return section(title, note + (" The line is the earlier run." if earlier else ""), drawing, head, rows)


def shade(part):
    """From pale to dark blue, the same on a light and a dark page, and the colour that is read on it."""
    low, high = (232, 241, 251), (11, 79, 138)
    return "#%02x%02x%02x" % tuple(round(a + (b - a) * part) for a, b in zip(low, high)), "#fff" if part > 0.5 else "#111"


def heat_map(title, note, matrix):
    rows, columns, values = matrix["rows"], matrix["columns"], matrix["values"]
    low, high = min(map(min, values)), max(map(max, values))
    left, top, wide, tall = 90, 42, 78, 34
    out = [text("to", left + wide * len(columns) / 2, 14, text_anchor="middle", class_="label"),
           text("from", 4, top + tall * len(rows) / 2 + 4, class_="label")]
    out += [text(str(c), left + wide * (n + 0.5), 34, text_anchor="middle") for n, c in enumerate(columns)]
    for a, (name, line) in enumerate(zip(rows, values)):
        out.append(text(str(name), left - 8, top + tall * (a + 0.5) + 4, text_anchor="end"))
        for b, v in enumerate(line):
            back, front = shade((v - low) / (high - low) if high > low else 0)
            out.append(tag("rect", tag("title", escape("%s to %s: %s %s" % (name, columns[b], number(v), matrix["unit"]))),
                           x=left + wide * b, y=top + tall * a, width=wide - 2, height=tall - 2, fill=back))
            out.append(text("%.3g" % v, left + wide * (b + 0.5) - 1, top + tall * (a + 0.5) + 4, text_anchor="middle", style="fill:" + front))
    drawing = tag("svg", tag("title", escape(title)) + "".join(out),
                  viewBox="0 0 %d %d" % (left + wide * len(columns) + 8, top + tall * len(rows) + 4), role="img")
    return section(title, note + (" In %s." % matrix["unit"] if matrix["unit"] else ""), drawing, ["from \\ to"] + [str(c) for c in columns],
                   [[str(name)] + [number(v) for v in line] for name, line in zip(rows, values)])


# ---------------------------------------------------------------- the page

STYLE = """
:root { color-scheme: light dark; --back: #fff; --front: #1a1a1a; --soft: #666; --grid: #ddd; --bad: #b00020; --good: #1b6e2c;
  --c0: #0b66b5; --c1: #d1491b; --c2: #333; --c3: #7a5cc0; --c4: #1b8a5a; --c5: #a8790a; }
@media (prefers-color-scheme: dark) { :root { --back: #15181c; --front: #e6e6e6; --soft: #a0a0a0; --grid: #34393f; --bad: #ff7b87;
  --good: #7bd88f; --c0: #62b0f5; --c1: #ff8a5c; --c2: #ddd; --c3: #b8a1f2; --c4: #5fd3a0; --c5: #e2b64a; } }
body { background: var(--back); color: var(--front); font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .2rem; }
.note { color: var(--soft); margin: .2rem 0 .5rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid var(--grid); vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.missed, .worse { color: var(--bad); font-weight: 600; } .met, .better { color: var(--good); }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--front); font-size: 12px; } svg .label { fill: var(--soft); }
.grid { stroke: var(--grid); stroke-width: 1; } .mark { stroke: var(--front); stroke-width: 2; } .around { stroke: var(--back); stroke-width: 5; }
polyline { fill: none; stroke-width: 2; } polyline.before { stroke-dasharray: 5 5; opacity: .6; }
.legend span { margin-right: 1.2rem; white-space: nowrap; } .legend i { display: inline-block; width: .9rem; height: .9rem; margin-right: .4rem;
  vertical-align: -.1rem; border-radius: 2px; } details { margin: .4rem 0; } summary { cursor: pointer; color: var(--soft); }
""" + "".join("polyline.c%d { stroke: var(--c%d); } circle.c%d, .bar.c%d { fill: var(--c%d); } i.c%d { background: var(--c%d); }\n" % ((n,) * 7)
              for n in range(6))


def figures_table(figures, shown, base, earlier):
    rows = []
    for f in shown:
        met = {True: "met", False: "MISSED", None: ""}[f.get("met")]
        vs = next((o for o in figures if o["name"] == f.get("vs")), None)
        cells = [tag("td", tag("code", escape(f["name"])) + ("<br/>" + tag("small", escape(f["what"])) if f.get("what") else "")),
                 tag("td", escape(number(f["value"]) + " " + f["unit"]), class_="n", title="%s to %s in %d samples" %
                     (number(min(f["samples"])), number(max(f["samples"])), len(f["samples"]))),
                 tag("td", escape(number(vs["value"])) if vs else "", class_="n", title=vs and vs["name"]),
                 tag("td", escape(number(f["ratio"])) if f.get("ratio") is not None else "", class_="n"),
                 tag("td", escape(f.get("target") or ""), class_="n"),
                 tag("td", met, class_=met.lower() or None)]
        if earlier:
            before = base.get(f["name"])
            change, word = compare(f, before)
            cells += [tag("td", escape(number(before["value"])) if before else "", class_="n"),
                      tag("td", "%+.1f %%" % (100 * change) if change is not None else "", class_="n"),
                      tag("td", word, class_=word or None)]
        rows.append(tag("tr", "".join(cells)))
    head = ["figure", "median", "held against", "ratio", "target", ""] + (["earlier", "change", ""] if earlier else [])
    return tag("div", tag("table", tag("thead", tag("tr", "".join(tag("th", h) for h in head))) + tag("tbody", "".join(rows))), class_="wide")


def page(record, base=None):
    """HTML of a record that check() let through, with an earlier one beside it."""
    def by_name(r, part):
        return {e["name"]: e for e in r[part]} if r else {}
    figures, before = by_name(record, "figures"), by_name(base, "figures")
    machine = record["machine"]
    missed = [f["name"] for f in record["figures"] if f.get("met") is False]
    judged = sum(f.get("met") is not None for f in record["figures"])
    out = [tag("h1", "HSL stack: benchmark")]
    out.append(tag("p", "%d of %d targets are met.%s" % (judged - len(missed), judged, " Missed: %s." % escape(", ".join(missed)) if missed else ""),
                   class_="missed" if missed else "met"))
    head = ["", "this run"] + (["the earlier run"] if base else [])
    keys = list(machine) + [k for k in (base["machine"] if base else {}) if k not in machine]
    out.append(table(head, [[k.replace("_", " "), str(machine.get(k, ""))] + ([str(base["machine"].get(k, ""))] if base else []) for k in keys], 9))
    out.append(tag("h2", "Figures"))
    out.append(tag("p", "Each is the median of its samples; the ratio is to what it is held against, and a target is of the ratio "
                   "where there is one." + (" A change is called better or worse only where the samples of the two runs do not overlap." if base else ""), class_="note"))
    out.append(figures_table(record["figures"], [f for f in record["figures"] if f.get("target")], before, base))
    rest = [f for f in record["figures"] if not f.get("target")]
    if rest:
        out.append(tag("details", tag("summary", "what they are held against") + figures_table(record["figures"], rest, before, base)))
    gone = [name for name in before if name not in figures]
    if gone:
        out.append(tag("p", escape("Only in the earlier run: %s." % ", ".join(gone)), class_="note"))
    series, series_before = by_name(record, "series"), by_name(base, "series")
    for n, chart in enumerate(CHARTS):
        out.append(lines(chart, series, series_before))
        if n == 2:
            out += [bars(b, figures, before) for b in BARS]
    matrices = by_name(record, "matrices")
    out += [heat_map(title, note, matrices[name]) for name, _, title, note in MATRICES if name in matrices]
    return ("<!DOCTYPE html>\n" + tag("html", tag("head", '<meta charset="utf-8"/><meta name="viewport" content="width=device-width"/>' +
                                                tag("title", "HSL stack: benchmark") + tag("style", STYLE)) +
                                      tag("body", "\n".join(filter(None, out))), lang="en", xmlns="http://www.w3.org/1999/xhtml") + "\n")
