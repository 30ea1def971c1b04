/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who writes a stream, and what a writer that died left behind. */
#ifndef SDV2_OBS_RING_LEFTOVERS_H
#define SDV2_OBS_RING_LEFTOVERS_H

#include <stdint.h>

/* Segments, descriptor and notes of a dead writer are gone; returns its last generation, 0 = none.
 * The caller holds the lock of the stream. */
uint64_t ring_clear_leftovers(const char *run_dir, const char *stream);

/* The process that the descriptor names, 0 = nobody. */
uint32_t ring_owner_pid(const char *run_dir, const char *stream);

#endif
