/* SPDX-License-Identifier: Apache-2.0 */
/* The other side of the frame ring, made from sdv2_ring.h alone, for test_ring_abi.py (POSIX).
 *
 *   offsets                    one line per field: struct field offset bytes
 *   check                      stdin: segment headers of 4096 B; stdout: 1 or 0 per header
 *   check-slot CAPACITY        stdin: slot headers of 128 B for frame 1; stdout: 1 or 0 per header
 *   write RUN STREAM W H FORMAT PAD SLOTS
 *                              a writer; each line on stdin publishes a frame and answers its number
 *   read RUN STREAM            each line on stdin takes the newest frame within 2 s; stdout: one
 *                              result byte, then for a new frame its slot header and tight rows
 *   lap RUN STREAM SECONDS     reads as fast as it can, stdout: frames torn retries
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sdv2_ring.h"

#define PATH_BYTES 4096

static void die(const char *what) {
    fprintf(stderr, "ring_peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t clock_ns(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The byte of a test picture: every frame, row and column is different. */
static uint8_t pattern(uint64_t frame, uint64_t index) {
    return (uint8_t)(index * 31u + frame * 7u + (index >> 8));
}

#define FIELD(type, field) \
    printf("%s %s %zu %zu\n", #type, #field, offsetof(type, field), sizeof(((type *)0)->field))
#define SEGMENT(field) FIELD(sdv2_ring_segment, field)
#define SLOT(field) FIELD(sdv2_ring_slot, field)

static void print_offsets(void) {
    SEGMENT(magic); SEGMENT(abi_major); SEGMENT(abi_minor); SEGMENT(header_bytes);
    SEGMENT(endian_tag); SEGMENT(flags); SEGMENT(segment_bytes); SEGMENT(generation);
    SEGMENT(uuid); SEGMENT(ready); SEGMENT(slot_count); SEGMENT(slot_header_bytes);
    SEGMENT(slot_stride); SEGMENT(slots_offset); SEGMENT(slot_capacity); SEGMENT(clock_id);
    SEGMENT(reserved0); SEGMENT(reserved1); SEGMENT(created_unix_ns); SEGMENT(writer_pid);
    SEGMENT(reserved2); SEGMENT(writer_start); SEGMENT(stream); SEGMENT(reserved3);
    SEGMENT(publish_seq); SEGMENT(heartbeat_ns); SEGMENT(state); SEGMENT(reserved4);
    SEGMENT(bell); SEGMENT(reserved5); SEGMENT(clock_perf_ns); SEGMENT(clock_unix_ns);
    SEGMENT(reserved6); SEGMENT(reserved7); SEGMENT(gpu_ext); SEGMENT(gpu_slots);
    SEGMENT(reserved8);
    SLOT(lock); SLOT(frame); SLOT(payload_bytes); SLOT(row_stride); SLOT(width); SLOT(height);
    SLOT(pixel_format); SLOT(alpha); SLOT(orientation); SLOT(primaries); SLOT(transfer);
    SLOT(matrix); SLOT(full_range); SLOT(flags); SLOT(dropped_before); SLOT(capture_ts_ns);
    SLOT(publish_ts_ns); SLOT(source_frame); SLOT(source_capture_ts_ns); SLOT(user_tag);
    SLOT(crc32c); SLOT(wait_us); SLOT(present_ts_ns); SLOT(encode_us); SLOT(denoise_us);
    SLOT(decode_us); SLOT(upload_16us); SLOT(download_16us);
}

static void check_headers(void) {
    static uint64_t header[SDV2_RING_SEGMENT_HEADER_BYTES / 8]; /* words: aligned */
    sdv2_ring_reader reader;
    while (fread(header, sizeof header, 1, stdin) == 1)
        putchar(sdv2_ring_check(header, UINT64_MAX, &reader) == NULL ? '1' : '0');
}

static void check_slots(uint64_t capacity) {
    sdv2_ring_slot header;
    while (fread(&header, sizeof header, 1, stdin) == 1)
        putchar(sdv2_ring_slot_is_sound(&header, 1, capacity) ? '1' : '0');
}

static void write_frames(char **arg) {
    const char *run = arg[0], *stream = arg[1], *name = "lfr.00c0ffee00c0ffee00c0";
    uint32_t width = (uint32_t)atoi(arg[2]), height = (uint32_t)atoi(arg[3]);
    uint32_t format = (uint32_t)atoi(arg[4]), slots = (uint32_t)atoi(arg[6]);
    uint64_t row_bytes = width * (uint64_t)sdv2_ring_pixel_bytes(format);
    uint64_t stride = row_bytes + (uint64_t)atoi(arg[5]), index;
    uint64_t segment_bytes = sdv2_ring_segment_bytes(slots, stride * height);
    char lock_path[PATH_BYTES], json_path[PATH_BYTES], segment_path[PATH_BYTES];
    uint8_t *pixels = malloc(row_bytes * height);
    sdv2_ring_identity who = {0};
    sdv2_ring_slot header = {0};
    sdv2_ring_writer writer;
    FILE *json;
    void *map;
    int lock, fd, next;

    snprintf(lock_path, sizeof lock_path, "%s/%s.lock", run, stream);
    snprintf(json_path, sizeof json_path, "%s/%s.json", run, stream);
    snprintf(segment_path, sizeof segment_path, "/dev/shm/%s", name);
    lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) die(lock_path);
    fd = open(segment_path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) die(segment_path);
    if (posix_fallocate(fd, 0, (off_t)segment_bytes) != 0) die("posix_fallocate");
    map = mmap(NULL, segment_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED || pixels == NULL) die("mmap");
    who.stream = stream;
    memset(who.uuid, 0xAB, sizeof who.uuid);
    who.generation = 1;
    who.pid = (uint32_t)getpid();
    who.start_ns = who.now_ns = clock_ns(CLOCK_MONOTONIC);
    who.unix_ns = clock_ns(CLOCK_REALTIME);
    sdv2_ring_init(&writer, map, slots, segment_bytes, &who, 0);
    umask(0077);
    json = fopen(json_path, "w");
    if (json == NULL) die(json_path);
    fprintf(json,
            "{\"abi\":[1,0],\"stream\":\"%s\",\"segment\":\"%s\",\"generation\":1,\"uuid\":\"", stream,
            name);
    for (index = 0; index < 16; ++index) fprintf(json, "%02x", who.uuid[index]);
    fprintf(json, "\",\"pid\":%d,\"writer\":\"ring_peer\",\"created_unix_ns\":%" PRIu64 "}",
            (int)getpid(), who.unix_ns);
    fclose(json);

    header.width = width;
    header.height = height;
    header.pixel_format = format;
    header.payload_bytes = stride * height;
    header.row_stride = stride;
    header.alpha = SDV2_RING_ALPHA_STRAIGHT;
    header.orientation = SDV2_RING_BOTTOM_FIRST;
    header.capture_ts_ns = -5;
    header.present_ts_ns = 123456789;
    header.user_tag = 77;
    puts("ready");
    fflush(stdout);
    while ((next = getchar()) != EOF) {
        if (next != '\n') continue;
        for (index = 0; index < row_bytes * height; ++index)
            pixels[index] = pattern(writer.frame + 1, index);
        printf("%" PRIu64 "\n", sdv2_ring_publish(&writer, &header, pixels, row_bytes,
                                                  clock_ns(CLOCK_MONOTONIC)));
        fflush(stdout);
    }
    sdv2_ring_end(&writer, SDV2_RING_STATE_CLOSED);
    unlink(json_path);
    unlink(segment_path);
    unlink(lock_path);
    free(pixels);
}

