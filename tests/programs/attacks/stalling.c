/* A file system of a user's own, with one file in it: `stalling DIRECTORY FILE USER` serves FILE as DIRECTORY/file, until a
 * line comes on standard input; from then on whoever wants anything of it waits, until this process ends. It is root's to
 * start, as fusermount3 is, and that user's from then on. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { DIRECTORY = 1, SERVED = 2 };

static char content[1 << 20];
static size_t size;
static int device, is_stalling;

static void answer(uint64_t unique, int error, const void *body, size_t length)
{
    struct fuse_out_header header = { (uint32_t)(sizeof header + length), error, unique };
    struct iovec parts[] = { { &header, sizeof header }, { (void *)body, length } };
    /* Whoever asked may be gone. */
    if (writev(device, parts, 2) < 0 && errno != ENOENT)
        exit(1);
}

static struct fuse_attr attributes(uint64_t inode)
{
    struct fuse_attr attributes = { .ino = inode, .nlink = 1, .blksize = 4096 };
    attributes.mode = inode == DIRECTORY ? S_IFDIR | 0755 : S_IFREG | 0755;
    attributes.size = inode == DIRECTORY ? 0 : size;
    return attributes;
}

static void serve(const struct fuse_in_header *request, const void *body)
{
    const struct fuse_read_in *read_in = body;
    size_t from, length;
    switch (request->opcode) {
    case FUSE_INIT: {
        struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION,
                                     .max_readahead = 65536, .max_write = 65536 };
        answer(request->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_LOOKUP:
        if (strcmp(body, "file") == 0) {
            struct fuse_entry_out out = { .nodeid = SERVED, .attr = attributes(SERVED) };
            answer(request->unique, 0, &out, sizeof out);
        } else
            answer(request->unique, -ENOENT, NULL, 0);
        return;
    case FUSE_GETATTR: {
        struct fuse_attr_out out = { .attr = attributes(request->nodeid) };
        answer(request->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_OPEN: {
        struct fuse_open_out out = { .fh = 1 };
        answer(request->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_READ:
        from = read_in->offset < size ? read_in->offset : size;
        length = read_in->size < size - from ? read_in->size : size - from;
        answer(request->unique, 0, content + from, length);
        return;
    case FUSE_STATFS: {
        struct fuse_statfs_out out = { .st = { .bsize = 4096, .namelen = 255 } };
        answer(request->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_FLUSH:
    case FUSE_RELEASE:
        answer(request->unique, 0, NULL, 0);
        return;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return;
    default:
        answer(request->unique, -ENOSYS, NULL, 0);
    }
}

int main(int count, char **arguments)
{
    static char request[1 << 17];
    char options[128];
    FILE *file = count == 4 ? fopen(arguments[2], "rb") : NULL;
    if (!file)
        return 2;
    size = fread(content, 1, sizeof content, file);
    int user = atoi(arguments[3]);
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other", device, user, user);
    if (device < 0 || mount("stalling", arguments[1], "fuse", MS_NOSUID | MS_NODEV, options) != 0 ||
        setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0) {
        perror(arguments[1]);
        return 1;
    }
    puts("mounted");
    fflush(stdout);
    for (;;) {
        struct pollfd awaited[] = { { device, POLLIN, 0 }, { 0, POLLIN, 0 } };
        if (poll(awaited, 2, -1) < 0)
            return 1;
        if (awaited[1].revents) {
            if (getchar() == EOF)
                return 0;
            puts("stalling");
            fflush(stdout);
            is_stalling = 1;
            continue;
        }
        ssize_t length = read(device, request, sizeof request);
        if (length < (ssize_t)sizeof(struct fuse_in_header)) {
            if (length < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
                continue;
            return 0;
        }
        /* Taken and not answered: who waits is not ended even by SIGKILL. */
        if (!is_stalling)
            serve((struct fuse_in_header *)request, request + sizeof(struct fuse_in_header));
    }
}
