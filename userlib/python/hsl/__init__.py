# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
"""HSL devices from Python: libhsl, on buffers where they lie.

    import hsl, numpy as np

    with hsl.open("cpu") as device, device.queue() as q:
        src = np.arange(1000000, dtype=np.float32)
        dst = np.empty_like(src)
        q.copy(dst, src)                        # one operation, done on return

        a = q.prep_copy(dst[:500000], src[:500000], user_data="first half")
        q.prep_copy(dst[500000:], src[500000:], user_data="second half")
        q.submit()
        for done in q.completions():            # as they come, in any order
            done.check()
            print(done.user_data, done.bytes)

A buffer is anything with the buffer protocol whose bytes lie in one piece: bytearray, memoryview, array,
mmap, ctypes, a contiguous NumPy array. The device works on its memory; nothing is copied on the way. What an
operation under way uses is kept alive, and a bytearray cannot be resized, until its completion is taken or
the queue closed.

What fails raises hsl.Error, an OSError with libhsl's words. An operation that fails says so in its
completion: Completion.check() raises, the calls that wait do so themselves.

A queue is for one thread at a time, as in C. While a call waits other threads run. After a fork the child
opens the device for itself.
"""

import ctypes
import enum
import errno as _errno
import mmap as _mmap
import operator
import time
import weakref

from . import _abi

__all__ = ["Completion", "Device", "Error", "Event", "Op", "Queue", "QueueError", "ROUTE_LINK", "ROUTE_PCIE",
           "ROUTE_VIA_HOST", "Status", "Sva", "Where", "open"]


def _enum(name, c_name, prefix):
    return enum.IntEnum(name, {k[len(prefix):]: v for k, v in _abi.ENUMS[c_name].items() if not k.endswith("_NR")})


Op = _enum("Op", "hsl_op", "HSL_OP_")
Status = _enum("Status", "hsl_status", "HSL_ST_")
QueueError = _enum("QueueError", "hsl_q_error", "HSL_QERR_")
Sva = _enum("Sva", "hsl_sva", "HSL_SVA_")
Where = _enum("Where", "hsl_where", "HSL_WHERE_")
ROUTE_LINK, ROUTE_PCIE, ROUTE_VIA_HOST = _abi.HSL_ROUTE_LINK, _abi.HSL_ROUTE_PCIE, _abi.HSL_ROUTE_VIA_HOST
_Counter = _enum("Counter", "hsl_counter", "HSL_CNT_")
_EventType = _enum("EventType", "hsl_event_type", "HSL_EV_")
_State = _enum("State", "hsl_q_state", "HSL_Q_")


def _load():
    lib = ctypes.CDLL("libhsl-ffi.so.%d" % _abi.HSL_LIB_MAJOR)
    for name, (result, arguments) in _abi.FUNCTIONS.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


_lib = _load()


class Error(OSError):
    """A call or an operation failed: errno, and what libhsl says of it."""

    def __init__(self, err, what=None):
        text = _lib.hsl_strerror(err).decode()
        super().__init__(abs(err), "%s: %s" % (what, text) if what else text)


def _check(result):
    if result < 0:
        raise Error(result)
    return result


# Buffers: the interpreter's own structure, for read-only ones too, which ctypes gives no address of.

class _PyBuffer(ctypes.Structure):
    _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("len", ctypes.c_ssize_t),
                ("itemsize", ctypes.c_ssize_t), ("readonly", ctypes.c_int), ("ndim", ctypes.c_int),
                ("format", ctypes.c_char_p), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
                ("suboffsets", ctypes.c_void_p), ("internal", ctypes.c_void_p)]


_WRITABLE, _CONTIGUOUS = 0x0001, 0x0020 | 0x0018       # PyBUF_WRITABLE, PyBUF_C_CONTIGUOUS
_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int]
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [ctypes.POINTER(_PyBuffer)]
_release_buffer.restype = None


class _Buffer:
    """The memory of an object, which stays where it is as long as this lives."""

    def __init__(self, owner, writable):
        self._view = None
        view = _PyBuffer()
        try:
            _get_buffer(owner, ctypes.byref(view), _CONTIGUOUS | (_WRITABLE if writable else 0))
        except (BufferError, ValueError) as e:
            raise BufferError("%s: the device needs memory in one piece%s" %
                              (e, " that may be written" if writable else "")) from None
        self._view, self.address, self.size = view, view.buf, view.len

    def __del__(self):
        if self._view is not None:
            _release_buffer(ctypes.byref(self._view))


