// selector.h - private: is a selector's text a position, or a time? What is neither is a snapshot's name.
#ifndef OD_STORAGE_SELECTOR_H
#define OD_STORAGE_SELECTOR_H

#include <stdbool.h>
#include <stdint.h>

bool od_selector_position(const char *text, uint64_t *epoch, uint64_t *lsn); // LSN or EPOCH.LSN; epoch 0: none given
bool od_selector_time(const char *text, uint64_t *us);                       // ISO 8601; UTC without a zone

#endif
