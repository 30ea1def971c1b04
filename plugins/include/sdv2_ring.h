/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frame ring of sdv2-host, ABI 1.0: video frames between processes through shared memory.
 *
 * C11 and C++17, header only, no I/O: open and map the segment as your platform does it, then
 * call sdv2_ring_check (reader) or sdv2_ring_init (writer) on the mapping.
 *
 * Where a stream is
 *   RUN/STREAM.json   descriptor, replaced atomically: {"abi":[1,0],"segment":"lfr.<20 hex>",...}
 *   RUN/STREAM.lock   the writer holds flock(LOCK_EX) (Windows: first byte locked) for life
 *   segment           Linux /dev/shm/NAME, macOS shm_open("/NAME"), Windows mapping Local\NAME
 *   RUN               Linux /run/user/UID/sdv2-host, else /tmp/sdv2-host-UID; macOS
 *                     ~/Library/Caches/sdv2-host/run; Windows ~\AppData\Local\sdv2-host\run
 *   Readers map read-only. A reader that sees state != LIVE, or no new frame for 100 ms, reads the
 *   descriptor again (at most 10 times a second) and attaches to the segment it names.
 *
 * Layout: little-endian, 64-bit, every shared word aligned to 8 bytes
 *   segment = header (4096 B) + slot_count slots of slot_stride bytes
 *   slot    = header (128 B) + payload; frame f is in slot f % slot_count
 *
 * Protocol: one writer, any number of readers, nobody waits
 *   writer  lock = 2f-1, FENCE, payload and header, FENCE, lock = 2f, FENCE, publish_seq = f
 *   reader  f = publish_seq; lock must be 2f; copy header, validate the copy, copy payload, FENCE,
 *           lock must still be 2f, else the copy is of two frames and is thrown away
 *
 * Times are nanoseconds of CLOCK_MONOTONIC, mach_absolute_time or QueryPerformanceCounter.
 * sdv2_host/ipc/ring_layout.py is the same table in Python; a test compares the two.
 */
#ifndef SDV2_RING_H
#define SDV2_RING_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#include <atomic>
#define SDV2_RING_ASSERT(condition, text) static_assert(condition, text)
static inline uint64_t sdv2_ring_load(const uint64_t *word) {
    return reinterpret_cast<const std::atomic<uint64_t> *>(word)->load(std::memory_order_acquire);
}
static inline void sdv2_ring_store(uint64_t *word, uint64_t value) {
    reinterpret_cast<std::atomic<uint64_t> *>(word)->store(value, std::memory_order_release);
}
static inline void sdv2_ring_fence(void) { std::atomic_thread_fence(std::memory_order_seq_cst); }
SDV2_RING_ASSERT(sizeof(std::atomic<uint64_t>) == 8, "64-bit atomics are plain words");
#else
#include <assert.h>
#include <stdatomic.h>
#define SDV2_RING_ASSERT(condition, text) _Static_assert(condition, text)
static inline uint64_t sdv2_ring_load(const uint64_t *word) {
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_acquire);
}
static inline void sdv2_ring_store(uint64_t *word, uint64_t value) {
    atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_release);
}
static inline void sdv2_ring_fence(void) { atomic_thread_fence(memory_order_seq_cst); }
SDV2_RING_ASSERT(sizeof(_Atomic uint64_t) == 8, "64-bit atomics are plain words");
#endif

#define SDV2_RING_MAGIC "LFRING01" /* 8 bytes, no terminator in memory */
#define SDV2_RING_ABI_MAJOR 1u
#define SDV2_RING_ABI_MINOR 0u
#define SDV2_RING_ENDIAN_TAG 0x01020304u
#define SDV2_RING_READY UINT64_C(0x5244595F3152464C)
#define SDV2_RING_FLAG_REAL_BARRIERS 1u
#define SDV2_RING_SEGMENT_HEADER_BYTES 4096u
#define SDV2_RING_SLOT_HEADER_BYTES 128u
#define SDV2_RING_PAGE_BYTES 4096u
#define SDV2_RING_MIN_SLOTS 2u
#define SDV2_RING_MAX_SLOTS 64u
#define SDV2_RING_MAX_SEGMENT_BYTES (UINT64_C(2) << 30)
#define SDV2_RING_MAX_SIDE_PX 16384u
#define SDV2_RING_MAX_RETRIES 3
#define SDV2_RING_CLOCK_PERF_COUNTER 1u

