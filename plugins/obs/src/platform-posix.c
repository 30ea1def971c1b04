/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Linux and macOS. Only Linux has been run. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __APPLE__
#include <mach/mach_time.h>
#define MAP_POPULATE 0 /* the first pass over the slots pays */
#else
#include <sys/random.h>
#endif

static uint64_t clock_ns(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t platform_now_ns(void) {
#ifdef __APPLE__
    return clock_ns(CLOCK_UPTIME_RAW); /* mach_absolute_time in nanoseconds */
#else
    return clock_ns(CLOCK_MONOTONIC);
#endif
}

uint64_t platform_unix_ns(void) { return clock_ns(CLOCK_REALTIME); }

uint32_t platform_pid(void) { return (uint32_t)getpid(); }

bool platform_random(void *bytes, size_t num_bytes) {
#ifdef __APPLE__
    arc4random_buf(bytes, num_bytes);
    return true;
#else
    return getrandom(bytes, num_bytes, 0) == (ssize_t)num_bytes;
#endif
}

/* ---- run directories --------------------------------------------------------------------- */

static bool home_dir(char *path, size_t room) {
    const char *home = getenv("HOME");
    struct passwd *user;

    if (home == NULL || home[0] != '/') {
        user = getpwuid(getuid());
        home = user != NULL ? user->pw_dir : NULL;
    }
    return home != NULL && snprintf(path, room, "%s", home) < (int)room;
}

size_t platform_run_dirs(char dirs[PLATFORM_MAX_RUN_DIRS][PLATFORM_PATH_BYTES]) {
    char home[PLATFORM_PATH_BYTES - 64];
    bool has_home = home_dir(home, sizeof home);
    size_t count = 0;

#ifdef __APPLE__
    if (has_home)
        snprintf(dirs[count++], PLATFORM_PATH_BYTES, "%s/Library/Caches/sdv2-host/run", home);
#else
    /* No environment variable decides: OBS started from a desktop sees other ones than a shell. */
    unsigned uid = (unsigned)getuid();
    char session[64];
    snprintf(session, sizeof session, "/run/user/%u", uid);
    if (access(session, W_OK) == 0)
        snprintf(dirs[count++], PLATFORM_PATH_BYTES, "%s/sdv2-host", session);
    else
        snprintf(dirs[count++], PLATFORM_PATH_BYTES, "/tmp/sdv2-host-%u", uid);
#endif
    if (has_home)
        snprintf(dirs[count++], PLATFORM_PATH_BYTES, "%s/.sdv2-host/run", home);
    return count;
}

bool platform_is_private_dir(const char *path) {
    struct stat found;
    return lstat(path, &found) == 0 && S_ISDIR(found.st_mode) && found.st_uid == geteuid() &&
           (found.st_mode & 077) == 0;
}

/* ---- small files ------------------------------------------------------------------------- */

static bool is_private_file(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && found.st_uid == geteuid() &&
           (found.st_mode & 077) == 0;
}

long platform_read_private_file(const char *path, void *content, size_t room) {
    /* O_NONBLOCK: a FIFO put in its place must not hang us. */
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t got = -1;
    char more;

    if (fd < 0)
        return -1;
    if (is_private_file(fd))
        got = read(fd, content, room);
    if (got == (ssize_t)room && read(fd, &more, 1) != 0)
        got = -1;
    close(fd);
    return (long)got;
}

bool platform_write_private_file(const char *path, const void *content, size_t num_bytes) {
    char temporary[PLATFORM_PATH_BYTES + 8];
    bool is_written;
    int fd;

    snprintf(temporary, sizeof temporary, "%s.tmp", path); /* fixed: a crash leaves at most one */
    unlink(temporary);
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    is_written = write(fd, content, num_bytes) == (ssize_t)num_bytes;
    is_written = close(fd) == 0 && is_written && rename(temporary, path) == 0;
    if (!is_written)
        unlink(temporary);
    return is_written;
}

void platform_remove_file(const char *path) { unlink(path); }

void platform_list_files(const char *dir, const char *suffix,
                         void (*visit)(void *context, const char *name), void *context) {
    size_t suffix_bytes = strlen(suffix), name_bytes;
    DIR *listing = opendir(dir);
    const struct dirent *entry;

    if (listing == NULL)
        return;
    while ((entry = readdir(listing)) != NULL) {
        name_bytes = strlen(entry->d_name);
        if (name_bytes > suffix_bytes &&
            strcmp(entry->d_name + name_bytes - suffix_bytes, suffix) == 0)
            visit(context, entry->d_name);
    }
    closedir(listing);
}

/* ---- lock -------------------------------------------------------------------------------- */

struct platform_lock {
    int fd;
    char path[PLATFORM_PATH_BYTES];
};

static bool is_same_file(int fd, const char *path) {
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

platform_lock *platform_lock_take(const char *path) {
    /* O_CLOEXEC: a recorder that OBS starts must not keep the lock after us. */
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    platform_lock *lock = NULL;

    if (fd < 0)
        return NULL;
    /* The last holder removes the file: a lock on one that is no longer there means nothing. */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_same_file(fd, path))
        lock = calloc(1, sizeof *lock);
    if (lock == NULL) {
        close(fd);
        return NULL;
    }
    lock->fd = fd;
    snprintf(lock->path, sizeof lock->path, "%s", path);
    return lock;
}

void platform_lock_free(platform_lock *lock) {
    if (lock == NULL)
        return;
    unlink(lock->path);
    close(lock->fd);
    free(lock);
}

bool platform_lock_is_held(const char *path) {
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    bool is_free;

    if (fd < 0)
        return errno != ENOENT; /* no file handles left, say: no reason to declare anybody dead */
    is_free = flock(fd, LOCK_SH | LOCK_NB) == 0;
    close(fd);
    return !is_free;
}

/* ---- shared memory ----------------------------------------------------------------------- */

static int open_segment(const platform_segment *segment, int flags) {
    char path[PLATFORM_PATH_BYTES + 64];

    flags |= O_NOFOLLOW | O_CLOEXEC;
    if (segment->dir != NULL) {
        snprintf(path, sizeof path, "%s/%s", segment->dir, segment->name);
        return open(path, flags, 0600);
    }
#ifdef __APPLE__
    snprintf(path, sizeof path, "/%s", segment->name);
    return shm_open(path, flags & ~(O_NOFOLLOW | O_CLOEXEC), 0600);
#else
    snprintf(path, sizeof path, "/dev/shm/%s", segment->name);
    return open(path, flags, 0600);
#endif
}

const char *platform_attach(const platform_segment *segment, uint64_t max_bytes,
                            platform_mapping *mapping) {
    int fd = open_segment(segment, O_RDONLY);
    struct stat found;

    memset(mapping, 0, sizeof *mapping);
    if (fd < 0)
        return "its segment is gone";
#ifndef __APPLE__ /* macOS does not say S_ISREG of a shared memory object */
    if (!is_private_file(fd)) {
        close(fd);
        return "its segment is not this user's own";
    }
#endif
    /* A file with holes can say any size, and every page of it would be mapped. */
    if (fstat(fd, &found) == 0 && found.st_size > 0 && (uint64_t)found.st_size <= max_bytes) {
        mapping->bytes = (uint64_t)found.st_size;
        /* Every page now: else the first pass over the slots costs the render thread 4 ms. */
        mapping->address = mmap(NULL, (size_t)found.st_size, PROT_READ,
                                MAP_SHARED | MAP_POPULATE, fd, 0);
    }
    close(fd);
    if (mapping->address == NULL || mapping->address == MAP_FAILED) {
        mapping->address = NULL;
        return "its segment cannot be mapped";
    }
    return NULL;
}

static bool reserve(int fd, uint64_t bytes) {
#ifdef __APPLE__
    return ftruncate(fd, (off_t)bytes) == 0;
#else
    /* Not ftruncate: full shared memory is an error here instead of a SIGBUS at the first write. */
    return posix_fallocate(fd, 0, (off_t)bytes) == 0;
#endif
}

const char *platform_create(const platform_segment *segment, uint64_t bytes,
                            platform_mapping *mapping) {
    int fd = open_segment(segment, O_RDWR | O_CREAT | O_EXCL);
    void *address = MAP_FAILED;

    memset(mapping, 0, sizeof *mapping);
    if (fd < 0)
        return "shared memory cannot be made";
    if (reserve(fd, bytes))
        address = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                       0);
    close(fd);
    if (address == MAP_FAILED) {
        platform_unlink(segment);
        return "shared memory is full";
    }
    mapping->address = address;
    mapping->bytes = bytes;
    return NULL;
}

void platform_unmap(platform_mapping *mapping) {
    if (mapping->address != NULL)
        munmap(mapping->address, (size_t)mapping->bytes);
    mapping->address = NULL;
}

void platform_unlink(const platform_segment *segment) {
    char path[PLATFORM_PATH_BYTES + 64];

    if (segment->dir != NULL) {
        snprintf(path, sizeof path, "%s/%s", segment->dir, segment->name);
        unlink(path);
        return;
    }
#ifdef __APPLE__
    snprintf(path, sizeof path, "/%s", segment->name);
    shm_unlink(path);
#else
    snprintf(path, sizeof path, "/dev/shm/%s", segment->name);
    unlink(path);
#endif
}

/* ---- network ----------------------------------------------------------------------------- */

bool platform_send_datagram(uint16_t port, const void *bytes, size_t num_bytes) {
    struct sockaddr_in to = {0};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ssize_t sent;

    if (fd < 0)
        return false;
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sent = sendto(fd, bytes, num_bytes, MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof to);
    close(fd);
    return sent == (ssize_t)num_bytes;
}
