/*
 * HSL-like accelerator endpoint: the fabric that joins devices
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_HSL_FABRIC_H
#define HW_HSL_FABRIC_H

#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qom/object.h"
#include "qapi/qapi-types-qom.h"
#include "hsl_hw.h"

#define TYPE_HSL_FABRIC "hsl-fabric"
OBJECT_DECLARE_SIMPLE_TYPE(HslFabric, HSL_FABRIC)

typedef struct HslState HslState;

/* The switch, if there is one, is a vertex after the nodes */
#define HSL_SWITCH          HSL_MAX_NODES
#define HSL_VERTICES        (HSL_MAX_NODES + 1)
#define HSL_MAX_LINKS       128
#define HSL_MAX_REPLAYS     16

/* One end of a link. The counters are atomic: several engines send. */
typedef struct HslEnd {
    uint8_t vertex, port;
    bool disabled;
    uint64_t counters[HSL_PORT_CNT_NR];
    uint64_t gap;               /* sent from here up to the next damaged one */
    uint64_t random;
} HslEnd;

typedef struct HslLink {
    HslFabric *fabric;
    HslEnd end[2];
    uint32_t lanes, rate, latency;
    uint32_t lanes_good;
    uint32_t credits;           /* atomic, as the next: of those it has */
    uint32_t delay;             /* ns more than the latency */
    bool cut;
    uint32_t trainings;
    uint32_t status;            /* atomic: enum hsl_link_state | reason << 8 */
    QEMUTimer *timer;
    /* what arrives damaged */
    bool damage;                /* atomic: something does */
    uint64_t crc_rate, crc_all;
} HslLink;

typedef struct HslVertex {
    HslState *dev;              /* atomic; changes with the BQL held */
    uint32_t nr_ports;
    struct {
        uint8_t link, end;
    } ports[HSL_MAX_PORTS];
} HslVertex;

/*
 * The lock is the innermost: it is taken below the lock of a device. It guards
 * the states of links and what is injected; an engine takes it when the version
 * has changed, and for a link on which packets are damaged.
 */
struct HslFabric {
    Object parent_obj;

    uint32_t nodes, lanes, rate, latency, credits;
    HslFabricTopology topology;
    char *list;
    bool complete;
    uint32_t id;

    QemuMutex lock;
    uint32_t version;           /* atomic; of the states of all links */
    HslLink links[HSL_MAX_LINKS];
    uint32_t nr_links;
    HslVertex vertices[HSL_VERTICES];

    /* Commands that packets set off */
    bool scheduled;             /* atomic: some are still to come */
    uint64_t seed, random;
    uint32_t steps, steps_done, every;
    uint64_t packets, next;     /* since the start; when the next one comes */
    GString *log;               /* of those that have come */
};

/* The way to a node, as a device remembers it */
typedef struct HslPath {
    uint8_t hops;               /* 0: there is none */
    bool training;              /* one comes with training or credits */
    uint32_t since;             /* the version that it became as it is in */
    uint64_t delay;             /* ns that a piece of work is held up */
    struct {
        uint8_t link, end;      /* the end that is nearer */
        uint32_t credits;
        uint64_t speed;         /* Mbit/s */
        uint64_t latency;       /* ns */
        uint32_t trainings;     /* another path when it has trained anew */
    } hop[HSL_VERTICES];
} HslPath;

static inline enum hsl_link_state hsl_link_state(const HslLink *l)
{
    return qatomic_read(&l->status) & 0xff;
}

static inline enum hsl_link_reason hsl_link_reason(const HslLink *l)
{
    return qatomic_read(&l->status) >> 8;
}

bool hsl_fabric_check(HslFabric *f, uint32_t node, Error **errp);
void hsl_fabric_join(HslFabric *f, uint32_t node, HslState *s);
void hsl_fabric_leave(HslFabric *f, uint32_t node);
void hsl_fabric_barrier(HslFabric *f, HslState *except);
void hsl_fabric_enable(HslFabric *f, uint32_t node);
void hsl_fabric_port_ctrl(HslFabric *f, uint32_t node, unsigned port,
                          uint32_t val);
uint32_t hsl_fabric_paths(HslFabric *f, uint32_t node, HslPath *paths);
bool hsl_fabric_move(HslFabric *f, const HslPath *path, uint64_t bytes,
                     bool there, const uint8_t *payload, size_t stride,
                     uint64_t *replay_ps);

#endif /* HW_HSL_FABRIC_H */
