/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hostile peers for the plugin's ring client, to be built with AddressSanitizer and UBSan.
 *
 *   ring_fuzz SEED COUNT RUN
 *
 * Tries COUNT cases, each kind its share of them, and prints a line per kind: name, cases, accepted.
 * RUN is an empty directory of mode 0700. Whatever a peer writes, nothing is read or written
 * outside what was mapped and allocated; what is accepted is checked for being sound.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor.h"
#include "json.h"
#include "ring-leftovers.h"
#include "ring-reader.h"
#include "ring-writer.h"

#define STREAM "fuzz-in"
#define SEGMENT "lfr.00112233445566778899"
#define SLOTS 3u
#define SLOT_BYTES 8192u
#define TEXT_BYTES 4200

static uint64_t state;
static const char *run_dir;

static uint64_t dice(uint64_t sides) { /* splitmix64 */
    uint64_t z = (state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return sides > 0 ? (z ^ (z >> 31)) % sides : z ^ (z >> 31);
}

static void expect(int is_so, const char *what) {
    if (is_so)
        return;
    fprintf(stderr, "ring_fuzz: %s\n", what);
    abort();
}

/* Some words of a block become numbers that programs stumble over. */
static void disturb(uint8_t *block, size_t num_bytes) {
    static const uint64_t nasty[] = {0, 1, 2, 3, 64, 65, 127, 128, 4095, 4096, 8192, 16384, 16385,
                                     UINT64_C(1) << 31, (UINT64_C(1) << 31) + 4096,
                                     UINT64_C(1) << 32, UINT64_MAX, UINT64_MAX - 127,
                                     UINT64_MAX / 2, UINT32_MAX};
    uint64_t times = dice(4), value;
    size_t size, at;

    while (times-- > 0) {
        size = (size_t)1 << dice(4);
        at = (size_t)dice(num_bytes / size) * size;
        value = dice(3) != 0 ? nasty[dice(sizeof nasty / sizeof *nasty)] : dice(0);
        memcpy(block + at, &value, size);
    }
}

static size_t sound_descriptor(char *text, size_t room) {
    descriptor named = {.segment = SEGMENT, .generation = 3, .pid = 77, .is_file = true};
    memset(named.uuid, 0x5A, sizeof named.uuid);
    return descriptor_print(&named, STREAM, 12345, text, room);
}

static void write_text(const char *suffix, const void *text, size_t num_bytes) {
    char path[PLATFORM_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", run_dir, suffix);
    expect(platform_write_private_file(path, text, num_bytes), "cannot write RUN");
}

static uint64_t sound_segment(uint8_t *memory, uint64_t frame) {
    uint64_t bytes = SDV2_RING_SEGMENT_HEADER_BYTES + (uint64_t)SLOTS * SLOT_BYTES;
    sdv2_ring_identity who = {.stream = STREAM, .generation = 3, .pid = 77, .now_ns = 1};
    sdv2_ring_slot header = {.payload_bytes = 40 * 40 * 4, .row_stride = 160, .width = 40,
                             .height = 40, .pixel_format = SDV2_RING_RGBA8};
    sdv2_ring_writer writer;

    memset(memory, 0, bytes);
    memset(who.uuid, 0x5A, sizeof who.uuid);
    sdv2_ring_init(&writer, memory, SLOTS, bytes, &who, frame - 1);
    expect(sdv2_ring_begin(&writer, header.payload_bytes) != NULL, "a sound frame has no room");
    sdv2_ring_commit(&writer, &header, 2);
    return bytes;
}

/* Takes a frame as the OBS source does: what it needs is allocated to the byte. */
static int take(sdv2_ring_reader *reader) {
    sdv2_ring_slot header;
    sdv2_ring_result result = sdv2_ring_read_newest(reader, &header, NULL, 0, 0);
    uint64_t row_bytes;
    uint8_t *pixels;

    if (result != SDV2_RING_TOO_SMALL)
        return 0;
    row_bytes = header.width * (uint64_t)sdv2_ring_pixel_bytes(header.pixel_format);
    expect(row_bytes > 0 && row_bytes * header.height <= reader->slot_capacity,
           "a frame larger than its slot was accepted");
    pixels = malloc(row_bytes * header.height);
    result = sdv2_ring_read_newest(reader, &header, pixels, row_bytes, row_bytes * header.height);
    free(pixels);
    return result == SDV2_RING_NEW;
}

/* ---- kinds of cases: each returns whether something was accepted --------------------------- */

static int try_text(char *text, size_t length) {
    static const char bytes[] = "\"\\{}[]:,u0019lfr.\xff\x01 abi";
    char word[SEGMENT_NAME_BYTES], *exact;
    uint64_t number, times = dice(5);
    descriptor found;
    int is_accepted;

    while (times-- > 0 && length > 0)
        text[dice(length)] = dice(2) != 0 ? bytes[dice(sizeof bytes - 1)] : (char)dice(256);
    if (dice(8) == 0)
        length = (size_t)dice(length + 1);
    exact = malloc(length > 0 ? length : 1); /* a byte too far is seen */
    memcpy(exact, text, length);
    is_accepted = descriptor_parse(exact, length, STREAM, &found) == NULL;
    if (is_accepted)
        expect(is_segment_name(found.segment), "a foreign segment name was accepted");
    json_string(exact, length, "writer", word, sizeof word);
    json_number(exact, length, "created_unix_ns", &number);
    free(exact);
    return is_accepted;
}

static int try_descriptor(void) {
    char text[TEXT_BYTES];
    return try_text(text, sound_descriptor(text, sizeof text));
}

static int try_noise(void) {
    static const char bytes[] = "{}[]\"\\:,0123456789 abiu\n";
    char text[TEXT_BYTES];
    size_t length = (size_t)dice(sizeof text), index;

    for (index = 0; index < length; ++index)
        text[index] = bytes[dice(sizeof bytes - 1)];
    return try_text(text, length);
}

static int try_header(void) {
    uint64_t bytes = SDV2_RING_SEGMENT_HEADER_BYTES + (uint64_t)SLOTS * SLOT_BYTES, cut;
    uint8_t *memory = malloc(bytes), *mapped;
    sdv2_ring_reader reader;
    int is_accepted;

    sound_segment(memory, 1 + dice(100));
    disturb(memory, 0x120);
    cut = dice(4) == 0 ? dice(bytes + 1) : bytes;
    mapped = malloc(cut > 0 ? cut : 1); /* a byte past the mapping is seen */
    memcpy(mapped, memory, cut);
    is_accepted = sdv2_ring_check(mapped, cut, &reader) == NULL;
    if (is_accepted)
        take(&reader);
    free(mapped);
    free(memory);
    return is_accepted;
}

static int try_slot(void) {
    uint64_t bytes = SDV2_RING_SEGMENT_HEADER_BYTES + (uint64_t)SLOTS * SLOT_BYTES;
    uint64_t frame = 1 + dice(100), index;
    uint8_t *memory = malloc(bytes);
    sdv2_ring_reader reader;
    int is_accepted;

    sound_segment(memory, frame);
    expect(sdv2_ring_check(memory, bytes, &reader) == NULL, "a sound segment was refused");
    index = frame % SLOTS;
    disturb(memory + SDV2_RING_SEGMENT_HEADER_BYTES + index * SLOT_BYTES + 16,
            SDV2_RING_SLOT_HEADER_BYTES - 16);
    is_accepted = take(&reader);
    free(memory);
    return is_accepted;
}

/* The whole client on real files, both of which may be hostile. */
static int try_attach(void) {
    static ring_reader reader;
    static platform_lock *lock;
    static uint64_t now_ns = UINT64_C(1000000000000);
    static uint8_t memory[SDV2_RING_SEGMENT_HEADER_BYTES + SLOTS * SLOT_BYTES];
    char text[TEXT_BYTES], path[PLATFORM_PATH_BYTES];
    uint64_t bytes = sound_segment(memory, 1 + dice(100));
    size_t length = sound_descriptor(text, sizeof text);
    sdv2_ring_slot header;
    uint8_t pixels[40 * 40 * 4];
    int is_accepted;

    if (lock == NULL) {
        snprintf(path, sizeof path, "%s/%s.lock", run_dir, STREAM);
        lock = platform_lock_take(path);
        ring_reader_init(&reader);
        ring_reader_point(&reader, run_dir, STREAM);
    }
    if (dice(2) == 0)
        disturb(memory, dice(2) != 0 ? 0x120 : bytes);
    if (dice(4) == 0)
        text[dice(length)] = (char)dice(256);
    write_text(SEGMENT, memory, dice(8) == 0 ? dice(bytes + 1) : bytes);
    if (dice(16) == 0) { /* a terabyte of holes */
        snprintf(path, sizeof path, "%s/%s", run_dir, SEGMENT);
        expect(truncate(path, (off_t)1 << 40) == 0, "cannot make a file with holes");
    }
    write_text(STREAM ".json", text, length);
    /* A new file under the old name is not looked at while the old one is attached. */
    ring_reader_free(&reader);
    now_ns += UINT64_C(200000000);
    ring_reader_tend(&reader, now_ns);
    ring_reader_switch(&reader);
    is_accepted = ring_reader_peek(&reader, &header);
    ring_reader_take(&reader, &header, pixels, 160, sizeof pixels);
    ring_reader_tend(&reader, now_ns + 1);
    return is_accepted;
}

/* What a hostile predecessor left must not make the writer remove anything but segments. */
static int try_leftovers(void) {
    static const char *const names[] = {SEGMENT, "../precious", "precious", "lfr.zz", "\n\n",
                                        "lfr.", "lfr.00112233445566778899x",
                                        "lfr./../../../precious000"};
    char text[TEXT_BYTES], path[PLATFORM_PATH_BYTES], precious[PLATFORM_PATH_BYTES];
    size_t length = 0;
    uint64_t times = dice(6);

    snprintf(precious, sizeof precious, "%s/precious", run_dir);
    write_text("precious", "x", 1);
    while (times-- > 0)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s\n",
                                   names[dice(sizeof names / sizeof *names)]);
    write_text(STREAM ".pending", text, length);
    length = sound_descriptor(text, sizeof text);
    if (dice(2) != 0)
        text[dice(length)] = (char)dice(256);
    write_text(STREAM ".json", text, length);
    ring_owner_pid(run_dir, STREAM);
    ring_clear_leftovers(run_dir, STREAM);
    expect(access(precious, F_OK) == 0, "a file that is no segment was removed");
    snprintf(path, sizeof path, "%s/%s.pending", run_dir, STREAM);
    expect(access(path, F_OK) != 0, "leftovers were left");
    return 1;
}

/* ---- a writer that changes everything under the reader -------------------------------------- */

typedef struct racer {
    uint8_t *memory;
    uint64_t bytes;
    _Atomic bool is_running, is_stopping;
} racer;

static void *race(void *data) {
    racer *with = data;
    uint64_t own = 88172645463325252u, *words = (uint64_t *)(void *)with->memory;
    uint64_t slot = (SDV2_RING_SEGMENT_HEADER_BYTES + 5 % SLOTS * SLOT_BYTES) / 8, sound[16], index;

    memcpy(sound, words + slot, sizeof sound);
    while (!with->is_stopping) {
        own ^= own << 13, own ^= own >> 7, own ^= own << 17;
        if (own % 8 == 0) { /* and a pause: else hardly a frame would be taken at all */
            for (index = 0; index < 16; ++index)
                words[slot + index] = sound[index];
            words[32] = 5;
            for (index = (own >> 8) % 512; index > 0; --index)
                sdv2_ring_fence();
        }
        /* The hot line, and the headers of the slots: all that a reader looks at. */
        words[32 + (own >> 4) % 3] = own >> 60;
        with->is_running = true;
        words[(SDV2_RING_SEGMENT_HEADER_BYTES + (own >> 8) % SLOTS * SLOT_BYTES) / 8 +
              (own >> 16) % 7] = (own >> 24) % 5 == 0 ? own : (own >> 24) % 8192;
    }
    return NULL;
}

static uint64_t race_for(uint64_t cases) {
    uint64_t bytes = SDV2_RING_SEGMENT_HEADER_BYTES + (uint64_t)SLOTS * SLOT_BYTES, accepted = 0;
    racer with = {.memory = aligned_alloc(4096, bytes), .bytes = bytes};
    sdv2_ring_reader reader;
    pthread_t thread;

    sound_segment(with.memory, 5);
    expect(sdv2_ring_check(with.memory, bytes, &reader) == NULL, "a sound segment was refused");
    pthread_create(&thread, NULL, race, &with);
    while (!with.is_running)
        ;
    while (cases-- > 0) {
        reader.last = 0;
        accepted += (uint64_t)take(&reader);
    }
    with.is_stopping = true;
    pthread_join(thread, NULL);
    free(with.memory);
    return accepted;
}

int main(int count, char **arg) {
    static const struct {
        const char *name;
        int (*attempt)(void);
        uint64_t per_mille; /* those with files take a hundred times as long as the others */
    } kinds[] = {{"descriptor", try_descriptor, 150}, {"noise", try_noise, 20},
                 {"header", try_header, 300},         {"slot", try_slot, 400},
                 {"attach", try_attach, 10},          {"leftovers", try_leftovers, 5}};
    uint64_t all, left, cases, index, accepted;
    size_t kind;

    if (count != 4)
        return 2;
    state = strtoull(arg[1], NULL, 10);
    left = all = strtoull(arg[2], NULL, 10);
    run_dir = arg[3];
    for (kind = 0; kind < sizeof kinds / sizeof *kinds; ++kind) {
        cases = all * kinds[kind].per_mille / 1000;
        for (accepted = 0, index = 0; index < cases; ++index)
            accepted += (uint64_t)kinds[kind].attempt();
        printf("%s %" PRIu64 " %" PRIu64 "\n", kinds[kind].name, cases, accepted);
        left -= cases;
    }
    printf("race %" PRIu64 " %" PRIu64 "\n", left, race_for(left));
    return 0;
}
