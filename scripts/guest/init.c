// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's first process. It runs from the initramfs, makes a root out of
 * the host's (read-only, over 9p) and a few file systems of its own, loads the
 * module, runs one command and tells the host, on a channel of its own, how
 * that went.
 *
 * What to do is in /job: strings "key=value", each with a NUL behind it.
 *
 *   arg=…      the command, one string per word
 *   env=K=V    its environment
 *   cwd=…      where it starts
 *   load=…     one of the kernel's own modules, in the initramfs; in this order
 *   swap=BYTES swap on a compressed RAM disk
 *   module=…   module to load before and unload after it; modargs=… its options
 *   bind=…     host path to show even where a tmpfs hides it
 *   out=1      mount the writable share at /out
 *   stdin=1    forward the host's standard input
 *   tty=ROWSxCOLS  run it on a terminal
 *   leaks=1    look for leaks with kmemleak, when the kernel has it
 *
 * Channels are virtio ports: hsl.out, hsl.err and hsl.in for the command,
 * hsl.log for the kernel's log, hsl.status for us. On hsl.in each piece comes
 * with its length in front (u32, little endian); 0 is the end of the input,
 * 0xffffffff is followed by rows and columns (u16 each).
 *
 * On hsl.status, one line each:
 *   fail TEXT        the guest could not be set up
 *   run              the command is about to start
 *   exit N | signal N   how it ended
 *   module gone | module stuck ERRNO
 *   leak TEXT        a line of kmemleak's report
 *   end              everything before this is complete
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX 1024
#define KMEMLEAK "/sys/kernel/debug/kmemleak"
#define END_OF_LOG "hsl-init: end of log"

static char *args[MAX + 1], *envs[MAX + 1], *binds[MAX], *loads[MAX];
static int nargs, nenvs, nbinds, nloads;
static long swap_size;
static const char *cwd = "/", *module, *modargs = "";
static int want_out, want_stdin, want_leaks, rows, cols;
static int status_fd = -1, log_fd = -1, out_fd = -1, err_fd = -1, in_fd = -1;

static void write_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			usleep(1000);
			continue;
		}
		if (n <= 0)
			return;
		p += n;
		len -= n;
	}
}

__attribute__((format(printf, 1, 2)))
static void status(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	write_all(status_fd < 0 ? 2 : status_fd, line, n);
}

static void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

__attribute__((format(printf, 1, 2)))
static void fail(const char *fmt, ...)
{
	char text[512];
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	status("fail %s: %s", text, strerror(err));
	power_off();
}

static void make_dirs(const char *path)
{
	char buf[4096], *p;

	snprintf(buf, sizeof(buf), "%s", path);
	for (p = buf + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(buf, 0755);
		*p = '/';
	}
	mkdir(buf, 0755);
}

