/* What stands between TensorFlow and the filesystems written in Python.
 *
 * TensorFlow opens this library and calls TF_InitPlugin, which hands it the functions below for each
 * scheme. A function calls the one that Python has set, unless the gate is closed: Python closes it
 * before it ends, because TensorFlow's threads and destructors still close files after that.
 *
 * The types are those of tensorflow/c/experimental/filesystem/filesystem_interface.h (ABI 0, the same
 * from TensorFlow 2.15 to 2.21). Neither TensorFlow nor Python is needed to compile this.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { void *id; } File;
typedef struct { void *unused; } Filesystem;
typedef struct { int64_t length, mtime_nsec; bool is_directory; } Statistics;
typedef struct TF_Status TF_Status;

/* In the order of `OPERATIONS` in _abi.py. */
typedef struct {
  void (*set_status)(TF_Status *, int, const char *);
  void (*new_reader)(const char *, File *, TF_Status *);
  void (*new_writer)(const char *, File *, TF_Status *);
  void (*new_appender)(const char *, File *, TF_Status *);
  void (*create_dir)(const char *, TF_Status *);
  void (*create_dirs)(const char *, TF_Status *);
  void (*delete_file)(const char *, TF_Status *);
  void (*delete_dir)(const char *, TF_Status *);
  void (*delete_recursively)(const char *, uint64_t *, uint64_t *, TF_Status *);
  void (*rename)(const char *, const char *, TF_Status *);
  void (*copy)(const char *, const char *, TF_Status *);
  void (*exists)(const char *, TF_Status *);
  void (*stat)(const char *, Statistics *, TF_Status *);
  void (*is_directory)(const char *, TF_Status *);
  int (*get_children)(const char *, char ***, TF_Status *);
  int (*get_matching_paths)(const char *, char ***, TF_Status *);
  void (*flush_caches)(void);
  int64_t (*read)(const File *, uint64_t, size_t, char *, TF_Status *);
  void (*close_reader)(File *);
  void (*append)(const File *, const char *, size_t, TF_Status *);
  int64_t (*tell)(const File *, TF_Status *);
  void (*flush)(const File *, TF_Status *);
  void (*close)(const File *, TF_Status *);
  void (*drop_writer)(File *);
} Operations;

enum { UNAVAILABLE = 14 };

static Operations python;
static atomic_int active;
static atomic_bool closed = true;
/* Of each thread: the calls that it is in, and the signal to be raised again once it is in none. */
static _Thread_local int depth, postponed;
static int (*raise_signal)(int);

static bool enter(void) {
  atomic_fetch_add(&active, 1);
  if (!atomic_load(&closed)) {
    depth++;
    return true;
  }
  atomic_fetch_sub(&active, 1);
  return false;
}

static void leave(void) {
  atomic_fetch_sub(&active, 1);
  if (--depth == 0 && postponed) {
    raise_signal(postponed);
    postponed = 0;
  }
}

static void refuse(TF_Status *status) {
  if (python.set_status)
    python.set_status(status, UNAVAILABLE, "Python has ended, so object storage can no longer be reached");
}

#define CALL(status, call) \
  do {                     \
    if (enter()) {         \
      call;                \
      leave();             \
    } else                 \
      refuse(status);      \
  } while (0)

static void init(Filesystem *fs, TF_Status *status) { fs->unused = NULL; (void)status; }
static void cleanup(Filesystem *fs) { (void)fs; }
static char *translate_name(const Filesystem *fs, const char *name) { (void)fs; return strdup(name); }

static void new_reader(const Filesystem *fs, const char *path, File *file, TF_Status *s) { (void)fs; CALL(s, python.new_reader(path, file, s)); }
static void new_writer(const Filesystem *fs, const char *path, File *file, TF_Status *s) { (void)fs; CALL(s, python.new_writer(path, file, s)); }
static void new_appender(const Filesystem *fs, const char *path, File *file, TF_Status *s) { (void)fs; CALL(s, python.new_appender(path, file, s)); }
static void create_dir(const Filesystem *fs, const char *path, TF_Status *s) { (void)fs; CALL(s, python.create_dir(path, s)); }
static void create_dirs(const Filesystem *fs, const char *path, TF_Status *s) { (void)fs; CALL(s, python.create_dirs(path, s)); }
static void delete_file(const Filesystem *fs, const char *path, TF_Status *s) { (void)fs; CALL(s, python.delete_file(path, s)); }
static void delete_dir(const Filesystem *fs, const char *path, TF_Status *s) { (void)fs; CALL(s, python.delete_dir(path, s)); }
static void rename_file(const Filesystem *fs, const char *from, const char *to, TF_Status *s) { (void)fs; CALL(s, python.rename(from, to, s)); }
static void copy_file(const Filesystem *fs, const char *from, const char *to, TF_Status *s) { (void)fs; CALL(s, python.copy(from, to, s)); }
static void path_exists(const Filesystem *fs, const char *path, TF_Status *s) { (void)fs; CALL(s, python.exists(path, s)); }

static void delete_recursively(const Filesystem *fs, const char *path, uint64_t *files, uint64_t *dirs, TF_Status *s) {
  (void)fs;
  *files = *dirs = 0;
  CALL(s, python.delete_recursively(path, files, dirs, s));
}