/* What a plug-in does to attach: descriptor, name, first page, whole segment, check. */
static void attach(char **arg, sdv2_ring_reader *reader) {
    char path[PATH_BYTES], text[PATH_BYTES] = {0}, *name;
    const char *refusal;
    struct stat found;
    FILE *json;
    void *map;
    int fd;

    snprintf(path, sizeof path, "%s/%s.json", arg[0], arg[1]);
    json = fopen(path, "r");
    if (json == NULL || fread(text, 1, sizeof text - 1, json) == 0) die(path);
    fclose(json);
    name = strstr(text, "\"lfr.");
    if (name == NULL) die("descriptor names no segment");
    snprintf(path, sizeof path, "/dev/shm/%.24s", name + 1);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) != 0) die(path);
    map = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) die("mmap");
    refusal = sdv2_ring_check(map, (uint64_t)found.st_size, reader);
    if (refusal != NULL) die(refusal);
    close(fd);
}

static void read_frames(char **arg) {
    sdv2_ring_reader reader;
    sdv2_ring_slot header;
    uint8_t *pixels;
    int next;

    attach(arg, &reader);
    pixels = malloc(reader.slot_capacity);
    if (pixels == NULL) die("malloc");
    while ((next = getchar()) != EOF) {
        uint64_t give_up = clock_ns(CLOCK_MONOTONIC) + 2000000000u, row_bytes;
        sdv2_ring_result result;
        if (next != '\n') continue;
        do {
            /* Ask with no room first: the header says how much is needed. */
            result = sdv2_ring_read_newest(&reader, &header, pixels, 0, 0);
        } while (result == SDV2_RING_NONE && clock_ns(CLOCK_MONOTONIC) < give_up);
        row_bytes = 0;
        if (result == SDV2_RING_TOO_SMALL) {
            row_bytes = header.width * (uint64_t)sdv2_ring_pixel_bytes(header.pixel_format);
            result = sdv2_ring_read_newest(&reader, &header, pixels, row_bytes,
                                           row_bytes * header.height);
        }
        putchar(result == SDV2_RING_NEW ? 'N' : '-');
        if (result == SDV2_RING_NEW) {
            fwrite(&header, sizeof header, 1, stdout);
            fwrite(pixels, row_bytes, header.height, stdout);
        }
        fflush(stdout);
    }
    free(pixels);
}

