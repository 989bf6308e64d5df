/*
 * HSL-like accelerator endpoint: the timing model
 *
 * What a transfer would take on links as wide, fast and far as the registers
 * say (HW 7.6). It is arithmetic on what was transferred: no clock is read, and
 * the same transfers over the same links give the same figure. Only descriptors
 * that are TIMED come here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "migration/vmstate.h"
#include "hsl-internal.h"

#define HSL_PS_PER_NS       1000ull
/* Bits at a Mbit/s, or bytes at a byte per microsecond, take so many ps */
#define HSL_PS_PER_US       1000000ull
/* More than can be told; sums of some of it do not overflow */
#define HSL_PS_MAX          BIT_ULL(60)

static const struct {
    uint32_t latency, rate;
} hsl_model_ways[] = {
    [HSL_WAY_HOST] = { HSL_MODEL_HOST_LATENCY, HSL_MODEL_HOST_RATE },
    [HSL_WAY_OWN] = { HSL_MODEL_OWN_LATENCY, HSL_MODEL_OWN_RATE },
    [HSL_WAY_PCIE] = { HSL_MODEL_PCIE_LATENCY, HSL_MODEL_PCIE_RATE },
    [HSL_WAY_VIA_HOST] = { HSL_MODEL_VIA_HOST_LATENCY,
                           HSL_MODEL_VIA_HOST_RATE },
};

static uint64_t hsl_ps_times(uint64_t a, uint64_t b)
{
    uint64_t ps;

    return umul64_overflow(a, b, &ps) ? HSL_PS_MAX : MIN(ps, HSL_PS_MAX);
}

static void hsl_ps_add(uint64_t *sum, uint64_t ps)
{
    *sum = MIN(*sum + ps, HSL_PS_MAX);
}

/* So many bytes of payload, in so many packets, at the speed of a link */
static uint64_t hsl_ps_serial(uint64_t bytes, uint64_t packets, uint64_t speed)
{
    return hsl_ps_times((bytes + packets * HSL_PACKET_OVERHEAD) * 8,
                        HSL_PS_PER_US) / speed;
}

/* Sent again: the news come back, and the packet goes there once more */
uint64_t hsl_model_replay(const HslPath *path, unsigned hop, uint64_t n)
{
    return hsl_ps_times(n, 2 * path->hop[hop].latency * HSL_PS_PER_NS +
                           hsl_ps_serial(HSL_PACKET, 1, path->hop[hop].speed));
}

/* Does it go the way that it went before? If not, that run is over. */
static void hsl_flow_go(HslFlow *flow, HslWay way, uint32_t node,
                        uint32_t since, bool there)
{
    if (flow->bytes && flow->way == way && flow->node == node &&
        flow->since == since && flow->there == there) {
        return;
    }
    hsl_ps_add(&flow->fixed, flow->run_fixed);
    hsl_ps_add(&flow->stream, flow->run_stream);
    flow->run_fixed = flow->run_stream = 0;
    flow->bytes = 0;
    flow->way = way;
    flow->node = node;
    flow->since = since;
    flow->there = there;
}

/* @bytes more have crossed the links of @path */
void hsl_model_link(HslFlow *flow, const HslPath *path, uint32_t node,
                    bool there, uint64_t bytes, uint64_t replay_ps)
{
    bool asks = !there && !flow->asked;
    uint64_t packets, first, slowest = 0;

    hsl_flow_go(flow, HSL_WAY_LINK, node, path->since, there);
    flow->asked |= there;
    flow->bytes += bytes;
    hsl_ps_add(&flow->fixed, replay_ps);

    /* Not those of each piece: how a run is cut depends on what is cached */
    packets = DIV_ROUND_UP(flow->bytes, HSL_PACKET);
    first = MIN(flow->bytes, HSL_PACKET);
    flow->run_fixed = 0;
    for (unsigned i = 0; i < path->hops; i++) {
        uint64_t speed = path->hop[i].speed;
        uint64_t latency = path->hop[i].latency * HSL_PS_PER_NS;
        uint64_t packet = hsl_ps_serial(HSL_PACKET, 1, speed);
        uint64_t fill = hsl_ps_serial(first, 1, speed);
        uint64_t window = packet * path->hop[i].credits;
        uint64_t round = packet + 2 * latency;
        uint64_t serial = hsl_ps_serial(flow->bytes, packets, speed);

        if (round > window) {
            hsl_ps_add(&serial, hsl_ps_times((packets - 1) /
                                             path->hop[i].credits,
                                             round - window));
        }
        slowest = MAX(slowest, serial - fill);
        hsl_ps_add(&flow->run_fixed, fill + (asks ? 2 : 1) * latency);
    }
    flow->run_stream = slowest;
}

/* @bytes more of memory that no link leads to */
void hsl_model_memory(HslFlow *flow, HslWay way, uint64_t bytes)
{
    hsl_flow_go(flow, way, HSL_NODE_NONE, 0, false);
    flow->bytes += bytes;
    flow->run_fixed = hsl_model_ways[way].latency * HSL_PS_PER_NS;
    flow->run_stream = hsl_ps_times(flow->bytes, HSL_PS_PER_US) /
                       hsl_model_ways[way].rate;
}

/* HSL_TIME_MODEL and HSL_TIME_REAL of an operation that is done */
uint64_t hsl_model_result(const HslTiming *t)
{
    uint64_t ps = MAX(t->dst.stream + t->dst.run_stream,
                      t->src.stream + t->src.run_stream) +
                  t->dst.fixed + t->dst.run_fixed +
                  t->src.fixed + t->src.run_fixed;
    uint64_t model = DIV_ROUND_UP(ps, HSL_PS_PER_NS);
    uint64_t real = MAX(get_clock() - t->start, 0);

    return MIN(model, UINT32_MAX) | MIN(real, UINT32_MAX) << 32;
}

static const VMStateDescription vmstate_hsl_flow = {
    .name = "hsl/flow",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(fixed, HslFlow),
        VMSTATE_UINT64(stream, HslFlow),
        VMSTATE_UINT64(run_fixed, HslFlow),
        VMSTATE_UINT64(run_stream, HslFlow),
        VMSTATE_UINT64(bytes, HslFlow),
        VMSTATE_UINT32(node, HslFlow),
        VMSTATE_UINT8(way, HslFlow),
        VMSTATE_END_OF_LIST()
    },
};

/* The clock of the host is another one afterwards; links do not migrate */
const VMStateDescription vmstate_hsl_timing = {
    .name = "hsl/timing",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT(dst, HslTiming, 1, vmstate_hsl_flow, HslFlow),
        VMSTATE_STRUCT(src, HslTiming, 1, vmstate_hsl_flow, HslFlow),
        VMSTATE_END_OF_LIST()
    },
};