static void stat_path(const Filesystem *fs, const char *path, Statistics *out, TF_Status *s) {
  (void)fs;
  memset(out, 0, sizeof *out);
  CALL(s, python.stat(path, out, s));
}

/* TensorFlow takes the answer from the status. */
static bool is_directory(const Filesystem *fs, const char *path, TF_Status *s) {
  (void)fs;
  CALL(s, python.is_directory(path, s));
  return false;
}

static int get_children(const Filesystem *fs, const char *path, char ***entries, TF_Status *s) {
  int count = -1;
  (void)fs;
  CALL(s, count = python.get_children(path, entries, s));
  return count;
}

static int get_matching_paths(const Filesystem *fs, const char *pattern, char ***entries, TF_Status *s) {
  int count = -1;
  (void)fs;
  CALL(s, count = python.get_matching_paths(pattern, entries, s));
  return count;
}

static void flush_caches(const Filesystem *fs) {
  (void)fs;
  if (enter()) { python.flush_caches(); leave(); }
}

static int64_t read_file(const File *file, uint64_t offset, size_t n, char *buffer, TF_Status *s) {
  int64_t count = 0;
  CALL(s, count = python.read(file, offset, n, buffer, s));
  return count;
}

static void close_reader(File *file) { if (enter()) { python.close_reader(file); leave(); } }
static void append(const File *file, const char *data, size_t n, TF_Status *s) { CALL(s, python.append(file, data, n, s)); }
static void flush(const File *file, TF_Status *s) { CALL(s, python.flush(file, s)); }
static void close_writer(const File *file, TF_Status *s) { CALL(s, python.close(file, s)); }
static void drop_writer(File *file) { if (enter()) { python.drop_writer(file); leave(); } }

static int64_t tell(const File *file, TF_Status *s) {
  int64_t position = -1;
  CALL(s, position = python.tell(file, s));
  return position;
}

/* The tables of filesystem_interface.h; a NULL leaves the work to TensorFlow. */
static void *const filesystem_ops[33] = {
    init, cleanup, new_reader, new_writer, new_appender, NULL /* memory region */,
    create_dir, create_dirs, delete_file, delete_dir, delete_recursively, rename_file, copy_file,
    path_exists, NULL /* paths_exist */, stat_path, is_directory, NULL /* get_file_size: stat */,
    translate_name, get_children, get_matching_paths, flush_caches};
static void *const reader_ops[2] = {close_reader, read_file};
static void *const writer_ops[6] = {drop_writer, append, tell, flush, flush /* sync */, close_writer};

typedef struct {
  char *scheme;
  struct { int abi, api; size_t size; void *table; } kinds[4];
} PluginOps;

typedef struct {
  size_t count;
  PluginOps *ops;
  void *(*allocate)(size_t);
  void (*release)(void *);
} PluginInfo;

/* The schemes of the next registration, one after another, each ended by a NUL; then an empty one. */
static char schemes[256];

static void *own(const void *data, size_t size) {
  void *copy = malloc(size);
  if (copy) memcpy(copy, data, size);
  return copy;
}

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

EXPORT void TF_InitPlugin(PluginInfo *info) {
  const char *scheme;
  size_t i = 0;
  info->count = 0;
  for (scheme = schemes; *scheme; scheme += strlen(scheme) + 1) info->count++;
  info->allocate = malloc;
  info->release = free;
  info->ops = calloc(info->count ? info->count : 1, sizeof *info->ops);
  for (scheme = schemes; *scheme; scheme += strlen(scheme) + 1, i++) {
    PluginOps *ops = &info->ops[i];
    ops->scheme = strdup(scheme);
    ops->kinds[0].size = sizeof filesystem_ops;
    ops->kinds[0].table = own(filesystem_ops, sizeof filesystem_ops);
    ops->kinds[1].size = sizeof reader_ops;
    ops->kinds[1].table = own(reader_ops, sizeof reader_ops);
    ops->kinds[2].size = sizeof writer_ops;
    ops->kinds[2].table = own(writer_ops, sizeof writer_ops);
  }
}

EXPORT int shim_set_schemes(const char *names, size_t size) {
  if (size + 1 > sizeof schemes) return -1;
  memset(schemes, 0, sizeof schemes);
  memcpy(schemes, names, size);
  return 0;
}

EXPORT void shim_open(const Operations *operations, int (*raises)(int)) {
  python = *operations;
  raise_signal = raises;
  atomic_store(&closed, false);
}

/* Let no new call into Python; return how many are still in it. */
EXPORT int shim_close(void) {
  atomic_store(&closed, true);
  return atomic_load(&active);
}

/* Raise a signal again after the calls that this thread is in; return false if it is in none. */
EXPORT int shim_postpone(int number) {
  if (depth) postponed = number;
  return depth > 0;
}

/* Whether a signal waits for the end of the calls that this thread is in. */
EXPORT int shim_is_postponed(void) { return postponed != 0; }

/* In a forked child, the calls of the parent's other threads are no longer there. */
EXPORT void shim_forget_calls(void) { atomic_store(&active, 0); }

/* Make the array that TensorFlow frees, from `count` names that are each ended by a NUL. */
EXPORT int shim_names(const char *names, int count, char ***entries) {
  char **array = malloc((count ? count : 1) * sizeof *array);
  int i;
  if (!array) return -1;
  for (i = 0; i < count; i++, names += strlen(names) + 1) array[i] = strdup(names);
  *entries = array;
  return count;
}