/* Frames whose bytes are all frame % 251: any other byte is of another frame. */
static void lap(char **arg) {
    uint64_t stop = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(atof(arg[2]) * 1e9);
    uint64_t frames = 0, torn = 0, row_bytes, index;
    sdv2_ring_reader reader;
    sdv2_ring_slot header;
    uint8_t *pixels;

    attach(arg, &reader);
    pixels = malloc(reader.slot_capacity);
    if (pixels == NULL) die("malloc");
    while (clock_ns(CLOCK_MONOTONIC) < stop) {
        sdv2_ring_result result = sdv2_ring_read_newest(&reader, &header, pixels, 0, 0);
        if (result != SDV2_RING_TOO_SMALL) continue;
        row_bytes = header.width * (uint64_t)sdv2_ring_pixel_bytes(header.pixel_format);
        result = sdv2_ring_read_newest(&reader, &header, pixels, row_bytes, reader.slot_capacity);
        if (result != SDV2_RING_NEW) continue;
        ++frames;
        for (index = 0; index < row_bytes * header.height; ++index)
            if (pixels[index] != header.frame % 251u) {
                ++torn;
                break;
            }
    }
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", frames, torn, reader.retries);
    free(pixels);
}

int main(int count, char **arg) {
    const char *mode = count > 1 ? arg[1] : "";

    if (strcmp(mode, "offsets") == 0) print_offsets();
    else if (strcmp(mode, "check") == 0) check_headers();
    else if (strcmp(mode, "check-slot") == 0 && count == 3) check_slots(strtoull(arg[2], NULL, 10));
    else if (strcmp(mode, "write") == 0 && count == 9) write_frames(arg + 2);
    else if (strcmp(mode, "read") == 0 && count == 4) read_frames(arg + 2);
    else if (strcmp(mode, "lap") == 0 && count == 5) lap(arg + 2);
    else return 2;
    return 0;
}
