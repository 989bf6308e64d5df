# SPDX-License-Identifier: GPL-2.0-only
"""What scripts/setup, scripts/vm and scripts/check share: places, messages, locks, long commands."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build")
SCRIPTS = os.path.join(ROOT, "scripts")
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hsl")

# Set by scripts/coverage: the folder for the counts of a module and a device that count how often their lines run.
COVERAGE = os.environ.get("HSL_COVERAGE")


class Failure(Exception):
    """One clear line for the user; whoever catches it at the top prints it and exits 1."""


def say(text):
    print("hsl: " + text, file=sys.stderr, flush=True)


def cache(*parts):
    return os.path.join(CACHE, *parts)


def qemu_binary():
    return os.path.join(BUILD, "coverage/qemu" if COVERAGE else "", "qemu-system-x86_64")


def qemu_env():
    """For QEMU, on top of our own: where its device writes the counts when it ends."""
    if not COVERAGE:
        return {}
    return {"GCOV_PREFIX": os.path.join(COVERAGE, "device"), "GCOV_PREFIX_STRIP": str(os.path.join(BUILD, "coverage/qemu").count("/"))}


def read(path, mode="r"):
    with open(path, mode) as f:
        return f.read()


def write_atomically(path, data):
    """The file is there whole or not at all, also after a crash."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    tmp = "%s.tmp.%d" % (path, os.getpid())
    with open(tmp, "wb" if isinstance(data, bytes) else "w") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    os.rename(tmp, path)


def sha256_file(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def key_of(*parts):
    """Twelve hex digits that change when any of the parts does."""
    h = hashlib.sha256()
    for p in parts:
        p = p if isinstance(p, bytes) else str(p).encode()
        h.update(b"%d:" % len(p) + p)
    return h.hexdigest()[:12]


def remove_tree(path):
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        shutil.rmtree(path)


@contextlib.contextmanager
def fresh_dir(final):
    """Fill a temporary directory; it gets its name only when the block ends without an error."""
    os.makedirs(os.path.dirname(final), exist_ok=True)
    tmp = final + ".part"
    remove_tree(tmp)            # left over from an interrupted run; we hold the lock
    os.mkdir(tmp)
    try:
        yield tmp
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    remove_tree(final)
    os.rename(tmp, final)


def point(link, target):
    """build/NAME -> target, replaced in one step."""
    os.makedirs(os.path.dirname(link), exist_ok=True)
    if os.path.islink(link) and os.readlink(link) == target:
        return
    if os.path.isdir(link) and not os.path.islink(link):
        shutil.rmtree(link)
    tmp = "%s.tmp.%d" % (link, os.getpid())
    with contextlib.suppress(FileNotFoundError):
        os.unlink(tmp)
    os.symlink(target, tmp)
    os.rename(tmp, link)


# Build steps inherit the lock: if we are killed outright, it is held until they are gone too.
_held = []


@contextlib.contextmanager
def lock(what):
    """One at a time per cache and thing to build; a second one waits and says so."""
    try:
        os.makedirs(cache("locks"), exist_ok=True)
        f = open(cache("locks", what), "a+")
    except OSError as e:
        raise Failure("cannot use the cache %s: %s; set XDG_CACHE_HOME to a place you can write"
                      % (CACHE, e.strerror))
    with f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            f.seek(0)
            say("another set-up is working on %s (process %s); waiting for it" % (what, f.read().strip() or "unknown"))
            fcntl.flock(f, fcntl.LOCK_EX)
        f.seek(0)
        f.truncate()
        f.write(str(os.getpid()))
        f.flush()
        _held.append(f.fileno())
        try:
            yield
        finally:
            _held.remove(f.fileno())


def need_space(where, gigabytes, what):
    os.makedirs(where, exist_ok=True)
    free = shutil.disk_usage(where).free / 1e9
    if free < gigabytes:
        raise Failure("%s needs about %.1f GB in %s and %.1f GB are free; make room or set XDG_CACHE_HOME to another disk"
                      % (what, gigabytes, where, free))


class Progress:
    """One line that is rewritten on a terminal; elsewhere a line now and then."""

    EVERY = 15

    def __init__(self, what):
        self.what, self.start, self.tty = what, time.monotonic(), sys.stderr.isatty()
        self.last = self.start if not self.tty else 0
        say(what)

    def show(self, text):
        now = time.monotonic()
        if self.tty:
            if now - self.last < 0.2:
                return
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r\033[K" + ("hsl: %s: %s" % (self.what, text))[:width])
            sys.stderr.flush()
        else:
            if now - self.last < self.EVERY:
                return
            say("%s: %s" % (self.what, text))
        self.last = now

    def done(self):
        if self.tty:
            sys.stderr.write("\r\033[K")
        say("%s: done in %s" % (self.what, duration(time.monotonic() - self.start)))

    def left(self, part):
        """A guess from how long this part of the whole took."""
        t = time.monotonic() - self.start
        return "about %s left" % duration(t / part * (1 - part)) if part > 0.03 and t > 3 else "time left not known yet"


def duration(seconds):
    return "%d min %02d s" % divmod(int(seconds), 60) if seconds >= 60 else "%d s" % seconds


_NO_SPACE = re.compile(r"No space left on device")


def run_long(what, argv, log, on_line, env=None, cwd=None):
    """Run a build step: its output goes to a log, every line also to on_line(progress, line)."""
    progress = Progress(what)
    os.makedirs(os.path.dirname(log), exist_ok=True)
    tail = []
    with open(log, "a") as out:
        out.write("\n$ %s\n" % " ".join(argv))
        out.flush()
        p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                             env=env, cwd=cwd, text=True, errors="replace", start_new_session=True,
                             pass_fds=tuple(_held))
        try:
            for line in p.stdout:
                out.write(line)
                tail = (tail + [line.rstrip()])[-200:]
                on_line(progress, line.rstrip("\n"))
            status = p.wait()
        except BaseException:
            # Our interruption must reach the whole build, not only make or ninja.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    p.wait(10)
                os.killpg(p.pid, signal.SIGKILL)
            raise
    if status:
        if progress.tty:
            sys.stderr.write("\r\033[K")
        if any(_NO_SPACE.search(t) for t in tail):
            raise Failure("%s: no space left on the disk; make room (the cache is %s) and run it again" % (what, CACHE))
        wrong = [t for t in tail if re.search(r"\berror\b|Error |ERROR|FAILED|undefined reference|No rule", t)] or tail[-5:]
        for t in wrong[:12]:
            print("    " + t, file=sys.stderr)
        raise Failure("%s failed; the whole output is in %s" % (what, log))
    progress.done()


def output_of(argv, **kw):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, **kw).stdout


def stop_on_signals():
    """SIGTERM and SIGHUP take the same way out as Ctrl-C."""
    def stop(num, _frame):
        raise KeyboardInterrupt
    for s in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, stop)


def main(body):
    """Run a program's body: one line for what the user can do something about, no tracebacks for it."""
    stop_on_signals()
    try:
        sys.exit(body())
    except Failure as e:
        say("error: %s" % e)
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted; run it again to go on where it stopped")
        sys.exit(130)
    except OSError as e:
        if e.errno == 28:
            say("error: no space left on the disk; make room (the cache is %s) and run it again" % CACHE)
            sys.exit(1)
        raise
