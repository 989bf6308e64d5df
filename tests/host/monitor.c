// SPDX-License-Identifier: MIT
/* hslctl monitor with a kernel that has no room for uevents: recv() of this program is its own. */
#include <sys/socket.h>

#define main hslctl_main
#include "../../tools/hslctl/hslctl.c"
#undef main
#include "../../tools/hslctl/monitor.c"

#include "tap.h"

#define UEVENT(action, name)	action "@/devices/" name "\0ACTION=" action "\0SUBSYSTEM=hsl\0DEVPATH=/devices/" name

/* One, one that is lost, and one more; then there are no others. */
ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	static const char before[] = UEVENT("add", "hsl0"), after[] = UEVENT("remove", "hsl1");
	static int n;

	(void)fd, (void)len, (void)flags;
	switch (n++) {
	case 0:
		memcpy(buf, before, sizeof(before));
		return sizeof(before);
	case 1:
		errno = ENOBUFS;
		return -1;
	case 2:
		memcpy(buf, after, sizeof(after));
		return sizeof(after);
	default:
		errno = EAGAIN;
		return -1;
	}
}

int main(void)
{
	FILE *out = tmpfile(), *err = tmpfile();
	int before = dup(STDOUT_FILENO);
	char said[512] = "";

	plan(2);
	fflush(stdout);
	dup2(fileno(out), STDOUT_FILENO);
	dup2(fileno(err), STDERR_FILENO);
	uevent_read(-1);
	fflush(NULL);
	dup2(before, STDOUT_FILENO);
	rewind(out);
	ok(fread(said, 1, sizeof(said) - 1, out) && strstr(said, "hsl0") && strstr(said, "hsl1"),
	   "uevents behind those that are lost are told");
	memset(said, 0, sizeof(said));
	rewind(err);
	ok(fread(said, 1, sizeof(said) - 1, err) && strstr(said, "uevents are lost"), "and so is that some are");
	return tap_done();
}
