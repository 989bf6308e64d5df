# SPDX-License-Identifier: MIT
"""What hslctl prints as JSON, held against its manual pages."""

import os
import re

MAN = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tools/hslctl/man")


def keys(o):
    """Names of objects, but for those that are files or attributes of sysfs."""
    if isinstance(o, list):
        return set().union(*map(keys, o)) if o else set()
    if not isinstance(o, dict):
        return set()
    return set(o) | set().union(*(keys(v) for k, v in o.items() if k not in ("files", "limits", "memory")))


def untold(command, o):
    """Names in the JSON of a command that its page does not tell under JSON, or among the events of monitor."""
    with open(os.path.join(MAN, "hslctl-%s.1" % command)) as f:
        page = re.sub(r"\\f[A-Z]|\\", "", f.read())
    part = page[page.index(".SH DESCRIPTION" if command == "monitor" else ".SH JSON"):page.index(".SH EXIT STATUS")]
    return keys(o) - set(re.findall(r"\w+", part))
