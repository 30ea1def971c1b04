/* SPDX-License-Identifier: GPL-2.0-or-later */
/* OSC messages with one argument. Text only, no I/O. */
#ifndef SDV2_OBS_OSC_H
#define SDV2_OBS_OSC_H

#include <stddef.h>

/* Length of the message in `packet`; 0 = it does not fit. */
size_t osc_text(char *packet, size_t room, const char *address, const char *value);
size_t osc_float(char *packet, size_t room, const char *address, float value);

#endif
