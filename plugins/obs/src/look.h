/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prompt, preset and strength: what the user types into the properties goes to the host as OSC.
 * What a scene collection brings when it is loaded does not: the host keeps its own state. */
#ifndef SDV2_OBS_LOOK_H
#define SDV2_OBS_LOOK_H

#include <obs-module.h>
#include <util/threading.h>

#include "hosts.h"

#define LOOK_MAX_TEXT_BYTES 8192 /* 2000 characters of UTF-8 and a bit */

typedef struct look {
    pthread_mutex_t mutex; /* over all below; never taken by the render thread */
    char *prompt;
    char *preset;
    double strength;
    uint64_t prompt_due_ns; /* 0 = nothing to say */
    uint64_t preset_due_ns;
    uint64_t strength_due_ns;
} look;

bool look_init(look *wanted, obs_data_t *settings);
void look_free(look *wanted);

void look_defaults(obs_data_t *settings);
void look_properties(obs_properties_t *properties);

/* The user changed settings: what is new is to be said. */
void look_update(look *wanted, obs_data_t *settings);

/* Attendant: says what is due. What is typed while the host is away is said when it runs. */
void look_tend(look *wanted, const host *to, bool is_running, uint64_t now_ns);

#endif