def _same_size(a, b):
    if a.size != b.size:
        raise ValueError("the buffers are of %d and %d bytes" % (a.size, b.size))


def _pattern(value):
    """Eight bytes: of an integer of 64 bits, or of 1, 2, 4 or 8 bytes repeated."""
    try:
        # Of bytes() an integer, NumPy's too, would get so many zeros.
        return operator.index(value) & 0xffffffffffffffff
    except TypeError:
        value = bytes(value)
    if len(value) not in (1, 2, 4, 8):
        raise ValueError("a pattern has 1, 2, 4 or 8 bytes, not %d" % len(value))
    return int.from_bytes(value * (8 // len(value)), "little")


class Completion:
    """What came of an operation: status (hsl.Status), result, bytes done, and where it failed: address, and
    whether it was a write there. user_data is what was given with the operation."""

    __slots__ = ("user_data", "status", "result", "bytes", "address", "write", "backward")

    def __init__(self, cqe, user_data):
        self.user_data = user_data
        self.status = Status(cqe.status)
        self.result, self.bytes = cqe.result, cqe.bytes
        self.address = cqe.addr if cqe.status else None
        self.write = bool(cqe.access & _abi.HSL_ACCESS_WRITE)
        self.backward = bool(cqe.access & _abi.HSL_ACCESS_BACKWARD)

    @property
    def ok(self):
        return self.status == Status.OK

    def check(self):
        """Raise hsl.Error unless it is OK; else itself."""
        if not self.ok:
            where = " at %#x after %d bytes" % (self.address, self.bytes) if self.status >= Status.PAGE_FAULT else ""
            raise Error(_lib.hsl_status_errno(self.status), _lib.hsl_strstatus(self.status).decode() + where)
        return self

    def __repr__(self):
        return "<Completion %s result=%d bytes=%d user_data=%r>" % (self.status.name, self.result, self.bytes, self.user_data)


class Event:
    """A record of the device: kind ("PAGE_FAULT", "QUEUE_ERROR", "LINK"), code as that has it, queue, address."""

    __slots__ = ("kind", "code", "queue", "address", "write", "time_ns")

    def __init__(self, e):
        self.kind = _EventType(e.type).name
        self.code = {"QUEUE_ERROR": QueueError, "PAGE_FAULT": Status}.get(self.kind, int)(e.code)
        self.queue, self.address, self.time_ns = e.queue, e.addr, e.time_ns
        self.write = bool(e.access & _abi.HSL_ACCESS_WRITE)

    def __repr__(self):
        return "<Event %s %r queue=%d address=%#x>" % (self.kind, self.code, self.queue, self.address)


class _Closing:
    """Closed by `with`, close(), or when nobody has it any more."""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __del__(self):
        # The interpreter may be half gone.
        if getattr(self, "_handle", None) and _lib is not None:
            self.close()


class Queue(_Closing):
    """Made by Device.queue(). Calls without prep_ are done on return and want nothing else in flight."""

    def __init__(self, device, opts):
        self._handle = None
        self._device = device
        self._under_way = {}            # number of a descriptor: its buffers and user_data
        self._number = 0
        self._torn = False
        handle = ctypes.c_void_p()
        _check(_lib.hsl_queue_create(device._open(), ctypes.byref(opts), ctypes.byref(handle)))
        self._handle = handle.value
        device._queues.add(self)

    def close(self):
        """Operations in flight end somewhere and do not complete."""
        if self._handle:
            # Collected together with its device, which has gone first and taken the queue with it
            if self._device._handle:
                _lib.hsl_queue_destroy(self._handle)
            self._forget()

    def _forget(self):
        self._handle = None
        self._under_way.clear()
        self._device._queues.discard(self)

    def _open(self):
        if not self._handle:
            raise ValueError("the queue is closed")
        return self._handle

    # One operation at a time

    def copy(self, dst, src):
        """dst[:] = src, by memmove()."""
        dst, src = _Buffer(dst, True), _Buffer(src, False)
        _same_size(dst, src)
        _check(_lib.hsl_copy(self._open(), dst.address, src.address, src.size))

    def fill(self, dst, pattern):
        """Repeat a pattern: an integer of 64 bits, lowest byte first, or 1, 2, 4 or 8 bytes."""
        dst = _Buffer(dst, True)
        _check(_lib.hsl_fill(self._open(), dst.address, _pattern(pattern), dst.size))

    def compare(self, a, b):
        """The offset of the first byte that differs, None if none does."""
        a, b = _Buffer(a, False), _Buffer(b, False)
        _same_size(a, b)
        differs = ctypes.c_size_t()
        _check(_lib.hsl_compare(self._open(), a.address, b.address, a.size, ctypes.byref(differs)))
        return differs.value if differs.value < a.size else None

    def crc32c(self, data, crc=0):
        """The CRC-32C of data, going on from crc."""
        data = _Buffer(data, False)
        value = ctypes.c_uint32(crc)
        _check(_lib.hsl_crc32c(self._open(), data.address, data.size, ctypes.byref(value)))
        return value.value

    # Many at a time

    def _prepare(self, prep, arguments, buffers, user_data, fence):
        # A descriptor that is taken has to be filled: nothing of this can be refused, but Ctrl-C comes between lines.
        queue, self._torn = self._whole(), True
        desc = _lib.hsl_get_desc(queue)
        if not desc:
            self._torn = False
            raise Error(_errno.EAGAIN, "the queue is full: submit, and take completions")
        prep(desc, *arguments)
        if fence:
            _lib.hsl_desc_set_flags(desc, _abi.HSL_DESC_F_FENCE)
        self._number += 1
        _lib.hsl_desc_set_user_data(desc, self._number)
        self._under_way[self._number] = (buffers, user_data)
        self._torn = False

    def _whole(self):
        if self._torn:
            raise ValueError("a prep_ call was interrupted: close the queue and make another")
        return self._open()

    def prep_nop(self, user_data=None, fence=False):
        self._prepare(_lib.hsl_prep_nop, (), (), user_data, fence)

    def prep_fence(self, user_data=None):
        """Ends after all before it, and before anything after it starts."""
        self._prepare(_lib.hsl_prep_fence, (), (), user_data, False)

    def prep_copy(self, dst, src, user_data=None, fence=False):
        """fence: start when all earlier ones have ended."""
        dst, src = _Buffer(dst, True), _Buffer(src, False)
        _same_size(dst, src)
        self._prepare(_lib.hsl_prep_copy, (dst.address, src.address, self._device._length(src)), (dst, src), user_data, fence)

    def prep_fill(self, dst, pattern, user_data=None, fence=False):
        dst = _Buffer(dst, True)
        self._prepare(_lib.hsl_prep_fill, (dst.address, _pattern(pattern), self._device._length(dst)), (dst,), user_data, fence)

    def prep_compare(self, a, b, user_data=None, fence=False):
        """Completion.result: the offset of the first byte that differs, or the length."""
        a, b = _Buffer(a, False), _Buffer(b, False)
        _same_size(a, b)
        self._prepare(_lib.hsl_prep_compare, (a.address, b.address, self._device._length(a)), (a, b), user_data, fence)

    def prep_crc32c(self, data, crc=0, user_data=None, fence=False):
        """Completion.result: the CRC."""
        data = _Buffer(data, False)
        arguments = data.address, self._device._length(data), crc & 0xffffffff
        self._prepare(_lib.hsl_prep_crc32c, arguments, (data,), user_data, fence)

    def _prepare_atomic(self, prep, dst, operands, user_data, fence):
        dst = _Buffer(dst, True)
        if dst.size not in (4, 8) or dst.address % dst.size:
            raise ValueError("an atomic is of 4 or 8 bytes that are aligned, as in array[n:n + 1]")
        operands = [int(o) & 0xffffffffffffffff for o in operands]
        self._prepare(prep, (dst.address, dst.size, *operands), (dst,), user_data, fence)

    def prep_atomic_add(self, dst, value, user_data=None, fence=False):
        """dst is of 4 or 8 aligned bytes; Completion.result: what was there before. As the next two."""
        self._prepare_atomic(_lib.hsl_prep_atomic_add, dst, (value,), user_data, fence)

    def prep_atomic_swap(self, dst, value, user_data=None, fence=False):
        self._prepare_atomic(_lib.hsl_prep_atomic_swap, dst, (value,), user_data, fence)

    def prep_atomic_cas(self, dst, expected, desired, user_data=None, fence=False):
        self._prepare_atomic(_lib.hsl_prep_atomic_cas, dst, (expected, desired), user_data, fence)

    def prep_signal(self, handle, tail, user_data=None):
        """Ring the queue that handle is for, Device.signal_add(), when all earlier ones have ended: what it holds
        before tail starts."""
        self._prepare(_lib.hsl_prep_signal, (int(handle), tail & 0xffffffff), (), user_data, False)

    @property
    def tail(self):
        """Covers all that was prepared so far, for prep_signal() of another queue."""
        return _lib.hsl_sq_tail(self._whole())

    def hold(self):
        """Leave what was prepared to a signal; how many."""
        return _check(_lib.hsl_hold(self._whole()))

    def grant(self):
        """A file descriptor that stands for the right to ring this queue. Who calls closes it."""
        return _check(_lib.hsl_queue_grant(self._open()))

    def submit(self):
        """Hand over what was prepared; how many."""
        return _check(_lib.hsl_submit(self._whole()))

    @property
    def space(self):
        """How many could be prepared now."""
        return _lib.hsl_sq_space(self._open())

    @property
    def in_flight(self):
        """Submitted, and the completion not taken."""
        return _lib.hsl_in_flight(self._open())

    def wait(self, timeout=None):
        """The next Completion. timeout: in seconds; TimeoutError when it is over."""
        end = None if timeout is None else time.monotonic() + timeout
        cqe = ctypes.c_void_p()
        while True:
            left = 0.1 if end is None else min(max(end - time.monotonic(), 0), 0.1)
            # Not for longer: the interpreter looks after Ctrl-C in between.
            ret = _lib.hsl_wait(self._open(), ctypes.byref(cqe), int(left * 1e9))
            if ret != -_errno.ETIMEDOUT:
                break
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(_errno.ETIMEDOUT, _lib.hsl_strerror(ret).decode())
        _check(ret)
        return self._take(cqe)

    def _take(self, cqe):
        # A copy: what comes next may take its place.
        c = _abi.hsl_cqe.from_buffer_copy(ctypes.string_at(cqe.value, ctypes.sizeof(_abi.hsl_cqe)))
        _lib.hsl_seen(self._handle, 1)
        if c.user_data not in self._under_way:
            raise Error(_errno.EIO, "the device completed what was not submitted")
        return Completion(c, self._under_way.pop(c.user_data)[1])

    def peek(self):
        """The next Completion if it is there, else None."""
        cqe = ctypes.c_void_p()
        ret = _lib.hsl_peek(self._open(), ctypes.byref(cqe))
        if ret == -_errno.EAGAIN:
            return None
        _check(ret)
        return self._take(cqe)

    def completions(self):
        """Each Completion of what is in flight, as they come."""
        while self.in_flight:
            yield self.wait()

    # For event loops

    def fileno(self):
        """An eventfd that becomes readable at a completion after arm(); read 8 bytes of it then."""
        return _check(_lib.hsl_queue_eventfd(self._open(), _abi.HSL_EVENTFD_COMPLETION))

    def arm(self):
        """Ask for the next completion. True: it is there already."""
        self.fileno()       # who sleeps on it later finds what comes now
        return bool(_check(_lib.hsl_arm(self._open())))

    @property
    def id(self):
        return _check(_lib.hsl_queue_id(self._open()))

    @property
    def error(self):
        """Why the queue failed: a QueueError, or None as long as it runs."""
        state = _abi.hsl_queue_state(size=ctypes.sizeof(_abi.hsl_queue_state))
        _check(_lib.hsl_queue_state(self._open(), ctypes.byref(state)))
        return None if state.state == _State.RUNNING else QueueError(state.error)

    def counters(self):
        """What it did since it was made, by name."""
        return self._device._counters(self._open())


class _Allocation:
    """Memory of a device, until the last view of it is gone."""

    def __init__(self, device, size):
        address = ctypes.c_void_p()
        _check(_lib.hsl_alloc(device._open(), size, ctypes.byref(address)))
        self._device, self.address = device, address.value
        device._allocations += 1

    def __del__(self):
        if hasattr(self, "address") and _lib is not None:
            _lib.hsl_free(self._device._handle, self.address)
            self._device._allocations -= 1
            if self._device._nobodys and not self._device._allocations:
                self._device.close()


class Device(_Closing):
    """Made by hsl.open(): this process's view of a device. Its queues end with it."""

    _allocations = 0
    _nobodys = False

    def __del__(self):
        # Collected together with memory of it, the last of which closes it
        self._nobodys = True
        if not self._allocations:
            super().__del__()

    def __init__(self, path, opts):
        self._handle = None
        self._queues = weakref.WeakSet()
        handle = ctypes.c_void_p()
        name = None if path is None else str(path).encode()
        _check(_lib.hsl_open(name, ctypes.byref(opts), ctypes.byref(handle)))
        self._handle = handle.value
        self._max_xfer = self.query()["max_xfer"]

    def close(self):
        """Memory of alloc() has to be gone: delete what refers to it."""
        if self._allocations:
            raise BufferError("memory of the device is in use")
        if self._handle:
            handle, self._handle = self._handle, None
            _lib.hsl_close(handle)
            for q in list(self._queues):
                q._forget()

    def _open(self):
        if not self._handle:
            raise ValueError("the device is closed")
        return self._handle

    def _length(self, buffer):
        if buffer.size > self._max_xfer:
            raise ValueError("%d bytes are more than one operation may name here, %d" % (buffer.size, self._max_xfer))
        return buffer.size

    def queue(self, sq_entries=0, cq_entries=0, ops=None, priority=0, coalesce_count=0, coalesce_usecs=0):
        """A Queue, hsl_queue_create(3). ops: the operations (hsl.Op) that it may use, by default all."""
        mask = sum(1 << op for op in set(ops)) if ops is not None else 0
        return Queue(self, _abi.hsl_queue_opts(
            size=ctypes.sizeof(_abi.hsl_queue_opts), sq_entries=sq_entries, cq_entries=cq_entries, ops=mask, priority=priority,
            coalesce_count=coalesce_count, coalesce_usecs=coalesce_usecs))

    def query(self):
        """What the device is, struct hsl_query of hsl_query(3) as a dictionary."""
        info = _abi.hsl_query(size=ctypes.sizeof(_abi.hsl_query))
        _check(_lib.hsl_query(self._open(), ctypes.byref(info)))
        values = {name: getattr(info, name) for name, *_ in info._fields_ if not name.startswith("reserved")}
        values["sva_why"] = bytes(info.sva_why).split(b"\0")[0].decode()
        return values

    def _counters(self, queue):
        values = (ctypes.c_uint64 * len(_Counter))()
        n = _check(_lib.hsl_counters(self._open(), queue, values, len(values)))
        return {c.name.lower(): values[c] for c in _Counter if c < n}

    def counters(self):
        """What it did since its last reset, for everybody, by name."""
        return self._counters(None)

    def events(self):
        """Records since the last call, oldest first, and how many were lost."""
        out = (_abi.hsl_event * 64)()
        records, lost = [], 0
        while True:
            more = ctypes.c_uint32()
            n = _check(_lib.hsl_events(self._open(), out, len(out), ctypes.byref(more)))
            records += [Event(e) for e in out[:n]]
            lost += more.value
            if n < len(out):
                return records, lost

    def alloc(self, size):
        """So many bytes of its memory, zeroed: a buffer, as in numpy.frombuffer(device.alloc(4000), "f4"). Given
        back with the last view of it."""
        owner = _Allocation(self, size)
        memory = (ctypes.c_ubyte * size).from_address(owner.address)
        memory._owner = owner
        return memory

    def signal_add(self, fd):
        """Make a right of Queue.grant() usable here: a handle for Queue.prep_signal()."""
        return _check(_lib.hsl_signal_add(self._open(), fd))

    def signal_del(self, handle):
        _check(_lib.hsl_signal_del(self._open(), handle))

    def migrate(self, buffer, where):
        """Move the whole pages of a buffer to the device or back: hsl.Where; how many bytes are there now."""
        b, page = _Buffer(buffer, False), _mmap.PAGESIZE
        first = (b.address + page - 1) // page * page
        size = (b.address + b.size) // page * page - first
        if size <= 0:
            return 0
        result = _abi.hsl_migrate(size=ctypes.sizeof(_abi.hsl_migrate))
        _check(_lib.hsl_migrate(self._open(), first, size, where, ctypes.byref(result)))
        return result.moved


def open(path=None, sva=0, routes=0):
    """Open a device: a path, "cpu", or by default what the environment says (HSL_DEVICE), or the first there is."""
    return Device(path, _abi.hsl_open_opts(size=ctypes.sizeof(_abi.hsl_open_opts), sva=sva, routes=routes))