/* Something to mount @from on: a folder, or a file in its folder. */
static void make_target(const char *from, char *to)
{
	char *slash = strrchr(to, '/');
	struct stat st;

	if (stat(from, &st) || S_ISDIR(st.st_mode)) {
		make_dirs(to);
		return;
	}
	*slash = '\0';
	make_dirs(to);
	*slash = '/';
	close(open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
}

static int try_mount(const char *type, const char *src, const char *dir,
		     unsigned long flags, const char *opts)
{
	make_dirs(dir);
	return mount(src, dir, type, flags, opts);
}

static void must_mount(const char *type, const char *src, const char *dir,
		       unsigned long flags, const char *opts)
{
	if (try_mount(type, src, dir, flags, opts))
		fail("mounting %s on %s", type, dir);
}

static void read_job(void)
{
	static char buf[1 << 20];
	int fd = open("/job", O_RDONLY);
	ssize_t n, len = 0;
	char *p, *v;

	if (fd < 0)
		return;
	while ((n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += n;
	close(fd);
	for (p = buf; p < buf + len; p += strlen(p) + 1) {
		v = strchr(p, '=');
		if (!v)
			continue;
		v++;
#define IS(k) (!strncmp(p, k "=", sizeof(k)))
		if (IS("arg") && nargs < MAX)
			args[nargs++] = v;
		else if (IS("env") && nenvs < MAX)
			envs[nenvs++] = v;
		else if (IS("bind") && nbinds < MAX)
			binds[nbinds++] = v;
		else if (IS("load") && nloads < MAX)
			loads[nloads++] = v;
		else if (IS("swap"))
			swap_size = atol(v);
		else if (IS("cwd"))
			cwd = v;
		else if (IS("module"))
			module = v;
		else if (IS("modargs"))
			modargs = v;
		else if (IS("out"))
			want_out = 1;
		else if (IS("stdin"))
			want_stdin = 1;
		else if (IS("leaks"))
			want_leaks = 1;
		else if (IS("tty"))
			sscanf(v, "%dx%d", &rows, &cols);
		/* Move behind the value even when it is empty. */
		p = v;
	}
}

/* The ports get their names by messages that may come after we start. */
static int open_port(const char *name, int flags)
{
	for (int i = 0; i < 20000; i++) {
		DIR *d = opendir("/sys/class/virtio-ports");
		struct dirent *e;

		while (d && (e = readdir(d))) {
			char path[512], text[64] = "";
			int fd;

			snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
			fd = open(path, O_RDONLY);
			if (fd < 0)
				continue;
			if (read(fd, text, sizeof(text) - 1) < 0)
				text[0] = 0;
			close(fd);
			text[strcspn(text, "\n")] = 0;
			if (strcmp(text, name))
				continue;
			snprintf(path, sizeof(path), "/dev/%s", e->d_name);
			fd = open(path, flags | O_CLOEXEC);
			if (fd >= 0) {
				closedir(d);
				return fd;
			}
		}
		if (d)
			closedir(d);
		usleep(1000);
	}
	return -1;
}

static int own_mount(const char *name)
{
	static const char *const list[] = {
		".", "..", "dev", "proc", "sys", "tmp", "run", "out", "lost+found", NULL
	};

	for (int i = 0; list[i]; i++)
		if (!strcmp(name, list[i]))
			return 1;
	return 0;
}

static void build_root(void)
{
	char from[4096], to[4096], target[4096];
	struct dirent *e;
	DIR *d;

	must_mount("9p", "hslroot", "/host", MS_RDONLY,
		   "trans=virtio,version=9p2000.L,msize=524288,cache=loose");
	must_mount("tmpfs", "root", "/new", 0, "mode=755,size=16m");
	d = opendir("/host");
	if (!d)
		fail("reading the host's root");
	while ((e = readdir(d))) {
		struct stat st;
		ssize_t n;

		if (own_mount(e->d_name))
			continue;
		snprintf(from, sizeof(from), "/host/%s", e->d_name);
		snprintf(to, sizeof(to), "/new/%s", e->d_name);
		if (lstat(from, &st))
			continue;
		if (S_ISLNK(st.st_mode)) {
			n = readlink(from, target, sizeof(target) - 1);
			if (n > 0) {
				target[n] = 0;
				if (symlink(target, to))
					fail("making %s", to);
			}
		} else if (S_ISDIR(st.st_mode)) {
			mkdir(to, 0755);
			if (mount(from, to, NULL, MS_BIND, NULL))
				rmdir(to);
		}
	}
	closedir(d);

	must_mount("proc", "proc", "/new/proc", 0, NULL);
	must_mount("sysfs", "sys", "/new/sys", 0, NULL);
	must_mount("devtmpfs", "dev", "/new/dev", 0, NULL);
	must_mount("devpts", "devpts", "/new/dev/pts", 0, "ptmxmode=666,mode=620");
	must_mount("tmpfs", "shm", "/new/dev/shm", 0, "mode=1777");
	must_mount("tmpfs", "tmp", "/new/tmp", 0, "mode=1777");
	must_mount("tmpfs", "run", "/new/run", 0, "mode=755");
	try_mount("tmpfs", "vartmp", "/new/var/tmp", 0, "mode=1777");
	try_mount("debugfs", "debugfs", "/new/sys/kernel/debug", 0, NULL);
	try_mount("tracefs", "tracefs", "/new/sys/kernel/tracing", 0, NULL);
	try_mount("cgroup2", "cgroup2", "/new/sys/fs/cgroup", 0, NULL);
	try_mount("hugetlbfs", "hugetlbfs", "/new/dev/hugepages", 0, NULL);
	mkdir("/new/out", 0755);
	if (want_out && mount("hslout", "/new/out", "9p", 0,
			      "trans=virtio,version=9p2000.L,msize=524288,cache=mmap"))
		fail("mounting /out");
	for (int i = 0; i < nbinds; i++) {
		snprintf(from, sizeof(from), "/host%s", binds[i]);
		snprintf(to, sizeof(to), "/new%s", binds[i]);
		make_target(from, to);
		if (mount(from, to, NULL, MS_BIND, NULL))
			fail("showing %s", binds[i]);
	}
	if (symlink("/proc/self/fd", "/new/dev/fd") ||
	    symlink("/proc/self/fd/0", "/new/dev/stdin") ||
	    symlink("/proc/self/fd/1", "/new/dev/stdout") ||
	    symlink("/proc/self/fd/2", "/new/dev/stderr"))
		if (errno != EEXIST)
			fail("making /dev/fd");

	umount2("/host", MNT_DETACH);
	if (chdir("/new") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		fail("changing to the new root");
}

struct pipe_ends {
	int from, to;
};

static void *pump(void *arg)
{
	static __thread char buf[65536];
	struct pipe_ends *p = arg;

	for (;;) {
		ssize_t n = read(p->from, buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;		/* a terminal ends with EIO */
		write_all(p->to, buf, n);
	}
	return NULL;
}

static int read_all(int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= n;
	}
	return 0;
}

static void *pump_input(void *arg)
{
	int to = *(int *)arg;
	static char buf[65536];
	uint32_t len;

	while (!read_all(in_fd, &len, sizeof(len))) {
		if (len == 0xffffffff) {
			uint16_t size[2];
			struct winsize ws = { 0 };

			if (read_all(in_fd, size, sizeof(size)))
				break;
			ws.ws_row = size[0];
			ws.ws_col = size[1];
			ioctl(to, TIOCSWINSZ, &ws);
			continue;
		}
		if (!len || len > sizeof(buf) || read_all(in_fd, buf, len))
			break;
		write_all(to, buf, len);
	}
	if (!rows)
		close(to);
	return NULL;
}

/* Every record of the kernel's log, from the first on, until our own mark. */
static void *pump_log(void *arg)
{
	static char buf[8192];
	int fd = *(int *)arg;

	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf) - 1);

		if (n < 0 && errno == EPIPE) {
			static const char lost[] = "hsl-init: records of the kernel log were lost\n";

			write_all(log_fd, lost, sizeof(lost) - 1);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		buf[n] = 0;
		if (strstr(buf, END_OF_LOG))
			break;
		write_all(log_fd, buf, n);
	}
	return NULL;
}

static void start(pthread_t *t, void *(*fn)(void *), void *arg)
{
	errno = pthread_create(t, NULL, fn, arg);
	if (errno)
		fail("starting a thread");
}

static void load_module(const char *path, const char *options)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		fail("opening %s", path);
	if (syscall(SYS_finit_module, fd, options, 0))
		fail("loading %s", path);
	close(fd);
}

/* A header as mkswap(8) makes it: one page; what is not set is 0. */
static void make_swap(void)
{
	static union {
		char page[4096];
		struct {
			char boot[1024];
			uint32_t version, last_page;
		};
	} header;
	char text[32];
	int fd, n;

	n = snprintf(text, sizeof(text), "%ld", swap_size);
	fd = open("/sys/block/zram0/disksize", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, n) != n)
		fail("making a RAM disk for swap");
	close(fd);
	header.version = 1;
	header.last_page = swap_size / sizeof(header) - 1;
	memcpy(header.page + sizeof(header) - 10, "SWAPSPACE2", 10);
	fd = open("/dev/zram0", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, &header, sizeof(header)) != sizeof(header) || fsync(fd))
		fail("writing the swap header");
	close(fd);
	if (swapon("/dev/zram0", 0))
		fail("swapping to the RAM disk");
}

