// disk.h - private: the files and names of a simulated disk, behind the calls of host.c.
//
//   D1  `now` is what reads see; `disk` is what a crash cannot take; `unsynced` are the writes between them, in order.
//   D2  A name is durable when its change was followed by sync_directory; a rename inside a directory is one change.
//   D3  A file lives as long as a name, a durable name, a pending change of names or a handle refers to it.
#ifndef OD_TESTS_SIM_DISK_H
#define OD_TESTS_SIM_DISK_H

#include "sim/host.h"

struct unsynced {
    uint64_t offset; // of a write; the new size of a resize
    uint8_t *data;   // NULL: a resize
    size_t bytes;
};

struct sim_file {
    struct sim_bytes now, disk;
    struct unsynced *unsynced;
    size_t unsynced_count, unsynced_capacity;
    uint64_t allocated; // up to here a write cannot fill the disk
    bool published;
    unsigned handles;
};

struct sim_name {
    char *path;
    struct sim_file *file;
};

struct sim_name_op {
    char *directory;
    char *removed; // NULL: none
    char *added;   // NULL: none
    struct sim_file *file;
};

void *sim_must(void *memory);
char *sim_parent_of(const char *path);
struct sim_name *sim_name_find(struct sim_name *names, size_t count, const char *path);
void sim_name_set(struct sim_name **names, size_t *count, const char *path, struct sim_file *file);
void sim_name_op_apply(struct sim_name **names, size_t *count, const struct sim_name_op *op);
void sim_name_op_release(struct sim_name_op *op);
void sim_name_change(struct sim_host *host, const char *directory_of, const char *removed, const char *added,
                     struct sim_file *file);
bool sim_directory_known(const struct sim_host *host, const char *path);
void sim_directory_add(struct sim_host *host, const char *path);
void sim_file_release(struct sim_file *file);
void sim_collect(struct sim_host *host);
struct unsynced *sim_unsynced_add(struct sim_file *file);
void sim_file_write(struct sim_file *file, uint64_t offset, const void *data, size_t bytes);
void sim_file_resize(struct sim_file *file, uint64_t bytes);
void sim_file_sync(struct sim_file *file);
void sim_file_keep(struct sim_file *file, struct sim_random *random, enum sim_crash kind);

#endif
