/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What one source or filter costs the render thread, per frame of OBS. */
#ifndef SDV2_OBS_COST_H
#define SDV2_OBS_COST_H

#include <stdint.h>

#define COST_BUCKET_NS 20000u
#define COST_BUCKETS 5000 /* up to 100 ms, all above in the last */

typedef struct cost {
    uint64_t frame_ns; /* of the frame that goes on */
    uint64_t total_ns;
    uint64_t num_frames;
    uint32_t buckets[COST_BUCKETS];
} cost;

static inline void cost_add(cost *frames, uint64_t begin_ns, uint64_t end_ns) {
    frames->frame_ns += end_ns - begin_ns;
}

/* The frame is over; one that cost nothing does not count. */
static inline void cost_end_frame(cost *frames) {
    uint64_t bucket = frames->frame_ns / COST_BUCKET_NS;

    if (frames->frame_ns == 0)
        return;
    ++frames->buckets[bucket < COST_BUCKETS ? bucket : COST_BUCKETS - 1];
    frames->total_ns += frames->frame_ns;
    ++frames->num_frames;
    frames->frame_ns = 0;
}

static inline double cost_mean_ms(const cost *frames) {
    return frames->num_frames > 0 ? (double)frames->total_ns / (double)frames->num_frames / 1e6
                                  : 0.0;
}

/* 99 of 100 frames cost at most this. */
static inline double cost_p99_ms(const cost *frames) {
    uint64_t left = frames->num_frames / 100u;
    int bucket;

    for (bucket = COST_BUCKETS - 1; bucket > 0 && frames->buckets[bucket] <= left; --bucket)
        left -= frames->buckets[bucket];
    return (bucket + 1) * (double)COST_BUCKET_NS / 1e6;
}

#endif
