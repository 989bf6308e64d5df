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


def told(command):
    """What the page of a command tells under JSON, or of the events of monitor; with other pages that it names for it."""
    with open(os.path.join(MAN, "hslctl-%s.1" % command)) as f:
        page = re.sub(r"\\f[A-Z]|\\", "", f.read())
    part = page[page.index(".SH DESCRIPTION" if command == "monitor" else ".SH JSON"):page.index(".SH EXIT STATUS")]
    return part + "".join(told(other) for other in re.findall(r"As of hslctl (\w+)", part))


def untold(command, o):
    """Names in the JSON of a command that are not told."""
    return keys(o) - set(re.findall(r"\w+", told(command)))