enum { /* segment state */
    SDV2_RING_STATE_LIVE = 1,
    SDV2_RING_STATE_SUPERSEDED = 2, /* a larger segment took over: read the descriptor */
    SDV2_RING_STATE_CLOSED = 3
};

enum { /* pixel_format: VkFormat numbers */
    SDV2_RING_R8 = 9,
    SDV2_RING_RGBA8 = 37,
    SDV2_RING_RGBA8_SRGB = 43,
    SDV2_RING_BGRA8 = 44,
    SDV2_RING_RGBA16 = 91,
    SDV2_RING_RGBA16F = 97,
    SDV2_RING_RGBA32F = 109
};

enum { SDV2_RING_ALPHA_OPAQUE = 0, SDV2_RING_ALPHA_STRAIGHT = 1, SDV2_RING_ALPHA_PREMULTIPLIED = 2 };
enum { SDV2_RING_TOP_FIRST = 0, SDV2_RING_BOTTOM_FIRST = 1 };

enum { /* slot flags; readers ignore those they do not know */
    SDV2_RING_FRAME_DISCONTINUITY = 1,
    SDV2_RING_FRAME_REPEATED = 2,
    SDV2_RING_FRAME_GPU_HANDLE = 4, /* payload is not pixels; readers of 1.0 refuse it */
    SDV2_RING_FRAME_CRC_VALID = 8,
    /* For renders. On an input ring: the host drops no such frame. On an output ring: its picture,
     * made from source_frame, published once without SDV2_RING_FRAME_REPEATED, in order. */
    SDV2_RING_FRAME_LOCKSTEP = 16
};

/* The first page of a segment. What is above publish_seq never changes once `ready` is set. */
typedef struct sdv2_ring_segment {
    char magic[8];
    uint16_t abi_major; /* readers refuse another major, accept any minor */
    uint16_t abi_minor;
    uint32_t header_bytes; /* 4096 */
    uint32_t endian_tag;
    uint32_t flags; /* SDV2_RING_FLAG_* */
    uint64_t segment_bytes;
    uint64_t generation; /* rises with every segment of a stream */
    uint8_t uuid[16];    /* of this generation */
    uint64_t ready;      /* SDV2_RING_READY, stored last: the header before it can be trusted */
    uint32_t slot_count;
    uint32_t slot_header_bytes; /* 128 */
    uint64_t slot_stride;       /* multiple of 4096 */
    uint64_t slots_offset;      /* 4096 */
    uint64_t slot_capacity;     /* payload bytes: slot_stride - 128 */
    uint32_t clock_id;
    uint32_t reserved0;
    uint64_t reserved1;
    uint64_t created_unix_ns;
    uint32_t writer_pid; /* for people; the lock file says who lives */
    uint32_t reserved2;
    uint64_t writer_start; /* with writer_pid: same in all segments of one writer */
    char stream[64];       /* UTF-8, zero padded */
    uint8_t reserved3[56];

    /* Hot line, stored by the writer for every frame. */
    uint64_t publish_seq;  /* number of the newest complete frame, 0 = none */
    uint64_t heartbeat_ns; /* every frame, and 10 times a second when idle */
    uint64_t state;        /* SDV2_RING_STATE_* */
    uint8_t reserved4[40];

    uint32_t bell; /* +1 per frame */
    uint8_t reserved5[60];

    uint64_t clock_perf_ns; /* the two clocks read together, for logs */
    uint64_t clock_unix_ns;
    uint8_t reserved6[112];
    uint8_t reserved7[0x600];

    uint8_t gpu_ext[64]; /* zero in 1.0 */
    uint8_t gpu_slots[1024];
    uint8_t reserved8[0x3C0];
} sdv2_ring_segment;

