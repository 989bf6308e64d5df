// SPDX-License-Identifier: MIT
/* Files of the machine that is looked at: all of them small, and gone at any moment. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "hslctl.h"

static char *path_of(const char *fmt, va_list ap)
{
	char *rest, *path;

	if (vasprintf(&rest, fmt, ap) < 0 || asprintf(&path, "%s%s", options.sysroot, rest) < 0)
		fail("out of memory");
	free(rest);
	return path;
}

#define PATH_OF(path, fmt)	\
	do { va_list ap_; va_start(ap_, fmt); path = path_of(fmt, ap_); va_end(ap_); } while (0)

char *file_path(const char *fmt, ...)
{
	char *path;

	PATH_OF(path, fmt);
	return path;
}

/* All of it, without the newlines at the end; NULL, and errno. */
static char *read_all(const char *path)
{
	size_t len = 0, room = 4096;
	char *text = malloc(room);
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !text) {
		free(text);
		return NULL;
	}
	while ((n = read(fd, text + len, room - len - 1)) > 0) {
		len += n;
		if (room - len < 2) {
			char *more = realloc(text, room *= 2);

			if (!more)
				fail("out of memory");
			text = more;
		}
	}
	if (n < 0) {
		n = errno;
		close(fd);
		free(text);
		errno = n;
		return NULL;
	}
	close(fd);
	while (len && text[len - 1] == '\n')
		len--;
	text[len] = '\0';
	return text;
}

char *file_read(const char *fmt, ...)
{
	char *path, *text;

	PATH_OF(path, fmt);
	text = read_all(path);
	free(path);
	return text;
}

bool file_number(uint64_t *val, const char *fmt, ...)
{
	char *path, *text, *end;
	bool ok = false;

	PATH_OF(path, fmt);
	text = read_all(path);
	free(path);
	if (text) {
		*val = strtoull(text, &end, 0);
		ok = end != text;
	}
	free(text);
	return ok;
}

bool file_exists(const char *fmt, ...)
{
	char *path;
	bool is;

	PATH_OF(path, fmt);
	is = !access(path, F_OK);
	free(path);
	return is;
}

/* 0 or -errno */
int file_write(const char *text, const char *fmt, ...)
{
	char *path;
	int fd, ret = 0;

	PATH_OF(path, fmt);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	free(path);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int no_dots(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

/* What is in a folder, in order of version sort; how many, 0 if there is none. */
int file_list(char ***names, const char *fmt, ...)
{
	struct dirent **found;
	char *path;
	int i, n;

	PATH_OF(path, fmt);
	n = scandir(path, &found, no_dots, versionsort);
	free(path);
	*names = NULL;
	if (n <= 0) {
		if (!n)
			free(found);
		return 0;
	}
	*names = calloc(n, sizeof(**names));
	for (i = 0; i < n; i++) {
		(*names)[i] = strdup(found[i]->d_name);
		free(found[i]);
	}
	free(found);
	return n;
}

void file_list_free(char **names, int nr)
{
	while (nr--)
		free(names[nr]);
	free(names);
}
