/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json.h"

#include <string.h>

#define MAX_DEPTH 16
#define MAX_KEY_BYTES 64

typedef struct cursor {
    const char *at;
    const char *end;
} cursor;

static void skip_space(cursor *text) {
    while (text->at < text->end && strchr(" \t\r\n", *text->at) != NULL && *text->at != '\0')
        ++text->at;
}

static bool take(cursor *text, char wanted) {
    skip_space(text);
    if (text->at >= text->end || *text->at != wanted)
        return false;
    ++text->at;
    return true;
}

static int hex_digit(char digit) {
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

/* The character after a backslash. */
static bool take_escape(cursor *text, char *value) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found;
    int code = 0, index, digit;

    if (text->at >= text->end || *text->at == '\0')
        return false;
    found = strchr(from, *text->at);
    if (found != NULL) {
        *value = to[found - from];
        ++text->at;
        return true;
    }
    if (*text->at++ != 'u' || text->end - text->at < 4)
        return false;
    for (index = 0; index < 4; ++index) {
        digit = hex_digit(*text->at++);
        if (digit < 0)
            return false;
        code = code * 16 + digit;
    }
    *value = code > 0 && code < 128 ? (char)code : '?';
    return true;
}

/* A string; what does not fit `room` is read all the same and makes `is_whole` false. */
static bool take_string(cursor *text, char *value, size_t room, bool *is_whole) {
    size_t length = 0;
    char next;

    *is_whole = true;
    if (!take(text, '"'))
        return false;
    while (text->at < text->end && *text->at != '"') {
        next = *text->at++;
        if (next == '\\' && !take_escape(text, &next))
            return false;
        if ((unsigned char)next < 0x20 && next != '\n' && next != '\t')
            *is_whole = false; /* names and tokens have none of these */
        if (length + 1 < room)
            value[length++] = next;
        else
            *is_whole = false;
    }
    if (room > 0)
        value[length] = '\0';
    return take(text, '"');
}

static bool skip_value(cursor *text) {
    char ignored[1];
    bool is_whole;
    int depth = 0;

    do {
        skip_space(text);
        if (text->at >= text->end)
            return false;
        if (*text->at == '"') {
            if (!take_string(text, ignored, sizeof ignored, &is_whole))
                return false;
            continue;
        }
        if (*text->at == '{' || *text->at == '[')
            ++depth;
        else if (*text->at == '}' || *text->at == ']')
            --depth;
        if (depth < 0 || depth > MAX_DEPTH)
            return false;
        ++text->at;
        /* A number or a word at the top ends where the next thing begins. */
        while (depth == 0 && text->at < text->end && strchr(",]} \t\r\n", *text->at) == NULL)
            ++text->at;
    } while (depth > 0);
    return true;
}

/* Moves to the value of `key`; the whole object before it must be JSON. */
static bool find(cursor *text, const char *key) {
    char name[MAX_KEY_BYTES];
    bool is_whole;

    if (!take(text, '{'))
        return false;
    do {
        if (!take_string(text, name, sizeof name, &is_whole) || !take(text, ':'))
            return false;
        if (is_whole && strcmp(name, key) == 0)
            return true;
        if (!skip_value(text))
            return false;
    } while (take(text, ','));
    return false;
}

static bool take_number(cursor *text, uint64_t *value) {
    uint64_t number = 0, digit;
    bool is_number = false;

    skip_space(text);
    while (text->at < text->end && *text->at >= '0' && *text->at <= '9') {
        digit = (uint64_t)(*text->at++ - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
        is_number = true;
    }
    /* 1.5 and 1e9 are not whole numbers. */
    if (!is_number || text->at >= text->end || strchr(",]} \t\r\n", *text->at) == NULL)
        return false;
    *value = number;
    return true;
}

bool json_string(const char *text, size_t num_bytes, const char *key, char *value, size_t room) {
    cursor at = {text, text + num_bytes};
    bool is_whole;
    return find(&at, key) && take_string(&at, value, room, &is_whole) && is_whole;
}

bool json_number(const char *text, size_t num_bytes, const char *key, uint64_t *value) {
    cursor at = {text, text + num_bytes};
    return find(&at, key) && take_number(&at, value);
}

bool json_first_number(const char *text, size_t num_bytes, const char *key, uint64_t *value) {
    cursor at = {text, text + num_bytes};
    return find(&at, key) && take(&at, '[') && take_number(&at, value);
}
