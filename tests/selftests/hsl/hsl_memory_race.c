// SPDX-License-Identifier: GPL-2.0
/* Device memory while everybody moves it, faults, forks, unmaps, exits. */
#include "hsl_memory.h"

/*
 * Everything at once. Each page has one owner that counts it up, by the CPU or by
 * the device, and knows what it must be.
 */

#define RACE_PAGES	256
#define RACE_WRITERS	2
#define RACE_MS		2000

struct race {
	struct hsl_ctx *ctx;
	char *mem;
	size_t page;
	bool stop;
	enum hsl_sva sva;
	unsigned long moves, busy, children, counts;
	char wrong[128];
};

struct race_arg {
	struct race *r;
	struct hsl_queue *q;
	unsigned int id;
	uint64_t seed;
	pthread_t thread;
	uint64_t *mem;	/* race_pressure() */
	size_t len;
};

static uint64_t race_rnd(struct race_arg *a, uint64_t below)
{
	a->seed ^= a->seed << 13;
	a->seed ^= a->seed >> 7;
	a->seed ^= a->seed << 17;
	return (a->seed >> 11) % below;
}

#define RACE_STOPPED(r)	__atomic_load_n(&(r)->stop, __ATOMIC_RELAXED)

static void *race_write(void *p)
{
	struct race_arg *a = p;
	struct race *r = a->r;
	uint64_t is[RACE_PAGES] = { 0 };
	struct hsl_cqe c = { .status = HSL_ST_NR };

	while (!RACE_STOPPED(r)) {
		unsigned int n = race_rnd(a, RACE_PAGES / RACE_WRITERS) * RACE_WRITERS + a->id;
		volatile uint64_t *word = (void *)(r->mem + n * r->page);

		if (*word != is[n]) {
			snprintf(r->wrong, sizeof(r->wrong), "page %u: %lu instead of %lu", n,
				 (unsigned long)*word, (unsigned long)is[n]);
			__atomic_store_n(&r->stop, true, __ATOMIC_RELAXED);
			break;
		}
		switch (race_rnd(a, 8)) {
		case 0:
			/* Forget it. */
			madvise((void *)word, r->page, MADV_DONTNEED);
			is[n] = 0;
			break;
		case 1 ... 3:
			hsl_prep_atomic_add(hsl_get_desc(a->q), (void *)word, 8, 1);
			if (finish_one(a->q, &c) || c.status != HSL_ST_OK || c.result != is[n]) {
				snprintf(r->wrong, sizeof(r->wrong), "page %u: add %s, %lu instead of %lu", n,
					 hsl_strstatus(c.status), (unsigned long)c.result, (unsigned long)is[n]);
				__atomic_store_n(&r->stop, true, __ATOMIC_RELAXED);
				return NULL;
			}
			is[n]++;
			break;
		default:
			*word = ++is[n];
		}
		__atomic_fetch_add(&r->counts, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *race_move(void *p)
{
	struct race_arg *a = p;
	struct race *r = a->r;
	int ret;

	while (!RACE_STOPPED(r)) {
		size_t first = race_rnd(a, RACE_PAGES), nr = 1 + race_rnd(a, RACE_PAGES - first);

		ret = hsl_migrate(r->ctx, r->mem + first * r->page, nr * r->page,
				  race_rnd(a, 2) ? HSL_WHERE_DEVICE : HSL_WHERE_HOST, NULL);
		if (ret == -EBUSY)
			__atomic_fetch_add(&r->busy, 1, __ATOMIC_RELAXED);
		else if (ret)
			snprintf(r->wrong, sizeof(r->wrong), "migrate: %s", strerror(-ret));
		__atomic_fetch_add(&r->moves, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *race_fork(void *p)
{
	struct race_arg *a = p;
	struct race *r = a->r;

	while (!RACE_STOPPED(r)) {
		pid_t pid = fork();

		if (!pid) {
			unsigned int n;

			/* Reads all, writes some, ends in the middle. */
			for (n = 0; n < RACE_PAGES; n++)
				if (*(volatile uint64_t *)(r->mem + n * r->page) > 1ul << 40)
					_exit(1);
			memset(r->mem + race_rnd(a, RACE_PAGES / 2) * r->page, 0xff, 20 * r->page);
			_exit(0);
		}
		if (pid > 0) {
			int status;

			waitpid(pid, &status, 0);
			if (status)
				snprintf(r->wrong, sizeof(r->wrong), "child: status %#x", status);
			__atomic_fetch_add(&r->children, 1, __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

/* Maps and unmaps other memory that is moved meanwhile. */
static void *race_map(void *p)
{
	struct race_arg *a = p;
	struct race *r = a->r;
	size_t len = 64 * r->page;
	int ret;

	while (!RACE_STOPPED(r)) {
		char *mem = map_anon(len);

		if (race_rnd(a, 2))
			memset(mem, 1, len);
		ret = hsl_migrate(r->ctx, mem, len, HSL_WHERE_DEVICE, NULL);
		if (ret && ret != -EBUSY)
			snprintf(r->wrong, sizeof(r->wrong), "migrate of a new mapping: %s", strerror(-ret));
		if (race_rnd(a, 2))
			munmap(mem + len / 2, len / 2);
		munmap(mem, len);
	}
	return NULL;
}

TEST_F_TIMEOUT(memory, races, 120)
{
	void *(*const fn[])(void *) = { race_write, race_write, race_move, race_move, race_fork, race_map };
	struct race r = { .ctx = self->ctx, .page = self->page };
	struct race_arg arg[ARRAY(fn)];
	size_t i;

	r.mem = map_anon(RACE_PAGES * self->page);
	for (i = 0; i < ARRAY(fn); i++) {
		arg[i] = (struct race_arg) { .r = &r, .id = i, .seed = rnd64() | 1 };
		if (fn[i] == race_write) {
			ASSERT_EQ(0, hsl_queue_create(self->ctx, NULL, &arg[i].q));
		}
		ASSERT_EQ(0, pthread_create(&arg[i].thread, NULL, fn[i], &arg[i]));
	}
	for (i = 0; i < RACE_MS / 10 && !RACE_STOPPED(&r); i++)
		usleep(10000);
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < ARRAY(fn); i++)
		pthread_join(arg[i].thread, NULL);
	EXPECT_EQ(0, strlen(r.wrong))
		TH_LOG("%s", r.wrong);
	TH_LOG("%lu counts, %lu moves, %lu of them busy, %lu children", r.counts, r.moves, r.busy, r.children);
	EXPECT_LT(0, r.counts);
	EXPECT_LT(r.busy, r.moves);
	EXPECT_LT(0, r.children);
	munmap(r.mem, RACE_PAGES * self->page);
	EXPECT_TRUE(COMES_TRUE(mem_file("used") == 0));
}

/* Killed while it moves and faults, again and again */
static void move_until_killed(void *p)
{
	enum hsl_sva sva = *(enum hsl_sva *)p;
	struct race r = { .page = page_size() };
	struct race_arg arg[3];
	int i;

	if (open_on(dev_path(0), sva, &r.ctx))
		_exit(1);
	r.mem = map_anon(RACE_PAGES * r.page);
	for (i = 0; i < 3; i++) {
		arg[i] = (struct race_arg) { .r = &r, .id = i, .seed = rnd64() | 1 };
		if (pthread_create(&arg[i].thread, NULL, i < 2 ? race_move : race_map, &arg[i]))
			_exit(1);
	}
	for (;;)
		memset(r.mem, i++, RACE_PAGES * r.page);
}

TEST_F_TIMEOUT(memory, killed_while_moving, 120)
{
	enum hsl_sva sva = variant->sva;
	int i, status;
	pid_t pid;

	for (i = 0; i < 10; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			move_until_killed(&sva);
			_exit(1);
		}
		usleep(50000 + rnd(100000));
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	EXPECT_TRUE(COMES_TRUE(mem_file("used") == 0));
}

/*
 * The memory is emptied again and again while those end whose pages are in it, in
 * the middle. Some pages are a child's alone by then.
 */
#define END_PROCESSES	3
#define END_ROUNDS	40
#define END_BYTES	(4 * MB)

static void move_and_end(enum hsl_sva sva, char id)
{
	struct hsl_ctx *ctx;
	char *mem = map_anon(END_BYTES);
	pid_t pid;
	size_t page = page_size(), i;

	if (!mem || open_on(dev_path(0), sva, &ctx))
		_exit(1);
	memset(mem, id, END_BYTES);
	for (;;) {
		/* It may just be off. */
		hsl_migrate(ctx, mem, END_BYTES, HSL_WHERE_DEVICE, NULL);
		pid = fork();
		for (i = 0; i < END_BYTES; i += page) {
			if (mem[i] != id)
				abort();
			if (i / page % 2 == (pid ? 0 : 1))
				mem[i] = id;
		}
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			_exit(1);
	}
}

static void *race_empty(void *p)
{
	struct race *r = p;

	while (!RACE_STOPPED(r)) {
		if (!write_text(MEM_DIR "mode", "off"))
			r->moves++;
		if (write_text(MEM_DIR "mode", "coherent"))
			snprintf(r->wrong, sizeof(r->wrong), "mode coherent: %s", strerror(errno));
		usleep(10000);
	}
	return NULL;
}

TEST_F_TIMEOUT(memory, end_while_emptied, 120)
{
	long long evicted = mem_file("evicted");
	pid_t pid[END_PROCESSES] = { 0 };
	struct race r = { 0 };
	pthread_t thread;
	unsigned int i, n;
	int status;

	ASSERT_EQ(0, pthread_create(&thread, NULL, race_empty, &r));
	for (i = 0; i < END_ROUNDS + END_PROCESSES; i++) {
		n = i % END_PROCESSES;
		if (pid[n]) {
			usleep(10000 + rnd(50000));
			kill(pid[n], SIGKILL);
			ASSERT_EQ(pid[n], waitpid(pid[n], &status, 0));
			EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
			pid[n] = 0;
		}
		if (i >= END_ROUNDS)
			continue;
		pid[n] = fork();
		ASSERT_LE(0, pid[n]);
		if (!pid[n])
			move_and_end(variant->sva, i + 1);
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, strlen(r.wrong))
		TH_LOG("%s", r.wrong);
	EXPECT_LT(0, r.moves);
	EXPECT_LT(evicted, mem_file("evicted"));
	TH_LOG("emptied %lu times, of %lld pages", r.moves, (mem_file("evicted") - evicted) / (long long)self->page);
	EXPECT_TRUE(COMES_TRUE(mem_file("used") == 0));
}

/* Two that want more than there is: both go on, neither hangs. */
static void *race_pressure(void *p)
{
	struct race_arg *a = p;
	struct race *r = a->r;
	size_t len = a->len;
	uint64_t *mem = a->mem;
	size_t i;
	int ret;

	ret = hsl_migrate(r->ctx, mem, len, HSL_WHERE_DEVICE, NULL);
	if (ret && ret != -ENOMEM && ret != -EBUSY)
		snprintf(r->wrong, sizeof(r->wrong), "migrate: %s", strerror(-ret));
	for (i = 0; i < len / 8; i += 512)
		mem[i] = i ^ a->id;
	for (i = 0; i < len / 8; i += 512) {
		if (mem[i] != (i ^ a->id))
			snprintf(r->wrong, sizeof(r->wrong), "%#lx at %#lx", (unsigned long)mem[i], i * 8);
	}
	return NULL;
}

TEST_F_TIMEOUT(memory, pressure_from_two_sides, 200)
{
	struct race r = { .ctx = self->ctx, .page = self->page };
	struct race_arg arg[2];
	long long evicted = mem_file("evicted");
	int i;

	for (i = 0; i < 2; i++) {
		arg[i] = (struct race_arg) { .r = &r, .id = i + 1, .seed = rnd64() | 1 };
		arg[i].len = self->total / 3 / HUGE_PAGE * 2 * HUGE_PAGE;
		arg[i].mem = map_anon(arg[i].len);
		ASSERT_NE(NULL, arg[i].mem);
		ASSERT_EQ(0, pthread_create(&arg[i].thread, NULL, race_pressure, &arg[i]));
	}
	for (i = 0; i < 2; i++)
		pthread_join(arg[i].thread, NULL);
	for (i = 0; i < 2; i++)
		munmap(arg[i].mem, arg[i].len);
	EXPECT_EQ(0, strlen(r.wrong))
		TH_LOG("%s", r.wrong);
	EXPECT_LT(evicted, mem_file("evicted"));
	EXPECT_EQ(0, mem_file("used"));
}

TEST_HARNESS_MAIN
