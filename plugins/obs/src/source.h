/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SDV2_OBS_SOURCE_H
#define SDV2_OBS_SOURCE_H

#include <obs-module.h>

/* "StreamDiffusion (sdv2)": shows the output ring of a host. */
extern struct obs_source_info sdv2_source;

#endif