static void module_name(char *name, size_t size)
{
	const char *base = strrchr(module, '/');

	snprintf(name, size, "%s", base ? base + 1 : module);
	name[strcspn(name, ".")] = 0;
	for (char *p = name; *p; p++)
		if (*p == '-')
			*p = '_';
}

/* Nobody is left who could use it, so it has to go; a moment for last works. */
static void unload_module(void)
{
	char name[64];

	module_name(name, sizeof(name));
	for (int i = 0; i < 1000; i++) {
		if (!syscall(SYS_delete_module, name, O_NONBLOCK) || errno == ENOENT) {
			status("module gone");
			return;
		}
		if (errno != EAGAIN && errno != EBUSY)
			break;
		usleep(10000);
	}
	status("module stuck %s", strerror(errno));
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* The module's symbols, kept because a leak is reported after it is gone. */
static struct symbol {
	unsigned long addr;
	char name[56];
} *symbols;
static size_t nsymbols;

static void keep_symbols(void)
{
	char line[512], name[64], tag[72];
	FILE *f = fopen("/proc/kallsyms", "re");

	module_name(name, sizeof(name));
	snprintf(tag, sizeof(tag), "[%s]", name);
	while (f && fgets(line, sizeof(line), f)) {
		struct symbol *more, sym;
		char type;

		if (!strstr(line, tag) ||
		    sscanf(line, "%lx %c %55s", &sym.addr, &type, sym.name) != 3)
			continue;
		more = realloc(symbols, (nsymbols + 1) * sizeof(*symbols));
		if (!more)
			break;
		symbols = more;
		symbols[nsymbols++] = sym;
	}
	if (f)
		fclose(f);
}

static const struct symbol *symbol_of(unsigned long addr)
{
	const struct symbol *best = NULL;

	for (size_t i = 0; i < nsymbols; i++)
		if (symbols[i].addr <= addr && addr - symbols[i].addr < 0x10000 &&
		    (!best || best->addr < symbols[i].addr))
			best = &symbols[i];
	return best;
}

static void scan_leaks(int report)
{
	char line[512];
	FILE *f;
	int fd = open(KMEMLEAK, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "scan", 4) != 4)
		status("leak (kmemleak did not scan: %s)", strerror(errno));
	close(fd);
	if (!report)
		return;
	f = fopen(KMEMLEAK, "re");
	while (f && fgets(line, sizeof(line), f)) {
		const struct symbol *sym = NULL;
		unsigned long addr;

		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, " 0x%lx", &addr) == 1)
			sym = symbol_of(addr);
		if (sym)
			status("leak     %s+0x%lx [gone]", sym->name, addr - sym->addr);
		else
			status("leak %s", line);
	}
	if (f)
		fclose(f);
}