/* Before the pixels of a slot. */
typedef struct sdv2_ring_slot {
    uint64_t lock; /* 2f-1 while frame f is written, 2f when it is stable */
    uint64_t frame;
    uint64_t payload_bytes;
    uint64_t row_stride; /* bytes from one row to the next */
    uint32_t width;
    uint32_t height;
    uint32_t pixel_format;
    uint8_t alpha;
    uint8_t orientation;
    uint8_t primaries; /* ITU-T H.273: 1, 13, 0, 1 = sRGB, full range */
    uint8_t transfer;
    uint8_t matrix;
    uint8_t full_range;
    uint16_t flags;          /* SDV2_RING_FRAME_* */
    uint32_t dropped_before; /* frames the writer skipped since the one before */
    int64_t capture_ts_ns;
    int64_t publish_ts_ns;
    uint64_t source_frame; /* frame of the input ring this one was made from */
    int64_t source_capture_ts_ns;
    uint64_t user_tag;
    uint32_t crc32c;
    /* What the stages of a picture took, 0 = not told; of a repeated one those of the fresh one.
     * publish_ts_ns - source_capture_ts_ns is all of its way, capture_ts_ns is when it was made:
     * what is left before that it waited inside the engine. */
    uint32_t wait_us;      /* from source_capture_ts_ns until the engine was given it */
    int64_t present_ts_ns; /* when the frame is due, 0 = now */
    uint32_t encode_us;
    uint32_t denoise_us; /* all steps together */
    uint32_t decode_us;
    uint16_t upload_16us; /* in units of 16 microseconds */
    uint16_t download_16us;
} sdv2_ring_slot;

