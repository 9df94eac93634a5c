/*
 * SQLite, as vendor/package.json pins it, without what a sandbox has no use for: files, threads, extensions.
 *
 * It wants a file system even for a database in memory, so here is one that has no files.
 */
#define SQLITE_OS_OTHER 1
#define SQLITE_THREADSAFE 0
#define SQLITE_TEMP_STORE 3 /* in memory, always */
#define SQLITE_JSON_MAX_DEPTH 200
#define SQLITE_DQS 0        /* "text" is a name, never a string */
#define SQLITE_ENABLE_MATH_FUNCTIONS 1
#define SQLITE_OMIT_DEPRECATED 1
#define SQLITE_OMIT_DESERIALIZE 1
#define SQLITE_OMIT_LOAD_EXTENSION 1
#define SQLITE_OMIT_LOCALTIME 1
#define SQLITE_OMIT_SHARED_CACHE 1
#define SQLITE_OMIT_WAL 1

#include "../vendor/node_modules/better-sqlite3/deps/sqlite3/sqlite3.c"

#include <unistd.h>

static int no_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *taken) {
    (void)vfs, (void)name, (void)flags, (void)taken;
    file->pMethods = NULL;
    return SQLITE_CANTOPEN;
}

static int no_delete(sqlite3_vfs *vfs, const char *name, int sync) {
    (void)vfs, (void)name, (void)sync;
    return SQLITE_IOERR_DELETE;
}

static int no_access(sqlite3_vfs *vfs, const char *name, int flags, int *result) {
    (void)vfs, (void)name, (void)flags;
    *result = 0;
    return SQLITE_OK;
}

static int no_path(sqlite3_vfs *vfs, const char *name, int size, char *path) {
    (void)vfs, (void)name, (void)size, (void)path;
    return SQLITE_CANTOPEN;
}

static int random_bytes(sqlite3_vfs *vfs, int size, char *bytes) {
    (void)vfs;
    return getentropy(bytes, (size_t)size) == 0 ? size : 0;
}

static int no_sleep(sqlite3_vfs *vfs, int microseconds) {
    (void)vfs, (void)microseconds;
    return 0;
}

/* Milliseconds since noon in Greenwich on 24 November 4714 B.C. */
static int now(sqlite3_vfs *vfs, sqlite3_int64 *ms) {
    (void)vfs;
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    *ms = 210866760000000 + time.tv_sec * (sqlite3_int64)1000 + time.tv_nsec / 1000000;
    return SQLITE_OK;
}

int sqlite3_os_init(void) {
    static sqlite3_vfs vfs = {
        .iVersion = 2,
        .szOsFile = sizeof(sqlite3_file),
        .mxPathname = 1,
        .zName = "none",
        .xOpen = no_open,
        .xDelete = no_delete,
        .xAccess = no_access,
        .xFullPathname = no_path,
        .xRandomness = random_bytes,
        .xSleep = no_sleep,
        .xCurrentTimeInt64 = now,
    };
    return sqlite3_vfs_register(&vfs, 1);
}

int sqlite3_os_end(void) {
    return SQLITE_OK;
}
