/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "osc.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A text with its terminator, filled up to four bytes. */
static bool put_text(char *packet, size_t room, size_t *length, const char *text) {
    size_t num_bytes = strlen(text) + 1, padded = (num_bytes + 3) / 4 * 4;

    if (padded > room - *length)
        return false;
    memset(packet + *length, 0, padded);
    memcpy(packet + *length, text, num_bytes);
    *length += padded;
    return true;
}

size_t osc_text(char *packet, size_t room, const char *address, const char *value) {
    size_t length = 0;
    bool is_whole = put_text(packet, room, &length, address) &&
                    put_text(packet, room, &length, ",s") &&
                    put_text(packet, room, &length, value);
    return is_whole ? length : 0;
}

size_t osc_float(char *packet, size_t room, const char *address, float value) {
    size_t length = 0;
    uint32_t bits;
    int shift;

    memcpy(&bits, &value, sizeof bits);
    if (!put_text(packet, room, &length, address) || !put_text(packet, room, &length, ",f") ||
        room - length < sizeof bits)
        return 0;
    for (shift = 24; shift >= 0; shift -= 8)
        packet[length++] = (char)(uint8_t)(bits >> shift);
    return length;
}
