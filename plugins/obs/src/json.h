/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads the top level of a small JSON object that somebody else wrote. Allocates nothing. */
#ifndef SDV2_OBS_JSON_H
#define SDV2_OBS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The text of a string member, unescaped (\uXXXX outside ASCII becomes '?'); false when there is
 * none, when it does not fit `room` with its terminator, or when the text is no JSON object. */
bool json_string(const char *text, size_t num_bytes, const char *key, char *value, size_t room);

/* A member that is a whole number 0..2^64-1. */
bool json_number(const char *text, size_t num_bytes, const char *key, uint64_t *value);

/* The first element of a member that is an array of whole numbers. */
bool json_first_number(const char *text, size_t num_bytes, const char *key, uint64_t *value);

#endif
