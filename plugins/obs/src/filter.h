/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SDV2_OBS_FILTER_H
#define SDV2_OBS_FILTER_H

#include <obs-module.h>

/* "StreamDiffusion input (sdv2)": sends what it is put on to the input ring of a host. */
extern struct obs_source_info sdv2_filter;

#endif
