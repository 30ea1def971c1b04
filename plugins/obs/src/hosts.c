/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hosts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define SUFFIX ".host"
#define HOST_FILE_MAX_BYTES 4096
#define MAX_NAME_BYTES 44 /* "-out" and "-in" follow in stream names of at most 48 */

typedef struct survey {
    host *found;
    size_t count;
    const char *run_dir;
} survey;

void hosts_stream(const char *name, const char *end, char stream[STREAM_NAME_BYTES]) {
    snprintf(stream, STREAM_NAME_BYTES, "%.*s-%s", MAX_NAME_BYTES, name, end);
}

void hosts_path(const char *run_dir, const char *stream, const char *suffix,
                char path[PLATFORM_PATH_BYTES]) {
    snprintf(path, PLATFORM_PATH_BYTES, "%.*s/%s%s", PLATFORM_PATH_BYTES - 80, run_dir, stream,
             suffix);
}

/* A host that was killed leaves its file, but not its lock. The process id says nothing here: a
 * sandbox has its own. */
static bool is_running(const char *run_dir, const char *name) {
    char stream[STREAM_NAME_BYTES], path[PLATFORM_PATH_BYTES];

    hosts_stream(name, "out", stream);
    hosts_path(run_dir, stream, ".lock", path);
    return platform_lock_is_held(path);
}

static bool read_host(const char *run_dir, const char *name, host *found) {
    char path[PLATFORM_PATH_BYTES], text[HOST_FILE_MAX_BYTES], said[STREAM_NAME_BYTES];
    uint64_t port;
    long length;

    if (!is_stream_name(name) || strlen(name) > MAX_NAME_BYTES)
        return false;
    hosts_path(run_dir, name, SUFFIX, path);
    length = platform_read_private_file(path, text, sizeof text);
    if (length <= 0 || !json_string(text, (size_t)length, "name", said, sizeof said) ||
        strcmp(said, name) != 0 || !json_number(text, (size_t)length, "port", &port) ||
        port == 0 || port > UINT16_MAX || !is_running(run_dir, name))
        return false;
    snprintf(found->name, sizeof found->name, "%s", name);
    snprintf(found->run_dir, sizeof found->run_dir, "%s", run_dir);
    found->port = (uint16_t)port;
    return true;
}

static void add_host(void *context, const char *file_name) {
    survey *running = context;
    char name[STREAM_NAME_BYTES] = {0};
    size_t length = strlen(file_name) - strlen(SUFFIX);

    if (running->count >= HOSTS_MAX || length >= sizeof name)
        return;
    memcpy(name, file_name, length);
    if (read_host(running->run_dir, name, &running->found[running->count]))
        ++running->count;
}

static int by_name(const void *one, const void *other) {
    return strcmp(((const host *)one)->name, ((const host *)other)->name);
}

size_t hosts_running(host found[HOSTS_MAX]) {
    char dirs[PLATFORM_MAX_RUN_DIRS][PLATFORM_PATH_BYTES];
    size_t num_dirs = platform_run_dirs(dirs), index;
    survey running = {found, 0, NULL};

    for (index = 0; index < num_dirs; ++index) {
        if (!platform_is_private_dir(dirs[index]))
            continue;
        running.run_dir = dirs[index];
        platform_list_files(dirs[index], SUFFIX, add_host, &running);
    }
    qsort(found, running.count, sizeof *found, by_name);
    return running.count;
}

static bool find_named(const char *name, host *found) {
    char dirs[PLATFORM_MAX_RUN_DIRS][PLATFORM_PATH_BYTES];
    size_t num_dirs = platform_run_dirs(dirs), index;

    for (index = 0; index < num_dirs; ++index)
        if (platform_is_private_dir(dirs[index]) && read_host(dirs[index], name, found))
            return true;
    return false;
}

bool hosts_find(const char *name, host *found) {
    host *all;
    size_t count;

    if (name[0] != '\0')
        return find_named(name, found);
    all = calloc(HOSTS_MAX, sizeof *all); /* 70 kB: too much for a stack */
    count = all != NULL ? hosts_running(all) : 0;
    if (count > 0)
        *found = all[0];
    free(all);
    return count > 0;
}
