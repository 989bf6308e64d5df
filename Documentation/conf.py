# SPDX-License-Identifier: GPL-2.0-only
"""Sphinx's configuration; `make docs` runs it. kernel-doc is that of the kernel's own source."""

import os
import re
import sys

from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging

logger = logging.getLogger(__name__)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LINUX = os.path.realpath(os.environ.get("KERNEL_SRC") or os.path.join(ROOT, "build/linux-src"))
if not os.path.exists(os.path.join(LINUX, "Documentation/sphinx/kerneldoc.py")):
    raise SystemExit("there is no kernel source with kernel-doc in %s: run scripts/setup linux-src, or set KERNEL_SRC" % LINUX)

sys.dont_write_bytecode = True      # nothing of ours goes into the kernel's source
sys.path.insert(0, os.path.join(LINUX, "Documentation/sphinx"))
os.environ["srctree"] = LINUX       # where kerneldoc.py looks for its parser
kerneldoc_srctree = ROOT
extensions = ["kerneldoc"]

project = "HSL stack"
html_title = "HSL stack"
html_show_copyright = False
html_theme = "alabaster"
html_theme_options = {"description": "an open HSL-like endpoint and its Linux stack", "page_width": "1100px",
                      "sidebar_width": "260px", "fixed_sidebar": True}
html_copy_source = False
root_doc = "index"
exclude_patterns = ["ABI"]          # not reStructuredText; admin-guide/sysfs.rst has it
highlight_language = "none"
primary_domain = "c"


def link_pages(app, doctree):
    """A page that is named by its file is a link to it, as in the kernel's documentation."""
    for text in list(doctree.findall(nodes.Text)):
        if isinstance(text.parent, (nodes.FixedTextElement, nodes.literal, nodes.reference, addnodes.pending_xref)):
            continue
        parts, end = [], 0
        for m in re.finditer(r"(?<![\w/.])(Documentation/)?([\w/-]+)\.rst\b", text):
            page = m[2] if m[1] else os.path.join(os.path.dirname(app.env.docname), m[2])
            # As another page has it, whose words are quoted
            same = [d for d in app.env.found_docs if os.path.basename(d) == m[2]]
            if page not in app.env.found_docs and not m[1] and len(same) == 1:
                page = same[0]
            if page not in app.env.found_docs:
                logger.warning("there is no page %s", m[0], location=text.parent)
                continue
            link = addnodes.pending_xref("", nodes.inline("", m[0]), refdomain="std", reftype="doc",
                                         reftarget="/" + page, refdoc=app.env.docname, refexplicit=True)
            parts += [nodes.Text(text[end:m.start()]), link]
            end = m.end()
        if parts:
            text.parent.replace(text, parts + [nodes.Text(text[end:])])


def setup(app):
    app.connect("doctree-read", link_pages)
