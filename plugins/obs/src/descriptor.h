/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RUN/STREAM.json, the file that says which segment a stream is in now. Text only, no I/O. */
#ifndef SDV2_OBS_DESCRIPTOR_H
#define SDV2_OBS_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DESCRIPTOR_MAX_BYTES 4096
#define SEGMENT_NAME_BYTES 25 /* "lfr." and 20 hex digits, with the terminator */
#define STREAM_NAME_BYTES 64  /* 48 characters are allowed */

typedef struct descriptor {
    char segment[SEGMENT_NAME_BYTES];
    uint8_t uuid[16]; /* the same is in the segment's header */
    uint64_t generation;
    uint64_t pid;
    bool is_file; /* the segment is a file beside the descriptor, for sandboxes */
} descriptor;

bool is_stream_name(const char *name);
bool is_segment_name(const char *name);

/* NULL when `text` is a descriptor of this stream; else what is wrong. */
const char *descriptor_parse(const char *text, size_t num_bytes, const char *stream,
                             descriptor *found);

/* Length of the text, without a terminator; 0 = it does not fit. */
size_t descriptor_print(const descriptor *from, const char *stream, uint64_t unix_ns, char *text,
                        size_t room);

#endif
