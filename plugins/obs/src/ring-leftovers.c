/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ring-leftovers.h"

#include <string.h>

#include "descriptor.h"
#include "hosts.h"
#include "platform.h"

#define MAX_NAMES 4

static bool read_descriptor(const char *run_dir, const char *stream, descriptor *found) {
    char path[PLATFORM_PATH_BYTES], text[DESCRIPTOR_MAX_BYTES];
    long length;

    hosts_path(run_dir, stream, ".json", path);
    length = platform_read_private_file(path, text, sizeof text);
    return length > 0 && descriptor_parse(text, (size_t)length, stream, found) == NULL;
}

/* The dead writer may have been of either kind. */
static void unlink_everywhere(const char *run_dir, const char *name) {
    platform_segment shared = {name, NULL}, file = {name, run_dir};
    platform_unlink(&shared);
    platform_unlink(&file);
}

static void clear_pending(const char *path, const char *run_dir) {
    char text[DESCRIPTOR_MAX_BYTES + 1], *name = text, *rest;
    long length = platform_read_private_file(path, text, sizeof text - 1);
    int count;

    if (length <= 0)
        return;
    text[length] = '\0';
    for (count = 0; name != NULL && count < MAX_NAMES; ++count) {
        rest = strchr(name, '\n');
        if (rest != NULL)
            *rest++ = '\0';
        if (is_segment_name(name)) /* whatever the file says, nothing else is removed */
            unlink_everywhere(run_dir, name);
        name = rest;
    }
}

uint64_t ring_clear_leftovers(const char *run_dir, const char *stream) {
    char path[PLATFORM_PATH_BYTES];
    uint64_t generation = 0;
    descriptor found;

    if (read_descriptor(run_dir, stream, &found)) {
        generation = found.generation;
        unlink_everywhere(run_dir, found.segment);
    }
    hosts_path(run_dir, stream, ".json", path);
    platform_remove_file(path);
    hosts_path(run_dir, stream, ".pending", path);
    clear_pending(path, run_dir);
    platform_remove_file(path);
    return generation;
}

uint32_t ring_owner_pid(const char *run_dir, const char *stream) {
    descriptor found;
    return read_descriptor(run_dir, stream, &found) ? (uint32_t)found.pid : 0;
}
