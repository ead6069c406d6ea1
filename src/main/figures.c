/* SPDX-License-Identifier: Apache-2.0 */
/* What the system says of this process, read at each scrape; no WAITS. */
#include "main/figures.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metric.h"
#include "fiber/loop.h"

static double started; /* seconds since 1970 */

static double
read_rss(void *arg)
{
	FILE *file = fopen("/proc/self/statm", "re");
	long pages = 0, size;

	(void)arg;
	if (file == NULL)
		return 0;
	if (fscanf(file, "%ld %ld", &size, &pages) != 2)
		pages = 0;
	fclose(file);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double
read_cpu(void *arg)
{
	struct rusage used;

	(void)arg;
	getrusage(RUSAGE_SELF, &used);
	return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
	       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* ".", ".." and the folder's own do not count. */
static double
read_open_fds(void *arg)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = -3;

	(void)arg;
	if (folder == NULL)
		return 0;
	while (readdir(folder) != NULL)
		count++;
	closedir(folder);
	return count;
}

static double
read_max_fds(void *arg)
{
	struct rlimit limit;

	(void)arg;
	return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (double)limit.rlim_cur
						     : 0;
}

static double
read_started(void *arg)
{
	(void)arg;
	return started;
}

static double
read_loops(void *arg)
{
	(void)arg;
	return loops_count();
}

static double
read_one(void *arg)
{
	(void)arg;
	return 1;
}

static void
show(enum metric metric, struct metric_labels labels, metric_read_fn read)
{
	metric_gauge_read(metric, SERVICE_NONE, labels, read, NULL);
}

void
figures_show(void)
{
	started = (double)clock_wall_ms() / 1e3;
	show(METRIC_RSS, METRIC_NO_LABELS, read_rss);
	show(METRIC_CPU, METRIC_NO_LABELS, read_cpu);
	show(METRIC_OPEN_FDS, METRIC_NO_LABELS, read_open_fds);
	show(METRIC_MAX_FDS, METRIC_NO_LABELS, read_max_fds);
	show(METRIC_STARTED, METRIC_NO_LABELS, read_started);
	show(METRIC_LOOPS, METRIC_NO_LABELS, read_loops);
	show(METRIC_BUILD, LABELS(XIN_VERSION), read_one);
}
