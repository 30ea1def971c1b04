/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which hosts of this user run, by what they leave in the run directories. Does file I/O. */
#ifndef SDV2_OBS_HOSTS_H
#define SDV2_OBS_HOSTS_H

#include "descriptor.h"
#include "platform.h"

#define HOSTS_MAX 64

typedef struct host {
    char name[STREAM_NAME_BYTES];
    char run_dir[PLATFORM_PATH_BYTES];
    uint16_t port; /* OSC and everything else, on 127.0.0.1 */
} host;

/* All that run, by name; returns how many. */
size_t hosts_running(host found[HOSTS_MAX]);

/* Whether the host runs; '' = the first one by name. */
bool hosts_find(const char *name, host *found);

/* NAME-in or NAME-out. */
void hosts_stream(const char *name, const char *end, char stream[STREAM_NAME_BYTES]);

/* RUN/STREAM and a suffix such as ".json". */
void hosts_path(const char *run_dir, const char *stream, const char *suffix,
                char path[PLATFORM_PATH_BYTES]);

#endif
