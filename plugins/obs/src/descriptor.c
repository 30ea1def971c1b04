/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "descriptor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "sdv2_ring.h"

#define UUID_DIGITS 32

static bool is_made_of(const char *text, size_t num_bytes, const char *allowed) {
    return strspn(text, allowed) == num_bytes && text[num_bytes] == '\0';
}

bool is_stream_name(const char *name) {
    size_t length = strlen(name);
    return length >= 1 && length <= 48 &&
           is_made_of(name, length, "abcdefghijklmnopqrstuvwxyz0123456789_-");
}

bool is_segment_name(const char *name) {
    return strncmp(name, "lfr.", 4) == 0 && is_made_of(name + 4, 20, "0123456789abcdef");
}

static bool parse_uuid(const char *text, uint8_t uuid[16]) {
    unsigned byte;
    size_t index;

    if (!is_made_of(text, UUID_DIGITS, "0123456789abcdef"))
        return false;
    for (index = 0; index < 16; ++index) {
        if (sscanf(text + 2 * index, "%2x", &byte) != 1)
            return false;
        uuid[index] = (uint8_t)byte;
    }
    return true;
}

const char *descriptor_parse(const char *text, size_t num_bytes, const char *stream,
                             descriptor *found) {
    char word[STREAM_NAME_BYTES];
    uint64_t abi;

    memset(found, 0, sizeof *found);
    if (!json_first_number(text, num_bytes, "abi", &abi))
        return "its descriptor cannot be read";
    if (abi != SDV2_RING_ABI_MAJOR)
        return "it has another version; update sdv2-host and this plugin";
    if (!json_string(text, num_bytes, "stream", word, sizeof word) || strcmp(word, stream) != 0)
        return "its descriptor belongs to another stream";
    if (!json_string(text, num_bytes, "segment", found->segment, sizeof found->segment) ||
        !is_segment_name(found->segment))
        return "its descriptor names no segment";
    if (!json_string(text, num_bytes, "uuid", word, sizeof word) || !parse_uuid(word, found->uuid))
        return "its descriptor has no uuid";
    if (!json_number(text, num_bytes, "generation", &found->generation))
        return "its descriptor has no generation";
    if (!json_number(text, num_bytes, "pid", &found->pid))
        return "its descriptor has no pid";
    if (!json_string(text, num_bytes, "backing", word, sizeof word))
        return NULL;
    found->is_file = strcmp(word, "file") == 0;
    return found->is_file || strcmp(word, "memory") == 0 ? NULL
                                                         : "its segment is of an unknown kind";
}

size_t descriptor_print(const descriptor *from, const char *stream, uint64_t unix_ns, char *text,
                        size_t room) {
    char uuid[UUID_DIGITS + 1];
    size_t index;
    int length;

    for (index = 0; index < 16; ++index)
        snprintf(uuid + 2 * index, 3, "%02x", from->uuid[index]);
    length = snprintf(text, room,
                      "{\"abi\": [%u, %u], \"stream\": \"%s\", \"segment\": \"%s\", "
                      "\"generation\": %" PRIu64 ", \"uuid\": \"%s\", \"pid\": %" PRIu64
                      ", \"writer\": \"obs\", \"created_unix_ns\": %" PRIu64
                      ", \"doorbell\": null%s}",
                      SDV2_RING_ABI_MAJOR, SDV2_RING_ABI_MINOR, stream, from->segment,
                      from->generation, uuid, from->pid, unix_ns,
                      from->is_file ? ", \"backing\": \"file\"" : "");
    return length > 0 && (size_t)length < room ? (size_t)length : 0;
}
