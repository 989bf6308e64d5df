# SPDX-License-Identifier: GPL-2.0-only
"""A guest with QEMU's monitor beside it, for what can happen to a device from outside."""

import json
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from hslenv import BUILD, ROOT, SCRIPTS

BOUND = 60          # seconds that nothing here takes
SHELL = 'echo ready; while read -r line; do eval "$line"; echo "status $?"; done'


class Guest:
    """A shell in the guest that takes commands one by one, and QEMU's monitor beside it."""

    def __init__(self, *options):
        self.vm = subprocess.Popen(
            [os.path.join(SCRIPTS, "vm"), "--qmp", "--timeout", "600", *options, "--", "/bin/bash", "-c", SHELL],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.expect("ready")
        self.monitor = socket.socket(socket.AF_UNIX)
        self.monitor.settimeout(BOUND)
        self.monitor.connect(os.path.join(BUILD, "vm", "qmp-%d.sock" % self.vm.pid))
        self.answers = self.monitor.makefile("r")
        self.answers.readline()
        self.qmp("qmp_capabilities")

    def expect(self, word):
        for line in self.vm.stdout:
            if line.startswith(word):
                return line.split()
        raise RuntimeError("the guest ended")

    def run(self, command):
        self.vm.stdin.write(command + "\n")
        self.vm.stdin.flush()
        return int(self.expect("status")[1])

    def comes_true(self, command):
        end = time.monotonic() + BOUND
        while self.run(command):
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def qmp(self, command, **arguments):
        self.monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        for line in self.answers:
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError("%s: %s" % (command, answer["error"]["desc"]))
            if "return" in answer:
                return answer["return"]
        raise RuntimeError("QEMU ended")

    def end(self):
        self.vm.stdin.close()
        return self.vm.wait(BOUND)


def run_tests(tests, *options):
    """Each (name, function of the guest) in turn, in one guest, as TAP; the exit status."""
    print("TAP version 13\n1..%d" % (len(tests) + 1), flush=True)
    g, bad = Guest(*options), 0
    for n, (name, test) in enumerate(tests, 1):
        try:
            ok = test(g)
        except (RuntimeError, OSError) as e:
            print("# %s" % e)
            ok = False
        bad += not ok
        print("%s %d %s" % ("ok" if ok else "not ok", n, name), flush=True)
    status = g.end()
    bad += status != 0
    print("%s %d the guest's log stayed clean" % ("not ok" if status else "ok", len(tests) + 1))
    return 1 if bad else 0
