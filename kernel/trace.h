/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM hsl

#if !defined(_HSL_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _HSL_TRACE_H

#include <linux/tracepoint.h>

#include "hsl.h"

/* perf and trace-cmd know numbers, not names. */
TRACE_DEFINE_ENUM(HSL_FAULT_RETRY);
TRACE_DEFINE_ENUM(HSL_FAULT_REFUSED);
TRACE_DEFINE_ENUM(HSL_FAULT_POISON);

DECLARE_EVENT_CLASS(hsl_context_class,
	TP_PROTO(struct hsl_context *ctx),
	TP_ARGS(ctx),
	TP_STRUCT__entry(
		__string(dev, dev_name(&ctx->hdev->dev))
		__field(u32, context)
		__field(u32, pasid)
		__field(pid_t, tgid)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->context = ctx->nr;
		__entry->pasid = ctx->sva.pasid;
		__entry->tgid = ctx->tgid;
	),
	TP_printk("%s context=%u pasid=%u tgid=%d", __get_str(dev),
		  __entry->context, __entry->pasid, __entry->tgid)
);

DEFINE_EVENT(hsl_context_class, hsl_context_open,
	TP_PROTO(struct hsl_context *ctx), TP_ARGS(ctx));
DEFINE_EVENT(hsl_context_class, hsl_context_close,
	TP_PROTO(struct hsl_context *ctx), TP_ARGS(ctx));

DECLARE_EVENT_CLASS(hsl_queue_class,
	TP_PROTO(struct hsl_queue *q),
	TP_ARGS(q),
	TP_STRUCT__entry(
		__string(dev, dev_name(&q->ctx->hdev->dev))
		__field(u32, context)
		__field(u32, queue)
		__field(u32, hwq)
		__field(u32, sq_entries)
		__field(u32, cq_entries)
		__field(u32, vector)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->context = q->ctx->nr;
		__entry->queue = q->id;
		__entry->hwq = q->hwq;
		__entry->sq_entries = q->par.sq_entries;
		__entry->cq_entries = q->par.cq_entries;
		__entry->vector = hsl_irq_index(q->vector);
	),
	TP_printk("%s context=%u queue=%u hwq=%u sq=%u cq=%u vector=%u",
		  __get_str(dev), __entry->context, __entry->queue, __entry->hwq,
		  __entry->sq_entries, __entry->cq_entries, __entry->vector)
);

DEFINE_EVENT(hsl_queue_class, hsl_queue_create,
	TP_PROTO(struct hsl_queue *q), TP_ARGS(q));
DEFINE_EVENT(hsl_queue_class, hsl_queue_destroy,
	TP_PROTO(struct hsl_queue *q), TP_ARGS(q));

TRACE_EVENT(hsl_submit,
	TP_PROTO(struct hsl_queue *q, u32 nr, u32 tail, bool doorbell),
	TP_ARGS(q, nr, tail, doorbell),
	TP_STRUCT__entry(
		__string(dev, dev_name(&q->ctx->hdev->dev))
		__field(u32, hwq)
		__field(u32, nr)
		__field(u32, tail)
		__field(bool, doorbell)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->hwq = q->hwq;
		__entry->nr = nr;
		__entry->tail = tail;
		__entry->doorbell = doorbell;
	),
	TP_printk("%s hwq=%u nr=%u tail=%u doorbell=%d", __get_str(dev),
		  __entry->hwq, __entry->nr, __entry->tail, __entry->doorbell)
);

TRACE_EVENT(hsl_interrupt,
	TP_PROTO(struct hsl_device *hdev, u32 vector, struct hsl_queue *q),
	TP_ARGS(hdev, vector, q),
	TP_STRUCT__entry(
		__string(dev, dev_name(&hdev->dev))
		__field(u32, vector)
		__field(u32, hwq)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->vector = vector;
		__entry->hwq = q->hwq;
	),
	TP_printk("%s vector=%u hwq=%u", __get_str(dev), __entry->vector,
		  __entry->hwq)
);

/* What the device said, before anything is believed; @why: what came of it. */
TRACE_EVENT(hsl_event,
	TP_PROTO(struct hsl_device *hdev, const struct hsl_hw_event *ev, const char *why),
	TP_ARGS(hdev, ev, why),
	TP_STRUCT__entry(
		__string(dev, dev_name(&hdev->dev))
		__string(why, why)
		__field(u16, type)
		__field(u8, code)
		__field(u8, access)
		__field(u32, hwq)
		__field(u32, context)
		__field(u32, pasid)
		__field(u64, addr)
	),
	TP_fast_assign(
		__assign_str(dev);
		__assign_str(why);
		__entry->type = ev->type;
		__entry->code = ev->code;
		__entry->access = ev->access;
		__entry->hwq = ev->queue;
		__entry->context = ev->context;
		__entry->pasid = ev->pasid;
		__entry->addr = ev->addr;
	),
	TP_printk("%s type=%u code=%u access=%#x hwq=%u context=%u pasid=%u addr=%#llx %s",
		  __get_str(dev), __entry->type, __entry->code, __entry->access,
		  __entry->hwq, __entry->context, __entry->pasid, __entry->addr,
		  __get_str(why))
);

