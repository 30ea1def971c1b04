/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the operating system does under a frame ring. No other file knows which system it is.
 *
 * Nothing here is called on the render thread but platform_now_ns. The rules are those of
 * sdv2_host/ipc/run_dir.py and shm.py: directories 0700, files 0600, both this user's own.
 */
#ifndef SDV2_OBS_PLATFORM_H
#define SDV2_OBS_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLATFORM_PATH_BYTES 1024
#define PLATFORM_MAX_RUN_DIRS 2

/* The clock of the ring: CLOCK_MONOTONIC, mach_absolute_time or QueryPerformanceCounter. */
uint64_t platform_now_ns(void);
uint64_t platform_unix_ns(void);
uint32_t platform_pid(void);
bool platform_random(void *bytes, size_t num_bytes);

/* Where hosts of this user may run: the usual place, then ~/.sdv2-host/run, which sandboxes see
 * too. Returns how many; none of them need exist. */
size_t platform_run_dirs(char dirs[PLATFORM_MAX_RUN_DIRS][PLATFORM_PATH_BYTES]);

/* Whether the directory exists and nobody else can have written there. */
bool platform_is_private_dir(const char *path);

/* Content of a small regular file that only this user can have written; its length, -1 = there is
 * none, or it cannot be trusted, or is longer than `room`. */
long platform_read_private_file(const char *path, void *content, size_t room);

/* The file has this content, at once or not at all. */
bool platform_write_private_file(const char *path, const void *content, size_t num_bytes);
void platform_remove_file(const char *path);

/* Calls `visit` with the name of every file of the directory that ends in `suffix`. */
void platform_list_files(const char *dir, const char *suffix,
                         void (*visit)(void *context, const char *name), void *context);

/* A file lock that the system frees when its process dies, however it dies. */
typedef struct platform_lock platform_lock;

/* NULL when another process has the lock, or the file cannot be made. */
platform_lock *platform_lock_take(const char *path);
void platform_lock_free(platform_lock *lock);

/* Whether a living process has the lock; true when that cannot be told. */
bool platform_lock_is_held(const char *path);

/* Shared memory by name, or, for sandboxes, a file of that name in `dir`. */
typedef struct platform_segment {
    const char *name;
    const char *dir; /* NULL = shared memory of the system */
} platform_segment;

typedef struct platform_mapping {
    void *address; /* NULL = none */
    uint64_t bytes;
    void *handle; /* Windows keeps a mapping object */
} platform_mapping;

/* NULL when the whole segment, at most `max_bytes`, is mapped for reading; else what is wrong. */
const char *platform_attach(const platform_segment *segment, uint64_t max_bytes,
                            platform_mapping *mapping);

/* NULL when a new zeroed segment of this size is mapped for writing and its memory is really
 * there; else what is wrong, and nothing is left behind. */
const char *platform_create(const platform_segment *segment, uint64_t bytes,
                            platform_mapping *mapping);
void platform_unmap(platform_mapping *mapping);

/* The name is gone; mappings of it stay valid. */
void platform_unlink(const platform_segment *segment);

/* One UDP datagram to 127.0.0.1; nobody is told whether it arrived. */
bool platform_send_datagram(uint16_t port, const void *bytes, size_t num_bytes);

#endif