#define SDV2_RING_AT(type, field, offset, bytes)                                              \
    SDV2_RING_ASSERT(offsetof(type, field) == (offset), #type "." #field " moved");           \
    SDV2_RING_ASSERT(sizeof(((type *)0)->field) == (bytes), #type "." #field " changed size")

SDV2_RING_AT(sdv2_ring_segment, magic, 0x000, 8);
SDV2_RING_AT(sdv2_ring_segment, abi_major, 0x008, 2);
SDV2_RING_AT(sdv2_ring_segment, abi_minor, 0x00A, 2);
SDV2_RING_AT(sdv2_ring_segment, header_bytes, 0x00C, 4);
SDV2_RING_AT(sdv2_ring_segment, endian_tag, 0x010, 4);
SDV2_RING_AT(sdv2_ring_segment, flags, 0x014, 4);
SDV2_RING_AT(sdv2_ring_segment, segment_bytes, 0x018, 8);
SDV2_RING_AT(sdv2_ring_segment, generation, 0x020, 8);
SDV2_RING_AT(sdv2_ring_segment, uuid, 0x028, 16);
SDV2_RING_AT(sdv2_ring_segment, ready, 0x038, 8);
SDV2_RING_AT(sdv2_ring_segment, slot_count, 0x040, 4);
SDV2_RING_AT(sdv2_ring_segment, slot_header_bytes, 0x044, 4);
SDV2_RING_AT(sdv2_ring_segment, slot_stride, 0x048, 8);
SDV2_RING_AT(sdv2_ring_segment, slots_offset, 0x050, 8);
SDV2_RING_AT(sdv2_ring_segment, slot_capacity, 0x058, 8);
SDV2_RING_AT(sdv2_ring_segment, clock_id, 0x060, 4);
SDV2_RING_AT(sdv2_ring_segment, reserved0, 0x064, 4);
SDV2_RING_AT(sdv2_ring_segment, reserved1, 0x068, 8);
SDV2_RING_AT(sdv2_ring_segment, created_unix_ns, 0x070, 8);
SDV2_RING_AT(sdv2_ring_segment, writer_pid, 0x078, 4);
SDV2_RING_AT(sdv2_ring_segment, reserved2, 0x07C, 4);
SDV2_RING_AT(sdv2_ring_segment, writer_start, 0x080, 8);
SDV2_RING_AT(sdv2_ring_segment, stream, 0x088, 64);
SDV2_RING_AT(sdv2_ring_segment, reserved3, 0x0C8, 56);
SDV2_RING_AT(sdv2_ring_segment, publish_seq, 0x100, 8);
SDV2_RING_AT(sdv2_ring_segment, heartbeat_ns, 0x108, 8);
SDV2_RING_AT(sdv2_ring_segment, state, 0x110, 8);
SDV2_RING_AT(sdv2_ring_segment, reserved4, 0x118, 40);
SDV2_RING_AT(sdv2_ring_segment, bell, 0x140, 4);
SDV2_RING_AT(sdv2_ring_segment, reserved5, 0x144, 60);
SDV2_RING_AT(sdv2_ring_segment, clock_perf_ns, 0x180, 8);
SDV2_RING_AT(sdv2_ring_segment, clock_unix_ns, 0x188, 8);
SDV2_RING_AT(sdv2_ring_segment, reserved6, 0x190, 112);
SDV2_RING_AT(sdv2_ring_segment, reserved7, 0x200, 0x600);
SDV2_RING_AT(sdv2_ring_segment, gpu_ext, 0x800, 64);
SDV2_RING_AT(sdv2_ring_segment, gpu_slots, 0x840, 1024);
SDV2_RING_AT(sdv2_ring_segment, reserved8, 0xC40, 0x3C0);
SDV2_RING_ASSERT(sizeof(sdv2_ring_segment) == SDV2_RING_SEGMENT_HEADER_BYTES, "one page");

SDV2_RING_AT(sdv2_ring_slot, lock, 0x00, 8);
SDV2_RING_AT(sdv2_ring_slot, frame, 0x08, 8);
SDV2_RING_AT(sdv2_ring_slot, payload_bytes, 0x10, 8);
SDV2_RING_AT(sdv2_ring_slot, row_stride, 0x18, 8);
SDV2_RING_AT(sdv2_ring_slot, width, 0x20, 4);
SDV2_RING_AT(sdv2_ring_slot, height, 0x24, 4);
SDV2_RING_AT(sdv2_ring_slot, pixel_format, 0x28, 4);
SDV2_RING_AT(sdv2_ring_slot, alpha, 0x2C, 1);
SDV2_RING_AT(sdv2_ring_slot, orientation, 0x2D, 1);
SDV2_RING_AT(sdv2_ring_slot, primaries, 0x2E, 1);
SDV2_RING_AT(sdv2_ring_slot, transfer, 0x2F, 1);
SDV2_RING_AT(sdv2_ring_slot, matrix, 0x30, 1);
SDV2_RING_AT(sdv2_ring_slot, full_range, 0x31, 1);
SDV2_RING_AT(sdv2_ring_slot, flags, 0x32, 2);
SDV2_RING_AT(sdv2_ring_slot, dropped_before, 0x34, 4);
SDV2_RING_AT(sdv2_ring_slot, capture_ts_ns, 0x38, 8);
SDV2_RING_AT(sdv2_ring_slot, publish_ts_ns, 0x40, 8);
SDV2_RING_AT(sdv2_ring_slot, source_frame, 0x48, 8);
SDV2_RING_AT(sdv2_ring_slot, source_capture_ts_ns, 0x50, 8);
SDV2_RING_AT(sdv2_ring_slot, user_tag, 0x58, 8);
SDV2_RING_AT(sdv2_ring_slot, crc32c, 0x60, 4);
SDV2_RING_AT(sdv2_ring_slot, wait_us, 0x64, 4);
SDV2_RING_AT(sdv2_ring_slot, present_ts_ns, 0x68, 8);
SDV2_RING_AT(sdv2_ring_slot, encode_us, 0x70, 4);
SDV2_RING_AT(sdv2_ring_slot, denoise_us, 0x74, 4);
SDV2_RING_AT(sdv2_ring_slot, decode_us, 0x78, 4);
SDV2_RING_AT(sdv2_ring_slot, upload_16us, 0x7C, 2);
SDV2_RING_AT(sdv2_ring_slot, download_16us, 0x7E, 2);
SDV2_RING_ASSERT(sizeof(sdv2_ring_slot) == SDV2_RING_SLOT_HEADER_BYTES, "two cache lines");

/* Bytes of one pixel, 0 = not a format of this ABI. */
static inline uint32_t sdv2_ring_pixel_bytes(uint32_t pixel_format) {
    switch (pixel_format) {
    case SDV2_RING_R8: return 1;
    case SDV2_RING_RGBA8:
    case SDV2_RING_RGBA8_SRGB:
    case SDV2_RING_BGRA8: return 4;
    case SDV2_RING_RGBA16:
    case SDV2_RING_RGBA16F: return 8;
    case SDV2_RING_RGBA32F: return 16;
    default: return 0;
    }
}

/* ---- reader ------------------------------------------------------------------------------ */

/* A reader's own copy of the geometry: what the peer changes later cannot lead it astray. */
typedef struct sdv2_ring_reader {
    const sdv2_ring_segment *segment;
    uint32_t slot_count;
    uint64_t slot_stride;
    uint64_t slot_capacity;
    uint64_t last;    /* number of the last frame taken, 0 = none */
    uint64_t retries; /* copies thrown away because the writer overtook them */
} sdv2_ring_reader;

typedef enum sdv2_ring_result {
    SDV2_RING_NONE = 0,      /* nothing new */
    SDV2_RING_NEW = 1,       /* pixels and header are a whole new frame */
    SDV2_RING_LAPPED = -1,   /* the writer overtook every attempt; try again at the next poll */
    SDV2_RING_REFUSED = -2,  /* the slot header cannot be trusted; the frame is skipped */
    SDV2_RING_TOO_SMALL = -3 /* header is filled in; call again with room for the rows */
} sdv2_ring_result;

/* NULL when the mapping (`mapped_bytes` long, read-only is enough) is a ring and `reader` is ready
 * for it; else what is wrong. Map the first 4096 bytes, look at segment_bytes, map that many,
 * then call this: it refuses a mapping shorter than the segment says. */
static inline const char *sdv2_ring_check(const void *mapping, uint64_t mapped_bytes,
                                          sdv2_ring_reader *reader) {
    sdv2_ring_segment header;
    const sdv2_ring_segment *segment = (const sdv2_ring_segment *)mapping;

    if (mapped_bytes < sizeof header) return "mapping is shorter than a segment header";
    if (sdv2_ring_load(&segment->ready) != SDV2_RING_READY) return "segment is not ready";
    memcpy(&header, mapping, sizeof header);
    if (memcmp(header.magic, SDV2_RING_MAGIC, 8) != 0) return "magic is not LFRING01";
    if (header.ready != SDV2_RING_READY) return "segment is not ready";
    if (header.endian_tag != SDV2_RING_ENDIAN_TAG) return "other byte order";
    if (header.abi_major != SDV2_RING_ABI_MAJOR) return "other ABI major version";
    if (header.header_bytes != SDV2_RING_SEGMENT_HEADER_BYTES) return "header_bytes is not 4096";
    if (header.slot_header_bytes != SDV2_RING_SLOT_HEADER_BYTES) return "slot_header_bytes is not 128";
    if (header.slots_offset != SDV2_RING_SEGMENT_HEADER_BYTES) return "slots_offset is not 4096";
    if (header.slot_count < SDV2_RING_MIN_SLOTS || header.slot_count > SDV2_RING_MAX_SLOTS)
        return "slot_count is not 2..64";
    if (header.slot_stride < SDV2_RING_PAGE_BYTES ||
        header.slot_stride > SDV2_RING_MAX_SEGMENT_BYTES ||
        header.slot_stride % SDV2_RING_PAGE_BYTES != 0)
        return "slot_stride is not a multiple of 4096 within 2 GiB";
    if (header.slot_capacity != header.slot_stride - SDV2_RING_SLOT_HEADER_BYTES)
        return "slot_capacity is not slot_stride - 128";
    /* At most 64 * 2 GiB + 4096: cannot overflow. */
    if (header.segment_bytes != header.slots_offset + header.slot_count * header.slot_stride)
        return "segment_bytes does not match the slots";
    if (header.segment_bytes > SDV2_RING_MAX_SEGMENT_BYTES) return "segment is larger than 2 GiB";
    if (header.segment_bytes > mapped_bytes) return "mapping is shorter than the segment";
    reader->segment = segment;
    reader->slot_count = header.slot_count;
    reader->slot_stride = header.slot_stride;
    reader->slot_capacity = header.slot_capacity;
    reader->last = 0;
    reader->retries = 0;
    return NULL;
}

/* SDV2_RING_STATE_*. */
static inline uint64_t sdv2_ring_state(const sdv2_ring_reader *reader) {
    return sdv2_ring_load(&reader->segment->state);
}

/* The slot of a frame. */
static inline const sdv2_ring_slot *sdv2_ring_slot_of(const sdv2_ring_reader *reader,
                                                      uint64_t frame) {
    const uint8_t *base = (const uint8_t *)reader->segment + SDV2_RING_SEGMENT_HEADER_BYTES;
    return (const sdv2_ring_slot *)(const void *)(base + frame % reader->slot_count *
                                                             reader->slot_stride);
}

/* Whether a private copy of a slot header fits its slot. */
static inline int sdv2_ring_slot_is_sound(const sdv2_ring_slot *header, uint64_t frame,
                                          uint64_t capacity) {
    uint64_t pixel_bytes = sdv2_ring_pixel_bytes(header->pixel_format);
    uint64_t row_bytes = (uint64_t)header->width * pixel_bytes;

    return header->frame == frame && header->payload_bytes <= capacity && header->width >= 1 &&
           header->width <= SDV2_RING_MAX_SIDE_PX && header->height >= 1 &&
           header->height <= SDV2_RING_MAX_SIDE_PX && pixel_bytes != 0 &&
           header->alpha <= SDV2_RING_ALPHA_PREMULTIPLIED &&
           header->orientation <= SDV2_RING_BOTTOM_FIRST &&
           (header->flags & SDV2_RING_FRAME_GPU_HANDLE) == 0 && header->row_stride >= row_bytes &&
           header->row_stride <= capacity && /* so the product below cannot overflow */
           header->row_stride * (header->height - 1u) + row_bytes <= header->payload_bytes;
}

/* The newest frame not taken yet: `header` is its slot header, rows lie in `pixels` `pixel_stride`
 * bytes apart, of which only width * pixel bytes are written. `pixels_bytes` is the room there. */
static inline sdv2_ring_result sdv2_ring_read_newest(sdv2_ring_reader *reader,
                                                     sdv2_ring_slot *header, void *pixels,
                                                     uint64_t pixel_stride,
                                                     uint64_t pixels_bytes) {
    int attempt;

    for (attempt = 0; attempt < SDV2_RING_MAX_RETRIES; ++attempt) {
        uint64_t frame = sdv2_ring_load(&reader->segment->publish_seq);
        uint64_t stable = 2u * frame, row_bytes, row;
        const sdv2_ring_slot *slot;
        int is_sound, fits;

        if (frame == 0 || frame == reader->last) return SDV2_RING_NONE;
        slot = sdv2_ring_slot_of(reader, frame);
        sdv2_ring_fence();
        if (sdv2_ring_load(&slot->lock) != stable) {
            ++reader->retries;
            continue;
        }
        memcpy(header, slot, sizeof *header);
        is_sound = sdv2_ring_slot_is_sound(header, frame, reader->slot_capacity);
        row_bytes = is_sound ? header->width * (uint64_t)sdv2_ring_pixel_bytes(header->pixel_format)
                             : 0;
        /* Divided, not multiplied: pixel_stride is the caller's and may be anything. */
        fits = is_sound && pixel_stride >= row_bytes && pixels_bytes >= row_bytes &&
               (pixels_bytes - row_bytes) / pixel_stride >= header->height - 1u;
        if (fits) {
            const uint8_t *from = (const uint8_t *)slot + SDV2_RING_SLOT_HEADER_BYTES;
            uint8_t *to = (uint8_t *)pixels;
            if (pixel_stride == row_bytes && header->row_stride == row_bytes) {
                memcpy(to, from, (size_t)(row_bytes * header->height));
            } else {
                for (row = 0; row < header->height; ++row)
                    memcpy(to + row * pixel_stride, from + row * header->row_stride,
                           (size_t)row_bytes);
            }
        }
        sdv2_ring_fence();
        if (sdv2_ring_load(&slot->lock) != stable) { /* what we saw may be of two frames */
            ++reader->retries;
            continue;
        }
        if (is_sound && !fits) return SDV2_RING_TOO_SMALL;
        reader->last = frame;
        return is_sound ? SDV2_RING_NEW : SDV2_RING_REFUSED;
    }
    return SDV2_RING_LAPPED;
}

/* ---- writer ------------------------------------------------------------------------------ */

typedef struct sdv2_ring_writer {
    sdv2_ring_segment *segment;
    uint32_t slot_count;
    uint64_t slot_stride;
    uint64_t slot_capacity;
    uint64_t frame; /* number of the last frame published, 0 = none */
} sdv2_ring_writer;

/* Who writes and where it stands, for sdv2_ring_init. */
typedef struct sdv2_ring_identity {
    const char *stream; /* at most 48 of a-z 0-9 - _ */
    uint8_t uuid[16];   /* random; the descriptor carries the same, in hex */
    uint64_t generation;
    uint32_t pid;
    uint64_t start_ns; /* same in all segments of this writer */
    uint64_t now_ns;
    uint64_t unix_ns;
} sdv2_ring_identity;

/* Bytes to map for a ring whose slots hold `capacity` bytes; 0 = larger than the ABI allows. */
static inline uint64_t sdv2_ring_segment_bytes(uint32_t slot_count, uint64_t capacity) {
    uint64_t page = SDV2_RING_PAGE_BYTES, stride, total;

    if (slot_count < SDV2_RING_MIN_SLOTS || slot_count > SDV2_RING_MAX_SLOTS ||
        capacity > SDV2_RING_MAX_SEGMENT_BYTES)
        return 0;
    stride = (capacity + SDV2_RING_SLOT_HEADER_BYTES + page - 1) / page * page;
    total = SDV2_RING_SEGMENT_HEADER_BYTES + slot_count * stride;
    return total <= SDV2_RING_MAX_SEGMENT_BYTES ? total : 0;
}

/* The zeroed mapping of sdv2_ring_segment_bytes(...) bytes is an empty ring. Frame numbers go on
 * from `last_frame` when the segment follows a smaller one of this writer, else give 0. Publish
 * the descriptor after this, then mark the old segment SUPERSEDED and unlink it. */
static inline void sdv2_ring_init(sdv2_ring_writer *writer, void *mapping, uint32_t slot_count,
                                  uint64_t segment_bytes, const sdv2_ring_identity *identity,
                                  uint64_t last_frame) {
    sdv2_ring_segment *segment = (sdv2_ring_segment *)mapping;
    size_t name_bytes = strlen(identity->stream);

    writer->segment = segment;
    writer->slot_count = slot_count;
    writer->slot_stride = (segment_bytes - SDV2_RING_SEGMENT_HEADER_BYTES) / slot_count;
    writer->slot_capacity = writer->slot_stride - SDV2_RING_SLOT_HEADER_BYTES;
    writer->frame = last_frame;
    memcpy(segment->magic, SDV2_RING_MAGIC, 8);
    segment->abi_major = SDV2_RING_ABI_MAJOR;
    segment->abi_minor = SDV2_RING_ABI_MINOR;
    segment->header_bytes = SDV2_RING_SEGMENT_HEADER_BYTES;
    segment->endian_tag = SDV2_RING_ENDIAN_TAG;
    segment->flags = SDV2_RING_FLAG_REAL_BARRIERS;
    segment->segment_bytes = segment_bytes;
    segment->generation = identity->generation;
    memcpy(segment->uuid, identity->uuid, 16);
    segment->slot_count = slot_count;
    segment->slot_header_bytes = SDV2_RING_SLOT_HEADER_BYTES;
    segment->slot_stride = writer->slot_stride;
    segment->slots_offset = SDV2_RING_SEGMENT_HEADER_BYTES;
    segment->slot_capacity = writer->slot_capacity;
    segment->clock_id = SDV2_RING_CLOCK_PERF_COUNTER;
    segment->created_unix_ns = identity->unix_ns;
    segment->writer_pid = identity->pid;
    segment->writer_start = identity->start_ns;
    memcpy(segment->stream, identity->stream, name_bytes < 48 ? name_bytes : 48);
    segment->clock_perf_ns = identity->now_ns;
    segment->clock_unix_ns = identity->unix_ns;
    sdv2_ring_store(&segment->heartbeat_ns, identity->now_ns);
    sdv2_ring_store(&segment->state, SDV2_RING_STATE_LIVE);
    sdv2_ring_fence();
    sdv2_ring_store(&segment->ready, SDV2_RING_READY);
}

/* Room for the next frame's `payload_bytes`, NULL when the slots are too small: make a larger
 * segment. Fill it, then commit. A begin that is not committed is simply begun again. */
static inline void *sdv2_ring_begin(sdv2_ring_writer *writer, uint64_t payload_bytes) {
    uint64_t frame = writer->frame + 1u;
    uint8_t *slot = (uint8_t *)writer->segment + SDV2_RING_SEGMENT_HEADER_BYTES +
                    frame % writer->slot_count * writer->slot_stride;

    if (payload_bytes > writer->slot_capacity) return NULL;
    sdv2_ring_store(&((sdv2_ring_slot *)(void *)slot)->lock, 2u * frame - 1u);
    sdv2_ring_fence();
    return slot + SDV2_RING_SLOT_HEADER_BYTES;
}

/* The frame begun is the newest; returns its number. `header` says what it is; its lock, frame and
 * publish_ts_ns are filled in here. Never waits and makes no system call. */
static inline uint64_t sdv2_ring_commit(sdv2_ring_writer *writer, const sdv2_ring_slot *header,
                                        uint64_t now_ns) {
    uint64_t frame = writer->frame + 1u;
    sdv2_ring_slot *slot =
        (sdv2_ring_slot *)(void *)((uint8_t *)writer->segment + SDV2_RING_SEGMENT_HEADER_BYTES +
                                   frame % writer->slot_count * writer->slot_stride);
    sdv2_ring_slot stamped = *header;

    stamped.frame = frame;
    stamped.publish_ts_ns = (int64_t)now_ns;
    memcpy(&slot->frame, &stamped.frame, sizeof stamped - offsetof(sdv2_ring_slot, frame));
    sdv2_ring_fence();
    sdv2_ring_store(&slot->lock, 2u * frame);
    sdv2_ring_fence();
    sdv2_ring_store(&writer->segment->publish_seq, frame);
    sdv2_ring_store(&writer->segment->heartbeat_ns, now_ns);
    ++writer->segment->bell;
    writer->frame = frame;
    return frame;
}

/* Copies header->height rows, `pixel_stride` bytes apart at `pixels`, into the ring, rows
 * header->row_stride apart there; returns the frame's number, 0 when the slots are too small or
 * the header contradicts itself. */
static inline uint64_t sdv2_ring_publish(sdv2_ring_writer *writer, const sdv2_ring_slot *header,
                                         const void *pixels, uint64_t pixel_stride,
                                         uint64_t now_ns) {
    uint64_t row_bytes = header->width * (uint64_t)sdv2_ring_pixel_bytes(header->pixel_format);
    uint8_t *to;
    uint32_t row;

    if (!sdv2_ring_slot_is_sound(header, header->frame, writer->slot_capacity)) return 0;
    to = (uint8_t *)sdv2_ring_begin(writer, header->payload_bytes);
    for (row = 0; row < header->height; ++row)
        memcpy(to + row * header->row_stride, (const uint8_t *)pixels + row * pixel_stride,
               (size_t)row_bytes);
    return sdv2_ring_commit(writer, header, now_ns);
}

/* Readers know that the writer is alive; 10 times a second or more when nothing is published. */
static inline void sdv2_ring_heartbeat(sdv2_ring_writer *writer, uint64_t now_ns) {
    sdv2_ring_store(&writer->segment->heartbeat_ns, now_ns);
}

/* SDV2_RING_STATE_CLOSED or _SUPERSEDED: readers go and look at the descriptor. */
static inline void sdv2_ring_end(sdv2_ring_writer *writer, uint64_t state) {
    sdv2_ring_store(&writer->segment->state, state);
}

#endif /* SDV2_RING_H */
