/* Connects to a socket as often as it can, and keeps what it has got: flood SOCKET COUNT BYTES. BYTES are what it sends on
 * each connection: less than anything that means something. Says how often it was let in; ends with its input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct rlimit files;
    char bytes[16] = { 0 }, input;
    int connected = 0;
    if (count != 4)
        return 2;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    strncpy(address.sun_path, arguments[1], sizeof address.sun_path - 1);
    for (int i = 0; i < atoi(arguments[2]); i++) {
        int stream = socket(AF_UNIX, SOCK_STREAM, 0);
        if (stream < 0)
            break;
        if (connect(stream, (struct sockaddr *)&address, sizeof address) == 0)
            connected++;
        if (send(stream, bytes, atoi(arguments[3]), MSG_NOSIGNAL) < 0)
            close(stream);
    }
    printf("%d\n", connected);
    fflush(stdout);
    return read(0, &input, 1) < 0;
}
