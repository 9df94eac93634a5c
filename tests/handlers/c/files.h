/* Files in /tmp. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kiln/kiln.h"

/* Puts the names in /tmp as a list, in the order in which they are told. */
static bool put_names(kiln_buffer *result) {
    DIR *folder = opendir("/tmp");
    if (folder == NULL) return false;
    bool first = true;
    kiln_put(result, "[");
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        kiln_put(result, first ? "" : ", ");
        kiln_put_json(result, kiln_text(entry->d_name));
        first = false;
    }
    kiln_put(result, "]");
    closedir(folder);
    return true;
}

static bool write_text(const char *path, const char *mode, const char *text) {
    FILE *file = fopen(path, mode);
    if (file == NULL) return false;
    bool written = fputs(text, file) >= 0;
    return (fclose(file) == 0) && written;
}

/* Makes, appends to, moves, lists and reads files, writes far beyond the end of one, and looks for what is outside. */
static kiln_answer files(void) {
    kiln_buffer result = {0};
    kiln_put(&result, "{\"before\": ");
    if (!put_names(&result)) return kiln_permanent("no folder");
    if (mkdir("/tmp/folder", 0777) != 0) return kiln_permanent("no new folder");
    if (!write_text("/tmp/folder/one.txt", "w", "tea ☕")) return kiln_permanent("not written");
    if (!write_text("/tmp/folder/one.txt", "a", " and more")) return kiln_permanent("not appended");
    if (rename("/tmp/folder/one.txt", "/tmp/two.txt") != 0) return kiln_permanent("not moved");
    char text[64] = "";
    FILE *two = fopen("/tmp/two.txt", "r");
    if (two == NULL || fgets(text, sizeof text, two) == NULL) return kiln_permanent("not read");
    fclose(two);
    FILE *far = fopen("/tmp/far", "w");
    if (far == NULL || fseeko(far, 1LL << 40, SEEK_SET) != 0) return kiln_permanent("no seek");
    fputc('x', far);
    bool written = fclose(far) == 0;
    if (remove("/tmp/far") != 0) return kiln_permanent("not removed");
    bool outside = write_text("/outside", "w", "x") || fopen("/tmp/../etc/passwd", "r") != NULL;
    kiln_put(&result, ", \"text\": ");
    kiln_put_json(&result, kiln_text(text));
    kiln_put(&result, ", \"names\": ");
    if (!put_names(&result)) return kiln_permanent("no folder");
    const char *const is[] = {"false", "true"};
    kiln_put(&result, ", \"far\": %s, \"outside\": %s}", is[written], is[outside]);
    return kiln_ok(result.data);
}