static pid_t run(int in, int out, int err)
{
	pid_t pid = fork();
	sigset_t none;

	if (pid)
		return pid;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	if (rows)
		ioctl(0, TIOCSCTTY, 0);
	if (in > 2)
		close(in);
	if (out > 2)
		close(out);
	if (err > 2 && err != out)
		close(err);
	if (chdir(cwd)) {
		dprintf(2, "vm: cannot enter %s: %s\n", cwd, strerror(errno));
		_exit(127);
	}
	for (int i = 0; i < nenvs; i++)
		if (!strncmp(envs[i], "PATH=", 5))
			setenv("PATH", envs[i] + 5, 1);
	execvpe(args[0], args, envs);
	dprintf(2, "vm: cannot run %s: %s\n", args[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

int main(void)
{
	struct pipe_ends p_out, p_err;
	pthread_t t_out, t_err, t_in, t_log;
	int in[2], out[2], err[2], kmsg, st, master = -1;
	double ended;
	pid_t pid, got;

	signal(SIGPIPE, SIG_IGN);
	must_mount("devtmpfs", "dev", "/dev", 0, NULL);
	must_mount("sysfs", "sys", "/sys", 0, NULL);
	must_mount("proc", "proc", "/proc", 0, NULL);
	klogctl(8, NULL, 8);
	read_job();
	for (int i = 0; i < nloads; i++)
		load_module(loads[i], "");

	status_fd = open_port("hsl.status", O_WRONLY);
	log_fd = open_port("hsl.log", O_WRONLY);
	out_fd = open_port("hsl.out", O_WRONLY);
	err_fd = open_port("hsl.err", O_WRONLY);
	in_fd = open_port("hsl.in", O_RDONLY);
	if (status_fd < 0 || log_fd < 0 || out_fd < 0 || err_fd < 0 || in_fd < 0)
		fail("opening the ports");
	kmsg = open("/dev/kmsg", O_RDWR | O_CLOEXEC);
	if (kmsg < 0)
		fail("opening the kernel log");
	start(&t_log, pump_log, &kmsg);

	if (!nargs) {			/* a probe: we are here, that is all */
		status("run");
		status("exit 0");
		status("end");
		power_off();
	}
	build_root();
	if (sethostname("hsl", 3))
		fail("naming the guest");
	if (swap_size)
		make_swap();
	if (module)
		load_module(module, modargs);
	envs[nenvs] = NULL;
	args[nargs] = NULL;

	if (rows) {
		struct winsize ws = { .ws_row = rows, .ws_col = cols };
		char name[64];
		int n, zero = 0;

		master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (master < 0 || ioctl(master, TIOCSPTLCK, &zero) || ioctl(master, TIOCGPTN, &n))
			fail("making a terminal");
		snprintf(name, sizeof(name), "/dev/pts/%d", n);
		in[0] = out[1] = err[1] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (in[0] < 0)
			fail("opening the terminal");
		ioctl(master, TIOCSWINSZ, &ws);
		in[1] = out[0] = master;
	} else {
		if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) || pipe2(in, O_CLOEXEC))
			fail("making pipes");
		if (!want_stdin) {
			close(in[0]);
			close(in[1]);
			in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		}
	}

	status("run");
	pid = run(in[0], out[1], err[1]);
	if (pid < 0)
		fail("starting the command");
	close(in[0]);
	if (!rows) {
		close(out[1]);
		close(err[1]);
		p_err = (struct pipe_ends){ err[0], err_fd };
		start(&t_err, pump, &p_err);
	}
	p_out = (struct pipe_ends){ out[0], out_fd };
	start(&t_out, pump, &p_out);
	if (want_stdin || rows)
		start(&t_in, pump_input, &in[1]);

	while ((got = waitpid(-1, &st, 0)) != pid)
		if (got < 0 && errno != EINTR)
			fail("waiting for the command");
	ended = now();

	/* What it left behind ends with it; only then are its pipes at an end. */
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	pthread_join(t_out, NULL);
	if (!rows)
		pthread_join(t_err, NULL);
	if (WIFSIGNALED(st))
		status("signal %d", WTERMSIG(st));
	else
		status("exit %d", WEXITSTATUS(st));

	if (module) {
		int leaks = want_leaks && !access(KMEMLEAK, F_OK);

		/*
		 * Only after the unload nothing but a leak is left of it.
		 * kmemleak ignores what is younger than five seconds, and a
		 * first scan only takes the checksums for the second.
		 */
		if (leaks)
			keep_symbols();
		unload_module();
		if (leaks) {
			while (now() < ended + 5.2)
				usleep(50000);
			scan_leaks(0);
			scan_leaks(1);
		}
	}
	write_all(kmsg, "<7>" END_OF_LOG "\n", sizeof(END_OF_LOG "\n") + 2);
	pthread_join(t_log, NULL);
	sync();
	status("end");
	power_off();
}
