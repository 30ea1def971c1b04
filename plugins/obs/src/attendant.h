/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One thread for all sources and filters does what may block: files, locks, mappings, network.
 * The render thread does none of it. */
#ifndef SDV2_OBS_ATTENDANT_H
#define SDV2_OBS_ATTENDANT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct attended {
    void (*tend)(void *owner, uint64_t now_ns); /* 20 times a second, on the attendant's thread */
    void *owner;
    struct attended *next; /* the attendant's */
} attended;

bool attendant_start(void);
void attendant_stop(void);

void attendant_add(attended *one);

/* `tend` is not running and will not be called again. */
void attendant_remove(attended *one);

/* It comes at once: somebody changed a setting. Not for the render thread. */
void attendant_wake(void);

#endif
