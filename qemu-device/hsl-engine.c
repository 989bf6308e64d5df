/*
 * HSL-like accelerator endpoint: the engine
 *
 * One thread works for all queues of a device, outside the big lock. It visits
 * the active queues in turn; one that waits for a page request is passed over.
 * With nothing to do it looks around for a while longer (poll-us), then tells
 * every queue to ring and sleeps.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/main-loop.h"
#include "qemu/processor.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "hsl-internal.h"
#include "trace.h"

/* Looks before the engine lets others have its CPU between two looks */
#define HSL_LOOKS_BEFORE_YIELD  64

/* Longer than the engine keeps the lock for a piece of work */
#define HSL_LOOKS_AT_LOCK       400

/*
 * The lock, for everybody but the engine, which lets them go first. It is free
 * sooner than a thread falls asleep and wakes up, unless the engine has lost
 * its CPU.
 */
void hsl_lock(HslState *s)
{
    int looks = 0;

    qatomic_inc(&s->lock_waiters);
    while (qemu_mutex_trylock(&s->lock)) {
        if (++looks == HSL_LOOKS_AT_LOCK) {
            qemu_mutex_lock(&s->lock);
            break;
        }
        cpu_relax();
    }
    qatomic_dec(&s->lock_waiters);
}

void hsl_unlock(HslState *s)
{
    qemu_mutex_unlock(&s->lock);
}

/* With the BQL, for which others wait in their turn, it lets nobody go first */
void hsl_engine_lock(HslState *s)
{
    int looks = 0;

    if (bql_locked()) {
        hsl_lock(s);
    } else {
        while (qatomic_read(&s->lock_waiters)) {
            /* The one that waits may need this very CPU */
            if (++looks > HSL_LOOKS_AT_LOCK) {
                sched_yield();
            } else {
                cpu_relax();
            }
        }
        qemu_mutex_lock(&s->lock);
    }
    s->drops++;
}

bool hsl_may_run(HslState *s)
{
    return !s->paused && !s->quit && s->bus_master &&
           (s->ctrl & HSL_CTRL_ENABLE);
}

static void hsl_take_doorbells(HslState *s)
{
    for (long i = 0; i < BITS_TO_LONGS(s->nr_queues); i++) {
        unsigned long rung;

        if (!qatomic_read(&s->db_bitmap[i])) {
            continue;
        }
        rung = qatomic_xchg(&s->db_bitmap[i], 0);
        while (rung) {
            uint32_t n = i * BITS_PER_LONG + ctzl(rung);

            rung &= rung - 1;
            if (s->queues[n].state == HSL_Q_RUNNING) {
                set_bit(n, s->active);
            }
        }
    }
}

/*
 * One visit to every active queue. True: something was done. @expect: there is
 * a queue that has done all its work, so that more may come at any moment; one
 * that waits for page requests is not worth a CPU that the kernel needs for
 * them.
 */
static bool hsl_pass(HslState *s, bool *expect)
{
    bool progress = false;

    *expect = false;
    hsl_engine_lock(s);
    if (hsl_may_run(s)) {
        hsl_take_doorbells(s);
    }
    for (uint32_t n = find_first_bit(s->active, s->nr_queues);
         n < s->nr_queues && hsl_may_run(s);
         n = find_next_bit(s->active, s->nr_queues, n + 1)) {
        HslQueue *q = &s->queues[n];

        progress |= hsl_queue_step(q);
        *expect |= !q->nr_busy && !hsl_waiting(&q->wait);
        if (s->urgent) {
            /* The other queues may keep us for long */
            s->urgent = false;
            hsl_unlock(s);
            hsl_bql_work(s);
            hsl_engine_lock(s);
        } else if (qatomic_read(&s->lock_waiters)) {
            hsl_unlock(s);
            hsl_engine_lock(s);
        }
    }
    hsl_unlock(s);
    return progress;
}

/* Before sleep. False: there is something to do after all. */
static bool hsl_arm(HslState *s)
{
    bool armed = true;

    hsl_engine_lock(s);
    for (uint32_t n = find_first_bit(s->active, s->nr_queues);
         n < s->nr_queues && hsl_may_run(s);
         n = find_next_bit(s->active, s->nr_queues, n + 1)) {
        HslQueue *q = &s->queues[n];

        if (!hsl_queue_arm(q)) {
            armed = false;
        } else if (q->state != HSL_Q_RUNNING ||
                   (q->armed && !q->nr_busy && !hsl_waiting(&q->wait))) {
            clear_bit(n, s->active);
        }
    }
    hsl_unlock(s);
    return armed;
}

static void *hsl_engine(void *opaque)
{
    HslState *s = opaque;
    int64_t awake_until = 0;
    uint32_t looks = 0;
    bool expect;

    rcu_register_thread();
    for (;;) {
        /* What is done after this wakes us */
        qemu_event_reset(&s->wake);
        if (qatomic_read(&s->quit)) {
            break;
        }
        if (hsl_pass(s, &expect)) {
            awake_until = get_clock() + s->poll_us * 1000ll;
            /* The engine that was rung may need this very CPU */
            looks = s->rang ? HSL_LOOKS_BEFORE_YIELD : 0;
            s->rang = false;
            hsl_bql_work(s);
            continue;
        }
        hsl_bql_work(s);
        if (expect && get_clock() < awake_until) {
            /* The vCPU whose submission we expect may need this very CPU */
            if (++looks > HSL_LOOKS_BEFORE_YIELD) {
                sched_yield();
            } else {
                cpu_relax();
            }
            continue;
        }
        if (!hsl_arm(s)) {
            continue;
        }
        hsl_bql_work(s);
        trace_hsl_sleep();
        qemu_event_wait(&s->wake);
        trace_hsl_wake();
    }
    bql_lock();
    object_unref(OBJECT(s));
    bql_unlock();
    rcu_unregister_thread();
    return NULL;
}

static void hsl_vm_change_state(void *opaque, bool running, RunState state)
{
    HslState *s = opaque;

    hsl_lock(s);
    s->paused = !running;
    hsl_unlock(s);
    qemu_event_set(&s->wake);
}

void hsl_engine_start(HslState *s)
{
    s->paused = !runstate_is_running();
    s->vmstate_entry = qemu_add_vm_change_state_handler(hsl_vm_change_state, s);
    object_ref(OBJECT(s));
    qemu_thread_create(&s->thread, "hsl-engine", hsl_engine, s,
                       QEMU_THREAD_DETACHED);
}

/*
 * With the BQL held. The engine comes to its end later, when it has got the BQL
 * if it needs it: to wait for it would be to let go of the BQL in the middle of
 * an unrealize. The engine may also be the caller: an interrupt or a page
 * request is a write to an address of the guest's choice, which may be the very
 * register that unplugs this device.
 *
 * From here on it touches nothing but the object itself, and no peer: all else
 * it does is under one of the two locks, and it looks first whether it may run.
 */
void hsl_engine_stop(HslState *s)
{
    hsl_lock(s);
    qatomic_set(&s->quit, true);
    hsl_unlock(s);
    qemu_event_set(&s->wake);
    qemu_del_vm_change_state_handler(s->vmstate_entry);
}