/* A record of the fault queue as it came; @known: a context was there for it. */
TRACE_EVENT(hsl_fault,
	TP_PROTO(struct hsl_device *hdev, const struct hsl_hw_fault *f, bool known),
	TP_ARGS(hdev, f, known),
	TP_STRUCT__entry(
		__string(dev, dev_name(&hdev->dev))
		__field(u32, tag)
		__field(u32, context)
		__field(u64, addr)
		__field(u32, pages)
		__field(u8, access)
		__field(bool, known)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->tag = f->tag;
		__entry->context = f->context;
		__entry->addr = f->addr;
		__entry->pages = f->pages;
		__entry->access = f->access;
		__entry->known = known;
	),
	TP_printk("%s tag=%#x context=%u addr=%#llx pages=%u access=%#x%s", __get_str(dev),
		  __entry->tag, __entry->context, __entry->addr, __entry->pages,
		  __entry->access, __entry->known ? "" : " refused")
);

TRACE_EVENT(hsl_fault_answer,
	TP_PROTO(struct hsl_context *ctx, const struct hsl_hw_fault *f, u32 code),
	TP_ARGS(ctx, f, code),
	TP_STRUCT__entry(
		__string(dev, dev_name(&ctx->hdev->dev))
		__field(u32, tag)
		__field(u32, context)
		__field(u64, addr)
		__field(u32, code)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->tag = f->tag;
		__entry->context = ctx->nr;
		__entry->addr = f->addr;
		__entry->code = code;
	),
	TP_printk("%s tag=%#x context=%u addr=%#llx %s", __get_str(dev), __entry->tag,
		  __entry->context, __entry->addr,
		  __print_symbolic(__entry->code, { HSL_FAULT_RETRY, "retry" },
				   { HSL_FAULT_REFUSED, "refused" },
				   { HSL_FAULT_POISON, "poison" }))
);

/* What was done for one fault: looked at from @start to @end. */
TRACE_EVENT(hsl_mirror_map,
	TP_PROTO(struct hsl_context *ctx, unsigned long addr, unsigned long start,
		 unsigned long end, bool write, int ret),
	TP_ARGS(ctx, addr, start, end, write, ret),
	TP_STRUCT__entry(
		__string(dev, dev_name(&ctx->hdev->dev))
		__field(u32, context)
		__field(unsigned long, addr)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(bool, write)
		__field(int, ret)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->context = ctx->nr;
		__entry->addr = addr;
		__entry->start = start;
		__entry->end = end;
		__entry->write = write;
		__entry->ret = ret;
	),
	TP_printk("%s context=%u addr=%#lx start=%#lx end=%#lx write=%d ret=%d",
		  __get_str(dev), __entry->context, __entry->addr, __entry->start,
		  __entry->end, __entry->write, __entry->ret)
);

TRACE_EVENT(hsl_mirror_invalidate,
	TP_PROTO(struct hsl_context *ctx, unsigned long start, unsigned long last,
		 unsigned int event),
	TP_ARGS(ctx, start, last, event),
	TP_STRUCT__entry(
		__string(dev, dev_name(&ctx->hdev->dev))
		__field(u32, context)
		__field(unsigned long, start)
		__field(unsigned long, last)
		__field(unsigned int, event)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->context = ctx->nr;
		__entry->start = start;
		__entry->last = last;
		__entry->event = event;
	),
	TP_printk("%s context=%u start=%#lx last=%#lx event=%u", __get_str(dev),
		  __entry->context, __entry->start, __entry->last, __entry->event)
);

TRACE_EVENT(hsl_reset,
	TP_PROTO(struct hsl_device *hdev, const char *why),
	TP_ARGS(hdev, why),
	TP_STRUCT__entry(
		__string(dev, dev_name(&hdev->dev))
		__string(why, why)
		__field(u32, generation)
	),
	TP_fast_assign(
		__assign_str(dev);
		__assign_str(why);
		__entry->generation = hdev->generation;
	),
	TP_printk("%s generation=%u %s", __get_str(dev), __entry->generation,
		  __get_str(why))
);

#endif /* _HSL_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
