/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plugin's writer and reader against each other, on three threads as in OBS: one that writes
 * frames of ever new sizes with pauses, one that reads, one that attends to both.
 *
 *   ring_handover SEED SECONDS RUN       stdout: written read torn segments-seen
 *
 * Time goes SPEED times as fast for them, so that idle rings are closed and opened many times.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ring-reader.h"
#include "ring-writer.h"

#define STREAM "handover-in"
#define SPEED 40u
#define MOST_PX 400u

static ring_writer writer;
static ring_reader reader;
static uint64_t begin_ns, seed;
static _Atomic bool is_stopping;
static _Atomic uint64_t num_written;

static uint64_t fast_ns(void) {
    return begin_ns + (platform_now_ns() - begin_ns) * SPEED;
}

static void rest(long ns) {
    struct timespec time = {0, ns};
    nanosleep(&time, NULL);
}

static void *attend(void *unused) {
    (void)unused;
    while (!is_stopping) {
        ring_writer_tend(&writer, fast_ns());
        ring_reader_tend(&reader, fast_ns());
        rest(300000);
    }
    return NULL;
}

static uint64_t dice(uint64_t sides) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed % sides;
}

static void *write_frames(void *unused) {
    uint32_t side = 16;
    (void)unused;
    while (!is_stopping) {
        sdv2_ring_slot header = {.pixel_format = SDV2_RING_RGBA8};
        uint64_t bytes;
        void *slot;

        ring_writer_switch(&writer, fast_ns());
        if (dice(20) == 0)
            side = 1 + (uint32_t)dice(MOST_PX);
        if (dice(400) == 0) { /* three seconds for them: the ring is closed; they still tick */
            uint64_t until_ns = fast_ns() + UINT64_C(3000000000);
            while (fast_ns() < until_ns && !is_stopping) {
                ring_writer_switch(&writer, fast_ns());
                rest(500000);
            }
        }
        bytes = (uint64_t)side * side * 4;
        slot = ring_writer_begin(&writer, bytes, fast_ns());
        if (slot != NULL) {
            header.width = header.height = side;
            header.row_stride = (uint64_t)side * 4;
            header.payload_bytes = bytes;
            header.user_tag = num_written;
            memset(slot, (int)(num_written % 251), bytes);
            ring_writer_commit(&writer, &header, fast_ns());
            ++num_written;
        }
        rest(200000);
    }
    return NULL;
}

int main(int count, char **arg) {
    uint64_t num_read = 0, num_torn = 0, num_segments = 0, index, stop_ns;
    uint8_t *pixels = malloc(MOST_PX * MOST_PX * 4);
    const ring_view *last = NULL;
    pthread_t attendant, author;

    if (count != 4)
        return 2;
    seed = strtoull(arg[1], NULL, 10) * 2 + 1;
    begin_ns = platform_now_ns();
    stop_ns = begin_ns + (uint64_t)(atof(arg[2]) * 1e9);
    ring_writer_init(&writer);
    ring_reader_init(&reader);
    ring_writer_point(&writer, arg[3], STREAM);
    ring_reader_point(&reader, arg[3], STREAM);
    pthread_create(&attendant, NULL, attend, NULL);
    pthread_create(&author, NULL, write_frames, NULL);
    while (platform_now_ns() < stop_ns) {
        sdv2_ring_slot header, peeked;
        uint64_t row_bytes;

        ring_reader_switch(&reader);
        if (reader.current != last && reader.current != NULL) {
            last = reader.current;
            ++num_segments;
        }
        if (!ring_reader_peek(&reader, &peeked))
            continue;
        row_bytes = (uint64_t)peeked.width * 4;
        if (ring_reader_take(&reader, &header, pixels, row_bytes, MOST_PX * MOST_PX * 4) !=
            SDV2_RING_NEW)
            continue;
        ++num_read;
        if (header.width != peeked.width)
            continue; /* another frame came meanwhile: its rows do not lie one behind the other */
        for (index = 0; index < row_bytes * header.height; ++index)
            if (pixels[index] != header.user_tag % 251) {
                ++num_torn;
                break;
            }
    }
    is_stopping = true;
    pthread_join(attendant, NULL);
    pthread_join(author, NULL);
    ring_reader_free(&reader);
    ring_writer_free(&writer);
    free(pixels);
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", (uint64_t)num_written, num_read,
           num_torn, num_segments);
    return 0;
}
