/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A dark card with text, in place of a picture that is missing. */
#ifndef SDV2_OBS_CARD_H
#define SDV2_OBS_CARD_H

#include <obs-module.h>

typedef struct card {
    obs_source_t *text; /* OBS's own text source; NULL where OBS was built without it */
    char *shown;        /* the attendant's */
    int font_px;        /* the attendant's */
} card;

void card_init(card *made);
void card_free(card *made);

/* Attendant: this is on the card, which is so wide, from the next frame on. */
void card_write(card *made, const char *text, uint32_t width);

/* Render thread. */
void card_draw(const card *made, uint32_t width, uint32_t height);

#endif
